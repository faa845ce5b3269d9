"""Boosting of oblivious trees on squared error.

Residuals and leaves are integers of the same unit, so the residuals are exactly what the trees leave: rounding a leaf
is an error that later trees see and correct. The cuts of a tree are chosen on a window of the shuffled rows, its
leaves are filled with all of them. When all trees stand, their leaves are filled again from what all of them leave
(backfitting): what more trees would explain, without the time that more trees take at every pair.
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

__all__ = ["RESIDUAL_LIMIT", "boost", "leaf_units"]

RESIDUAL_LIMIT = 2**22
"""Residuals are clipped here: times 2**20 rows they fit in a histogram's cell."""

_LEAF_LIMIT = 32767
_LEAF_SIGMAS = 12.0  # residuals beyond so many standard deviations are taken off in more than one tree
_WINDOW_LIMIT = 2**20 - 1


def leaf_units(targets: FloatArray, learning_rate: float) -> FloatArray:
    """Return (K,) the unit in which leaves fitted to targets (N, K) are counted."""
    spread = np.std(targets, axis=0)
    return np.where(spread > 0.0, learning_rate * _LEAF_SIGMAS / _LEAF_LIMIT * spread, 1.0)


def boost(
    bins: NDArray[np.uint8],
    residuals: NDArray[np.int32],
    n_leading: int,
    settings: SurrogateSettings,
    rng: np.random.Generator,
) -> ObliviousTrees:
    """Fit trees to shuffled rows.

    Parameters
    ----------
    bins
        (F, N) uint8.
    residuals
        (K, N) int32 targets in units; what the trees leave of them when this returns.
    n_leading
        The cuts are chosen for so many outputs, the first ones.
    settings
        How many trees and how they grow.
    rng
        Draws the windows.
    """
    kernels = _kernels()
    n_rows, n_leaves = bins.shape[1], 2**settings.depth
    shape = settings.depth, int(bins.max(initial=0)) + 2
    window = min(n_rows, settings.structure_rows, _WINDOW_LIMIT)
    features = np.zeros((settings.n_trees, settings.depth), dtype=np.int32)
    cuts = np.zeros((settings.n_trees, settings.depth), dtype=np.uint8)
    leaves = np.zeros((settings.n_trees, n_leaves, len(residuals)), dtype=np.int16)
    for tree in range(settings.n_trees * (1 + settings.n_passes)):
        at = tree % settings.n_trees
        if tree < settings.n_trees:
            start = int(rng.integers(n_rows)) if window < n_rows else 0
            # A window that reaches the end goes on at the beginning.
            parts = slice(start, start + window), slice(0, max(0, start + window - n_rows))
            chosen = np.sort(rng.permutation(len(bins))[: settings.choice_features])
            sampled = np.concatenate([residuals[:n_leading, part] for part in parts], axis=1)
            sampled_bins = np.concatenate([bins[chosen, part] for part in parts], axis=1)
            found, cuts[at] = kernels.choose_cuts(sampled_bins, sampled, shape, settings.penalty)
            features[at] = chosen[found]
        codes = np.zeros(n_rows, dtype=np.uint8)
        for level, (feature, cut) in enumerate(zip(features[at], cuts[at], strict=True)):
            codes |= np.left_shift(bins[feature] > cut, level, dtype=np.uint8)
        sums, counts = kernels.leaf_sums(codes, residuals, n_leaves)
        means = settings.learning_rate * sums / (counts + settings.penalty)[:, None]
        filled = np.clip(np.rint(leaves[at] + means), -_LEAF_LIMIT, _LEAF_LIMIT).astype(np.int32)
        kernels.take_off(residuals, codes, filled - leaves[at])
        leaves[at] = filled
    return ObliviousTrees(features, cuts, leaves)


def _kernels() -> Any:
    suffix = "_compiled" if accelerate.available() else ""
    return import_module(f"spark_shap.core.surrogate.growth{suffix}")
