"""From rows to attributions: which pairs to ask of each row, and what the answers mean.

A row's players are the features in which it differs from some background row; the others have the
value 0 by definition. With one player or none the total settles everything. When asking every
coalition of every background row costs no more than the budget, the values are exact; otherwise they
are sampled. All of it depends on the row, the background, the budget and the seed only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.design import design_bank
from spark_shap.core.exact import AllPairs, coalition_table, enumerated_pairs, exact_values
from spark_shap.core.game import Answers, Failure, Game, RowBlock, ask
from spark_shap.core.sampling import draw_pairs, pairs_within

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray
    from spark_shap.core.strata import BackgroundStrata

__all__ = ["Attributions", "Reference", "Sampler"]

_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reference:
    """What the sampler must know of the background.

    Attributes
    ----------
    weights
        (B,) 0 or more, sum 1.
    base_values
        (K,) weighted mean prediction.
    strata
        The order in which background rows are drawn.
    """

    weights: FloatArray
    base_values: FloatArray
    strata: BackgroundStrata


@dataclass(frozen=True)
class Attributions:
    """Explained rows.

    Attributes
    ----------
    values, std_errors
        (n, M, K); a standard error is 0 where the value is exact. NaN for a failed row.
    predictions
        (n, K).
    n_evaluations
        (n,) model rows spent.
    failures
        Failed rows by position.
    """

    values: FloatArray
    std_errors: FloatArray
    predictions: FloatArray
    n_evaluations: IntArray
    failures: dict[int, Failure] = field(default_factory=dict)


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
    """

    game: Game
    reference: Reference
    n_evaluations: int
    seed: int
    ridge: float
    exact_only: bool = False

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:
        """Explain n rows with (n,) key hashes."""
        players = ~self.game.mixer.inert(rows)
        n_rows, n_features = players.shape
        shape = (n_rows, n_features, self.game.n_outputs)
        out = Attributions(
            np.zeros(shape),
            np.zeros(shape),
            np.empty((n_rows, self.game.n_outputs)),
            np.empty(n_rows, dtype=np.intp),
        )
        count = players.sum(axis=1)
        for n_players in np.unique(count):
            index = np.flatnonzero(count == n_players)
            part = rows if len(index) == n_rows else rows.take(index)
            self._explain_alike(part, row_hashes[index], players[index], index, out)
        for position in out.failures:
            out.values[position] = out.std_errors[position] = out.predictions[position] = np.nan
        return out

    def _explain_alike(
        self, rows: RowBlock, row_hashes: HashArray, players: BoolArray, index: IntArray, out: Attributions
    ) -> None:
        """Explain rows with the same number of players and write the results to their places."""
        n_players = int(players[0].sum())
        n_background = len(self.reference.weights)
        n_enumerated = enumerated_pairs(n_players, n_background)
        if n_players < 2 or self.exact_only or n_enumerated <= pairs_within(self.n_evaluations):
            answers, values, std_errors = self._enumerate(rows, players, n_players)
        else:
            bank = design_bank(n_players, pairs_within(self.n_evaluations), self.ridge, self.seed)
            pairs = draw_pairs(bank, self.reference.strata, row_hashes, players=players)
            answers = ask(self.game, rows, pairs)
            values, std_errors = pairs.estimate(answers.differences, self._totals(answers))
        place, feature = np.nonzero(players)
        out.values[index[place], feature] = values.reshape(-1, self.game.n_outputs)
        out.std_errors[index[place], feature] = std_errors.reshape(-1, self.game.n_outputs)
        out.predictions[index] = answers.predictions
        out.n_evaluations[index] = answers.n_evaluations
        out.failures.update({int(index[row]): failure for row, failure in answers.failures.items()})

    def _enumerate(self, rows: RowBlock, players: BoolArray, n_players: int) -> tuple[Answers, FloatArray, FloatArray]:
        parts = np.where(players, players.cumsum(axis=1) - 1, n_players)
        questions = AllPairs(parts, n_players, len(self.reference.weights))
        answers = ask(self.game, rows, questions)
        totals = self._totals(answers)
        if n_players < 2:
            values = np.repeat(totals[:, None, :], n_players, axis=1)
        else:
            average = questions.average(answers.differences, self.reference.weights)
            values = exact_values(average, totals, coalition_table(n_players))
        return answers, values, np.zeros_like(values)

    def _totals(self, answers: Answers) -> FloatArray:
        return answers.predictions - self.reference.base_values

    def rows_in_memory(self, n_features: int) -> int:
        """Return how many rows to hand to `explain` at once: whole blocks, answers within 64 MB."""
        n_pairs = pairs_within(self.n_evaluations)
        if self.exact_only:
            n_pairs = max(n_pairs, enumerated_pairs(n_features, len(self.reference.weights)))
        in_block = max(1, self.game.block_rows // (2 * n_pairs + 1))
        row_bytes = 8 * (n_pairs * (self.game.n_outputs + 2) + 3 * n_features * self.game.n_outputs)
        blocks = max(1, _ANSWER_BYTES // (row_bytes * in_block))
        return in_block * min(blocks, max(1, 4096 // in_block))
