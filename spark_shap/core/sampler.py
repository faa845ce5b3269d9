"""The model-agnostic method: which pairs to ask of each row, and what the answers mean.

A row's players are the features, or groups of them, in which it differs from some background row; the others have the
value 0 by definition. With one player or none the total settles everything. When asking every
coalition of every background row costs no more than the budget, the values are exact; otherwise they
are sampled, less the part that a surrogate explains exactly. All of it depends on the row, the
background, the surrogate, the budget and the seed only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.attribution import Attributions, Reference
from spark_shap.core.design import design_bank
from spark_shap.core.duels import Duelling, separate
from spark_shap.core.exact import AllPairs, coalition_table, enumerated_pairs, exact_values
from spark_shap.core.game import Game, RowBlock, ask
from spark_shap.core.interactions import (
    InteractionValues,
    exact_interactions,
    sampled_interactions,
    with_diagonal,
)
from spark_shap.core.parts import Part, note, place
from spark_shap.core.questions import NoPairs, Questions
from spark_shap.core.ranking import Ranking, RankRule
from spark_shap.core.rounds import Rounds
from spark_shap.core.sampling import draw_pairs, pairs_within
from spark_shap.core.seeding import round_hashes

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, HashArray, IntArray
    from spark_shap.core.control import BoundControl, ControlVariate
    from spark_shap.core.precision import Tolerance, VarianceModel

__all__ = ["Sampler"]

_ANSWER_BYTES = 64 * 2**20
_LEAST_PAIRS = 2  # leave-one-out needs another pair


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
    rule
        How reasons are found, and how far rows go on until theirs are stable; None where none are asked for.
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
    rule: RankRule | None = None

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:
        """Explain n rows with (n,) key hashes."""
        players = ~self.game.inert(rows)
        n_rows, n_features = players.shape
        n_outputs = self.game.n_outputs
        shape = (n_rows, n_features, n_outputs)
        control = self.control.bind(rows) if self.control is not None and n_rows else None
        exact = None if control is None else control.exact(players)
        out = Attributions(
            np.zeros(shape),
            np.zeros(shape),
            np.empty((n_rows, n_outputs)),
            np.zeros(n_rows, dtype=np.intp),
            converged=None if self.tolerance is None else np.ones((n_rows, n_outputs), dtype=bool),
            known=None if exact is None else exact.copy(),
            ranking=None if self.rule is None else Ranking.none(n_rows, self.rule.top),
            dof=np.full(shape, np.inf),
            saved=None if rows.predictions is None else np.zeros(n_rows, dtype=np.intp),
        )
        whole = Part(rows, row_hashes, players, np.arange(n_rows), control, exact)
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
            if out.ranking is not None:
                out.ranking.asked[position] = False
        if out.saved is not None:
            out.n_evaluations[:] -= out.saved
        return out

    def _enumerates(self, n_players: int) -> bool:
        if n_players < 2 or self.exact_only:
            return True
        return enumerated_pairs(n_players, len(self.reference.weights)) <= pairs_within(self.n_evaluations)

    def _enumerate(self, part: Part, out: Attributions) -> None:
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
        note(answers, part, out)
        place(values, part, out.values)
        if out.known is not None:
            out.known[part.places] = out.values[part.places]
        if out.ranking is not None and self.rule is not None:
            found = self.rule.judge_exact(out.values[part.places], answers.predictions)
            out.ranking.put(part.places, found)

    def _sample(self, part: Part, out: Attributions) -> None:
        """Sample rows, in rounds until they are within the tolerance or the budget is spent; then rank them."""
        sums = Rounds.start(part, self.game.n_outputs, self.rule)
        waiting, pairs = self._first_pairs(sums, out)
        while len(waiting):
            for n_pairs in np.unique(pairs):
                self._round(sums, waiting[pairs == n_pairs], int(n_pairs), out)
            waiting, pairs = self._unfinished(sums, waiting, out)
        values, std_errors = sums.estimate(np.arange(len(part.places)))
        place(values, part, out.values)
        place(std_errors, part, out.std_errors)
        if out.dof is not None:
            place(sums.degrees(np.arange(len(part.places))), part, out.dof)
        if self.rule is not None and out.ranking is not None:
            asked = self.rule.asked(out.predictions[part.places]) & ~np.isin(part.places, list(out.failures))
            ranking = sums.rank(np.flatnonzero(asked), self.rule)
            out.ranking.put(part.places[asked], ranking)
            open_ = np.flatnonzero(asked)[~ranking.settled(self.rule.max_p_swap)]
            separate(Duelling(self.game, self.reference, self.seed, self.rule), sums, open_, out)
            if self.tolerance is not None and out.converged is not None:
                places = part.places[open_]
                totals = out.predictions[places] - self.reference.base_values
                out.converged[places] = self.tolerance.met(out.std_errors[places], totals)

    def _first_pairs(self, sums: Rounds, out: Attributions) -> tuple[IntArray, IntArray]:
        """Return the rows that are to be sampled, and with how many pairs each begins."""
        part = sums.part
        everyone, most = np.arange(len(part.places)), pairs_within(self.n_evaluations)
        if self.tolerance is None or self.guess is None:
            return everyone, np.full(len(everyone), most)
        answers = ask(self.game, part.rows, NoPairs(part.players.shape[1]))
        note(answers, part, out)
        index = np.setdiff1d(everyone, list(answers.failures))
        totals = answers.predictions[index] - self.reference.base_values
        limits = self.tolerance.limits(totals)
        known = np.zeros((len(index), 1, self.game.n_outputs)) if part.exact is None else part.exact[index]
        # The prediction by itself has cost one evaluation.
        most = pairs_within(self.n_evaluations - 1)
        return index, self.guess.pairs(totals - sums.known[index], known, limits, most)

    def _round(self, sums: Rounds, index: IntArray, n_pairs: int, out: Attributions) -> None:
        """Ask one round of the rows at `index`, and add what it says of the players."""
        part = sums.part
        one = part if len(index) == len(part.places) else part.take(index)
        hashes = round_hashes(self.seed, one.hashes, sums.own.pairs[index])
        bank = design_bank(part.n_players, n_pairs, self.ridge, self.seed)
        questions = draw_pairs(bank, self.reference.strata, hashes, players=one.players)
        answers = ask(self.game, one.rows, questions, one.control)
        note(answers, one, out)
        totals = answers.predictions - self.reference.base_values - sums.known[index]
        sums.add(index, questions, questions.solve_for(answers.differences, totals))

    def _unfinished(self, sums: Rounds, waiting: IntArray, out: Attributions) -> tuple[IntArray, IntArray]:
        """Return the rows that go on, and how many pairs their next round has: as many as they have had."""
        if self.tolerance is None or out.converged is None:
            return waiting[:0], waiting[:0]
        places = sums.part.places[waiting]
        totals = out.predictions[places] - self.reference.base_values
        met = self.tolerance.met(sums.estimate(waiting)[1], totals)
        out.converged[places] = met
        left = pairs_within(self.n_evaluations - out.n_evaluations[places])
        failed = np.isin(places, list(out.failures))
        pairs = np.minimum(sums.own.pairs[waiting], left)
        going = ~met.all(axis=1) & ~failed & (pairs >= _LEAST_PAIRS)
        return waiting[going], pairs[going]

    def interactions(self, rows: RowBlock, row_hashes: HashArray) -> InteractionValues:
        """Return interaction values of n rows, from the same pairs that `explain` asks within the budget."""
        players = ~self.game.inert(rows)
        (n_rows, n_features), n_outputs = players.shape, self.game.n_outputs
        found = replace(self, tolerance=None, rule=None).explain(rows, row_hashes)
        control = None if self.control is None or not n_rows else self.control.bind(rows)
        shape = (n_rows, n_features, n_features, n_outputs)
        out = InteractionValues(np.zeros(shape), np.zeros(shape), found.predictions, found.failures)
        whole = Part(rows, row_hashes, players, np.arange(n_rows), control, None)
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

    def _interact(self, part: Part, out: InteractionValues) -> None:
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
        for row, position in enumerate(part.places):
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
                out.values[(position, *index, output)] = values[0]
                out.std_errors[(position, *index, output)] = errors[0]

    def _even(self, part: Part, questions: Questions, control: BoundControl | None) -> FloatArray:
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
        if self.rule is not None:  # rounds are kept: the model's and those of the surrogate's finer part
            refinement = None if self.control is None else self.control.refinement
            fine = 0.0 if refinement is None else refinement.n_pairs / max(1, pairs_within(self.n_evaluations))
            row_bytes += int(8 * n_pairs * (1 + fine))
        blocks = max(1, _ANSWER_BYTES // (row_bytes * in_block))
        return in_block * min(blocks, max(1, 4096 // in_block))
