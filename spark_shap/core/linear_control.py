r"""The least surrogate: a linear function of the encoded features, from the pilot's answers alone.

With :math:`g(x) = \sum_i w_i u_i(x_i)` the answer to a pair is :math:`\sum_i s_i w_i (u_i(x) - u_i(z))` and the
Shapley values are :math:`w_i (u_i(x) - \bar u_i)`. Most of a pair's variance comes from its background row and
is nearly linear in it; taking that off costs no evaluation beyond the pilot's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.players import Players

__all__ = ["LinearControl", "LinearRows", "Standardiser"]


@dataclass(frozen=True)
class Standardiser:
    """Columns less their mean, over their standard deviation; 0 where a value is missing.

    Attributes
    ----------
    center, scale
        (F,) of the background.
    """

    center: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, numbers: FloatArray) -> Standardiser:
        """Return that of (B, F) numbers, NaN where a value is missing; a constant column becomes 0."""
        known = np.isfinite(numbers)
        count = np.maximum(known.sum(axis=0), 1)
        center = np.where(known, numbers, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, numbers - center, 0.0) ** 2).sum(axis=0) / count)
        return cls(center, np.where(spread > 0.0, spread, np.inf))

    def __call__(self, numbers: FloatArray) -> FloatArray:
        """Return (n, F) standardised."""
        return np.where(np.isfinite(numbers), (numbers - self.center) / self.scale, 0.0)


@dataclass(frozen=True)
class LinearRows:
    """Rows as (n, F) standardised numbers u."""

    numbers: FloatArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def take(self, index: IntArray | slice) -> LinearRows:
        """Return a part of the rows."""
        return LinearRows(self.numbers[index])


@dataclass(frozen=True)
class LinearControl:
    """A linear function against a background; the face is that of `spark_shap.core.surrogate.Surrogate`.

    Attributes
    ----------
    standardise
        How numbers become u.
    slopes
        (F, K) w.
    background
        (B, F) u of the background rows.
    weights
        (B,) their weights, sum 1.
    players
        Which player each feature is; None where every feature is one.
    """

    standardise: Standardiser
    slopes: FloatArray
    background: FloatArray
    weights: FloatArray
    players: Players | None = None

    def encode(self, x: FloatArray) -> LinearRows:
        """Return rows x (n, F), NaN where missing, ready for the other methods."""
        return LinearRows(self.standardise(x))

    def predict(self, rows: LinearRows) -> FloatArray:
        """Return g of the rows, (n, K)."""
        return self._sum(rows.numbers)

    @property
    def background_predictions(self) -> FloatArray:
        """(B, K) g of the background rows."""
        return self._sum(self.background)

    def _sum(self, numbers: FloatArray) -> FloatArray:
        return np.asarray((numbers[:, :, None] * self.slopes).sum(axis=1))

    def values(self, rows: LinearRows) -> FloatArray:
        """Return its Shapley values, (n, M, K)."""
        center = (self.weights[:, None] * self.background).sum(axis=0)
        values = np.asarray((rows.numbers - center)[:, :, None] * self.slopes)
        return values if self.players is None else self.players.sums(values)

    def pair_differences(self, rows: LinearRows, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) - g(z on S, x elsewhere), (n, P, K)."""
        members = members if self.players is None else self.players.spread(members)
        steps = rows.numbers[:, None, :] - self.background[background_index]
        signed = np.where(members.transpose(0, 2, 1), steps, -steps)
        # A sum a row and pair, not a matrix product: bits must not depend on how many rows there are.
        return np.stack([(signed * slope).sum(axis=2) for slope in self.slopes.T], axis=2)

    def pair_sums(self, rows: LinearRows, background_index: IntArray, members: BoolArray) -> FloatArray:  # noqa: ARG002 - any S
        """Return g(x on S, z elsewhere) + g(z on S, x elsewhere), (n, P, K): that of x and z."""
        return np.asarray(self.predict(rows)[:, None, :] + self.background_predictions[background_index])

    def interactions(self, rows: LinearRows) -> FloatArray:
        """Return its interaction values, (n, M, M, K): the values, on the diagonal."""
        values = self.values(rows)
        out = np.zeros((*values.shape[:2], values.shape[1], values.shape[2]))
        place = np.arange(values.shape[1])
        out[:, place, place] = values
        return out
