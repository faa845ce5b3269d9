"""Rows as the model sees them: the background's columns, order and dtypes, kept under masking.

A frame is stored by column. Columns of one numpy dtype share one two-dimensional block, so that
all-numeric data is mixed in a single array that pandas wraps without a copy; any other dtype (strings,
categories, dates, nullable numbers) is mixed by `take`, which cannot change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import InputError
from spark_shap.models.values import equals, is_missing, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Background", "Layout", "Rows", "RowsOnly", "background_rows"]


@dataclass(frozen=True)
class Layout:
    """Names, order and dtypes of the columns that the model receives.

    Attributes
    ----------
    names
        Feature names, in order.
    labels
        The same as the background has them: a pandas column may be named by an integer.
    dtypes
        One numpy or pandas dtype a column.
    is_frame
        True when the model receives a pandas frame, False for a two-dimensional array.
    missing
        What marks a missing value in each column of dtype object: the background's own marker.
    """

    names: tuple[str, ...]
    labels: tuple[Any, ...]
    dtypes: tuple[Any, ...]
    is_frame: bool
    missing: tuple[Any, ...]

    def looks_like(self, other: Layout) -> bool:
        """Whether the model cannot tell a row in this layout from the same row in another."""
        same = self.names == other.names and self.dtypes == other.dtypes and self.is_frame == other.is_frame
        return same and list(map(repr, self.missing)) == list(map(repr, other.missing))

    @cached_property
    def blocks(self) -> dict[Any, NDArray[np.intp]]:
        """Columns by numpy dtype; columns of other dtypes are not in it."""
        groups: dict[Any, list[int]] = {}
        for index, dtype in enumerate(self.dtypes):
            if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8:
                groups.setdefault(dtype, []).append(index)
        return {dtype: np.array(columns) for dtype, columns in groups.items()}

    def assemble(self, columns: Sequence[Any], blocks: dict[Any, NDArray[Any]], n_rows: int) -> Any:
        """Return the model's input from its columns; `blocks` holds (m, n_rows) arrays by dtype."""
        if len(blocks) == 1 and len(self.names) == len(next(iter(self.blocks.values()))):
            only = next(iter(blocks.values()))
            # The layout (columns, rows) is what pandas stores; an array for a function is C-ordered.
            return self._wrap(only.T) if self.is_frame else np.ascontiguousarray(only.T)
        import pandas as pd

        # As they are: pandas 3 would take an array of texts for its own dtype of strings.
        data = [
            pd.Series(column, dtype=object, copy=False)
            if isinstance(column, np.ndarray) and column.dtype.hasobject
            else column
            for column in columns
        ]
        for dtype, members in self.blocks.items():
            for place, index in enumerate(members):
                data[index] = blocks[dtype][place]
        frame = pd.DataFrame(dict(enumerate(data)), index=pd.RangeIndex(n_rows), copy=False)
        frame.columns = pd.Index(self.labels)
        return frame

    def _wrap(self, values: NDArray[Any]) -> Any:
        import pandas as pd

        return pd.DataFrame(values, columns=pd.Index(self.labels), copy=False)


@dataclass(frozen=True)
class Rows:
    """Rows in the background's layout.

    Attributes
    ----------
    layout
        Names and dtypes.
    columns
        One array of length n a feature: numpy, or a pandas extension array.
    predictions
        (n, K) what the model says of them, where that is known already: it is not asked again.
    """

    layout: Layout
    columns: tuple[Any, ...]
    predictions: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0])

    def take(self, index: NDArray[np.intp] | slice) -> Rows:
        """Return a part of the rows."""
        known = None if self.predictions is None else self.predictions[index]
        return Rows(self.layout, tuple(column[index] for column in self.columns), known)

    def to_input(self) -> Any:
        """Return the rows as the model's input."""
        blocks = {
            dtype: np.stack([self.columns[index] for index in members]) for dtype, members in self.layout.blocks.items()
        }
        return self.layout.assemble(self.columns, blocks, len(self))

    def equal_to(self, other: Rows) -> NDArray[np.bool_]:
        """Return (n, M) bool: whether a value equals that of `other`'s only row (missing = missing)."""
        out = np.empty((len(self), len(self.columns)), dtype=bool)
        for index, (column, single) in enumerate(zip(self.columns, other.columns, strict=True)):
            out[:, index] = equals(column, single[0])
        return out


