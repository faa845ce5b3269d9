"""Columns of whatever dtype: which values are missing or equal, and two of them joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["equals", "is_missing", "joined"]


def joined(first: Any, second: Any) -> Any:
    """Return two columns of one dtype as one."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    import pandas as pd

    return pd.concat([pd.Series(first), pd.Series(second)], ignore_index=True).array


def is_missing(column: Any) -> NDArray[np.bool_]:
    """Return (n,) bool, True where a value is missing."""
    import pandas as pd

    return np.asarray(pd.isna(column), dtype=bool)


def equals(column: Any, value: Any) -> NDArray[np.bool_]:
    """Return (n,) bool, True where a value equals another one; missing equals missing."""
    missing = is_missing(column)
    if is_missing(np.array([value], dtype=object))[0]:
        return missing
    with np.errstate(invalid="ignore"):
        same = np.asarray(column, dtype=object) == value if column.dtype == object else column == value
    if not isinstance(same, np.ndarray):  # nullable booleans: a missing value equals nothing
        same = same.to_numpy(dtype=bool, na_value=False)
    return np.asarray(same, dtype=bool) & ~missing
