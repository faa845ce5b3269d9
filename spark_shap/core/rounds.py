"""What the rounds of some rows have said so far: of the model, and of the surrogate's finer part.

With f the model, h the fine surrogate and g the exact one, the values of f are those of f - h, which the model's
pairs sample, of h - g, which pairs of the surrogate sample, and of g. The two samples are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.contrasts import PairErrors
from spark_shap.core.precision import RoundSum
from spark_shap.core.student import welch
from spark_shap.core.surrogate import Surrogate
from spark_shap.core.surrogate.refinement import Unrefined, fine_totals, refined_blocks

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.control import BoundControl
    from spark_shap.core.design import Solution
    from spark_shap.core.parts import Part
    from spark_shap.core.ranking import Ranking, RankRule
    from spark_shap.core.sampling import SampledPairs

__all__ = ["Rounds", "player_numbers"]


@dataclass
class Rounds:
    """The rounds of n rows with M players.

    Attributes
    ----------
    part
        The rows.
    own, fine
        What was sampled of the model, and of the surrogate's finer part.
    known
        (n, K) what the values of the surrogate sum to.
    output
        The output whose errors are kept, or None.
    """

    part: Part
    own: RoundSum
    fine: RoundSum
    known: FloatArray
    output: int | None

    @classmethod
    def start(cls, part: Part, n_outputs: int, rule: RankRule | None) -> Rounds:
        """Return what is known before the model is asked."""
        shape = (len(part.places), part.n_players, n_outputs)
        known = np.zeros((len(part.places), n_outputs)) if part.exact is None else part.exact.sum(axis=1)
        output = None if rule is None else rule.output
        out = cls(part, RoundSum.empty(shape), RoundSum.empty(shape), known, output)
        if part.control is not None and part.control.refinement is not None:
            out._refine(part.control)
            out.known = known + out.fine.estimate(np.arange(len(part.places)))[0].sum(axis=1)
        return out

    def add(self, index: IntArray, pairs: SampledPairs, found: Solution) -> None:
        """Add a round of the model."""
        _add(self.own, index, pairs, found, self.output)

    def _refine(self, control: BoundControl) -> None:
        part = self.part
        if control.refinement is None or part.exact is None or not isinstance(control.surrogate, Surrogate):
            return
        totals = fine_totals(control.surrogate, control.rows, part.exact)
        given = Unrefined(control.rows, part.hashes, part.players, totals)
        for block, pairs, found in refined_blocks(control.surrogate, given, control.refinement):
            _add(self.fine, block, pairs, found, self.output)

    def estimate(self, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors (n, M, K) of the rows at `index`."""
        values, errors = self.own.estimate(index)
        more, fine_errors = self.fine.estimate(index)
        if self.part.exact is not None:
            players = self.part.players[index]
            more = self.part.exact[index][players].reshape(values.shape) + more
        return values + more, np.sqrt(errors**2 + fine_errors**2) if fine_errors.any() else errors

    def degrees(self, index: IntArray) -> FloatArray:
        """Return the degrees of freedom (n, M, K) of those errors: one a pair, and Welch's for both samples' sum."""
        errors, pairs = self.own.estimate(index)[1], np.maximum(self.own.pairs[index, None, None], 1.0)
        fine_errors = self.fine.estimate(index)[1]
        if not fine_errors.any():
            return np.broadcast_to(pairs, errors.shape)
        return welch((errors, pairs), (fine_errors, np.maximum(self.fine.pairs[index, None, None], 1.0)))

    def rank(self, index: IntArray, rule: RankRule) -> Ranking:
        """Return the reasons of the rows at `index`, as far as they are known by now."""
        players = self.part.players[index]
        one, own = np.zeros((2, *players.shape))
        values, errors = self.estimate(index)
        one[players], own[players] = (part[..., rule.output].ravel() for part in (values, errors))
        standing = rule.standing(one)
        numbers = player_numbers(players)
        first, second = (np.take_along_axis(numbers, features, axis=1) for features in standing.contests())
        variances = self.own.gap_variances(index, first, second) + self.fine.gap_variances(index, first, second)
        own = np.concatenate([own, np.zeros((len(index), 1))], axis=1)
        own = np.take_along_axis(own, standing.order[:, : rule.top], axis=1)
        return rule.judge(standing, np.sqrt(variances), own, (self.own.pairs[index] - 1).astype(np.float64))


def player_numbers(players: BoolArray) -> IntArray:
    """Return the numbers (n, F + 1) that features have among M players.

    A feature that is no player has M: its value is 0, exactly, as that of nobody, the last.
    """
    n_players = int(players[0].sum()) if len(players) else 0
    nobody = np.full((len(players), 1), n_players, dtype=np.intp)
    return np.concatenate([np.where(players, players.cumsum(axis=1) - 1, n_players), nobody], axis=1)


def _add(sums: RoundSum, index: IntArray, pairs: SampledPairs | None, found: Solution, output: int | None) -> None:
    n_pairs = found.residuals.shape[1]
    sums.add(index, found[:2], n_pairs)
    if output is not None and pairs is not None:
        errors = PairErrors(pairs.bank, pairs.design, pairs.order, found.residuals[..., output])
        sums.kept.append((index, errors))
