"""Rows against background rows at a leaf, one by one: the closed form in `spark_shap.core.trees.deep`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray
    from spark_shap.core.trees.nodes import Factors, Leaf, Part

__all__ = ["met_pairs", "met_values"]

_BLOCK_PAIRS = 2**20
_POPCOUNT = np.array([byte.bit_count() for byte in range(256)], dtype=np.intp)


class _Meetings(NamedTuple):
    """Pairs of one of the p patterns of rows and one of those of background rows, without a common miss.

    Attributes
    ----------
    rows
        Rows of the block.
    pattern
        Which of the p patterns each of them has.
    n_patterns
        p.
    one
        (P,) the pattern of rows in each pair.
    row_misses, background_misses
        (P,) uint64.
    weight
        (P,) of the background rows.
    """

    rows: IntArray
    pattern: IntArray
    n_patterns: int
    one: IntArray
    row_misses: AnyArray
    background_misses: AnyArray
    weight: FloatArray

    def sums(self, amounts: FloatArray) -> FloatArray:
        """Return the sum of amounts (P,) that each row gets."""
        return np.asarray(np.bincount(self.one, amounts, self.n_patterns)[self.pattern], dtype=np.float64)


def _meetings(leaf: Leaf, weights: FloatArray) -> Iterator[_Meetings]:
    missed, place = np.unique(leaf.background_misses, return_inverse=True)
    weight = np.asarray(np.bincount(place.ravel(), weights), dtype=np.float64)
    patterns, of_row = np.unique(leaf.row_misses, return_inverse=True)
    step = max(1, _BLOCK_PAIRS // len(missed))
    for start in range(0, len(patterns), step):
        misses = patterns[start : start + step]
        one, other = np.nonzero((misses[:, None] & missed) == 0)
        if len(one):
            rows = np.flatnonzero((of_row.ravel() >= start) & (of_row.ravel() < start + len(misses)))
            pattern = of_row.ravel()[rows] - start
            yield _Meetings(rows, pattern, len(misses), one, misses[one], missed[other], weight[other])


def met_values(leaf: Leaf, weights: FloatArray, factors: Factors) -> Iterator[Part]:
    """Yield Shapley values of a leaf of value 1."""
    for met in _meetings(leaf, weights):
        a, b = _popcount(met.background_misses), _popcount(met.row_misses)
        gain = met.weight * factors.of_background_misses[a, b]
        loss = met.weight * factors.of_row_misses[a, b]
        for slot in range(len(leaf.axes)):
            yield (
                (slot,),
                met.rows,
                met.sums(gain * _bit(met.background_misses, slot) - loss * _bit(met.row_misses, slot)),
            )


def met_pairs(leaf: Leaf, weights: FloatArray, factors: Factors) -> Iterator[Part]:
    """Yield halves of the interaction index: its factors are those of the values with one player less."""
    for met in _meetings(leaf, weights):
        a, b = _popcount(met.background_misses), _popcount(met.row_misses)
        in_background = 0.5 * met.weight * factors.of_background_misses[np.maximum(a - 1, 0), b]
        in_row = 0.5 * met.weight * factors.of_row_misses[a, np.maximum(b - 1, 0)]
        apart = 0.5 * met.weight * factors.of_background_misses[a, np.maximum(b - 1, 0)]
        bits = [(_bit(met.background_misses, slot), _bit(met.row_misses, slot)) for slot in range(len(leaf.axes))]
        for one, other in itertools.combinations(range(len(leaf.axes)), 2):
            (one_a, one_b), (other_a, other_b) = bits[one], bits[other]
            amounts = in_background * one_a * other_a + in_row * one_b * other_b
            yield (one, other), met.rows, met.sums(amounts - apart * (one_a * other_b + one_b * other_a))


def _popcount(masks: AnyArray) -> IntArray:
    return np.asarray(_POPCOUNT[masks.view(np.uint8).reshape(-1, 8)].sum(axis=1))


def _bit(masks: AnyArray, slot: int) -> FloatArray:
    return (masks >> np.uint64(slot) & np.uint64(1)).astype(np.float64)
