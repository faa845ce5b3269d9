r"""What the aggregates of a portfolio will be off by, from a pilot.

A pilot, some hundred rows explained with more evaluations than most choices have, stands for the portfolio: its
variance-matched values are taken for the truth. Its rows are repeated, noise of the planned size is drawn anew
(s^2 falls as one over the number of pairs) and the aggregates are made as they will be: the errors that they
state are the prediction. The mean of an absolute normal deviation is 0.80 of its standard deviation. A sample
of n of N rows adds ``sd|c| sqrt((1 - n / N) / n)``.

A feature's top-4 rate is off at first by what the residual moves it, as the pilot shows; by ``1 - sqrt(kappa)`` of
that once kappa of the residual is known. The scatter of a sample of rows comes on top. The largest of all features
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.sampling import pairs_within
from spark_shap.core.shrinkage import fit_residuals, no_signal, residual_moments
from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import summary_result
from spark_shap.core.summary_rows import Split, split_values, top_four
from spark_shap.errors import InputError

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.shrinkage import ResidualModel

__all__ = ["AuditPilot", "ErrorForecast"]

_SIMULATED_CELLS = 1 << 18  # rows x features: beyond it the sampler's noise no longer counts
_HALF_NORMAL = float(np.sqrt(2.0 / np.pi))
_LEAST_ROWS = 50


@dataclass(frozen=True)
class AuditPilot:
    """Rows of the portfolio, taken at random and explained ahead.

    Attributes
    ----------
    surrogate_values, values, std_errors
        (n, M, K) exact parts, values and standard errors of n rows, at least 50; 600 tell top-4 rates apart.
    n_evaluations
        Evaluations spent a row; 129 are enough.
    """

    surrogate_values: FloatArray
    values: FloatArray
    std_errors: FloatArray
    n_evaluations: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        if len(self.values) < _LEAST_ROWS or pairs_within(self.n_evaluations) < 2:
            raise InputError(
                f"pilot: {len(self.values)} rows with {self.n_evaluations} evaluations each; an audit is planned from "
                f"at least {_LEAST_ROWS} rows with 5"
            )


class _Simulated(NamedTuple):
    """Stated errors of mean |SHAP|, (M,) each, and the mean kappa of the residuals."""

    monte_carlo: FloatArray
    deviation: FloatArray  # sd|c|
    kappa: float


@dataclass(frozen=True, eq=False)
class ErrorForecast:
    """Predicts errors from one output of a pilot.

    Attributes
    ----------
    known, residuals
        (n, M) exact parts, and residuals as they are taken for true.
    pair_errors
        (n, M) standard error of one pair.
    """

    known: FloatArray
    residuals: FloatArray
    pair_errors: FloatArray

    @classmethod
    def of(cls, pilot: AuditPilot, output: int) -> ErrorForecast:
        """Return the forecast for output number `output` of a pilot."""
        errors = np.asarray(pilot.std_errors[:, :, output], dtype=np.float64)
        known, residuals, _ = split_values(pilot.values[:, :, output], errors, pilot.surrogate_values[:, :, output])
        kept, _ = _model(known, residuals, errors).kept(known)
        return cls(known, kept * residuals, errors * np.sqrt(pairs_within(pilot.n_evaluations)))

    def errors(self, n_evaluations: int, n_rows: int, n_portfolio: int) -> tuple[float, float]:
        """Predict the errors after some rows with some evaluations each.

        Parameters
        ----------
        n_evaluations
            Evaluations a row.
        n_rows
            Rows explained.
        n_portfolio
            Rows of the portfolio.

        Returns
        -------
        mean_abs_error, top4_error
            The sum over features of |error| over the sum of mean |SHAP|; the largest error of a top-4 rate.
        """
        n_simulated = min(n_rows, max(len(self.known), _SIMULATED_CELLS // self.known.shape[1]))
        found = self._simulate(pairs_within(n_evaluations), n_simulated)
        unseen = (1.0 - n_rows / n_portfolio) / n_rows
        deviation = np.sqrt(found.monte_carlo**2 + unseen * found.deviation**2)
        total = float(self._magnitudes.mean(axis=0).sum())
        mean_abs = _HALF_NORMAL * float(deviation.sum()) / total if total > 0 else 0.0
        bias = (1.0 - np.sqrt(found.kappa)) * self._top_moved
        return mean_abs, float(np.hypot(bias, _largest(np.sqrt(unseen * self._rates * (1.0 - self._rates)))))

    @cached_property
    def _magnitudes(self) -> FloatArray:
        return np.abs(self.known + self.residuals)

    @cached_property
    def _rates(self) -> FloatArray:
        return np.asarray(top_four(self._magnitudes).mean(axis=0))

    @cached_property
    def _top_moved(self) -> float:
        """By how much the residuals move a top-4 rate, less what chance moves it in so few rows."""
        moved = top_four(self._magnitudes).astype(np.float64) - top_four(np.abs(self.known))
        chance = (moved**2).mean(axis=0) / len(moved)
        return float(np.sqrt(np.maximum(moved.mean(axis=0) ** 2 - chance, 0.0)).max())

    @lru_cache(maxsize=64)  # noqa: B019 - a forecast lives as long as the planning
    def _simulate(self, n_pairs: int, n_rows: int) -> _Simulated:
        index = np.arange(n_rows) % len(self.known)
        known, errors = self.known[index], self.pair_errors[index] / np.sqrt(n_pairs)
        residuals = self.residuals[index] + errors * np.random.default_rng(0).standard_normal(known.shape)
        model = _model(known, residuals, errors)
        state = local_summary(known + residuals, std_errors=errors, split=Split(known, model))
        kappa = float((model.ratio / (1.0 + model.ratio)).mean())
        return _Simulated(summary_result(state)["monte_carlo_error"], np.sqrt(state.magnitude.m2 / state.weight), kappa)


def _model(known: FloatArray, residuals: FloatArray, errors: FloatArray) -> ResidualModel:
    moments = residual_moments(residuals, errors**2, known, np.ones(len(known)))
    return no_signal(known.shape[1]) if moments is None else fit_residuals(moments)


def _largest(deviations: FloatArray) -> float:
    """Return about how large the largest of absolute normal deviations is, from their standard deviations."""
    most = float(deviations.max())
    if not most > 0:
        return 0.0
    alike = float((deviations**2).sum()) / most**2
    return most * _HALF_NORMAL * float(np.sqrt(1.0 + 2.0 * np.log(alike)))
