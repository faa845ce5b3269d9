r"""The closed form for additive models.

For :math:`f(x) = b + \sum_i c_i(x_i)` the Shapley value against a weighted background is
:math:`\phi_i = c_i(x_i) - \sum_z w_z c_i(z_i)`: a feature adds the same to every coalition. A linear model has
:math:`c_i(x_i) = w_i x_i` (Strumbelj and Kononenko 2014, eq. 8); with the columns that one feature becomes
(one-hot, splines, bins) it has their sum. No model evaluation is needed beyond the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.game import Game, RowBlock, ask
from spark_shap.core.questions import GivenPairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import FloatArray

__all__ = ["AdditiveForm", "ContributionSums", "reading_gap"]

_ROWS = 8192


@dataclass(frozen=True)
class AdditiveForm:
    """The closed form.

    Attributes
    ----------
    contributions
        Rows to c, (n, F, K) float64: what each feature adds to each output.
    center
        (F, K) weighted mean of c over the background.
    """

    contributions: Callable[[Any], FloatArray]
    center: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Features F and outputs K."""
        n_features, n_outputs = self.center.shape
        return n_features, n_outputs

    def values(self, rows: RowBlock) -> FloatArray:
        """Return the Shapley values of n rows, (n, F, K)."""
        return np.asarray(self.contributions(rows) - self.center)

    def interactions(self, rows: RowBlock) -> FloatArray:
        """Return their interaction values, (n, F, F, K): nothing but the values, on the diagonal."""
        values = self.values(rows)
        n_rows, n_features, n_outputs = values.shape
        out = np.zeros((n_rows, n_features, n_features, n_outputs))
        diagonal = np.arange(n_features)
        out[:, diagonal, diagonal] = values
        return out


@dataclass(frozen=True)
class ContributionSums:
    """What the closed form has to know of a part of the background.

    Attributes
    ----------
    weight
        Sum of the weights.
    shift
        (F, K) contributions of the part's first row: sums are taken about it, so that a feature that is
        constant in the background gets exactly its own value.
    sums
        (F, K) weighted sum of contributions less `shift`.
    """

    weight: float
    shift: FloatArray
    sums: FloatArray

    @classmethod
    def local(cls, contributions: Callable[[Any], FloatArray], rows: RowBlock, weights: FloatArray) -> ContributionSums:
        """Return that of rows with weights (n,) of any sum, a few thousand of them at a time."""
        first = contributions(rows.take(slice(0, 1)))[0]
        sums = np.zeros_like(first)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            sums += np.tensordot(weights[part], contributions(rows.take(part)) - first, axes=1)
        return cls(float(weights.sum()), first, sums)

    def merge(self, other: ContributionSums) -> ContributionSums:
        """Return that of both parts together."""
        moved = other.sums + other.weight * (other.shift - self.shift)
        return ContributionSums(self.weight + other.weight, self.shift, self.sums + moved)

    def form(self, contributions: Callable[[Any], FloatArray]) -> AdditiveForm:
        """Return the closed form against the whole."""
        return AdditiveForm(contributions, self.shift + self.sums / self.weight)


def reading_gap(
    game: Game, contributions: Callable[[Any], FloatArray], rows: RowBlock, background: RowBlock, *, seed: int = 0
) -> float:
    r"""Return how far the model is from the additive one that was read, on hybrid rows.

    The sum of the contributions reproduces a prediction even if a column were booked on the wrong feature. So
    each row x is paired with a background row z and a coalition S, and the model's
    :math:`f(x_S, z_{\bar S}) - f(z_S, x_{\bar S})`, two hybrids a row, is compared with
    :math:`\sum_i \pm (c_i(x_i) - c_i(z_i))`. Shapley values depend on these differences only.

    Parameters
    ----------
    game
        The model, with a mixer that holds the background.
    contributions
        What was read.
    rows
        n rows.
    background
        The rows that the game's mixer holds.
    seed
        Of the coalitions and the background rows.

    Returns
    -------
    float
        The largest absolute error, of differences and of the rows' own predictions, as a share of the largest
        prediction or contribution; NaN where the model refuses a hybrid.
    """
    rng = np.random.default_rng(seed)
    n_rows, n_features = len(rows), contributions(rows.take(slice(0, 1))).shape[1]
    index = rng.integers(0, len(background), (n_rows, 1))
    members = rng.random((n_rows, n_features, 1)) < 0.5
    answers = ask(game, rows, GivenPairs(index, members))
    if answers.failures:
        return float("nan")
    own, other = contributions(rows), contributions(background.take(index[:, 0]))
    differences = np.where(members, own - other, other - own).sum(axis=1)
    levels = answers.predictions - own.sum(axis=1)  # the intercept, once a row
    errors = (differences - answers.differences[:, 0], levels - levels[:1])
    scale = max(float(np.abs(part).max(initial=0.0)) for part in (answers.predictions, own, other))
    return max(float(np.abs(part).max(initial=0.0)) for part in errors) / (scale or 1.0)
