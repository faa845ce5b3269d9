r"""From numbers to bins: all that the trees can tell of a value.

Every test of a tree splits the line at *edges*. An edge at t is either closed, the value passes with x <= t,
or open, it passes with x < t; a set of categories is a union of intervals [c, c + 1), because int(x) decides,
and LightGBM's zeros are the interval [-1e-35, 1e-35]. Sorted by (t, open before closed), bin k holds the values
that fail the edges 0 .. k - 1 and pass edge k. Missing values have the last bin. From here on, trees compare
small integers; the forest's own `Forest.goes_left`, asked once for one value of each bin, stays the only
place that knows what the rules mean.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.forest import AT_MOST, IN_SET, ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.core.arrays import AnyArray, BoolArray, FloatArray, IntArray
    from spark_shap.forest import Forest

__all__ = ["Bins", "Edges", "bin_values", "node_edges", "sort_edges", "unite"]

_LARGEST = np.finfo(np.float64).max


class Edges(NamedTuple):
    """Edges of one feature or, with their owners, of many.

    Attributes
    ----------
    at
        (E,) float64 thresholds.
    closed
        (E,) bool: a value equal to the threshold passes.
    """

    at: FloatArray
    closed: BoolArray


def node_edges(forest: Forest, nodes: IntArray) -> tuple[IntArray, Edges]:
    """Return for inner nodes (m,) the position in ``nodes`` of each edge's owner, and the edges, unsorted."""
    rule, threshold = forest.rule[nodes], forest.threshold[nodes]
    usual = np.flatnonzero((rule != IN_SET) & ~np.isnan(threshold))  # nothing passes a NaN
    zeros = np.flatnonzero(forest.zero_is_missing[nodes])
    owners = [usual, zeros, zeros]
    at = [threshold[usual], np.full(len(zeros), -ZERO), np.full(len(zeros), ZERO)]
    closed = [rule[usual] == AT_MOST, np.zeros(len(zeros), dtype=bool), np.ones(len(zeros), dtype=bool)]
    for position in np.flatnonzero(rule == IN_SET):
        starts = _run_starts(forest, int(nodes[position]))
        owners.append(np.full(len(starts), position))
        # int() drops the fraction towards 0: category 0 begins above -1.
        at.append(np.where(starts > 0, starts, -1).astype(np.float64))
        closed.append(starts == 0)
    # 0.0 is added because -0.0 and 0.0 are one threshold.
    return np.concatenate(owners), Edges(np.concatenate(at) + 0.0, np.concatenate(closed))


def _run_starts(forest: Forest, node: int) -> IntArray:
    """Return the categories at which membership of the node's set changes."""
    start = int(forest.category_start[node])
    words = forest.category_words[start : start + int(forest.category_count[node])]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(np.diff(bits, prepend=0, append=0))


def sort_edges(owner: IntArray, edges: Edges) -> tuple[IntArray, Edges, IntArray]:
    """Return owners and edges in the order (owner, t, open before closed), each edge of an owner once.

    Third is the place (E,) of each given edge in that order.
    """
    order = np.lexsort((edges.closed, edges.at, owner))
    owner, at, closed = owner[order], edges.at[order], edges.closed[order]
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (at[1:] != at[:-1]) | (closed[1:] != closed[:-1])
    place = np.empty(len(owner), dtype=np.intp)
    place[order] = np.cumsum(new) - 1
    return owner[new], Edges(at[new], closed[new]), place


def bin_values(n_edges: IntArray, edges: Edges) -> FloatArray:
    """Return a value of each bin: for owners with ``n_edges`` sorted edges each, ``n_edges + 2`` values in turn.

    The last value of an owner is NaN, its missing bin. A bin that no number can fall in, between x <= t and
    x < t', gets any value.
    """
    n_bins = n_edges + 2
    place = np.arange(n_bins.sum()) - np.repeat(np.cumsum(n_bins) - n_bins, n_bins)
    edge = place + np.repeat(np.cumsum(n_edges) - n_edges, n_bins)
    has_lower, has_upper = place > 0, place < np.repeat(n_edges, n_bins)
    at, closed = np.append(edges.at, 0.0), np.append(edges.closed, False)
    edge = np.minimum(edge, len(at) - 1)
    lower, upper = np.where(has_lower, at[edge - 1], -np.inf), np.where(has_upper, at[edge], np.inf)
    with np.errstate(invalid="ignore"):
        middle = np.nan_to_num(np.clip(lower / 2 + upper / 2, -_LARGEST, _LARGEST))
    out = np.where(has_lower & closed[edge - 1], middle, lower)
    out = np.where(~has_upper | closed[edge], upper, out)
    out[np.cumsum(n_bins) - 1] = np.nan
    return np.asarray(out)


