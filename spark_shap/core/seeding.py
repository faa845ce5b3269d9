"""Counter-based randomness keyed by (seed, row key).

A random number here is a pure function of where it is used: the run's seed, the row's key, a named
stream and an index. There is no generator state, so nothing depends on which partition, task or
position a row happens to be in.

The function is Philox-4x32 with ten rounds, vectorised over counters. A row's key enters through a
64-bit BLAKE2b digest of its canonical text, so the integer ``17``, the string ``"17"`` and a Spark
``bigint`` 17 name the same row.

References
----------
Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Stream", "hash_key", "hash_keys", "philox4x32", "round_hashes", "uniform_words", "uniforms"]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CACHED = 2048  # counters at a time: the rounds then stay in the first-level cache


class Stream(IntEnum):
    """What a random number is for; two uses never share numbers."""

    DESIGN = 0
    FEATURE_ORDER = 1
    BACKGROUND_JITTER = 2
    BACKGROUND_OFFSET = 3
    PILOT_ROWS = 4
    BANK = 5
    ROUND = 6
    HYBRID_ROWS = 7
    AUDIT_PILOT = 8
    DUEL = 9


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return the Philox-4x32-10 block of each counter.

    Parameters
    ----------
    counter
        (4, n) uint64 holding 32-bit words.
    key
        Two 32-bit words.

    Returns
    -------
    ndarray
        (4, n) uint64 holding 32-bit words.
    """
    c0, c1, c2, c3 = (word.copy() for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        c0 *= _MULTIPLIERS[0]
        c2 *= _MULTIPLIERS[1]
        c1 ^= c2 >> _SHIFT
        c1 ^= np.uint64(k0)
        c3 ^= c0 >> _SHIFT
        c3 ^= np.uint64(k1)
        c0 &= _LOW
        c2 &= _LOW
        # The high halves meet the other words; the low halves move one place on.
        c0, c1, c2, c3 = c1, c2, c3, c0
        k0 = (k0 + _WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def uniform_words(seed: int, row_hashes: NDArray[np.uint64], stream: Stream, size: int) -> NDArray[np.uint64]:
    """Return 32-bit random words for each row.

    Parameters
    ----------
    seed
        The run's seed; any integer, taken modulo 2**64.
    row_hashes
        (n,) uint64, see `hash_keys`.
    stream
        What the numbers are for.
    size
        Words a row.

    Returns
    -------
    ndarray
        (n, size) uint64, uniform on 0 .. 2**32 - 1.
    """
    n_rows, n_blocks = len(row_hashes), -(-size // 4)
    seed64 = int(seed) % 2**64
    key = (seed64 & 0xFFFFFFFF, seed64 >> 32)
    out = np.empty((n_rows, n_blocks, 4), dtype=np.uint64)
    step = max(1, _CACHED // n_blocks)
    for start in range(0, n_rows, step):
        rows = row_hashes[start : start + step]
        counter = np.empty((4, len(rows), n_blocks), dtype=np.uint64)
        counter[0] = np.arange(n_blocks, dtype=np.uint64)
        counter[1] = np.uint64(int(stream))
        counter[2] = (rows & _LOW)[:, None]
        counter[3] = (rows >> _SHIFT)[:, None]
        words = philox4x32(counter.reshape(4, -1), key)
        out[start : start + step] = words.reshape(4, len(rows), n_blocks).transpose(1, 2, 0)
    return out.reshape(n_rows, -1)[:, :size]


def uniforms(seed: int, row_hashes: NDArray[np.uint64], stream: Stream, size: int) -> NDArray[np.float64]:
    """Return (n, size) float64 in the open interval (0, 1), 32 bits each."""
    words = uniform_words(seed, row_hashes, stream, size).astype(np.float64)
    return np.asarray((words + 0.5) * 2.0**-32)


def round_hashes(seed: int, row_hashes: NDArray[np.uint64], asked: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return the hashes under which rows draw that have been asked (n,) pairs before; at first their own."""
    if not asked.any():
        return row_hashes
    keys = row_hashes + asked.astype(np.uint64) * _GOLDEN
    words = uniform_words(seed, keys, Stream.ROUND, 2)
    return np.where(asked == 0, row_hashes, words[:, 0] << _SHIFT | words[:, 1])


def hash_key(parts: tuple[str, ...]) -> int:
    """Return the 64-bit hash of one row key given as the texts of its columns.

    The length of each part is hashed too: ``("a", "bc")`` and ``("ab", "c")`` differ.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "little")


def hash_keys(keys: Iterable[tuple[str, ...]]) -> NDArray[np.uint64]:
    """Return the 64-bit hashes of row keys, (n,) uint64."""
    return np.fromiter((hash_key(parts) for parts in keys), dtype=np.uint64)
