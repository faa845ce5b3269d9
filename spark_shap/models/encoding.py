"""Rows as one matrix of numbers, for what only needs a likeness of the model.

Numbers stay what they are; dates become nanoseconds; any other value becomes its rank among the
background's values of that feature, ordered by their mean score, so that a threshold separates values that
act alike. Missing, unseen and infinite values are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from spark_shap.models.frames import Rows

__all__ = ["RowEncoder", "fit_encoder"]


@dataclass(frozen=True)
class RowEncoder:
    """Turns rows into numbers.

    Attributes
    ----------
    levels
        For each feature the values of the background in order, or None where values are numbers.
    """

    levels: tuple[pd.Index | None, ...]

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        """Return (n, F) float64, NaN where a value is missing or new."""
        out = np.empty((len(rows), len(rows.columns)))
        for index, (column, levels) in enumerate(zip(rows.columns, self.levels, strict=True)):
            if levels is None:
                out[:, index] = _numbers(column)
            else:
                place = levels.get_indexer(_plain(column)).astype(np.float64)
                out[:, index] = np.where((place < 0) | is_missing(column), np.nan, place)
        return out


def fit_encoder(rows: Rows, scores: NDArray[np.float64]) -> RowEncoder:
    """Return the encoder of a background.

    Parameters
    ----------
    rows
        (B, F) background rows.
    scores
        (B,) what orders the values of a feature that has no numbers: their mean score.
    """
    import pandas as pd

    levels: list[pd.Index | None] = []
    for column in rows.columns:
        if _is_numeric(column):
            levels.append(None)
            continue
        codes, labels = pd.factorize(_plain(column), use_na_sentinel=True)
        seen = codes >= 0
        count = np.bincount(codes[seen], minlength=len(labels))
        mean = np.bincount(codes[seen], scores[seen], minlength=len(labels)) / np.maximum(count, 1)
        levels.append(pd.Index(np.asarray(labels, dtype=object)[mean.argsort(kind="stable")], dtype=object))
    return RowEncoder(tuple(levels))


def _is_numeric(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.dtype.kind in "biufmM"
    import pandas as pd

    kind = column.dtype
    return bool(pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind))


def _numbers(column: Any) -> NDArray[np.float64]:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mM":
        out = np.asarray(column, dtype=f"{kind}8[ns]").astype(np.int64).astype(np.float64)
        out[is_missing(column)] = np.nan
    elif isinstance(column, np.ndarray):
        out = column.astype(np.float64)
    else:
        out = column.to_numpy(dtype=np.float64, na_value=np.nan)
    out[~np.isfinite(out)] = np.nan
    return np.asarray(out)


def _plain(column: Any) -> NDArray[Any]:
    return np.asarray(column, dtype=object)
