r"""Shapley values of one leaf, for every pattern of a row at once.

A leaf with value 1 whose path tests the features U (d of them) is the game

.. math:: v_x(S) = [S \subseteq a] \; Q(U \setminus S), \qquad Q(T) = \sum_{b \supseteq T} H(b):

a is the row's *pattern*, the features whose tests the row passes, and H(b) the share of the background with
pattern b. The potential of a game (Hart and Mas-Colell 1989) gives every player the difference that the player
makes to it, :math:`\phi_i = P(U) - P(U \setminus i)`, where the potential of the game among m players is
:math:`\sum_{\emptyset \ne S} \frac{(|S|-1)!\,(m-|S|)!}{m!} (v(S) - v(\emptyset))`. Only sets inside a have a value,
and :math:`v(\emptyset)` counts :math:`\sum_{s=1}^m 1/s` times, so both potentials are subset sums:

.. math::
    \phi_i(a) = P_d(a) - \frac{Q(U)}{d} - P_{d-1}(a \setminus i), \qquad
    P_m(a) = \sum_{\emptyset \ne S \subseteq a} \frac{(|S|-1)!\,(m-|S|)!}{m!} \, Q(U \setminus S).

So all patterns cost :math:`O(d\,2^d)` (fast subset sums), where pairs of patterns would cost :math:`4^d`. The
patterns' histogram is all that is needed of the background: WOODELF (Nadel and Wettenstein, AAAI 2026).

The interaction index (Grabisch and Roubens 1999) of two players weighs
:math:`v(S \cup ij) - v(S \cup i) - v(S \cup j) + v(S)` by :math:`\frac{|S|!\,(d-2-|S|)!}{(d-1)!}`; sorted by
which of i and j are in the set, it is three subset sums: of sets with none of the two, which are the subsets of
:math:`a \setminus ij`, with one of them, and with both.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, IntArray

__all__ = ["coverage", "histogram_of", "interaction_parts", "potentials"]


@lru_cache(maxsize=32)
def _sizes(d: int) -> IntArray:
    """Return (2**d,) the number of players in each set."""
    sizes = np.zeros(1, dtype=np.intp)
    for _ in range(d):
        sizes = np.concatenate([sizes, sizes + 1])
    return sizes


def _subset_sums(f: FloatArray, *, sign: int = 1) -> FloatArray:
    """Return (n, 2**d) the sums of f (n, 2**d) over the subsets of each set; ``sign=-1`` undoes it."""
    out = f.copy()
    for bit in range(f.shape[1].bit_length() - 1):
        halves = out.reshape(len(f), -1, 2, 1 << bit)
        halves[:, :, 1] += sign * halves[:, :, 0]
    return out


def coverage(histogram: FloatArray) -> FloatArray:
    """Return Q (n, 2**d), the share of the background that passes a set of tests, from H (n, 2**d)."""
    # The complement of a set is the set read backwards.
    return _subset_sums(histogram[:, ::-1])[:, ::-1]


def potentials(q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return P_d - Q(U)/d and P_{d-1}, (n, 2**d) each, from Q; P_{d-1} of the whole set is not used by any player."""
    d = q.shape[1].bit_length() - 1
    whole = np.array([-1 / d] + [1 / (s * comb(d, s)) for s in range(1, d + 1)])
    less = np.array([0.0] + [1 / (s * comb(d - 1, s)) for s in range(1, d)] + [0.0])
    size, outside = _sizes(d), q[:, ::-1]
    return _subset_sums(outside * whole[size]), _subset_sums(outside * less[size])


def histogram_of(less: FloatArray) -> FloatArray:
    """Return H (n, 2**d) from P_{d-1}, in whose last place stands -Q(U): see `spark_shap.core.trees.fill`."""
    d = less.shape[1].bit_length() - 1
    weight = np.array([0.0] + [s * comb(d - 1, s) for s in range(1, d)] + [0.0])
    outside = _subset_sums(less, sign=-1) * weight[_sizes(d)]
    outside[:, 0], outside[:, -1] = -less[:, -1], 1.0
    # H reversed is to Q reversed what a function is to its subset sums.
    return _subset_sums(outside, sign=-1)[:, ::-1]


def interaction_parts(q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return f, g and h, (n, 2**d) each, from Q, for d > 1.

    Half the interaction index of i and j is f(a) + g(a without i) + g(a without j) + h(a without i and j).
    """
    d = q.shape[1].bit_length() - 1
    index = [0.5 / ((d - 1) * comb(d - 2, s)) for s in range(d - 1)]
    size, outside = _sizes(d), q[:, ::-1]
    weights = ([*index, 0.0, 0.0], [0.0, *index, 0.0], [0.0, 0.0, *index])
    none, one, both = (_subset_sums(outside * np.array(weight)[size]) for weight in weights)
    return both, -one - both, none + 2.0 * one + both