@dataclass(frozen=True)
class Bins:
    """The bins of the features that some trees test.

    Attributes
    ----------
    features
        (m,) the columns of the rows, in increasing order.
    closed, opened
        For each of them the sorted thresholds of the closed and of the open edges.
    single_precision
        Whether values are rounded to float32 first.
    """

    features: IntArray
    closed: tuple[FloatArray, ...]
    opened: tuple[FloatArray, ...]
    single_precision: bool

    @property
    def counts(self) -> IntArray:
        """(m,) number of bins, the missing one included."""
        pairs = zip(self.closed, self.opened, strict=True)
        return np.array([len(closed) + len(opened) + 2 for closed, opened in pairs], dtype=np.intp)

    def encode(self, x: FloatArray) -> AnyArray:
        """Return (m, n) uint16 (uint32 where a feature has more bins) bins of the rows x (n, F), NaN where missing."""
        counts = self.counts
        out = np.empty((len(self.features), len(x)), dtype=np.uint16 if counts.max(initial=0) < 2**16 else np.uint32)
        for column, feature in enumerate(self.features):
            value = np.ascontiguousarray(x[:, feature])
            if self.single_precision:
                with np.errstate(over="ignore"):
                    value = value.astype(np.float32).astype(np.float64)
            place = np.searchsorted(self.closed[column], value, "left")
            if len(self.opened[column]):
                place += np.searchsorted(self.opened[column], value, "right")
            out[column] = np.where(np.isnan(value), counts[column] - 1, place)
        return out


def unite(
    features: Sequence[int], edges: Sequence[Edges], *, single_precision: bool
) -> tuple[Bins, IntArray, tuple[IntArray, IntArray]]:
    """Return the bins that the edges of A axes make together.

    Parameters
    ----------
    features
        (A,) the feature of each axis; axes of several trees have the same.
    edges
        (A,) its own sorted edges.
    single_precision
        See `Bins`.

    Returns
    -------
    tuple
        The bins; the column (A,) of each axis; and for the bins of its column, axis after axis, the bins of
        the axis that they are part of, with where (A + 1,) an axis begins.
    """
    n_edges = np.array([len(part.at) for part in edges], dtype=np.intp)
    at = np.concatenate([np.empty(0), *(part.at for part in edges)])
    closed = np.concatenate([np.empty(0, dtype=bool), *(part.closed for part in edges)])
    names, column = np.unique(np.asarray(features, dtype=np.intp), return_inverse=True)
    owner, together, place = sort_edges(np.repeat(column, n_edges), Edges(at, closed))
    start = np.searchsorted(owner, np.arange(len(names) + 1))
    split = [Edges(together.at[a:b], together.closed[a:b]) for a, b in itertools.pairwise(start)]
    bins = Bins(
        names,
        tuple(part.at[part.closed] for part in split),
        tuple(part.at[~part.closed] for part in split),
        single_precision,
    )
    n_all = np.diff(start)[column]
    # An axis passes from one bin to its next behind each of its edges, and to the missing one behind the last.
    first = np.cumsum(n_edges + 2) - (n_edges + 2)
    inner = np.arange(len(place)) + 2 * np.repeat(np.arange(len(n_edges)), n_edges)
    behind = np.empty(len(place) + 2 * len(n_edges), dtype=np.intp)
    behind[inner] = place - np.repeat(start[column], n_edges)
    behind[first + n_edges], behind[first + n_edges + 1] = n_all, n_all + 1
    before = np.append(-1, behind[:-1])
    before[first] = -1
    own = np.arange(len(behind)) - np.repeat(first, n_edges + 2)
    return bins, column, (np.repeat(own, behind - before), np.append(0, np.cumsum(n_all + 2)).astype(np.intp))
