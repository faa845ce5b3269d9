"""Weighted quantile sketches of many features at once, as sparse DDSketch buckets.

A value v, unless smaller than any normal number, falls in the bucket of key ``ceil(log_gamma |v|)`` with
gamma = (1 + a) / (1 - a): a bucket's representative is within the relative accuracy a of all it holds. Keys
come from numpy in bulk; ranks and representatives are the `ddsketch` package's. All features share one
sorted array of integer codes and one of weights, which is what travels between workers.

References
----------
Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ddsketch import LogarithmicMapping
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.store import DenseStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray

__all__ = ["RELATIVE_ACCURACY", "Sketch", "buckets", "count_buckets", "empty_sketch", "merge_sketches"]
__all__ += ["quantiles"]

RELATIVE_ACCURACY = 0.005

_MAPPING = LogarithmicMapping(RELATIVE_ACCURACY)
# The same expression, in the same order, as the mapping's own multiplier.
_MULTIPLIER = (1 / math.log1p(2 * RELATIVE_ACCURACY / (1 - RELATIVE_ACCURACY))) * math.log(2)
# Keys lie within +-71,000 at this accuracy; shifted they are positive, so that a sign can be carried.
_SHIFT = 1 << 17
_HALF = 1 << 18
_STRIDE = 1 << 19
# The numpy and the C logarithm differ in the last bits; 71,000 times that is 1e-10.
_UNSURE = 1e-9


class Sketch(NamedTuple):
    """Bucket weights of all features, sorted by feature and then by value.

    Attributes
    ----------
    codes
        (n_buckets,) int64, ``feature * 2**19 + 2**18 + bucket``, strictly increasing.
    counts
        (n_buckets,) float64, the weight in each bucket.
    """

    codes: NDArray[np.int64]
    counts: FloatArray


def empty_sketch() -> Sketch:
    """Return the sketch of no values."""
    return Sketch(np.empty(0, dtype=np.int64), np.empty(0))


def buckets(values: FloatArray) -> NDArray[np.int32]:
    """Return the signed bucket of each value; bucket order is value order.

    Parameters
    ----------
    values
        Any shape, float64, finite.

    Returns
    -------
    ndarray
        Same shape, int32: 0 for zeros, ``sign * (key + 2**17)`` otherwise, key as in
        ``ddsketch.LogarithmicMapping``.
    """
    magnitudes = np.abs(values)
    indexable = magnitudes > _MAPPING.min_possible
    log_gamma = np.log(np.where(indexable, magnitudes, 1.0)) / math.log(2) * _MULTIPLIER
    keys = np.ceil(log_gamma)
    unsure = np.abs(log_gamma - np.rint(log_gamma)) < _UNSURE
    unsure &= indexable
    if unsure.any():
        distinct, inverse = np.unique(magnitudes[unsure], return_inverse=True)
        keys[unsure] = np.array([_MAPPING.key(float(value)) for value in distinct], dtype=np.float64)[inverse]
    signed: FloatArray = np.copysign(keys + _SHIFT, values) * indexable
    return signed.astype(np.int32)


def count_buckets(signed: NDArray[np.int32], weights: FloatArray) -> Sketch:
    """Return the sketch of a block of rows.

    Parameters
    ----------
    signed
        (n_rows, n_features) int32, see `buckets`.
    weights
        (n_rows,) float64, positive.
    """
    if signed.size == 0:
        return empty_sketch()
    n_features = signed.shape[1]
    magnitudes = np.abs(signed)
    # Drop the gap between the signs and below the smallest key: a few thousand bins a feature remain.
    low = int(np.min(magnitudes, where=magnitudes > 0, initial=_HALF)) - 1
    reach = max(int(magnitudes.max()) - low, 0)
    width = 2 * reach + 1
    repeated = np.repeat(weights, n_features)
    if width * n_features > 4 * signed.size:
        codes = signed.astype(np.int64) + (np.arange(n_features) * _STRIDE + _HALF)
        distinct, inverse = np.unique(codes.ravel(), return_inverse=True)
        return Sketch(distinct, _bincount(inverse.ravel(), repeated))
    sign = np.sign(signed).astype(np.int32, copy=False)
    index = signed - sign * np.int32(low) + (np.arange(n_features) * width + reach)
    counts = _bincount(index.ravel(), repeated)
    filled = np.flatnonzero(counts)
    feature, place = np.divmod(filled, width)
    bucket = place - reach
    codes = feature * _STRIDE + _HALF + bucket + np.sign(bucket) * low
    return Sketch(codes.astype(np.int64, copy=False), counts[filled])


def _bincount(index: NDArray[np.integer[Any]], weights: FloatArray) -> FloatArray:
    # numpy's stubs give the type of unweighted counts.
    return np.bincount(index, weights=weights).astype(np.float64, copy=False)


def merge_sketches(left: Sketch, right: Sketch) -> Sketch:
    """Return the sketch of both sets of values."""
    codes = np.concatenate([left.codes, right.codes])
    if not len(left.codes) or not len(right.codes):
        return Sketch(codes, np.concatenate([left.counts, right.counts]))
    # Two sorted runs: the stable sort merges them in linear time.
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    counts = np.concatenate([left.counts, right.counts])[order]
    return Sketch(codes[starts], np.add.reduceat(counts, starts))


def quantiles(sketch: Sketch, shares: Sequence[float], *, n_features: int, scale: float) -> FloatArray:
    """Return the quantiles of each feature, within the relative accuracy.

    Parameters
    ----------
    sketch
        Bucket weights.
    shares
        Quantiles asked for, each in 0 .. 1. The rank is ``share * (scaled weight - 1)``.
    n_features
        Number of features.
    scale
        Factor that brings the weights to mean 1, i.e. the number of values over their weight.

    Returns
    -------
    ndarray
        (len(shares), n_features) float64; NaN where a feature has no values.
    """
    bounds = np.searchsorted(sketch.codes, np.arange(n_features + 1) * _STRIDE)
    columns = [
        _feature_quantiles(
            sketch.codes[start:stop] - (feature * _STRIDE + _HALF), sketch.counts[start:stop] * scale, shares
        )
        for feature, (start, stop) in enumerate(pairwise(bounds))
    ]
    return np.array(columns, dtype=np.float64).T


def _feature_quantiles(signed: NDArray[np.int64], counts: FloatArray, shares: Sequence[float]) -> list[float | None]:
    positive, negative = signed > 0, signed < 0
    sketch = BaseDDSketch(
        _MAPPING,
        _store(signed[positive] - _SHIFT, counts[positive]),
        _store(-signed[negative] - _SHIFT, counts[negative]),
        float(counts[signed == 0].sum()),
    )
    # A single value whose scaled weight rounds to just under 1 must not get a negative rank.
    return [sketch.get_quantile_value(share if sketch.count > 1 else 0.0) for share in shares]


def _store(keys: NDArray[np.int64], counts: FloatArray) -> DenseStore:
    store = DenseStore()
    # Ends first: the store then grows once instead of once every 128 keys.
    ends_first = np.concatenate([keys[-1:], keys[:-1]]).tolist()
    for key, count in zip(ends_first, np.concatenate([counts[-1:], counts[:-1]]).tolist(), strict=True):
        store.add(key, count)
    return store
