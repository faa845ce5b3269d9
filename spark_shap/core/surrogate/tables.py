r"""Exact Shapley tables of oblivious trees against the whole weighted background.

In one tree a background row is its code, so the background is a histogram W of codes. For a set m of bits that x
supplies, :math:`V(m, x) = \sum_z W_z\, leaf[(x \& m) | (z \& \bar m)]` depends on x through its own code only. The
Shapley values of the game S -> V(bits of S, x) over the tree's features are therefore a table by code, and so
are the interaction indices of two of them,

.. math:: I_{ij} = \sum_{S \not\ni i,j} \frac{s!\,(d-s-2)!}{(d-1)!} (V_{S+ij} - V_{S+i} - V_{S+j} + V_S).

A slot that owns no bits is a dummy player, which changes no other player's value: every tree has ``depth`` players.

References
----------
Grabisch and Roubens, "An axiomatic approach to the concept of interaction among players in cooperative games",
International Journal of Game Theory 28, 1999.
"""

from __future__ import annotations

import itertools
from math import factorial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.surrogate.trees import ObliviousTrees

__all__ = ["FixedPoint", "code_weights", "interaction_tables", "slot_pairs", "value_tables"]

_BLOCK_CELLS = 2**21
_FIXED_LIMIT = 2.0**30


class FixedPoint(NamedTuple):
    """Numbers as integers: ``integers * units``.

    Attributes
    ----------
    integers
        (..., K) int32.
    units
        (K,).
    """

    integers: NDArray[np.int32]
    units: FloatArray


def code_weights(codes: NDArray[np.uint8], weights: FloatArray, n_leaves: int) -> FloatArray:
    """Return the weight (T, n_leaves) of the background rows (B, T) by code; ``weights`` (B,) sum to one."""
    return np.stack([np.bincount(code, weights, n_leaves) for code in codes.T])


def value_tables(trees: ObliviousTrees, leaves: FloatArray, weights: FloatArray) -> FixedPoint:
    """Return the Shapley value of each slot by code, (T, L, depth, K).

    Parameters
    ----------
    trees
        The trees, for their slots.
    leaves
        (T, L, K) float64 leaves of the outputs wanted.
    weights
        (T, L) weight of the background by code.
    """
    slots = trees.slots()
    return _tables(slots, leaves, weights, _value_coefficients(trees.depth), slots > 0)


def interaction_tables(trees: ObliviousTrees, leaves: FloatArray, weights: FloatArray) -> FixedPoint:
    """Return half the interaction index of each pair of slots by code, (T, L, pairs, K); see `value_tables`."""
    slots = trees.slots()
    first, second = slot_pairs(trees.depth)
    present = (slots[:, first] > 0) & (slots[:, second] > 0)
    return _tables(slots, leaves, weights, _interaction_coefficients(trees.depth), present)


def slot_pairs(depth: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and second slot of each pair, in the order of the tables."""
    return np.triu_indices(depth, 1)


def _value_coefficients(depth: int) -> FloatArray:
    """Return (depth, 2**depth) what each coalition's worth counts for in each slot's value."""
    out = np.empty((depth, 2**depth))
    for slot, coalition in itertools.product(range(depth), range(2**depth)):
        size = coalition.bit_count()
        if coalition >> slot & 1:
            out[slot, coalition] = factorial(size - 1) * factorial(depth - size) / factorial(depth)
        else:
            out[slot, coalition] = -factorial(size) * factorial(depth - size - 1) / factorial(depth)
    return out


def _interaction_coefficients(depth: int) -> FloatArray:
    """Return (pairs, 2**depth) the same for half the interaction index of two slots."""
    pairs = list(zip(*slot_pairs(depth), strict=True))
    out = np.empty((len(pairs), 2**depth))
    for index, coalition in itertools.product(range(len(pairs)), range(2**depth)):
        inside = sum(coalition >> int(slot) & 1 for slot in pairs[index])
        rest = coalition.bit_count() - inside
        weight = factorial(rest) * factorial(depth - rest - 2) / factorial(depth - 1)
        out[index, coalition] = (-0.5 if inside == 1 else 0.5) * weight
    return out


def _tables(
    slots: NDArray[np.uint8],
    leaves: FloatArray,
    weights: FloatArray,
    coefficients: FloatArray,
    present: NDArray[np.bool_],
) -> FixedPoint:
    n_trees, n_leaves, n_outputs = leaves.shape
    out = np.empty((n_trees, n_leaves, len(coefficients), n_outputs))
    coalitions = _coalition_bits(slots)
    step = max(1, _BLOCK_CELLS // (n_leaves * n_leaves * n_outputs))
    for start in range(0, n_trees, step):
        block = slice(start, start + step)
        worth = _worth(leaves[block], weights[block])
        # Row S of a tree is the worth of the slots S: the bits that they own together.
        worth = np.take_along_axis(worth, coalitions[block, :, None], axis=1)
        table = (coefficients @ worth).reshape(-1, len(coefficients), n_leaves, n_outputs)
        out[block] = table.transpose(0, 2, 1, 3)
    out *= present[:, None, :, None]
    top = np.abs(out).max(axis=(0, 1, 2), initial=0.0)
    units = np.where(top > 0.0, top / _FIXED_LIMIT, 1.0)
    return FixedPoint(np.rint(out / units).astype(np.int32), units)


def _coalition_bits(slots: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return (T, 2**depth) the bits that each set of slots owns."""
    depth = slots.shape[1]
    inside = np.arange(2**depth)[:, None] >> np.arange(depth) & 1
    return slots.astype(np.intp) @ inside.T


def _worth(leaves: FloatArray, weights: FloatArray) -> FloatArray:
    """Return V (T, bits, code * K) of trees with leaves (T, L, K)."""
    n_trees, n_leaves, n_outputs = leaves.shape
    codes = np.arange(n_leaves)
    out = np.empty((n_trees, n_leaves, n_leaves, n_outputs))
    for bits in range(n_leaves):
        inside, outside = np.unique(codes & bits), np.unique(codes & ~bits)
        cells = inside[:, None] | outside
        chance = weights[:, cells].sum(axis=1)
        mean = np.einsum("tiok,to->tik", leaves[:, cells], chance)
        out[:, bits] = mean[:, np.searchsorted(inside, codes & bits)]
    return out.reshape(n_trees, n_leaves, n_leaves * n_outputs)
