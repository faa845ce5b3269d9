r"""Separating two features of a row: evaluations that ask for the difference of their values alone.

The difference of two Shapley values is a mean over coalitions S of the *other* players, of uniform size 0 .. M-2:

.. math::
    \phi_a - \phi_b = \mathrm{mean}_S\,[v(S \cup a) - v(S \cup b)] .

A duel draws one S and one background row z and asks the pairs (see `spark_shap.core.game`) of :math:`S \cup a` and of
:math:`S \cup b`. With S' the others that are not in S, half the difference of their answers is the mean of
:math:`v_z(S \cup a) - v_z(S \cup b)` and :math:`v_z(S' \cup a) - v_z(S' \cup b)`, which is unbiased. Only a and b
differ between the two rows of each bracket, so all that the other players do cancels: per evaluation the
variance was 10 to 12 times smaller than the pairs' own with 23 features. With nobody in the place of b the mean over S
of uniform size 0 .. M-1 is :math:`\phi_a` itself.

What a duel finds is one more measurement of :math:`h'\phi`, with h 1 for a and -1 for b, of a row whose values have
errors with the covariance C (`spark_shap.core.contrasts`). With D what was measured, R its variance and
:math:`S = h'Ch`,

.. math::
    \phi \leftarrow \phi + g\,(D - h'\phi), \qquad g = \frac{S}{S + R}\,\frac{h}{2}, \qquad
    C \leftarrow C - g (Ch)' - (Ch) g' + (S + R)\, g g' .

The measured difference becomes the best mean of both, a and b move by the same and the others stay, so that the values
keep their sum; against nobody a moves and all others move back by equal parts. Moving each as C has it would be better
if C were known: it is estimated, and its noise would go into values that nobody asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.game import Game, ask
from spark_shap.core.parts import note
from spark_shap.core.questions import GivenPairs
from spark_shap.core.ranking import RIVALS
from spark_shap.core.rounds import Rounds, player_numbers
from spark_shap.core.seeding import Stream, round_hashes, uniforms
from spark_shap.core.surrogate import Surrogate
from spark_shap.core.surrogate.refinement import SEED_SHIFT, fine_gaps

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, HashArray, IntArray
    from spark_shap.core.attribution import Attributions, Reference
    from spark_shap.core.parts import Part
    from spark_shap.core.ranking import Ranking, RankRule, Standing

__all__ = ["DUELS", "Duelling", "draw_duels", "separate"]

DUELS = 16  # at a time: 64 evaluations
_FINE = 4  # duels of the surrogate's finer part for each of the model's
_BYTES = 64 * 2**20
_FIRST = 2**32  # draws of duels are numbered from here, those of rounds by pairs


class Duelling(NamedTuple):
    """What duels are asked with: the game, the background, the run's seed and the rule for reasons."""

    game: Game
    reference: Reference
    seed: int
    rule: RankRule