@dataclass(frozen=True)
class Background:
    """The background rows, ready to be mixed with rows to explain."""

    rows: Rows

    @property
    def layout(self) -> Layout:
        """Names and dtypes."""
        return self.rows.layout

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """(M,) bool, True where all background rows have the same value."""
        first = self.rows.take(np.array([0]))
        return np.asarray(self.rows.equal_to(first).all(axis=0))

    @cached_property
    def _matrices(self) -> dict[Any, NDArray[Any]]:
        """The bits of each block of columns, by dtype, as (B, m) integers."""
        return {
            dtype: np.stack([self.rows.columns[index] for index in members], axis=1).view(f"i{dtype.itemsize}")
            for dtype, members in self.layout.blocks.items()
        }

    def inert(self, rows: Rows) -> NDArray[np.bool_]:
        """Return (n, M) bool: the features in which a row differs from no background row."""
        out = np.zeros((len(rows), len(self.layout.names)), dtype=bool)
        if self.constant.any():
            same = rows.equal_to(self.rows.take(np.array([0])))
            out = same & self.constant
        return out

    def mix(self, rows: Rows, background_index: NDArray[np.intp], members: NDArray[np.bool_]) -> Any:
        """Return the hybrid rows of pairs: first all v(S), then all v(complement), then the rows.

        Parameters
        ----------
        rows
            n rows.
        background_index
            (n, P) the background row of each pair.
        members
            (n, M, P) True where the first hybrid of the pair takes the row's own value.

        Returns
        -------
        numpy array or pandas frame
            ``2 n P + n`` rows in the model's layout; without the last n where their predictions are known.
        """
        n_rows, n_pairs = background_index.shape
        n_own = n_rows if rows.predictions is None else 0
        half, total = n_rows * n_pairs, 2 * n_rows * n_pairs + n_own
        blocks: dict[Any, NDArray[Any]] = {}
        columns: list[Any] = [None] * len(self.layout.names)
        flips = -members.view(np.int8)  # 0 or -1: all bits off or all bits on, whatever the width
        for dtype, features in self.layout.blocks.items():
            block = np.empty((len(features), total), dtype=dtype)
            bits = block.view(f"i{dtype.itemsize}")
            # Whole rows are fetched and then turned: in a large background every value fetched by itself
            # would wait for memory (20 microseconds for 128 rows of 23 features against 6).
            others = np.ascontiguousarray(self._matrices[dtype].take(background_index.ravel(), axis=0).T)
            for place, feature in enumerate(features):
                own = rows.columns[feature].view(bits.dtype)[:, None]
                other = others[place].reshape(n_rows, n_pairs)
                upper = bits[place, :half].reshape(n_rows, n_pairs)
                lower = bits[place, half : 2 * half].reshape(n_rows, n_pairs)
                # Exchanging bits is branch-free, twice as fast as two selections, and exact.
                np.bitwise_and(own ^ other, flips[:, feature], out=lower)
                np.bitwise_xor(other, lower, out=upper)
                lower ^= own
                bits[place, 2 * half :] = own[:n_own, 0]
            blocks[dtype] = block
        rest = [index for index, dtype in enumerate(self.layout.dtypes) if dtype not in self.layout.blocks]
        if rest:
            own_index = np.arange(n_rows)[:, None]
            other_index = n_rows + background_index
            for feature in rest:
                pool = joined(rows.columns[feature], self.rows.columns[feature])
                mask = members[:, feature]
                upper_index = np.where(mask, own_index, other_index).ravel()
                lower_index = np.where(mask, other_index, own_index).ravel()
                columns[feature] = pool.take(np.concatenate([upper_index, lower_index, own_index[:n_own, 0]]))
        return self.layout.assemble(columns, blocks, total)


@dataclass(frozen=True)
class RowsOnly:
    """What a method that asks for predictions only needs of a mixer: no background."""

    def mix(self, rows: Rows, background_index: NDArray[np.intp], members: NDArray[np.bool_]) -> Any:  # noqa: ARG002
        """Return the rows as the model's input; there are no pairs."""
        return rows.to_input()

    def inert(self, rows: Rows) -> NDArray[np.bool_]:
        """Return (n, M) bool, False: no feature is left out."""
        return np.zeros((len(rows), len(rows.columns)), dtype=bool)


def background_rows(frame: pd.DataFrame | NDArray[Any], names: Sequence[str] | None = None) -> Rows:
    """Return a background's rows in its own layout.

    Parameters
    ----------
    frame
        (B, M) pandas frame, or numeric numpy array.
    names
        Feature names of an array; ``x0 .. x{M-1}`` by default.

    Raises
    ------
    InputError
        No rows, no columns, duplicate column names, or an array that is not two-dimensional and
        numeric.
    """
    if isinstance(frame, np.ndarray) and (frame.ndim != 2 or frame.dtype.kind not in "biuf"):
        raise InputError(
            f"background: an array must be two-dimensional and numeric, this one has shape {frame.shape} and "
            f"dtype {frame.dtype}; pass a pandas frame for columns of several types"
        )
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise InputError(f"background: it has shape {frame.shape}; at least one row and one column are needed")
    if isinstance(frame, np.ndarray):
        labels = [f"x{index}" for index in range(frame.shape[1])] if names is None else [str(n) for n in names]
        own: tuple[Any, ...] = tuple(labels)
        columns = tuple(np.ascontiguousarray(frame[:, index]) for index in range(frame.shape[1]))
    else:
        own = tuple(frame.columns)
        labels = [str(name) for name in own]
        columns = tuple(_storage(frame.iloc[:, index]) for index in range(frame.shape[1]))
    if len(labels) != frame.shape[1]:
        raise InputError(f"feature_names: {len(labels)} names for {frame.shape[1]} background columns")
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise InputError(f"background: column name {twice[0]!r} occurs more than once; names must be unique")
    dtypes, missing = tuple(column.dtype for column in columns), tuple(map(_missing_marker, columns))
    is_frame = not isinstance(frame, np.ndarray)
    return Rows(Layout(tuple(labels), own, dtypes, is_frame, missing), columns)


def _storage(series: pd.Series) -> Any:
    """Return a column's array: numpy where the dtype is numpy's, else the pandas extension array."""
    if not isinstance(series.dtype, np.dtype):
        return series.array
    return np.ascontiguousarray(series.to_numpy())


def _missing_marker(column: Any) -> Any:
    if column.dtype != object:
        return None
    positions = np.flatnonzero(is_missing(column))
    return column[positions[0]] if len(positions) else np.nan
