"""Tuning the sampler on the driver, before a row is explained.

A pilot on background rows and, where it pays, one surrogate for the whole portfolio. Nothing here can bias a
value; it decides how far values scatter. Everything is a function of the background, the population, the
budget and the seed, never of the rows that are explained or of a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.control import ControlVariate
from spark_shap.core.design import design_bank
from spark_shap.core.hybrids import Population, draw_hybrids
from spark_shap.core.linear_control import LinearControl, Standardiser
from spark_shap.core.pilot import choose_ridge, pilot_rows, pilot_slopes, run_pilot
from spark_shap.core.precision import fit_variance
from spark_shap.core.sampling import pairs_within
from spark_shap.core.strata import BackgroundStrata, bisection_order
from spark_shap.core.surrogate import Surrogate, default_settings, fit_surrogate
from spark_shap.core.surrogate.refinement import fit_refinement
from spark_shap.models.encoding import fit_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.game import Answers
    from spark_shap.core.sampler import Sampler
    from spark_shap.core.sampling import SampledPairs
    from spark_shap.models.encoding import RowEncoder
    from spark_shap.models.frames import Rows

__all__ = ["Forecast", "Tuned", "tune"]

_PAYS = 0.8  # a surrogate must leave less than this share of what a linear control leaves
_LEAST_HYBRIDS = 200


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


class _Pilot(NamedTuple):
    """Pilot rows with what was asked of them."""

    positions: NDArray[np.intp]
    hashes: NDArray[np.uint64]
    pairs: SampledPairs
    answers: Answers
    totals: NDArray[np.float64]


class _Setting(NamedTuple):
    """The background in all the forms that are needed."""

    sampler: Sampler
    rows: Rows
    encoder: RowEncoder
    numbers: NDArray[np.float64]
    pilot: _Pilot

    @property
    def pilot_rows(self) -> Rows:
        return self.rows.take(self.pilot.positions)


def tune(
    sampler: Sampler,
    rows: Rows,
    predictions: NDArray[np.float64],
    *,
    population: Rows | None,
    n_hybrids: int,
    refine_pairs: int = 0,
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
    """
    if len(rows.columns) < 2 or pairs_within(sampler.n_evaluations) < 2:
        return Tuned(sampler, "", None)
    encoder = fit_encoder(rows, predictions.mean(axis=1))
    setting = _Setting(sampler, rows, encoder, encoder(rows), _pilot(sampler, rows))
    pilot = setting.pilot
    control, note = _control(setting, population, n_hybrids, refine_pairs)
    strata = BackgroundStrata.build(_order(control, setting), sampler.reference.weights)
    players = np.ones((len(pilot.positions), len(rows.columns)), dtype=bool)
    taken = control.bind(setting.pilot_rows).taken(pilot.hashes, players)
    known = taken.values
    differences = pilot.answers.differences - _answers(control, setting)
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


def _pilot(sampler: Sampler, rows: Rows) -> _Pilot:
    positions, hashes = pilot_rows(sampler.seed, len(rows))
    pairs, answers = run_pilot(sampler.game, rows.take(positions), hashes, len(rows))
    return _Pilot(positions, hashes, pairs, answers, answers.predictions - sampler.reference.base_values)


def _order(control: ControlVariate, setting: _Setting) -> NDArray[np.intp]:
    """Return background rows in an order in which neighbours have like values."""
    # Rounded: an order must not hang on the last bit of a sum.
    return bisection_order(control.bind(setting.rows).values().sum(axis=2).astype(np.float32).astype(np.float64))


def _control(
    setting: _Setting, population: Rows | None, n_hybrids: int, refine_pairs: int
) -> tuple[ControlVariate, str]:
    """Return what is taken off the model's game, and what to say of it: the best of what there is."""
    linear = _linear(setting)
    plain = _left(None, setting)
    least = _left(linear, setting) / plain
    if n_hybrids < _LEAST_HYBRIDS:
        return linear, f"a linear control from the pilot leaves {least:.1%} of the variance"
    found = _surrogate(setting, population, n_hybrids)
    if isinstance(found, str):
        return linear, f"no surrogate: {found}; a linear control from the pilot leaves {least:.1%} of the variance"
    share = fine = _left(found, setting) / plain
    what = f"a surrogate fitted to {n_hybrids:,} evaluations leaves {share:.1%} of the variance"
    if refine_pairs and isinstance(found.surrogate, Surrogate) and found.surrogate.refines:
        n_pairs = refine_pairs * pairs_within(setting.sampler.n_evaluations)
        strata = BackgroundStrata.build(_order(found, setting), setting.sampler.reference.weights)
        found = replace(found, refinement=fit_refinement(found.surrogate, n_pairs, strata, setting.sampler.seed))
        fine = _left(found, setting) / plain
        what += f"; its finer part, sampled itself, {fine:.1%}"
    if fine < _PAYS * least:
        return found, what
    return linear, f"no surrogate: {what}, and a linear control from the pilot {least:.1%} for less"


def _linear(setting: _Setting) -> ControlVariate:
    pilot, standardise = setting.pilot, Standardiser.of(setting.numbers)
    scaled = standardise(setting.numbers)
    slopes = pilot_slopes(pilot.pairs, pilot.answers, scaled[pilot.positions], scaled)
    weights = setting.sampler.reference.weights
    return ControlVariate(LinearControl(standardise, slopes, scaled, weights), setting.encoder)


def _surrogate(setting: _Setting, population: Rows | None, n_hybrids: int) -> ControlVariate | str:
    """Return a surrogate, or why there is none."""
    sampler, pilot, encoder = setting.sampler, setting.pilot, setting.encoder
    if population is None:
        # Not the pilot's rows: what is judged on them must not have been fitted on them.
        others = np.setdiff1d(np.arange(len(setting.rows)), pilot.positions)
        if not len(others):
            return "too few background rows to fit and to judge one"
        population = setting.rows.take(others)
    hybrids = draw_hybrids(
        sampler.game,
        sampler.reference.strata,
        setting.numbers,
        Population(population, encoder(population)),
        n_evaluations=n_hybrids,
        seed=sampler.seed,
    )
    if len(hybrids.numbers) < _LEAST_HYBRIDS or not np.ptp(hybrids.predictions, axis=0).any():
        return "the model refuses most hybrid rows, or says the same of all"
    surrogate = fit_surrogate(
        hybrids.numbers,
        hybrids.predictions,
        background=setting.numbers,
        weights=sampler.reference.weights,
        settings=default_settings(len(hybrids.numbers)),
        seed=sampler.seed,
    )
    return ControlVariate(surrogate, encoder)


def _left(control: ControlVariate | None, setting: _Setting) -> float:
    """Return the variance of the pilot's answers, less the control's."""
    answers = setting.pilot.answers.differences
    left = answers if control is None else answers - _answers(control, setting)
    return max(float(np.nanvar(left, axis=(0, 1)).sum()), 1e-300)


def _answers(control: ControlVariate, setting: _Setting) -> NDArray[np.float64]:
    """Return the surrogate's answers to the pilot's pairs."""
    index, members = setting.pilot.pairs.draw(slice(None), slice(None))
    return control.bind(setting.pilot_rows).differences(slice(None), index, members)


def _estimate(
    pairs: SampledPairs,
    ridge: float,
    differences: NDArray[np.float64],
    totals: NDArray[np.float64],
    usable: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bank = design_bank(pairs.bank.n_players, pairs.n_pairs, ridge, pairs.bank.seed)
    return bank.estimate(differences, totals, pairs.design[usable], pairs.order[usable])