@dataclass
class _State:
    """What is known of n rows with M players by now: values (n, M) of the output and their covariances (n, M, M)."""

    part: Part
    values: FloatArray
    covariances: FloatArray
    numbers: IntArray
    dof: FloatArray

    def standing(self, rule: RankRule) -> Standing:
        full = np.zeros(self.part.players.shape)
        full[self.part.players] = self.values.ravel()
        return rule.standing(full)

    def take(self, index: IntArray) -> _State:
        return _State(
            self.part.take(index), self.values[index], self.covariances[index], self.numbers[index], self.dof[index]
        )

    def players(self, features: IntArray) -> IntArray:
        return np.take_along_axis(self.numbers, features, axis=1)

    def rank(self, standing: Standing, rule: RankRule) -> Ranking:
        first, second = (self.players(features) for features in standing.contests())
        own = np.sqrt(self.variance(self.players(standing.order[:, : rule.top]), None))
        return rule.judge(standing, np.sqrt(self.variance(first, second)), own, self.dof)

    def variance(self, first: IntArray, second: IntArray | None) -> FloatArray:
        """Return the variances (n, J) of players' values, or of their differences."""
        out = self._covariance(first, first)
        if second is not None:
            out = out + self._covariance(second, second) - 2.0 * self._covariance(first, second)
        return np.maximum(out, 0.0)

    def _covariance(self, first: IntArray, second: IntArray) -> FloatArray:
        n_players = self.values.shape[1]
        row = np.arange(len(first))[:, None]
        nobody = (first == n_players) | (second == n_players)
        last = n_players - 1
        found = self.covariances[row, np.minimum(first, last), np.minimum(second, last)]
        return np.where(nobody, 0.0, found)

    def update(self, ahead: IntArray, behind: IntArray, found: tuple[FloatArray, FloatArray]) -> None:
        """Take in measured differences (n,) with their variances (n,) between players; behind may be nobody."""
        measured, noise = found
        row, n_players = np.arange(len(ahead)), self.values.shape[1]
        player = np.arange(n_players)
        one, other = (player == side[:, None] for side in (ahead, behind))
        combination = one.astype(np.float64) - other
        rest = np.where((behind == n_players)[:, None], -1.0 / (n_players - 1), 0.0)
        move = np.where(one, 1.0, np.where(other, -1.0, rest)) / np.where(behind == n_players, 1.0, 2.0)[:, None]
        some = np.minimum(behind, n_players - 1)
        # Differences of columns rather than a product: their bits do not depend on the rows beside.
        side = self.covariances[row, :, ahead] - np.where(other.any(axis=1)[:, None], self.covariances[row, :, some], 0)
        spread = (side * combination).sum(axis=1)
        gap = measured - (self.values * combination).sum(axis=1)
        total = spread + noise
        move = move * (spread / np.maximum(total, 1e-300))[:, None]
        self.values += move * gap[:, None]
        change = move[:, :, None] * side[:, None, :]
        change += change.transpose(0, 2, 1)
        self.covariances += total[:, None, None] * move[:, :, None] * move[:, None, :] - change


