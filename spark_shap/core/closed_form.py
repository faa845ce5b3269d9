"""Methods whose values are known exactly: a closed form beside the model's own predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spark_shap.core.attribution import Attributions
from spark_shap.core.game import Game, RowBlock, ask
from spark_shap.core.interactions import InteractionValues
from spark_shap.core.questions import NoPairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import FloatArray, HashArray
    from spark_shap.core.trees import TreeTables

__all__ = ["ClosedFormMethod", "ExactForm", "TreeForm"]

_VALUE_BYTES = 64 * 2**20


class ExactForm(Protocol):
    """Shapley values of rows without asking the model."""

    @property
    def shape(self) -> tuple[int, int]:
        """Features F and outputs K."""
        ...

    def values(self, rows: Any) -> FloatArray:
        """Return (n, F, K)."""
        ...

    def interactions(self, rows: Any) -> FloatArray:
        """Return (n, F, F, K)."""
        ...


@dataclass(frozen=True)
class TreeForm:
    """Tables of a tree model.

    Attributes
    ----------
    tables
        Made from the background, which they no longer need.
    to_numbers
        Rows to (n, F) float64, NaN where missing, categories as the trees number them.
    """

    tables: TreeTables
    to_numbers: Callable[[Any], FloatArray]

    @property
    def shape(self) -> tuple[int, int]:
        """Features F and outputs K."""
        return self.tables.n_features, len(self.tables.base_values)

    def values(self, rows: Any) -> FloatArray:
        """Return (n, F, K)."""
        return self.tables.values(self.to_numbers(rows))

    def interactions(self, rows: Any) -> FloatArray:
        """Return (n, F, F, K)."""
        return self.tables.interactions(self.to_numbers(rows))


@dataclass(frozen=True)
class ClosedFormMethod:
    """Exact values, with the model's own predictions.

    Attributes
    ----------
    game
        The model, asked for predictions only.
    form
        What gives the values.
    """

    game: Game
    form: ExactForm

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:  # noqa: ARG002 - nothing is drawn
        """Explain n rows."""
        shape = (len(rows), *self.form.shape)
        answers = ask(self.game, rows, NoPairs(shape[1]))
        out = Attributions(
            np.full(shape, np.nan),
            np.zeros(shape),
            answers.predictions,
            np.full(len(rows), answers.n_evaluations - answers.n_saved, dtype=np.intp),
            answers.failures,
        )
        # What the model refuses its own first steps may refuse too.
        good, failed = _good(answers.failures, len(rows))
        out.values[good] = self.form.values(rows if not failed else rows.take(good))
        out.std_errors[failed] = out.predictions[failed] = np.nan
        return out

    def interactions(self, rows: RowBlock, row_hashes: HashArray) -> InteractionValues:  # noqa: ARG002 - as above
        """Return the interaction values of n rows."""
        n_features, n_outputs = self.form.shape
        answers = ask(self.game, rows, NoPairs(n_features))
        good, failed = _good(answers.failures, len(rows))
        out = np.full((len(rows), n_features, n_features, n_outputs), np.nan)
        out[good] = self.form.interactions(rows if not failed else rows.take(good))
        return InteractionValues(out, np.where(np.isnan(out), np.nan, 0.0), answers.predictions, answers.failures)

    def rows_in_memory(self, n_features: int) -> int:
        """Return how many rows to hand to `explain` at once: a block, its values within 64 MB."""
        row_bytes = 8 * 3 * n_features * self.game.n_outputs
        return max(1, min(self.game.block_rows, _VALUE_BYTES // row_bytes))


def _good(failures: dict[int, Any], n_rows: int) -> tuple[Any, list[int]]:
    failed = sorted(failures)
    return np.setdiff1d(np.arange(n_rows), failed), failed
