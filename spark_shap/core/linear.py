r"""The closed form for linear models.

For :math:`f(x) = b + \sum_i w_i x_i` and independent features the Shapley value is
:math:`\phi_i = w_i (x_i - \bar z_i)`, with :math:`\bar z` the weighted mean of the background
(Strumbelj and Kononenko 2014). No model evaluation is needed beyond the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.attribution import Attributions
from spark_shap.core.game import Game, RowBlock, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray

__all__ = ["LinearMethod"]


@dataclass(frozen=True)
class _NoPairs:
    """Asks for predictions only."""

    n_features: int
    n_pairs: int = 0

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:  # noqa: ARG002 - there are none
        n_rows = rows.stop - rows.start
        return np.zeros((n_rows, 0), dtype=np.intp), np.zeros((n_rows, self.n_features, 0), dtype=bool)


@dataclass(frozen=True)
class LinearMethod:
    """The closed form, with the model's own predictions.

    Attributes
    ----------
    game
        The model and the background rows.
    to_numbers
        Rows to their (n, M) float64 matrix.
    weights
        (M, K) slopes of the model.
    center
        (M,) weighted mean of the background.
    """

    game: Game
    to_numbers: Callable[[Any], FloatArray]
    weights: FloatArray
    center: FloatArray

    def explain(self, rows: RowBlock, row_hashes: HashArray) -> Attributions:  # noqa: ARG002 - nothing is drawn
        """Explain n rows."""
        answers = ask(self.game, rows, _NoPairs(len(self.center)))
        values = (self.to_numbers(rows) - self.center)[:, :, None] * self.weights
        out = Attributions(
            values,
            np.zeros_like(values),
            answers.predictions,
            np.full(len(rows), answers.n_evaluations, dtype=np.intp),
            answers.failures,
        )
        for position in out.failures:
            out.values[position] = out.std_errors[position] = np.nan
        return out

    def rows_in_memory(self, n_features: int) -> int:  # noqa: ARG002 - the sampler's signature
        """Return how many rows to hand to `explain` at once."""
        return self.game.block_rows
