"""Fitting the surrogate to the model's answers on hybrid rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.surrogate.additive import Additive, fit_additive
from spark_shap.core.surrogate.binning import Binning, fit_binning
from spark_shap.core.surrogate.boosting import RESIDUAL_LIMIT, boost, leaf_units
from spark_shap.core.surrogate.links import Link, link_of
from spark_shap.core.surrogate.model import Form, Surrogate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.players import Players
    from spark_shap.core.surrogate.settings import SurrogateSettings

__all__ = ["fit_form", "fit_surrogate"]

_TRIAL_ROWS = 8_000
_TRIAL_SHARE = 0.2  # of its rows judge
_TRIAL_TREES = 40
_WORTH_A_LINK = 0.7  # of the residual variance without it: the exact part is then a poorer one
_WORTH_FUNCTIONS = 0.95  # as above


def fit_surrogate(
    hybrids: FloatArray,
    targets: FloatArray,
    *,
    background: FloatArray,
    weights: FloatArray,
    settings: SurrogateSettings,
    seed: int,
    players: Players | None = None,
) -> Surrogate:
    """Fit g to a model's answers.

    Parameters
    ----------
    hybrids
        (N, F) float64 rows that mix an applicant with a background row, NaN where missing.
    targets
        (N, K) finite float64 answers of the model.
    background
        (B, F) float64 the whole background.
    weights
        (B,) its weights, of any positive sum.
    settings
        How much to buy.
    seed
        Same arguments and seed, same surrogate; on any number of threads.
    players
        Which player each feature is; None where every feature is one.
    """
    form = fit_form(hybrids, targets, settings=settings, seed=seed)
    return Surrogate.bind(replace(form, players=players), background, weights)


def fit_form(hybrids: FloatArray, targets: FloatArray, *, settings: SurrogateSettings, seed: int) -> Form:
    """Fit g, not bound to a background yet; arguments as in `fit_surrogate`."""
    rng = np.random.default_rng(seed % 2**64)
    order = rng.permutation(len(hybrids))
    binning = fit_binning(hybrids, settings.max_bins)
    answers = _Answers(hybrids, binning.encode(hybrids)[:, order], targets[order], order)
    link, smooth = _choose(answers, binning, link_of(targets), settings)
    return _fit(answers, binning, link, smooth, settings, rng)


class _Answers(NamedTuple):
    """Shuffled hybrid rows; their numbers (N, F) in the order in which they came."""

    x: FloatArray
    bins: NDArray[np.uint8]
    targets: FloatArray
    order: NDArray[np.intp]

    def head(self, stop: int) -> _Answers:
        return _Answers(self.x, self.bins[:, :stop], self.targets[:stop], self.order[:stop])


def _fit(
    answers: _Answers,
    binning: Binning,
    link: Link | None,
    smooth: bool,
    settings: SurrogateSettings,
    rng: np.random.Generator,
) -> Form:
    targets = answers.targets
    columns = targets if link is None else np.concatenate([link.margins(targets), targets], axis=1)
    offset, units = columns.mean(axis=0), leaf_units(columns, settings.learning_rate)
    additive = Additive.none(answers.x.shape[1], columns.shape[1])
    residuals = np.rint((columns - offset).T / units[:, None])
    if smooth:
        additive = fit_additive(answers.x, answers.order, columns - offset, units)
        residuals -= additive.encode(answers.x).sum(axis=1)[answers.order].T
    residuals = np.clip(residuals, -RESIDUAL_LIMIT, RESIDUAL_LIMIT).astype(np.int32)
    trees = boost(answers.bins, residuals, targets.shape[1], settings, rng)
    return Form(binning, additive, trees, units, offset, link)


def _choose(
    answers: _Answers, binning: Binning, link: Link | None, settings: SurrogateSettings
) -> tuple[Link | None, bool]:
    """Return the link and whether functions of single features pay, by small fits judged on other rows."""
    n_rows = min(len(answers.targets), _TRIAL_ROWS)
    n_fitted = n_rows - int(_TRIAL_SHARE * n_rows)
    fewer = replace(
        settings, n_trees=min(settings.n_trees, _TRIAL_TREES), learning_rate=0.2, depth=min(settings.depth, 6)
    )
    judges, wanted = answers.x[answers.order[n_fitted:n_rows]], answers.targets[n_fitted:n_rows]
    left: dict[tuple[bool, bool], float] = {}
    for smooth in (False, True):
        form = _fit(answers.head(n_fitted), binning, link, smooth, fewer, np.random.default_rng(0))
        columns = form.columns(form.encode(judges))
        left[False, smooth] = _unexplained(wanted - form.outputs(columns), wanted)
        left[True, smooth] = _unexplained(wanted - form.fine_outputs(columns), wanted)
    linked = link is not None and min(left[True, True], left[True, False]) < _WORTH_A_LINK * min(
        left[False, True], left[False, False]
    )
    return (link if linked else None), left[linked, True] < _WORTH_FUNCTIONS * left[linked, False]


def _unexplained(residuals: FloatArray, targets: FloatArray) -> float:
    """Return the share of the targets' variance that residuals keep, mean over outputs."""
    spread = targets.var(axis=0)
    return float((residuals.var(axis=0) / np.where(spread > 0.0, spread, 1.0)).mean()) if len(targets) else 0.0
