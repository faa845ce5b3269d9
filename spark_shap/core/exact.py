r"""Exact Shapley values by enumerating every coalition against every background row.

.. math::
    \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(M-|S|-1)!}{M!} \bigl(v(S \cup i) - v(S)\bigr)

(Shapley 1953). Coalitions are asked in complementary pairs, so that the answers have the form that the
sampler uses; only the odd part of the game enters the values:

.. math::
    \phi_i = \frac{T}{M} + \sum_{S} w_{|S|,i}\, t(S), \qquad t(S) = v(S) - v(N \setminus S),

over one coalition of each complementary pair, the empty one apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray

__all__ = ["AllPairs", "coalition_table", "enumerated_pairs", "exact_values"]


def enumerated_pairs(n_players: int, n_background: int) -> int:
    """Return the number of pairs that an enumeration asks: ``(2**(M-1) - 1) B``."""
    return (2 ** (n_players - 1) - 1) * n_background if n_players > 1 else 0


def coalition_table(n_players: int) -> BoolArray:
    """Return one coalition of each complementary pair, the empty one apart: (M, 2**(M-1) - 1) bool.

    The last player is off in all of them.
    """
    codes = np.arange(1, 2 ** (n_players - 1))
    return (codes >> np.arange(n_players)[:, None] & 1).astype(bool)


def exact_values(differences: FloatArray, totals: FloatArray, members: BoolArray) -> FloatArray:
    """Return Shapley values from the answers of all coalitions.

    Parameters
    ----------
    differences
        (n, C, K) answers t of the coalitions, averaged over the background.
    totals
        (n, K) T.
    members
        (M, C) bool, see `coalition_table`.

    Returns
    -------
    ndarray
        (n, M, K).
    """
    n_players = len(members)
    size = members.sum(axis=0)
    # A member of S is weighted by (|S|-1)!(M-|S|)!/M!, any other player by minus |S|!(M-|S|-1)!/M!:
    # S with its complement is counted once here, and twice (with half the weight) in the formula.
    inside = np.array([1 / (k * comb(n_players, k)) if k else 0.0 for k in range(n_players)])
    outside = np.array([1 / ((n_players - k) * comb(n_players, k)) for k in range(n_players)])
    weights = np.where(members, inside[size], -outside[size])
    own = totals[:, None, :] / n_players
    return np.asarray(own + np.einsum("mc,nck->nmk", weights, differences))


@dataclass(frozen=True)
class AllPairs:
    """Every coalition with every background row, for rows with the same number of players.

    Attributes
    ----------
    parts
        (n, F) which player each feature of a row is; M for a feature that is none.
    n_players
        M.
    n_background
        B.
    """

    parts: IntArray
    n_players: int
    n_background: int

    @property
    def n_pairs(self) -> int:
        """Pairs a row."""
        return enumerated_pairs(self.n_players, self.n_background)

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:
        """Return background rows (n, P) and coalitions (n, F, P); pairs run over the background first."""
        place = np.arange(pairs.start, pairs.stop)
        codes = place // self.n_background + 1
        bits = (codes >> np.arange(self.n_players + 1)[:, None] & 1).astype(bool)
        bits[self.n_players - 1 :] = False
        parts = self.parts[rows]
        return np.broadcast_to(place % self.n_background, (len(parts), len(place))), bits[parts]

    def average(self, differences: FloatArray, weights: FloatArray) -> FloatArray:
        """Return answers averaged over the background, (n, C, K), from (n, P, K) and weights (B,)."""
        n_rows, _, n_outputs = differences.shape
        shaped = differences.reshape(n_rows, -1, self.n_background, n_outputs)
        return np.asarray(np.einsum("ncbk,b->nck", shaped, weights))