def separate(how: Duelling, sums: Rounds, index: IntArray, out: Attributions) -> None:
    """Duel until the reasons of the rows at `index` are stable, or a row has spent what it may."""
    part = sums.part
    row_bytes = 8 * 3 * part.n_players**2 + 10 * part.players.shape[1] * DUELS * _FINE
    step = max(1, _BYTES // row_bytes)
    for start in range(0, len(index), step):
        _separate(how, sums, index[start : start + step], out)


def _separate(how: Duelling, sums: Rounds, index: IntArray, out: Attributions) -> None:
    rule, part = how.rule, sums.part.take(index)
    state = _State(
        part,
        sums.estimate(index)[0][..., rule.output],
        sums.own.covariances(index) + sums.fine.covariances(index),
        player_numbers(part.players),
        (sums.own.pairs[index] - 1).astype(np.float64),
    )
    waiting, count = state, 0
    while len(waiting.values):
        left = rule.max_evaluations - out.n_evaluations[waiting.part.places]
        failed = np.isin(waiting.part.places, list(out.failures))
        waiting = waiting.take(np.flatnonzero((left > 4 * DUELS) & ~failed))
        if not len(waiting.values):
            return
        standing = waiting.standing(rule)
        ahead, behind = _worst(waiting, standing, rule)
        waiting.update(ahead, behind, _measure(how, waiting.part, (ahead, behind), count, out))
        count += 1
        _write(waiting, rule, out)
        ranking = waiting.rank(waiting.standing(rule), rule)
        _put(ranking, waiting.part, out)
        waiting = waiting.take(np.flatnonzero(~ranking.settled(rule.max_p_swap)))


def _worst(state: _State, standing: Standing, rule: RankRule) -> tuple[IntArray, IntArray]:
    """Return the players of the least certain contest of each row: a reason, and who may push it out or nobody."""
    top, n_rows = rule.top, len(state.values)
    first, second = (state.players(features[:, top:]) for features in standing.contests())
    ahead = state.players(standing.order[:, :top])
    nobody = np.full((n_rows, top), state.values.shape[1], dtype=np.intp)
    first, second = np.concatenate([first, ahead], axis=1), np.concatenate([second, nobody], axis=1)
    harm = standing.harm[:, :top]
    gaps = np.concatenate([standing.gaps()[:, top:], harm], axis=1)
    errors = np.sqrt(state.variance(first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = np.where(errors > 0.0, gaps / errors, np.inf)
    reason = np.concatenate([np.repeat(harm > 0.0, RIVALS, axis=1), harm > 0.0], axis=1)
    nearest = np.where(reason, wide, np.inf).argmin(axis=1)
    row = np.arange(n_rows)
    return first[row, nearest], second[row, nearest]


def _measure(
    how: Duelling, part: Part, rivals: tuple[IntArray, IntArray], count: int, out: Attributions
) -> tuple[FloatArray, FloatArray]:
    """Return the measured differences of rivals and the variances of these, (n,) each."""
    output = how.rule.output
    hashes = round_hashes(how.seed, part.hashes, np.full(len(part.places), _FIRST + count))
    pairs = draw_duels(how, part, hashes, rivals, DUELS)
    answers = ask(how.game, part.rows, pairs, part.control)
    note(answers, part, out)
    found, noise = _mean(answers.differences[..., output])
    if part.exact is None or part.control is None:
        return found, noise
    exact = np.concatenate([part.exact[..., output], np.zeros((len(found), 1))], axis=1)
    # Of the players, by number: others have the value 0.
    numbers = player_numbers(part.players)
    mine = np.zeros((len(found), part.n_players + 1))
    np.put_along_axis(mine, numbers, exact, axis=1)
    mine[:, -1] = 0.0
    row = np.arange(len(found))
    found = found + mine[row, rivals[0]] - mine[row, rivals[1]]
    if part.control.refinement is not None and isinstance(part.control.surrogate, Surrogate):
        more = draw_duels(how._replace(seed=how.seed + SEED_SHIFT), part, hashes, rivals, _FINE * DUELS)
        gaps, own = _mean(fine_gaps(part.control.surrogate, part.control.rows, more)[..., output])
        found, noise = found + gaps, noise + own
    return found, noise


def _mean(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return means and their variances, (n,), over duels from their pairs' answers (n, 2 Q).

    The variances are those of Student's t, (Q - 1) / (Q - 3) times what the duels show: few of them show too little of
    it as often as too much, and measurements that show little weigh most.
    """
    duels = np.ascontiguousarray(differences[:, ::2] - differences[:, 1::2]) / 2.0
    n_duels = duels.shape[1]
    mean = duels.sum(axis=1) / n_duels
    off = duels - mean[:, None]
    return mean, (off * off).sum(axis=1) / (n_duels * (n_duels - 3))


def draw_duels(
    how: Duelling, part: Part, hashes: HashArray, rivals: tuple[IntArray, IntArray], n_duels: int
) -> GivenPairs:
    """Draw duels of rows, two pairs each, next to each other.

    Parameters
    ----------
    how
        With the seed and the background.
    part, hashes
        n rows, and the (n,) hashes under which they draw.
    rivals
        Numbers of players, (n,) each; M in the second for nobody.
    n_duels
        Q.
    """
    n_rows, n_players = len(part.places), part.n_players
    ahead, behind = (one[:, None, None] for one in rivals)
    draws = uniforms(how.seed, hashes, Stream.DUEL, n_duels * (n_players + 2))
    jitter, order, ranks = np.split(draws, [n_duels, 2 * n_duels], axis=1)
    others = n_players - 1 - (rivals[1] < n_players)[:, None]
    # One size from each of Q strata, in random order.
    sizes = np.floor((np.arange(n_duels) + jitter) / n_duels * (others + 1)).astype(np.intp)
    sizes = np.take_along_axis(sizes, order.argsort(axis=1), axis=1)
    player = np.arange(n_players)
    ranks = np.where((player == ahead) | (player == behind), 2.0, ranks.reshape(n_rows, n_duels, n_players))
    members = ranks.argsort(axis=2).argsort(axis=2) < sizes[:, :, None]
    both = np.stack([members | (player == ahead), members | (player == behind)], axis=2)
    both = both.reshape(n_rows, 2 * n_duels, n_players).transpose(0, 2, 1)
    whole = np.zeros((n_rows, part.players.shape[1], 2 * n_duels), dtype=bool)
    whole[part.players] = both.reshape(-1, 2 * n_duels)
    index = how.reference.strata.draw(how.seed, hashes, n_duels)
    return GivenPairs(np.repeat(index, 2, axis=1), whole)


def _write(state: _State, rule: RankRule, out: Attributions) -> None:
    row, feature = np.nonzero(state.part.players)
    places = state.part.places[row]
    variances = np.diagonal(state.covariances, axis1=1, axis2=2)
    out.values[places, feature, rule.output] = state.values.ravel()
    out.std_errors[places, feature, rule.output] = np.sqrt(np.maximum(variances, 0.0)).ravel()


def _put(ranking: Ranking, part: Part, out: Attributions) -> None:
    if out.ranking is not None:
        out.ranking.put(part.places, ranking)
