r"""Trees that share bins: what the background phase counts and what the row phase looks up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core import accelerate
from spark_shap.core.trees import lookup as plain
from spark_shap.core.trees.batches import Batch, make_batches
from spark_shap.core.trees.fill import (
    interaction_potential_table,
    interaction_table,
    leaf_coverage,
    potential_table,
    value_table,
)
from spark_shap.core.trees.lookup import Lookup
from spark_shap.core.trees.potentials import histogram_of
from spark_shap.core.trees.states import StateIndex, index_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.trees.bins import Bins
    from spark_shap.core.trees.grouping import GroupedTree

__all__ = ["Section", "SectionTables"]

_PAIR_BYTES = 256 * 2**20


def _kernels() -> ModuleType:
    if not accelerate.available():
        return plain
    from spark_shap.core.trees import lookup_compiled

    return lookup_compiled


@dataclass(frozen=True)
class Section:
    """Trees with their groups, before any background is known.

    Attributes
    ----------
    bins
        From numbers to bins.
    index
        From bins to states.
    batches
        The groups by shape.
    n_states
        (G,) of each group.
    alone
        (G,) bool: the table holds potentials.
    state_start
        (G,) where the states of a group begin in a histogram; groups with potentials come last.
    features
        The features, or other players, of each group, in the order of its digits.
    outputs
        The outputs that each group's tree has.
    n_features, n_outputs
        F (or players) and K.
    """

    bins: Bins
    index: StateIndex
    batches: tuple[Batch, ...]
    n_states: IntArray
    alone: BoolArray
    state_start: IntArray
    features: tuple[IntArray, ...]
    outputs: tuple[IntArray, ...]
    n_features: int
    n_outputs: int

    @classmethod
    def build(cls, trees: Sequence[GroupedTree], *, n_features: int, single_precision: bool) -> Section:
        """Return the section of trees with their groups."""
        bins, index = index_states(trees, single_precision=single_precision)
        pairs = [(paths, group) for paths, groups in trees for group in groups]
        n_states = np.array([group.n_states for _, group in pairs], dtype=np.intp)
        alone = np.array([group.alone for _, group in pairs], dtype=bool)
        # Tables need the histograms of groups with potentials once only, the others' again for interactions.
        order = np.argsort(alone, kind="stable")
        state_start = np.empty_like(n_states)
        state_start[order] = np.cumsum(n_states[order]) - n_states[order]
        return cls(
            bins,
            index,
            tuple(make_batches(trees)),
            n_states,
            alone,
            state_start,
            tuple(
                np.array(list(dict.fromkeys(paths.axes[axis].player for axis in group.n_classes)))
                for paths, group in pairs
            ),
            tuple(paths.outputs for paths, _ in pairs),
            n_features,
            trees[0].paths.values.shape[1],
        )

    def histogram(self, x: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the sum of the weights (n,) of the rows x (n, F) in each state."""
        out = np.zeros(self.n_states.sum())
        _kernels().add_histograms(self.bins.encode(x), self.index, self.state_start, weights, out)
        return out

    def fill(self, histogram: FloatArray) -> tuple[SectionTables, FloatArray]:
        """Return tables from a histogram of weights of sum 1, and the trees' mean (K,)."""
        parts, mean = [], np.zeros(self.n_outputs)
        for batch in self.batches:
            patterns = batch.patterns()
            q = leaf_coverage(batch, patterns, self.shares(batch, histogram))
            parts.append(potential_table(q) if batch.alone else value_table(batch, patterns, q))
            share = np.add.reduceat(batch.values * q[:, -1:], batch.first_leaf, axis=0)
            np.add.at(mean, np.stack([self.outputs[group] for group in batch.groups]), share)
        shared = histogram[: self.n_states[~self.alone].sum()].copy()
        return SectionTables(self, shared, self.lookup(self.batches, parts)), mean

    def shares(self, batch: Batch, histogram: FloatArray) -> FloatArray:
        """Return the histograms (g, s) of a batch's groups."""
        return np.asarray(histogram[self.state_start[batch.groups][:, None] + np.arange(batch.n_states)])

    def lookup(self, batches: Sequence[Batch], parts: Sequence[FloatArray], *, pairs: bool = False) -> Lookup:
        """Return tables of batches for the row phase; other groups have no columns in it."""
        columns = [np.empty(0, dtype=np.intp)] * len(self.n_states)
        sizes, leaves = np.zeros((2, len(self.n_states)), dtype=np.intp)
        for batch, part in zip(batches, parts, strict=True):
            sizes[batch.groups] = part[0].size
            for group in batch.groups:
                columns[group] = self._pair_cells(group) if pairs else self._cells(group)
        starts = np.append(0, np.cumsum(sizes))
        table = np.empty(starts[-1])
        leaf_values = [np.empty(0)]
        for batch, part in zip(batches, parts, strict=True):
            table[starts[batch.groups][:, None] + np.arange(part[0].size)] = part.reshape(len(part), -1)
            if batch.alone:
                leaves[batch.groups] = sum(map(len, leaf_values)) + np.arange(len(part)) * batch.values.shape[1]
                leaf_values.append(batch.values.ravel())
        counts = [len(part) for part in columns]
        d = np.array([len(part) for part in self.features], dtype=np.intp)
        return Lookup(
            table,
            starts[:-1],
            self.n_states,
            np.append(0, np.cumsum(counts)).astype(np.intp),
            np.concatenate([np.empty(0, dtype=np.intp), *columns]),
            np.where(self.alone & (np.array(counts) > 0), d, 0),
            pairs,
            np.concatenate(leaf_values),
            leaves,
        )

    @property
    def pair_entries(self) -> int:
        """Numbers in the tables of the interactions."""
        total = 0
        for n_states, alone, features, outputs in zip(
            self.n_states, self.alone, self.features, self.outputs, strict=True
        ):
            n_columns = 3 if alone else len(features) * (len(features) - 1) // 2 * len(outputs)
            total += int(n_states) * n_columns
        return total

    def _cells(self, group: int) -> IntArray:
        return np.add.outer(self.features[group] * self.n_outputs, self.outputs[group]).ravel()

    def _pair_cells(self, group: int) -> IntArray:
        one, other = np.triu_indices(len(self.features[group]), 1)
        features = np.sort(self.features[group][np.stack([one, other])], axis=0)
        cells = (features[0] * self.n_features + features[1]) * self.n_outputs
        return np.asarray(np.add.outer(cells, self.outputs[group]).ravel())


