"""The model-agnostic method: which pairs to ask of each row, and what the answers mean.

A row's players are the features in which it differs from some background row; the others have the
value 0 by definition. With one player or none the total settles everything. When asking every
coalition of every background row costs no more than the budget, the values are exact; otherwise they
are sampled, less the part that a surrogate explains exactly. All of it depends on the row, the
background, the surrogate, the budget and the seed only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.attribution import Attributions, Reference
from spark_shap.core.design import design_bank
from spark_shap.core.exact import AllPairs, coalition_table, enumerated_pairs, exact_values
from spark_shap.core.game import Answers, Game, NoPairs, Questions, RowBlock, ask
from spark_shap.core.interactions import (
    InteractionValues,
    exact_interactions,
    sampled_interactions,
    with_diagonal,
)
from spark_shap.core.precision import RoundSum, Tolerance, VarianceModel
from spark_shap.core.sampling import draw_pairs, pairs_within
from spark_shap.core.seeding import round_hashes

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray
    from spark_shap.core.control import BoundControl, ControlVariate, Taken

__all__ = ["Sampler"]

_ANSWER_BYTES = 64 * 2**20
_LEAST_PAIRS = 2  # leave-one-out needs another pair


class _Part(NamedTuple):
    """Rows with the same number of players, and where they stand among all rows."""

    rows: RowBlock
    hashes: HashArray
    players: BoolArray
    places: IntArray
    control: BoundControl | None
    taken: Taken | None

    @property
    def n_players(self) -> int:
        return int(self.players[0].sum())

    def take(self, index: IntArray) -> _Part:
        control = None if self.control is None else self.control.take(index)
        taken = None if self.taken is None else self.taken.take(index)
        return _Part(self.rows.take(index), self.hashes[index], self.players[index], self.places[index], control, taken)

    def residual(self, totals: FloatArray) -> FloatArray:
        """Return totals (n, K) less what is taken off."""
        return totals if self.taken is None else totals - self.taken.values.sum(axis=1)


@dataclass(frozen=True)
class Sampler:
    """The model-agnostic method.

    Attributes
    ----------
    game
        The model and the background rows.
    reference
        Weights, base values and strata of the background.
    n_evaluations
        Budget a row.
    seed
        The run's seed.
    ridge
        Penalty of the regression, see `spark_shap.core.design`.
    exact_only
        True when every row is to be enumerated, whatever it costs.
    control
        The surrogate that is taken off, or None.
    tolerance
        The standard error at which a row is done; None spends the budget on every row.
    guess
        How many pairs a row begins with under a tolerance.
    """

    game: Game
    reference: Reference
    n_evaluations: int
    seed: int
    ridge: float
    exact_only: bool = False
    control: ControlVariate | None = None
    tolerance: Tolerance | None = None
    guess: VarianceModel | None = None

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:
        """Explain n rows with (n,) key hashes."""
        players = ~self.game.mixer.inert(rows)
        n_rows, n_features = players.shape
        n_outputs = self.game.n_outputs
        shape = (n_rows, n_features, n_outputs)
        control, taken = None, None
        if self.control is not None and n_rows:
            control = self.control.bind(rows)
            taken = control.taken(row_hashes, players)
        out = Attributions(
            np.zeros(shape),
            np.zeros(shape),
            np.empty((n_rows, n_outputs)),
            np.zeros(n_rows, dtype=np.intp),
            converged=None if self.tolerance is None else np.ones((n_rows, n_outputs), dtype=bool),
            known=None if taken is None else taken.exact.copy(),
        )
        whole = _Part(rows, row_hashes, players, np.arange(n_rows), control, taken)
        count = players.sum(axis=1)
        for n_players in np.unique(count):
            index = np.flatnonzero(count == n_players)
            part = whole if len(index) == n_rows else whole.take(index)
            if self._enumerates(int(n_players)):
                self._enumerate(part, out)
            else:
                self._sample(part, out)
        for position in out.failures:
            out.values[position] = out.std_errors[position] = out.predictions[position] = np.nan
        return out

    def _enumerates(self, n_players: int) -> bool:
        if n_players < 2 or self.exact_only:
            return True
        return enumerated_pairs(n_players, len(self.reference.weights)) <= pairs_within(self.n_evaluations)

    def _enumerate(self, part: _Part, out: Attributions) -> None:
        n_players, players = part.n_players, part.players
        numbers = np.where(players, players.cumsum(axis=1) - 1, n_players)
        questions = AllPairs(numbers, n_players, len(self.reference.weights))
        answers = ask(self.game, part.rows, questions)
        totals = answers.predictions - self.reference.base_values
        if n_players < 2:
            values = np.repeat(totals[:, None, :], n_players, axis=1)
        else:
            average = questions.average(answers.differences, self.reference.weights)
            values = exact_values(average, totals, coalition_table(n_players))
        _note(answers, part, out)
        _place(values, part, out.values)
        if out.known is not None:
            out.known[part.places] = out.values[part.places]

    def _sample(self, part: _Part, out: Attributions) -> None:
        """Sample rows, in rounds until they are within the tolerance or the budget is spent."""
        n_rows = len(part.places)
        sums = RoundSum.empty((n_rows, part.n_players, self.game.n_outputs))
        waiting, pairs = self._first_pairs(part, out)
        while len(waiting):
            for n_pairs in np.unique(pairs):
                index = waiting[pairs == n_pairs]
                one = part if len(index) == n_rows else part.take(index)
                hashes = round_hashes(self.seed, one.hashes, sums.pairs[index])
                sums.add(index, *self._round(one, hashes, int(n_pairs), out), int(n_pairs))
            waiting, pairs = self._unfinished(part, waiting, sums, out)
        values, std_errors = sums.estimate(np.arange(n_rows))
        _place(values, part, out.values)
        _place(std_errors, part, out.std_errors)
        if part.taken is not None:
            out.values[part.places] += part.taken.values
            out.std_errors[part.places] = np.sqrt(out.std_errors[part.places] ** 2 + part.taken.variances)

    def _first_pairs(self, part: _Part, out: Attributions) -> tuple[IntArray, IntArray]:
        """Return the rows that are to be sampled, and with how many pairs each begins."""
        everyone, most = np.arange(len(part.places)), pairs_within(self.n_evaluations)
        if self.tolerance is None or self.guess is None:
            return everyone, np.full(len(everyone), most)
        answers = ask(self.game, part.rows, NoPairs(part.players.shape[1]))
        _note(answers, part, out)
        index = np.setdiff1d(everyone, list(answers.failures))
        limits = self.tolerance.limits(answers.predictions[index] - self.reference.base_values)
        totals = answers.predictions - self.reference.base_values
        known = np.zeros((len(index), 1, self.game.n_outputs)) if part.taken is None else part.taken.exact[index]
        totals = part.residual(totals)[index]
        # The prediction by itself has cost one evaluation.
        return index, self.guess.pairs(totals, known, limits, pairs_within(self.n_evaluations - 1))

    def _round(self, part: _Part, hashes: HashArray, n_pairs: int, out: Attributions) -> tuple[FloatArray, FloatArray]:
        """Ask one round of rows, and return what it says of the players."""
        bank = design_bank(part.n_players, n_pairs, self.ridge, self.seed)
        questions = draw_pairs(bank, self.reference.strata, hashes, players=part.players)
        answers = ask(self.game, part.rows, questions, part.control)
        _note(answers, part, out)
        totals = answers.predictions - self.reference.base_values
        return questions.estimate(answers.differences, part.residual(totals))

    def _unfinished(
        self, part: _Part, waiting: IntArray, sums: RoundSum, out: Attributions
    ) -> tuple[IntArray, IntArray]:
        """Return the rows that go on, and how many pairs their next round has: as many as they have had."""
        if self.tolerance is None or out.converged is None:
            return waiting[:0], waiting[:0]
        place = part.places[waiting]
        totals = out.predictions[place] - self.reference.base_values
        std_errors = sums.estimate(waiting)[1]
        if part.taken is not None and part.taken.variances.any():
            own = part.taken.variances[waiting][part.players[waiting]].reshape(std_errors.shape)
            std_errors = np.sqrt(std_errors**2 + own)
        met = self.tolerance.met(std_errors, totals)
        out.converged[place] = met
        left = pairs_within(self.n_evaluations - out.n_evaluations[place])
        failed = np.isin(place, list(out.failures))
        pairs = np.minimum(sums.pairs[waiting], left)
        going = ~met.all(axis=1) & ~failed & (pairs >= _LEAST_PAIRS)
        return waiting[going], pairs[going]

    def interactions(self, rows: RowBlock, row_hashes: HashArray) -> InteractionValues:
        """Return interaction values of n rows, from the same pairs that `explain` asks within the budget."""
        players = ~self.game.mixer.inert(rows)
        (n_rows, n_features), n_outputs = players.shape, self.game.n_outputs
        found = replace(self, tolerance=None).explain(rows, row_hashes)
        control = None if self.control is None or not n_rows else self.control.bind(rows)
        shape = (n_rows, n_features, n_features, n_outputs)
        out = InteractionValues(np.zeros(shape), np.zeros(shape), found.predictions, found.failures)
        whole = _Part(rows, row_hashes, players, np.arange(n_rows), control, None)
        for n_players in np.unique(players.sum(axis=1)):
            part = whole.take(np.flatnonzero(players.sum(axis=1) == n_players))
            if n_players > 1:
                self._interact(part, out)
        for output in range(n_outputs):
            out.values[..., output], out.std_errors[..., output] = with_diagonal(
                out.values[..., output],
                out.std_errors[..., output],
                found.values[..., output],
                found.std_errors[..., output],
            )
        return out

    def _interact(self, part: _Part, out: InteractionValues) -> None:
        """Write the interactions of pairs of players to their places."""
        n_players, players = part.n_players, part.players
        exact = self._enumerates(n_players)
        if exact:
            numbers = np.where(players, players.cumsum(axis=1) - 1, n_players)
            every = AllPairs(numbers, n_players, len(self.reference.weights))
            even, members = self._even(part, every, None), coalition_table(n_players)
            even = every.average(even, self.reference.weights)
        else:
            bank = design_bank(n_players, pairs_within(self.n_evaluations), self.ridge, self.seed)
            pairs = draw_pairs(bank, self.reference.strata, part.hashes, players=players)
            even = self._even(part, pairs, part.control)
        known = None if exact or part.control is None else part.control.interactions()
        for row, place in enumerate(part.places):
            index = np.ix_(*[np.flatnonzero(players[row])] * 2)
            if not exact:
                members = pairs.draw(slice(row, row + 1), slice(None))[1][0][players[row]]
            for output in range(self.game.n_outputs):
                answers = even[row : row + 1, :, output]
                if exact:
                    values, errors = exact_interactions(members, answers), np.zeros((1, n_players, n_players))
                else:
                    values, errors = sampled_interactions(members, answers)
                if known is not None:
                    values = values + known[row, :, :, output][index]
                out.values[(place, *index, output)] = values[0]
                out.std_errors[(place, *index, output)] = errors[0]

    def _even(self, part: _Part, questions: Questions, control: BoundControl | None) -> FloatArray:
        """Return (n, P, K) the even part of the answers, each against its own background row."""
        answers = ask(self.game, part.rows, questions, control, sums=True)
        index, _ = questions.draw(slice(0, len(part.places)), slice(0, questions.n_pairs))
        ends = answers.predictions[:, None, :] + self.reference.predictions[index]
        if control is not None:
            ends = ends - control.ends(index)
        sums = np.empty(0) if answers.sums is None else answers.sums
        return np.asarray((sums - ends) / 2)

    def rows_in_memory(self, n_features: int) -> int:
        """Return how many rows to hand to `explain` at once: whole blocks, answers within 64 MB."""
        n_pairs = pairs_within(self.n_evaluations)
        if self.exact_only:
            n_pairs = max(n_pairs, enumerated_pairs(n_features, len(self.reference.weights)))
        in_block = max(1, self.game.block_rows // (2 * n_pairs + 1))
        row_bytes = 8 * (n_pairs * (self.game.n_outputs + 2) + 3 * n_features * self.game.n_outputs)
        blocks = max(1, _ANSWER_BYTES // (row_bytes * in_block))
        return in_block * min(blocks, max(1, 4096 // in_block))


def _note(answers: Answers, part: _Part, out: Attributions) -> None:
    """Write down predictions, evaluations and failures."""
    out.predictions[part.places] = answers.predictions
    out.n_evaluations[part.places] += answers.n_evaluations
    out.failures.update({int(part.places[row]): failure for row, failure in answers.failures.items()})


def _place(values: FloatArray, part: _Part, whole: FloatArray) -> None:
    """Write what belongs to the players (n, M, K) to their rows and features."""
    place, feature = np.nonzero(part.players)
    whole[part.places[place], feature] = values.reshape(-1, values.shape[2])
