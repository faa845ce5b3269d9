"""The control variate: a game whose Shapley values are known exactly and that resembles the model's.

With g a surrogate of the model f, the Shapley values of f are those of g plus those of the residual game
f - g (Shapley values are linear in the game). Only the residual is sampled: unbiased whatever g is, with
a variance that falls with the residual's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from spark_shap.core.surrogate import Surrogate
from spark_shap.core.surrogate.refinement import Refinement, refine

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray

__all__ = ["BoundControl", "ControlVariate", "KnownGame", "Taken"]


class KnownGame(Protocol):
    """A function of rows whose Shapley values against the background are known exactly."""

    @property
    def background_predictions(self) -> FloatArray:
        """(B, K) g of the background rows."""
        ...

    def encode(self, x: FloatArray) -> Any:
        """Return rows (n, F), NaN where missing, in its own storage."""
        ...

    def predict(self, rows: Any) -> FloatArray:
        """Return g, (n, K)."""
        ...

    def values(self, rows: Any) -> FloatArray:
        """Return Shapley values, (n, F, K)."""
        ...

    def pair_differences(self, rows: Any, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) - g(z on S, x elsewhere), (n, P, K)."""
        ...

    def pair_sums(self, rows: Any, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return the sum of the two, (n, P, K)."""
        ...

    def interactions(self, rows: Any) -> FloatArray:
        """Return interaction values, (n, F, F, K)."""
        ...


class Taken(NamedTuple):
    """What is taken off the model's game for some rows, and put back afterwards.

    Attributes
    ----------
    values
        (n, F, K) Shapley values of what is taken off.
    variances
        (n, F, K) of their errors, 0 where they are exact.
    """

    values: FloatArray
    variances: FloatArray


@dataclass(frozen=True)
class BoundControl:
    """The control variate of given rows.

    Attributes
    ----------
    surrogate
        g, with the background.
    rows
        n rows in its own storage.
    refinement
        How the values of a finer surrogate are sampled, which then is what is taken off; or None.
    """

    surrogate: KnownGame
    rows: Any
    refinement: Refinement | None

    def take(self, index: IntArray | slice) -> BoundControl:
        """Return that of a part of the rows."""
        return BoundControl(self.surrogate, self.rows.take(index), self.refinement)

    def values(self) -> FloatArray:
        """Return the exact Shapley values of g, (n, F, K)."""
        return self.surrogate.values(self.rows)

    def exact(self, players: BoolArray) -> FloatArray:
        """Return them for rows with (n, F) players; other features have 0."""
        return np.where(players[:, :, None], self.values(), 0.0)

    def taken(self, row_hashes: HashArray, players: BoolArray) -> Taken:
        """Return what is taken off rows with (n,) hashes and (n, F) players; other features have 0."""
        if self.refinement is None or not isinstance(self.surrogate, Surrogate):
            exact = self.exact(players)
            return Taken(exact, np.zeros_like(exact))
        return Taken(*refine(self.surrogate, self.rows, row_hashes, players, self.refinement))

    def differences(self, rows: slice, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return the answers of what is taken off to pairs of a part of the rows, (n, P, K)."""
        part = self.rows.take(rows)
        if self.refinement is None or not isinstance(self.surrogate, Surrogate):
            return self.surrogate.pair_differences(part, background_index, members)
        return self.surrogate.pair_answers(part, background_index, members).fine

    def sums(self, rows: slice, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return v(S) + v(complement) of g, (n, P, K)."""
        return self.surrogate.pair_sums(self.rows.take(rows), background_index, members)

    def ends(self, background_index: IntArray) -> FloatArray:
        """Return g(x) + g(z) of the rows and their pairs' background rows, (n, P, K)."""
        others = self.surrogate.background_predictions[background_index]
        return np.asarray(self.surrogate.predict(self.rows)[:, None, :] + others)

    def interactions(self) -> FloatArray:
        """Return the exact interaction values of g, (n, F, F, K)."""
        return self.surrogate.interactions(self.rows)


@dataclass(frozen=True)
class ControlVariate:
    """A surrogate, and how rows become its numbers.

    Attributes
    ----------
    surrogate
        g, with the background.
    to_numbers
        Rows to their (n, F) float64 matrix, NaN where a value is missing.
    refinement
        How the values of its finer part are sampled, or None.
    """

    surrogate: KnownGame
    to_numbers: Callable[[Any], FloatArray]
    refinement: Refinement | None = None

    def bind(self, rows: Any) -> BoundControl:
        """Return the control variate of rows."""
        return BoundControl(self.surrogate, self.surrogate.encode(self.to_numbers(rows)), self.refinement)
