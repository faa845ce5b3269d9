"""How much surrogate to buy.

The defaults were chosen by what they leave of fresh pairs' variance, on boosted, forest and neural models with 20 to 60
features: with few hybrid rows shallow trees; with more, trees of depth 8 with large steps, which need fewer trees and
so less time at every pair; with many, fine bins, and more trees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["SurrogateSettings", "default_settings"]


@dataclass(frozen=True)
class SurrogateSettings:
    """What a fit takes.

    Attributes
    ----------
    n_trees
        Trees.
    depth
        Cuts of each tree, at most 8.
    learning_rate
        Share of a leaf's mean residual that a tree takes.
    max_bins
        Bins a feature, at most 255.
    penalty
        Rows with residual 0 that are added to each leaf.
    structure_rows
        Hybrid rows on which a tree's cuts are chosen, at most; its leaves use all.
    choice_features
        Features among which a tree chooses, at most.
    n_passes
        Times that all leaves are filled again when all trees stand.
    """

    n_trees: int = 300
    depth: int = 8
    learning_rate: float = 0.3
    max_bins: int = 64
    penalty: float = 20.0
    structure_rows: int = 60_000
    choice_features: int = 30
    n_passes: int = 1


_SOME, _MANY, _VERY_MANY = 15_000, 40_000, 100_000
_HYBRIDS_A_TREE = 400  # beyond the usual number, trees need rows to tell them something new
_TREES = (300, 1_000)


def default_settings(n_hybrids: int) -> SurrogateSettings:
    """Return settings for a number of hybrid rows.

    With the compiled kernels one core fits 20,000 rows of 20 features in about 1 second, 200,000 in 9.
    """
    if n_hybrids < _SOME:
        return SurrogateSettings(depth=6, learning_rate=0.2, penalty=10.0)
    if n_hybrids < _MANY:
        return SurrogateSettings(depth=7, learning_rate=0.2)
    if n_hybrids < _VERY_MANY:
        return SurrogateSettings(max_bins=128)
    n_trees = int(np.clip(n_hybrids // _HYBRIDS_A_TREE, *_TREES))
    return SurrogateSettings(n_trees, max_bins=255, n_passes=2)
