"""Rows as the surrogate sees them, and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray, IntArray

__all__ = ["Encoded", "PairAnswers"]


@dataclass(frozen=True)
class Encoded:
    """Rows as the surrogate sees them.

    Attributes
    ----------
    codes
        (n, T) uint8 the leaf of each tree.
    parts
        (n, A, W) int64 words of the functions of single features.
    """

    codes: NDArray[np.uint8]
    parts: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    def take(self, index: IntArray | slice) -> Encoded:
        """Return a part of the rows."""
        return Encoded(self.codes[index], self.parts[index])


class PairAnswers(NamedTuple):
    """Answers to pairs, (n, P, K) each: g(x on S, z elsewhere) - g(z on S, x elsewhere).

    Attributes
    ----------
    fine
        Of the fine surrogate.
    coarse
        Of the one whose Shapley values are exact.
    """

    fine: FloatArray
    coarse: FloatArray
