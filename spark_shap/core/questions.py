"""What is asked of each row: pairs of a background row and a coalition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, IntArray

__all__ = ["GivenPairs", "NoPairs", "Questions"]


class Questions(Protocol):
    """The pairs that are asked of each row."""

    @property
    def n_pairs(self) -> int:
        """Pairs a row."""
        ...

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:
        """Return background rows (n, P) and coalitions (n, M, P) of a part of the rows and pairs."""
        ...


@dataclass(frozen=True)
class NoPairs:
    """Asks for predictions only."""

    n_features: int
    n_pairs: int = 0

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:  # noqa: ARG002 - there are none
        """Return no background rows (n, 0) and no coalitions (n, F, 0)."""
        n_rows = rows.stop - rows.start
        return np.zeros((n_rows, 0), dtype=np.intp), np.zeros((n_rows, self.n_features, 0), dtype=bool)


@dataclass(frozen=True)
class GivenPairs:
    """Given pairs: background rows (n, P) and coalitions (n, F, P)."""

    index: IntArray
    members: BoolArray

    @property
    def n_pairs(self) -> int:
        """Pairs a row."""
        return int(self.index.shape[1])

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:
        """Return a part of them."""
        return self.index[rows, pairs], self.members[rows, :, pairs]
