"""Boosting of oblivious trees on squared error.

Residuals and leaves are integers of the same unit, so the residuals are exactly what the trees leave: rounding a leaf
is an error that later trees see and correct. The cuts of a tree are chosen on a window of the shuffled rows, its
leaves are filled with all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core import accelerate
from spark_shap.core.surrogate.trees import ObliviousTrees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.surrogate.settings import SurrogateSettings

__all__ = ["boost"]

_LEAF_LIMIT = 32767
_LEAF_SIGMAS = 12.0  # residuals beyond so many standard deviations are taken off in more than one tree
_RESIDUAL_LIMIT = 2**22  # times 2**20 rows fits in a histogram's cell
_WINDOW_LIMIT = 2**20 - 1


def boost(
    bins: NDArray[np.uint8], targets: FloatArray, n_bins: int, settings: SurrogateSettings, rng: np.random.Generator
) -> ObliviousTrees:
    """Fit trees to targets (N, K) of rows given by bins (F, N)."""
    kernels = _kernels()
    n_rows, n_outputs = targets.shape
    order = rng.permutation(n_rows)
    window = min(n_rows, settings.structure_rows, _WINDOW_LIMIT)
    # The first rows again behind the last: a window that starts near the end goes on at the beginning.
    bins = bins[:, np.concatenate([order, order[:window]])]
    offset = targets.mean(axis=0)
    units = _units(targets - offset, settings.learning_rate)
    residuals = np.rint((targets - offset).T[:, order] / units[:, None])
    residuals = np.clip(residuals, -_RESIDUAL_LIMIT, _RESIDUAL_LIMIT).astype(np.int32)
    n_leaves = 2**settings.depth
    features = np.zeros((settings.n_trees, settings.depth), dtype=np.int32)
    cuts = np.zeros((settings.n_trees, settings.depth), dtype=np.uint8)
    leaves = np.zeros((settings.n_trees, n_leaves, n_outputs), dtype=np.int16)
    for tree in range(settings.n_trees):
        start = int(rng.integers(n_rows)) if window < n_rows else 0
        part = np.ascontiguousarray(bins[:, start : start + window])
        sampled = residuals.take(np.arange(start, start + window), axis=1, mode="wrap")
        codes = np.zeros(window, dtype=np.uint8)
        for level in range(settings.depth):
            feature, cut = kernels.best_cut(part, codes, sampled, (2**level, n_bins), settings.penalty)
            features[tree, level], cuts[tree, level] = feature, cut
            codes |= np.left_shift(part[feature] > cut, level, dtype=np.uint8)
        codes = np.zeros(n_rows, dtype=np.uint8)
        for level, (feature, cut) in enumerate(zip(features[tree], cuts[tree], strict=True)):
            codes |= np.left_shift(bins[feature, :n_rows] > cut, level, dtype=np.uint8)
        sums, counts = kernels.leaf_sums(codes, residuals, n_leaves)
        means = settings.learning_rate * sums / (counts + settings.penalty)[:, None]
        leaves[tree] = np.clip(np.rint(means), -_LEAF_LIMIT, _LEAF_LIMIT)
        kernels.take_off(residuals, codes, leaves[tree])
    return ObliviousTrees(features, cuts, leaves, units, offset)


def _units(centred: FloatArray, learning_rate: float) -> FloatArray:
    spread = np.sqrt((centred**2).mean(axis=0))
    units = learning_rate * _LEAF_SIGMAS * spread / _LEAF_LIMIT
    return np.where(units > 0.0, units, 1.0)


def _kernels() -> Any:
    suffix = "_compiled" if accelerate.available() else ""
    return import_module(f"spark_shap.core.surrogate.growth{suffix}")
