"""Explaining rows that are in memory: in portions, all or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spark_shap.audit.reasons import reason_spec
from spark_shap.core.ranking import Ranking
from spark_shap.engine.keys import content_hashes, given_keys
from spark_shap.errors import InputError, ModelError
from spark_shap.explanation import Explanation, Interactions
from spark_shap.models.conform import conform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spark_shap.audit.codes import CodeMap
    from spark_shap.core.game import Failure
    from spark_shap.models.frames import Rows
    from spark_shap.prepare import Prepared

__all__ = ["explain_rows", "interact_rows"]

_MATRIX_BYTES = 64 * 2**20

_Part = TypeVar("_Part", bound=Any)


def explain_rows(prepared: Prepared, X: Any, key: Any, codes: CodeMap | None = None) -> Explanation:
    """Return the explanation of rows in memory; see `spark_shap.Explainer.__call__`."""
    rows, hashes = _rows(prepared, X, key)
    found = _portions(prepared.explain, rows, hashes, prepared.rows_in_memory)
    converged = [part.converged for part in found if part.converged is not None]
    rankings = [part.ranking for part in found if part.ranking is not None]
    degrees = [part.dof for part in found if part.dof is not None]
    spec = reason_spec(prepared, codes)
    predictions = np.concatenate([part.predictions for part in found])
    return Explanation(
        _one(prepared, np.concatenate([part.values for part in found])),
        _one(prepared, np.concatenate([part.std_errors for part in found])),
        _one(prepared, np.broadcast_to(prepared.base_values, predictions.shape)),
        _one(prepared, predictions),
        _features(X, prepared.column_names),
        prepared.feature_names,
        prepared.output_names,
        np.concatenate([part.n_evaluations for part in found]),
        prepared.method_name,
        prepared.method_reason,
        prepared.output_space,
        _one(prepared, np.concatenate(converged)) if converged else None,
        Ranking(*(np.concatenate(parts) for parts in zip(*rankings, strict=True))) if rankings else None,
        spec,
        _one(prepared, np.concatenate(degrees)) if degrees else None,
        prepared.own_columns,
    )


def interact_rows(prepared: Prepared, X: Any, key: Any) -> Interactions:
    """Return the interaction values of rows in memory; see `spark_shap.Explainer.interactions`."""
    rows, hashes = _rows(prepared, X, key)
    row_bytes = 8 * len(prepared.feature_names) ** 2 * len(prepared.output_names)
    size = max(1, min(prepared.rows_in_memory, _MATRIX_BYTES // row_bytes))
    found = _portions(prepared.interactions, rows, hashes, size)
    predictions = np.concatenate([part.predictions for part in found])
    return Interactions(
        _one(prepared, np.concatenate([part.values for part in found])),
        _one(prepared, np.concatenate([part.std_errors for part in found])),
        _one(prepared, np.broadcast_to(prepared.base_values, predictions.shape)),
        _one(prepared, predictions),
        prepared.feature_names,
        prepared.output_names,
        prepared.method_name,
        prepared.output_space,
    )


def _rows(prepared: Prepared, X: Any, key: Any) -> tuple[Rows, NDArray[np.uint64]]:
    rows, problems = conform(X, prepared.layout)
    if problems:
        position = min(problems)
        raise InputError(f"row {position} (and {len(problems) - 1} more): {problems[position]}")
    return rows, content_hashes(rows) if key is None else given_keys(X, key, len(rows))


def _portions(
    explain: Callable[[Rows, NDArray[np.uint64]], _Part], rows: Rows, hashes: NDArray[np.uint64], size: int
) -> list[_Part]:
    """Return what `explain` finds in portions of rows; an error for the first row that fails."""
    found: list[_Part] = []
    failures: list[tuple[int, Failure]] = []
    for start in range(0, max(1, len(rows)), size):
        part = explain(rows.take(slice(start, start + size)), hashes[start : start + size])
        failures += [(start + row, failure) for row, failure in part.failures.items()]
        found.append(part)
    if failures:
        position, failure = min(failures, key=lambda item: item[0])
        raise ModelError(
            f"model: it fails on row {position} (and {len(failures) - 1} more) with {failure.error_class}: "
            f"{failure.message}"
        )
    return found


def _one(prepared: Prepared, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array (..., K) without its last axis where there is one output."""
    return array[..., 0] if len(prepared.output_names) == 1 else array


def _features(rows: Any, names: Sequence[str]) -> Any:
    """Return the feature columns alone, in the background's order."""
    if isinstance(rows, np.ndarray):
        return rows
    place = {str(name): index for index, name in enumerate(rows.columns)}
    return rows.iloc[:, [place[name] for name in names]]
