"""Oblivious trees: each is a table of 2**depth values, indexed by one bit for each of its cuts.

Leaves are 16-bit multiples of one unit an output, so sums over trees are sums of integers: exact, in whatever order
they are taken, by whichever kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ObliviousTrees"]


@dataclass(frozen=True)
class ObliviousTrees:
    """A sum of T symmetric trees.

    Attributes
    ----------
    features
        (T, depth) int32 feature of each cut.
    cuts
        (T, depth) uint8; bit l of a row's code is 1 when its bin of ``features[t, l]`` is above ``cuts[t, l]``.
    leaves
        (T, 2**depth, K) int16 values in units.
    """

    features: NDArray[np.int32]
    cuts: NDArray[np.uint8]
    leaves: NDArray[np.int16]

    @property
    def n_trees(self) -> int:
        """T."""
        return int(self.features.shape[0])

    @property
    def depth(self) -> int:
        """Cuts a tree."""
        return int(self.features.shape[1])

    def slots(self) -> NDArray[np.uint8]:
        """Return (T, depth) the bits of a code that each slot owns.

        A feature that a tree cuts several times owns them all in its first slot; its other slots own none.
        """
        same = self.features[:, :, None] == self.features[:, None, :]
        first = ~np.tril(same, -1).any(axis=2)
        bits = np.left_shift(1, np.arange(self.depth))
        return np.where(first, (same * bits).sum(axis=2), 0).astype(np.uint8)
