"""The exact method for sums of trees, behind the face that every method has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.attribution import Attributions
from spark_shap.core.game import Answers, Game, NoPairs, RowBlock, ask
from spark_shap.core.interactions import InteractionValues

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import FloatArray, HashArray
    from spark_shap.core.trees.tables import TreeTables

__all__ = ["TreeMethod"]

_VALUE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class TreeMethod:
    """Tables of the trees, with the model's own predictions.

    Attributes
    ----------
    game
        The model; no background row is asked for.
    to_numbers
        Rows to their (n, F) float64 matrix, NaN where missing, categories as the trees number them.
    tables
        The trees against the background.
    """

    game: Game
    to_numbers: Callable[[Any], FloatArray]
    tables: TreeTables

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:  # noqa: ARG002 - nothing is drawn
        """Explain n rows."""
        answers = self._predict(rows)
        values = self._of_good_rows(rows, answers, self.tables.values)
        errors = np.where(np.isnan(values), np.nan, 0.0)
        n_evaluations = np.full(len(rows), answers.n_evaluations, dtype=np.intp)
        return Attributions(values, errors, answers.predictions, n_evaluations, answers.failures)

    def interactions(self, rows: RowBlock, row_hashes: HashArray) -> InteractionValues:  # noqa: ARG002 - as above
        """Return the interaction values of n rows."""
        answers = self._predict(rows)
        values = self._of_good_rows(rows, answers, self.tables.interactions)
        errors = np.where(np.isnan(values), np.nan, 0.0)
        return InteractionValues(values, errors, answers.predictions, answers.failures)

    def rows_in_memory(self, n_features: int) -> int:
        """Return how many rows to hand to `explain` at once: a block, its values within 64 MB."""
        row_bytes = 8 * 4 * n_features * self.game.n_outputs
        return max(1, min(self.game.block_rows, _VALUE_BYTES // row_bytes))

    def _predict(self, rows: RowBlock) -> Answers:
        answers = ask(self.game, rows, NoPairs(self.tables.n_features))
        answers.predictions[sorted(answers.failures)] = np.nan
        return answers

    def _of_good_rows(
        self, rows: RowBlock, answers: Answers, function: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Return a function of the rows' numbers, NaN for failed rows: what the model refuses may be no number."""
        good = np.setdiff1d(np.arange(len(rows)), sorted(answers.failures))
        found = function(self.to_numbers(rows if len(good) == len(rows) else rows.take(good)))
        if len(good) == len(rows):
            return found
        out = np.full((len(rows), *found.shape[1:]), np.nan)
        out[good] = found
        return out
