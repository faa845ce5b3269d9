r"""Pairwise Shapley interaction values.

Off the diagonal :math:`\Phi_{ij} = I_{ij} / 2` with the Shapley interaction index (Grabisch and Roubens 1999)

.. math::
    I_{ij} = \sum_{S \not\ni i, j} \frac{|S|!\,(M-|S|-2)!}{(M-1)!}
             \bigl(v(S \cup ij) - v(S \cup i) - v(S \cup j) + v(S)\bigr),

and on it what is left of the Shapley value, so that row i of the matrix sums to :math:`\phi_i` (Lundberg et
al. 2020). Only the even part of a game enters :math:`I`. Over a coalition A of size k uniform on 1 .. M-1,

.. math::
    I_{ij} = E\bigl[c_{ij}(A)\, e(A)\bigr], \qquad
    e(A) = \tfrac12\bigl(v(A) + v(N \setminus A)\bigr) - \tfrac12\bigl(v(N) + v(\emptyset)\bigr),

with :math:`c_{ij} = M(M-1)` times :math:`1/k(k-1)` when both players are in A, :math:`1/(M-k)(M-k-1)` when
neither is and :math:`-1/k(M-k)` otherwise: unbiased at every number of pairs. The background row of a pair
serves in both halves of e, so that e is 0 wherever the model is additive.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray
    from spark_shap.core.game import Failure

__all__ = ["InteractionValues", "even_weights", "exact_interactions", "sampled_interactions", "with_diagonal"]


@dataclass(frozen=True)
class InteractionValues:
    """Interaction values of n rows.

    Attributes
    ----------
    values, std_errors
        (n, M, M, K), symmetric; a standard error is 0 where the value is exact. NaN for a failed row.
    predictions
        (n, K).
    failures
        Failed rows by position.
    """

    values: FloatArray
    std_errors: FloatArray
    predictions: FloatArray
    failures: dict[int, Failure]


def even_weights(members: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return c of both in, split and neither in, (P,) each, for coalitions (M, P); 0 where it cannot occur."""
    n_players = len(members)
    inside = members.sum(axis=0).astype(np.float64)
    outside = n_players - inside
    scale = float(n_players * (n_players - 1))
    both, neither = (
        np.divide(scale, size * (size - 1), out=np.zeros_like(size), where=size > 1) for size in (inside, outside)
    )
    return both, -scale / (inside * outside), neither


def _quadratic(on: FloatArray, weights: tuple[FloatArray, FloatArray, FloatArray], e: FloatArray) -> FloatArray:
    """Return sum_p c_ij(p) e_p, (n, M, M), from (M, P) members as 0 and 1, c by class and (n, P) answers."""
    both, split, neither = weights
    inner, edge = both - 2 * split + neither, split - neither
    # One product of a fixed shape for each row, so that its bits do not depend on its company.
    square = (on * (e * inner)[:, None, :]) @ on.T
    single = (on @ (e * edge)[:, :, None])[:, :, 0]
    constant = (e * neither).sum(axis=1)[:, None, None]
    return np.asarray(square + single[:, :, None] + single[:, None, :] + constant)


def sampled_interactions(members: BoolArray, even: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return interaction values and their standard errors off the diagonal, (n, M, M) each.

    Parameters
    ----------
    members
        (M, P) coalitions.
    even
        (n, P) answers e, each with its own background row.
    """
    n_pairs = members.shape[1]
    on = members.astype(np.float64)
    weights = even_weights(members)
    first = _quadratic(on, weights, even) / 2
    second = _quadratic(on, (weights[0] ** 2, weights[1] ** 2, weights[2] ** 2), even**2) / 4
    spread = np.maximum(second - first**2 / n_pairs, 0.0)
    return first / n_pairs, np.sqrt(spread / (n_pairs * max(1, n_pairs - 1)))


def exact_interactions(members: BoolArray, even: FloatArray) -> FloatArray:
    """Return exact interaction values off the diagonal, (n, M, M).

    Parameters
    ----------
    members
        (M, C) one coalition of each complementary pair, the empty one apart.
    even
        (n, C) answers e, averaged over the background.
    """
    n_players = len(members)
    size = members.sum(axis=0)
    # The chance of A and of its complement under a uniform size, both at once.
    chance = np.array([0.0, *(2 / ((n_players - 1) * comb(n_players, k)) for k in range(1, n_players))])[size]
    return _quadratic(members.astype(np.float64), even_weights(members), even * chance) / 2


def with_diagonal(
    off: FloatArray, off_errors: FloatArray, values: FloatArray, std_errors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (n, M, M) whose rows sum to the Shapley values, and standard errors.

    Parameters
    ----------
    off, off_errors
        (n, M, M); their diagonals do not matter.
    values, std_errors
        (n, M).

    Notes
    -----
    The error of a diagonal value is an upper bound: that of the Shapley value and those of the row's
    interactions, added as if all of them erred together.
    """
    place = np.arange(values.shape[1])
    off, off_errors = ((part + part.transpose(0, 2, 1)) / 2 for part in (off, off_errors))  # to the last bit
    off[:, place, place] = off_errors[:, place, place] = 0.0
    off[:, place, place] = values - off.sum(axis=2)
    off_errors[:, place, place] = np.hypot(std_errors, off_errors.sum(axis=2))
    return off, off_errors
