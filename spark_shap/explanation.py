"""The result of explaining rows in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.audit.reasons import reasons_frame
from spark_shap.core.student import student_quantile
from spark_shap.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from spark_shap.audit.reasons import ReasonSpec
    from spark_shap.core.ranking import Ranking

__all__ = ["Explanation", "Interactions"]


@dataclass(frozen=True)
class Explanation:
    """Shapley values of n rows, with standard errors; names follow `shap.Explanation`.

    Attributes
    ----------
    values
        (n, M) for one output, (n, M, K) for K: contribution of each feature, in the output space.
        ``base_values + values.sum(axis=1)`` is the prediction.
    std_errors
        Same shape: standard error of each value over the sampler's draws; 0 where it is exact.
    base_values
        (n,) or (n, K): the weighted mean prediction of the background, the same in every row.
    predictions
        (n,) or (n, K).
    data
        The rows as they were passed, without key columns.
    feature_names, output_names
        M and K names.
    n_evaluations
        (n,) model rows spent on each row.
    method, method_reason
        How the values were made, and why so.
    output_space
        ``"probability"``, ``"margin"`` or ``"prediction"``.
    converged
        (n,) or (n, K) whether the row's standard errors are within the tolerance; None where none was given.
    ranking
        The rows' reasons, as numbers; None where the explainer was not asked for reasons. `reasons` names them.
    reason_spec
        How they are named.
    degrees_of_freedom
        Of the standard errors, of their shape, infinite where a value is exact; None where all are.
    """

    values: NDArray[np.float64]
    std_errors: NDArray[np.float64]
    base_values: NDArray[np.float64]
    predictions: NDArray[np.float64]
    data: Any
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    n_evaluations: NDArray[np.intp]
    method: str
    method_reason: str
    output_space: str
    converged: NDArray[np.bool_] | None = None
    ranking: Ranking | None = None
    reason_spec: ReasonSpec | None = None
    degrees_of_freedom: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    def __repr__(self) -> str:
        """Return shape, method and output space."""
        return (
            f"Explanation(values={self.values.shape}, method={self.method!r}, output_space={self.output_space!r}, "
            f"outputs={list(self.output_names)})"
        )

    @property
    def additivity_gap(self) -> NDArray[np.float64]:
        """(n,) or (n, K): prediction minus base value minus the sum of the values."""
        return np.asarray(self.predictions - self.base_values - self.values.sum(axis=1))

    def confidence_interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the limits between which the exact values lie with a probability, each by itself.

        Parameters
        ----------
        level
            That probability, between 0 and 1.

        Returns
        -------
        low, high
            Of the shape of `values`: Student's t times the standard error to each side.

        Raises
        ------
        UsageError
            `level` is no such number.
        """
        if not 0.0 < level < 1.0:
            raise UsageError(f"level: {level!r} is not between 0 and 1; 0.95 gives 95 % intervals")
        if self.degrees_of_freedom is None:
            return self.values, self.values
        known = np.isinf(self.degrees_of_freedom)  # exact, or failed
        half = student_quantile(level, np.where(known, 1.0, self.degrees_of_freedom)) * self.std_errors
        return self.values - half, self.values + half

    def reasons(self) -> pd.DataFrame:
        """Return which features harm each row most, one line a row, rank and code set.

        Returns
        -------
        DataFrame
            Indexed as the rows are: output, rank (from 1), code_set, code, text, feature, shap_value, std_error,
            p_swap (probability that this rank and the next would change places) and stable (whether the reason
            would be named again, see `spark_shap.core.ranking`).

        Raises
        ------
        UsageError
            The explainer was made without ``reasons=``.
        """
        if self.ranking is None or self.reason_spec is None:
            raise UsageError("reasons: none were asked for; make the explainer with reasons=Reasons(harm='high')")
        return reasons_frame(self.ranking, self.reason_spec, self.values, self.std_errors, self.data)

    def to_shap(self) -> Any:
        """Return a `shap.Explanation`, for `shap.plots`.

        Raises
        ------
        MissingDependencyError
            The package shap is not installed.
        """
        try:
            import shap
        except ImportError as error:
            raise MissingDependencyError(
                "to_shap() needs the package shap, which is optional: pip install shap"
            ) from error
        return shap.Explanation(
            values=self.values,
            base_values=self.base_values,
            data=np.asarray(self.data),
            error_std=self.std_errors,
            feature_names=list(self.feature_names),
            output_names=list(self.output_names) if self.values.ndim == 3 else None,
        )


@dataclass(frozen=True)
class Interactions:
    """Pairwise Shapley interaction values of n rows.

    Attributes
    ----------
    values, std_errors
        (n, M, M) for one output, (n, M, M, K) for K, symmetric in the two features. Rows sum to the SHAP
        values; a standard error is 0 where the value is exact.
    base_values, predictions
        (n,) or (n, K).
    feature_names, output_names
        M and K names.
    method, output_space
        How the values were made, and of what.
    """

    values: NDArray[np.float64]
    std_errors: NDArray[np.float64]
    base_values: NDArray[np.float64]
    predictions: NDArray[np.float64]
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    method: str
    output_space: str
