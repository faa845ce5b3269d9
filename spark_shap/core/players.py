"""Players that are groups of columns: a group is masked as one, and its value is the Shapley value of that player.

The game of the groups has fewer players than the game of the columns, and another solution: a group's value is not the
sum of its members' values where members interact with other players.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray

__all__ = ["Players"]


@dataclass(frozen=True)
class Players:
    """Which player each column is.

    Attributes
    ----------
    of_column
        (F,) from 0 to M - 1; every player has a column.
    """

    of_column: IntArray

    @property
    def n_players(self) -> int:
        """M."""
        return int(self.of_column.max()) + 1

    def spread(self, members: BoolArray) -> BoolArray:
        """Return coalitions (n, M, P) of players as coalitions (n, F, P) of columns."""
        return np.asarray(members[:, self.of_column])

    def whole(self, columns: BoolArray) -> BoolArray:
        """Return (n, M) players all of whose columns (n, F) are True."""
        out = np.ones((len(columns), self.n_players), dtype=bool)
        for column, player in enumerate(self.of_column):
            out[:, player] &= columns[:, column]
        return out

    def sums(self, values: FloatArray) -> FloatArray:
        """Return (n, M, K) sums over each player's columns of values (n, F, K)."""
        out = np.zeros((len(values), self.n_players, values.shape[2]))
        for column, player in enumerate(self.of_column):
            out[:, player] += values[:, column]
        return out
