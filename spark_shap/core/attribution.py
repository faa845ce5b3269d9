"""What explaining rows yields, and what any method must know of the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.game import Failure
    from spark_shap.core.ranking import Ranking
    from spark_shap.core.strata import BackgroundStrata

__all__ = ["Attributions", "Reference"]


@dataclass(frozen=True)
class Reference:
    """What the sampler must know of the background.

    Attributes
    ----------
    weights
        (B,) 0 or more, sum 1.
    predictions
        (B, K).
    base_values
        (K,) their weighted mean.
    strata
        The order in which background rows are drawn.
    """

    weights: FloatArray
    predictions: FloatArray
    base_values: FloatArray
    strata: BackgroundStrata


@dataclass(frozen=True)
class Attributions:
    """Explained rows.

    Attributes
    ----------
    values, std_errors
        (n, M, K); a standard error is 0 where the value is exact. NaN for a failed row.
    predictions
        (n, K).
    n_evaluations
        (n,) model rows spent.
    failures
        Failed rows by position.
    converged
        (n, K) whether the row's standard errors are within the tolerance; None where none was asked for.
    known
        (n, M, K) the surrogate's part of the values, exact; None without a surrogate.
    ranking
        The rows' reasons; None where none were asked for.
    dof
        (n, M, K) degrees of freedom of the standard errors, infinite where a value is exact; None where all are.
    saved
        (n,) model rows that known predictions saved; None where they were not known. Budgets count them, lest values
        depend on what else is explained.
    """

    values: FloatArray
    std_errors: FloatArray
    predictions: FloatArray
    n_evaluations: IntArray
    failures: dict[int, Failure] = field(default_factory=dict)
    converged: BoolArray | None = None
    known: FloatArray | None = None
    ranking: Ranking | None = None
    dof: FloatArray | None = None
    saved: IntArray | None = None

    def take(self, index: IntArray) -> Attributions:
        """Return those of some rows that did not fail."""
        if len(index) == len(self.values):
            return self
        return Attributions(
            self.values[index],
            self.std_errors[index],
            self.predictions[index],
            self.n_evaluations[index],
            converged=None if self.converged is None else self.converged[index],
            known=None if self.known is None else self.known[index],
            ranking=None if self.ranking is None else self.ranking.take(index),
            dof=None if self.dof is None else self.dof[index],
        )
