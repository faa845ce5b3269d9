"""Two outputs in one 64-bit word: one look-up and one addition serve both.

The lower half holds an even output, the upper half the next one. Sums of words are sums of both as long as each stays
within 31 bits; the borrow of a negative lower half is undone when they are taken apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack", "unpack"]


def pack(integers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return words (..., (K + 1) // 2) of integers (..., K)."""
    words = integers[..., ::2].astype(np.int64)
    upper = integers[..., 1::2].astype(np.int64) << 32
    words[..., : upper.shape[-1]] += upper
    return words


def unpack(words: NDArray[np.int64], n_outputs: int) -> NDArray[np.int64]:
    """Return integers (..., K) of words."""
    out = np.empty((*words.shape[:-1], n_outputs), dtype=np.int64)
    lower = words.astype(np.int32).astype(np.int64)
    out[..., ::2] = lower
    out[..., 1::2] = ((words - lower) >> 32)[..., : n_outputs // 2]
    return out
