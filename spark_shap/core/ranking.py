r"""Which features harm a row most, and how sure that is.

Harm is a SHAP value, with its sign turned where a low output harms. A row's reasons are its features of positive
harm, the largest first, `top` of them at most. Equal values are ordered by the features' order.

Two neighbours whose estimates are a gap D apart, with standard error s of that gap (their covariance is in it, see
`spark_shap.core.contrasts`), stand the other way round in truth with the probability

.. math:: p = P(t_\nu > D / s),

t being Student's with one degree of freedom less than the row has pairs: a flat prior on the true gap, which a rule
that stops when p is small does not upset. p is 0 where values are exact. A reason falls out when one of the features
that are left out stands before it in truth, or when it does no harm; `p_out` is the sum of these probabilities, over
the first `RIVALS` features left out, and so on the safe side where they overlap. A reason whose `p_out` is small is
*stable*: the exact values would name it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.student import student_tail

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray

__all__ = ["RIVALS", "RankRule", "Ranking", "Standing"]

RIVALS = 4  # features left out, the most harmful first, that may push a reason out


class Standing(NamedTuple):
    """Features of n rows by harm.

    Attributes
    ----------
    order
        (n, top + RIVALS) features, the most harmful first; M where there are no more.
    harm
        (n, top + RIVALS) what they do; 0 where there are no more.
    """

    order: IntArray
    harm: FloatArray

    @property
    def top(self) -> int:
        """Ranks that may be reasons."""
        return int(self.order.shape[1]) - RIVALS

    def contests(self) -> tuple[IntArray, IntArray]:
        """Return whose gaps decide: features and rivals, (n, top + top RIVALS): neighbours, then who is left out."""
        top = self.top
        ahead, rivals = self.order[:, :top], np.tile(self.order[:, top:], (1, top))
        return (
            np.concatenate([ahead, np.repeat(ahead, RIVALS, axis=1)], axis=1),
            np.concatenate([self.order[:, 1 : top + 1], rivals], axis=1),
        )

    def gaps(self) -> FloatArray:
        """Return the gaps of the contests."""
        top = self.top
        ahead = self.harm[:, :top]
        out = np.repeat(ahead, RIVALS, axis=1) - np.tile(self.harm[:, top:], (1, top))
        return np.concatenate([ahead - self.harm[:, 1 : top + 1], out], axis=1)


class Ranking(NamedTuple):
    """The reasons of n rows.

    Attributes
    ----------
    features
        (n, top) the feature at each rank; -1 where there are no more reasons.
    p_swap
        (n, top) probability that it and the next feature stand the other way round in truth.
    p_out
        (n, top) probability that it is none of the row's reasons in truth.
    asked
        (n,) which rows are to have reasons: the others have none.
    """

    features: IntArray
    p_swap: FloatArray
    p_out: FloatArray
    asked: BoolArray

    @classmethod
    def none(cls, n_rows: int, top: int) -> Ranking:
        """Return that of rows without reasons."""
        shape = (n_rows, top)
        return cls(np.full(shape, -1, dtype=np.intp), np.zeros(shape), np.zeros(shape), np.zeros(n_rows, dtype=bool))

    def take(self, index: IntArray) -> Ranking:
        """Return that of a part of the rows."""
        return Ranking(self.features[index], self.p_swap[index], self.p_out[index], self.asked[index])

    def put(self, index: IntArray, other: Ranking) -> None:
        """Write the ranking of some rows to their places."""
        for mine, theirs in zip(self, other, strict=True):
            mine[index] = theirs

    def stays(self, max_p_swap: float) -> BoolArray:
        """Return (n, top) whether a reason, where there is one, is stable."""
        return np.asarray(self.p_out < max_p_swap)

    def settled(self, max_p_swap: float) -> BoolArray:
        """Return (n,) whether all reasons of a row are stable."""
        return np.asarray((self.stays(max_p_swap) | (self.features < 0)).all(axis=1))


@dataclass(frozen=True)
class RankRule:
    """How reasons are found.

    Attributes
    ----------
    output
        Number of the output that they explain.
    sign
        1 where a high output harms, -1 where a low one does.
    top
        Reasons a row, at most.
    eligible
        For each of the M features whether it may be a reason.
    cutoff
        Only rows whose prediction is there or beyond, on the side that harms, have reasons; None: all rows.
    max_p_swap
        Below this a reason is stable.
    max_evaluations
        Model evaluations a row may take until its reasons are stable; 0: no more than any other row.
    """

    output: int
    sign: int
    top: int
    eligible: tuple[bool, ...]
    cutoff: float | None = None
    max_p_swap: float = 0.025
    max_evaluations: int = 0

    def asked(self, predictions: FloatArray) -> BoolArray:
        """Return which rows, of (n, K) predictions, are to have reasons; failed rows are not."""
        one = predictions[:, self.output]
        if self.cutoff is None:
            return ~np.isnan(one)
        return np.asarray(self.sign * one >= self.sign * self.cutoff)

    def standing(self, values: FloatArray) -> Standing:
        """Return the most harmful features from (n, M) values of the output."""
        n_rows, n_features = values.shape
        harm = np.where(self.eligible, self.sign * values, -np.inf)
        order = np.argsort(-harm, axis=1, kind="stable")[:, : self.top + RIVALS]
        harm = np.take_along_axis(harm, order, axis=1)
        missing = self.top + RIVALS - order.shape[1]
        if missing > 0:
            order = np.concatenate([order, np.zeros((n_rows, missing), dtype=np.intp)], axis=1)
            harm = np.concatenate([harm, np.full((n_rows, missing), -np.inf)], axis=1)
        none = np.isneginf(harm)
        return Standing(np.where(none, n_features, order), np.where(none, 0.0, harm))

    def judge(self, standing: Standing, errors: FloatArray, own: FloatArray, dof: FloatArray) -> Ranking:
        """Return the reasons of rows, all of which are asked.

        Parameters
        ----------
        standing
            Their features by harm.
        errors
            Standard errors of the gaps of `Standing.contests`.
        own
            (n, top) standard errors of the values.
        dof
            (n,) degrees of freedom of the errors.
        """
        p = student_tail(standing.gaps(), errors, dof[:, None])
        ahead = standing.harm[:, : self.top]
        # A rival that is nobody has no error of its own, and doing no harm is counted once.
        somebody = np.tile(standing.order[:, self.top :] < len(self.eligible), (1, self.top))
        rivals = np.where(somebody, p[:, self.top :], 0.0).reshape(len(p), self.top, RIVALS)
        out = np.minimum(rivals.sum(axis=2) + student_tail(ahead, own, dof[:, None]), 1.0)
        reason = ahead > 0.0
        features = np.where(reason, standing.order[:, : self.top], -1)
        asked = np.ones(len(features), dtype=bool)
        return Ranking(features, np.where(reason, p[:, : self.top], 0.0), np.where(reason, out, 0.0), asked)

    def judge_exact(self, values: FloatArray, predictions: FloatArray) -> Ranking:
        """Return the reasons of rows whose (n, M, K) values are exact, from them and (n, K) predictions."""
        out, asked = Ranking.none(len(values), self.top), np.flatnonzero(self.asked(predictions))
        shape = (len(asked), self.top)
        standing = self.standing(values[asked, :, self.output])
        exact = np.zeros((len(asked), self.top * (1 + RIVALS)))
        out.put(asked, self.judge(standing, exact, np.zeros(shape), np.ones(len(asked))))
        return out
