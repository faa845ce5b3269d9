"""How often a feature is a reason: sums over rows that merge, and the shares with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, IntArray
    from spark_shap.core.ranking import Ranking

__all__ = ["RateState", "local_rates", "merge_rates", "rates_result"]


@dataclass(frozen=True)
class RateState:
    """One population of rows that were to have reasons.

    Attributes
    ----------
    totals
        (3,) rows, sum of weights, sum of their squares.
    first, any
        (M,) weight of rows whose first reason a feature is, and of those that have it among their reasons.
    first2, any2
        (M,) the same of squared weights.
    """

    totals: FloatArray
    first: FloatArray
    any: FloatArray
    first2: FloatArray
    any2: FloatArray


def local_rates(ranking: Ranking, weights: FloatArray, n_features: int) -> RateState:
    """Return the state of rows with weights (n,)."""
    ranking, weights = ranking.take(np.flatnonzero(ranking.asked)), weights[ranking.asked]
    there = ranking.features >= 0
    of_any, place_any = ranking.features[there], np.nonzero(there)[0]
    lead = there[:, 0]
    of_first = ranking.features[lead, 0]

    def sums(features: IntArray, amounts: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(features, amounts, n_features), dtype=np.float64)

    return RateState(
        np.array([float(len(weights)), weights.sum(), (weights**2).sum()]),
        sums(of_first, weights[lead]),
        sums(of_any, weights[place_any]),
        sums(of_first, weights[lead] ** 2),
        sums(of_any, weights[place_any] ** 2),
    )


def merge_rates(left: RateState, right: RateState) -> RateState:
    """Return the state of both populations."""
    return RateState(
        left.totals + right.totals,
        left.first + right.first,
        left.any + right.any,
        left.first2 + right.first2,
        left.any2 + right.any2,
    )


def rates_result(state: RateState) -> dict[str, FloatArray]:
    """Return shares and their sampling errors, (M,) each, under their column names; NaN without any weight.

    The error of a share p is ``sqrt(sum w^2 (x - p)^2 / (1 - sum w^2 / W^2)) / W``, x being 1 or 0, as in the summary.
    """
    _, weight, weight2 = state.totals
    shares: dict[str, FloatArray] = {}
    room = 1.0 - weight2 / weight**2 if weight > 0.0 else 0.0
    for name, sums, squares in (("first", state.first, state.first2), ("any", state.any, state.any2)):
        share = sums / weight if weight > 0.0 else np.full_like(sums, np.nan)
        spread = np.maximum(0.0, squares * (1.0 - 2.0 * share) + share**2 * weight2)
        error = np.sqrt(spread / room) / weight if room > 1e-12 else np.full_like(sums, np.nan)
        shares |= {f"{name}_share": share, f"{name}_share_error": error}
    return shares
