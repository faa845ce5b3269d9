"""Stratified draws from a weighted background.

The background is laid on the unit interval, row by row in an order that puts similar rows side by
side, each row as long as its weight. Of P pairs, pair p draws in stratum ``(p + offset) mod P``, with
offset and jitter from the row's key: every draw alone is distributed as the weights, and all P
together cover the background evenly. Unbiased for any order; a good order only lowers the variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.seeding import Stream, uniform_words, uniforms

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, HashArray, IntArray

__all__ = ["BackgroundStrata", "bisection_order"]

_MAX_LEAVES = 2048


def bisection_order(embedding: FloatArray) -> IntArray:
    """Order rows so that neighbours are alike.

    The rows are halved at the median of the column that varies most among them, again and again.

    Parameters
    ----------
    embedding
        (B, d) coordinates; a column counts by its variance.

    Returns
    -------
    ndarray
        (B,) a permutation of the rows.
    """
    n_rows = len(embedding)
    leaf = max(2, n_rows // _MAX_LEAVES)
    pending, done = [np.arange(n_rows)], []
    while pending:
        rows = pending.pop()
        if len(rows) <= leaf:
            done.append(rows)
            continue
        part = embedding[rows]
        rows = rows[part[:, part.var(axis=0).argmax()].argsort(kind="stable")]
        half = len(rows) // 2
        pending += [rows[half:], rows[:half]]
    return np.concatenate(done) if done else np.arange(n_rows)


@dataclass(frozen=True)
class BackgroundStrata:
    """The background on the unit interval.

    Attributes
    ----------
    order
        (B,) background rows in the order in which they lie.
    ends
        (B,) right ends of their intervals, the last one 1; None when all weights are equal.
    """

    order: IntArray
    ends: FloatArray | None

    @classmethod
    def build(cls, order: IntArray, weights: FloatArray) -> BackgroundStrata:
        """Lay out rows of given (B,) weights that sum to one."""
        if np.all(weights == weights[0]):
            return cls(order, None)
        ends = np.cumsum(weights[order])
        return cls(order, ends / ends[-1])

    def draw(self, seed: int, row_hashes: HashArray, n_pairs: int) -> IntArray:
        """Return one background row for each pair of each row, (n, P)."""
        offset = uniform_words(seed, row_hashes, Stream.BACKGROUND_OFFSET, 1)
        stratum = (np.arange(n_pairs, dtype=np.uint64) + offset) % np.uint64(n_pairs)
        place = (stratum + uniforms(seed, row_hashes, Stream.BACKGROUND_JITTER, n_pairs)) / n_pairs
        if self.ends is None:
            position = (place * len(self.order)).astype(np.intp)
        else:
            position = np.searchsorted(self.ends, place, side="right")
        # Rounding may carry the last stratum's place to 1.0, one past the last row.
        return self.order[np.minimum(position, len(self.order) - 1)]
