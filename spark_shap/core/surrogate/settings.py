"""How much surrogate to buy."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    n_trees: int = 300
    depth: int = 6
    learning_rate: float = 0.15
    max_bins: int = 64
    penalty: float = 3.0
    structure_rows: int = 20_000


def default_settings(
    n_hybrids: int, n_features: int, *, seconds: float = 3.0, compiled: bool = True
) -> SurrogateSettings:
    """Return settings for a number of hybrid rows that fit in about so many seconds on one core.

    Parameters
    ----------
    n_hybrids
        Hybrid rows.
    n_features
        F.
    seconds
        What the fit may take.
    compiled
        Whether the compiled kernels do it.
    """
    depth, bins = 6, 64
    rows = min(n_hybrids, 20_000)
    # Histograms cost a visit of each row and feature a level; leaves are filled with all rows.
    tree_seconds = (1.0 if compiled else 4.5) * 1e-9 * (depth * rows * n_features + 6.0 * n_hybrids)
    wanted = 150 if n_hybrids < 5_000 else 300 if n_hybrids < 50_000 else 600 if n_hybrids < 200_000 else 1_000
    n_trees = max(50, min(wanted, int(seconds / tree_seconds)))
    rate = min(0.2, max(0.05, 45.0 / n_trees))
    return SurrogateSettings(n_trees, depth, rate, bins, 3.0, rows)
