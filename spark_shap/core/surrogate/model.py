"""The fitted surrogate: prediction, exact Shapley values, interactions, and its answers to the sampler's pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core import accelerate
from spark_shap.core.surrogate.tables import FixedPoint, code_weights, interaction_tables, slot_pairs, value_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.surrogate.binning import Binning
    from spark_shap.core.surrogate.trees import ObliviousTrees

__all__ = ["Encoded", "Surrogate", "bind_background"]


@dataclass(frozen=True)
class Encoded:
    """Rows as the surrogate sees them.

    Attributes
    ----------
    codes
        (n, T) uint8 the leaf of each tree.
    """

    codes: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    def take(self, index: IntArray | slice) -> Encoded:
        """Return a part of the rows."""
        return Encoded(self.codes[index])


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate g with its background.

    Attributes
    ----------
    binning
        Borders of the F features.
    trees
        The trees.
    base_values
        (K,) weighted mean of g over the background.
    background
        The B background rows.
    code_weights
        (T, L) weight of the background by code.
    tables
        (T, L, depth, K) Shapley value of each slot by code.
    """

    binning: Binning
    trees: ObliviousTrees
    base_values: FloatArray
    background: Encoded
    code_weights: FloatArray
    tables: FixedPoint

    @property
    def n_features(self) -> int:
        """F."""
        return len(self.binning.borders)

    def encode(self, x: FloatArray) -> Encoded:
        """Return rows x (n, F) float64, NaN where missing, ready for the other methods."""
        return _encode(self.binning, self.trees, x)

    def predict(self, rows: Encoded) -> FloatArray:
        """Return g of the rows, (n, K)."""
        total = _kernels().sums(rows.codes, self.trees.leaves)
        return np.asarray(self.trees.offset + self.trees.units * total)

    def values(self, rows: Encoded) -> FloatArray:
        """Return the Shapley values of g against the whole background, (n, F, K).

        Exact but for rounding; a row's sum to its prediction less the base values.
        """
        total = _kernels().value_sums(rows.codes, self.tables.integers, self.trees.features, self.n_features)
        return np.asarray(self.tables.units * total)

    def pair_differences(self, rows: Encoded, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) - g(z on S, x elsewhere), (n, P, K).

        Parameters
        ----------
        rows
            n rows x.
        background_index
            (n, P) the background row z of each pair.
        members
            (n, F, P) True for the features in the pair's coalition S.
        """
        return np.asarray(self.trees.units * self._pair_sums(rows, background_index, members, -1))

    def pair_sums(self, rows: Encoded, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) + g(z on S, x elsewhere), (n, P, K); see `pair_differences`."""
        total = self._pair_sums(rows, background_index, members, 1)
        return np.asarray(2.0 * self.trees.offset + self.trees.units * total)

    def _pair_sums(self, rows: Encoded, background_index: IntArray, members: BoolArray, sign: int) -> NDArray[np.int64]:
        codes = (rows.codes, self.background.codes)
        slots = (self.trees.features, self.trees.slots())
        total = _kernels().pair_sums(codes, background_index, members, self.trees.leaves, slots, sign)
        return np.asarray(total)

    def interactions(self, rows: Encoded) -> FloatArray:
        """Return pairwise Shapley interaction values of g, (n, F, F, K).

        Off the diagonal half the interaction index of two features each; a row's sums over the last feature axis
        are its `values`.
        """
        n_rows, n_features = len(rows), self.n_features
        first, second = slot_pairs(self.trees.depth)
        lower, upper = (self.trees.features[:, side].astype(np.int32) for side in (first, second))
        integers, units = self._interaction_tables
        total = _kernels().value_sums(rows.codes, integers, lower * n_features + upper, n_features**2)
        out = (units * total).reshape(n_rows, n_features, n_features, -1)
        out += out.transpose(0, 2, 1, 3)
        diagonal = np.arange(n_features)
        out[:, diagonal, diagonal] = 0.0
        out[:, diagonal, diagonal] = self.values(rows) - out.sum(axis=2)
        return np.asarray(out)

    @cached_property
    def background_predictions(self) -> FloatArray:
        """(B, K) g of the background rows."""
        return self.predict(self.background)

    @cached_property
    def _interaction_tables(self) -> FixedPoint:
        return interaction_tables(self.trees, self.code_weights)


def bind_background(binning: Binning, trees: ObliviousTrees, background: FloatArray, weights: FloatArray) -> Surrogate:
    """Return the surrogate that explains trees against background rows (B, F) of weights (B,)."""
    encoded = _encode(binning, trees, background)
    mass = code_weights(encoded.codes, weights / weights.sum(), trees.leaves.shape[1])
    means = np.einsum("tl,tlk->k", mass, trees.leaves.astype(np.float64))
    return Surrogate(binning, trees, trees.offset + trees.units * means, encoded, mass, value_tables(trees, mass))


def _encode(binning: Binning, trees: ObliviousTrees, x: FloatArray) -> Encoded:
    return Encoded(_kernels().codes_of_bins(binning.encode(x), trees.features, trees.cuts))


def _kernels() -> Any:
    suffix = "_compiled" if accelerate.available() else ""
    return import_module(f"spark_shap.core.surrogate.lookup{suffix}")