@dataclass(frozen=True)
class SectionTables:
    """Trees with their tables.

    Attributes
    ----------
    section
        The trees.
    histogram
        The background's shares of the groups that have no potentials; interaction tables are made from it.
    lookup
        Tables of Shapley values and potentials.
    """

    section: Section
    histogram: FloatArray
    lookup: Lookup
    _pairs: list[Lookup] = field(default_factory=list, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that a row needs."""
        arrays = (self.histogram, self.lookup.table, self.lookup.columns, *self.section.index)
        return sum(int(array.nbytes) for array in arrays)

    def add_values(self, x: FloatArray, out: FloatArray) -> None:
        """Add the Shapley values of the rows x (n, F) to out (F K, n)."""
        _kernels().add_values(self.section.bins.encode(x), self.section.index, self.lookup, out)

    def add_interactions(self, x: FloatArray, out: FloatArray) -> None:
        """Add the interactions of pairs i < j of the rows x (n, F) to out (F F K, n)."""
        codes = self.section.bins.encode(x)
        for lookup in self._pair_lookups():
            _kernels().add_values(codes, self.section.index, lookup, out)

    def _pair_lookups(self) -> Iterable[Lookup]:
        """Return tables of the interactions; made once when they are small, else in turn for every call."""
        if self.section.pair_entries * 8 > _PAIR_BYTES:
            return self._make_pair_lookups()
        if not self._pairs:
            self._pairs.extend(self._make_pair_lookups())
        return self._pairs

    def _make_pair_lookups(self) -> Iterator[Lookup]:
        batches: list[Batch] = []
        parts: list[FloatArray] = []
        for batch in self.section.batches:
            if sum(part.nbytes for part in parts) > _PAIR_BYTES:
                yield self.section.lookup(batches, parts, pairs=True)
                batches, parts = [], []
            patterns = batch.patterns()
            q = leaf_coverage(batch, patterns, self._shares(batch))
            batches.append(batch)
            parts.append(interaction_potential_table(q) if batch.alone else interaction_table(batch, patterns, q))
        yield self.section.lookup(batches, parts, pairs=True)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the interaction tables: they are made where they are used."""
        return {**self.__dict__, "_pairs": []}

    def _shares(self, batch: Batch) -> FloatArray:
        if not batch.alone:
            return self.section.shares(batch, self.histogram)
        place = self.lookup.table_start[batch.groups][:, None] + np.arange(batch.n_states)
        return histogram_of(self.lookup.table[place])
