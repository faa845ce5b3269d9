"""Tuning the sampler on the driver, before a row is explained.

A pilot on background rows and, where it pays, one surrogate for the whole portfolio. Nothing here can bias a
value; it decides how far values scatter. Everything is a function of the background, the population, the
budget and the seed, never of the rows that are explained or of a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.controls import Setting, ask_pilot, background_order, choose_control
from spark_shap.core.design import design_bank
from spark_shap.core.pilot import choose_ridge
from spark_shap.core.precision import fit_variance
from spark_shap.core.sampling import pairs_within
from spark_shap.core.strata import BackgroundStrata
from spark_shap.models.encoding import fit_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.sampler import Sampler
    from spark_shap.core.sampling import SampledPairs
    from spark_shap.core.surrogate import FittedBefore
    from spark_shap.models.frames import Rows

__all__ = ["Forecast", "Tuned", "tune"]


@dataclass(frozen=True)
class Forecast:
    """What the pilot says of standard errors.

    Attributes
    ----------
    scale
        (n, M, K) s sqrt(P) of the pilot rows' values: the standard error of P pairs is this over sqrt(P).
    totals
        (n, K) their predictions less the base value.
    values
        (n, M, K) their estimated values.
    """

    scale: NDArray[np.float64]
    totals: NDArray[np.float64]
    values: NDArray[np.float64]


class Tuned(NamedTuple):
    """The sampler as tuned, what was found, and what to expect."""

    sampler: Sampler
    note: str
    forecast: Forecast | None


def tune(
    sampler: Sampler,
    rows: Rows,
    predictions: NDArray[np.float64],
    *,
    population: Rows | None,
    n_hybrids: int,
    refine_pairs: int = 0,
    before: FittedBefore | None = None,
) -> Tuned:
    """Set the control variate, the ridge penalty, the order of the background and the variance model.

    Parameters
    ----------
    sampler
        With weights and base values.
    rows, predictions
        The background and its (B, K) predictions.
    population
        Rows like those that will be explained; None for the background's own.
    n_hybrids
        Model evaluations to fit a surrogate on; 0 for none.
    refine_pairs
        Pairs of the surrogate's finer part, where it has one, for each of the model's; 0 leaves it out.
    before
        Where the surrogate is kept once it is fitted, if anywhere.
    """
    n_players = sampler.game.n_players(len(rows.columns))
    if n_players < 2 or pairs_within(sampler.n_evaluations) < 2:
        return Tuned(sampler, "", None)
    encoder = fit_encoder(rows, predictions.mean(axis=1))
    setting = Setting(sampler, rows, encoder, encoder(rows), ask_pilot(sampler, rows), before)
    control, note, judge, pilot = choose_control(setting, population, n_hybrids, refine_pairs)
    strata = BackgroundStrata.build(background_order(control, rows), setting.weights)
    players = np.ones((len(pilot), n_players), dtype=bool)
    bound = judge.bind(rows.take(pilot.positions))
    known = bound.taken(pilot.hashes, players).values
    differences = pilot.differences - bound.differences(slice(None), *pilot.pairs.draw(slice(None), slice(None)))
    totals = pilot.totals - known.sum(axis=1)
    ridge = choose_ridge(pilot.pairs, differences, totals)
    tuned = replace(sampler, control=control, reference=replace(sampler.reference, strata=strata), ridge=ridge)
    usable = np.isfinite(np.concatenate([differences, totals[:, None, :]], axis=1)).all(axis=(1, 2))
    if not usable.any():
        return Tuned(tuned, note, None)
    values, std_errors = _estimate(pilot.pairs, ridge, differences[usable], totals[usable], usable)
    n_pairs = pilot.pairs.n_pairs
    guess = fit_variance(std_errors, totals[usable], known[usable], n_pairs)
    forecast = Forecast(std_errors * np.sqrt(n_pairs), pilot.totals[usable], values + known[usable])
    return Tuned(replace(tuned, guess=guess), note, forecast)


def _estimate(
    pairs: SampledPairs,
    ridge: float,
    differences: NDArray[np.float64],
    totals: NDArray[np.float64],
    usable: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bank = design_bank(pairs.bank.n_players, pairs.n_pairs, ridge, pairs.bank.seed)
    return bank.estimate(differences, totals, pairs.design[usable], pairs.order[usable])
