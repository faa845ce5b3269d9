"""The result of explaining rows in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.audit.reasons import reasons_frame
from spark_shap.core.student import student_quantile
from spark_shap.errors import MissingDependencyError, UsageError
from spark_shap.options import grouping_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    own_columns
        Where the column of each feature stands in `data`; None for a group of columns.
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
    own_columns: tuple[int | None, ...] | None = None

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
            data=self._shown(),
            error_std=self.std_errors,
            feature_names=list(self.feature_names),
            output_names=list(self.output_names) if self.values.ndim == 3 else None,
        )

    def _shown(self) -> NDArray[Any]:
        """Return (n, M) the features' values; a group has none to show."""
        data = np.asarray(self.data)
        if self.own_columns is None or None not in self.own_columns:
            return data
        shown = np.full(self.values.shape[:2], None, dtype=object)
        for feature, place in enumerate(self.own_columns):
            if place is not None:
                shown[:, feature] = data[:, place]
        return shown

    def summed(self, groups: Mapping[str, Sequence[str]]) -> Explanation:
        """Return the sums of features' values, by group; other features as they are.

        A sum shares out what its members got as players of their own. It is not the Shapley value of the group as one
        player, which ``Explainer(groups=...)`` gives: the two differ where members interact with other features.

        Parameters
        ----------
        groups
            Names of groups, each with its features.

        Returns
        -------
        Explanation
            `std_errors` are upper bounds: the sum of the members' (their covariances are not kept), with the least of
            their degrees of freedom. No reasons.

        Raises
        ------
        UsageError
            The groups are none of these features.
        """
        players, names = grouping_of(groups, self.feature_names)
        if players is None:
            return self
        values, std_errors = (
            players.sums(part if part.ndim == 3 else part[..., None]).reshape(len(part), len(names), *part.shape[2:])
            for part in (self.values, self.std_errors)
        )
        degrees = self.degrees_of_freedom
        if degrees is not None:
            members = [players.of_column == place for place in range(len(names))]
            degrees = np.stack([degrees[:, one].min(axis=1) for one in members], axis=1)
        own = self.own_columns or tuple(range(len(self.feature_names)))
        places = dict(zip(self.feature_names, own, strict=True))
        return replace(
            self,
            values=values,
            std_errors=std_errors,
            feature_names=names,
            method_reason=f"{self.method_reason}; sums over {', '.join(groups)}",
            ranking=None,
            reason_spec=None,
            degrees_of_freedom=degrees,
            own_columns=tuple(places.get(name) for name in names),
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
