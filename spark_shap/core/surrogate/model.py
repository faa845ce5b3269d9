"""The fitted surrogate: prediction, exact Shapley values, interactions, and its answers to the sampler's pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core import accelerate
from spark_shap.core.surrogate.encoded import Encoded, PairAnswers
from spark_shap.core.surrogate.lookup import Tables
from spark_shap.core.surrogate.tables import FixedPoint, code_weights, interaction_tables, slot_pairs, value_tables
from spark_shap.core.surrogate.words import pack, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.players import Players
    from spark_shap.core.surrogate.additive import Additive
    from spark_shap.core.surrogate.binning import Binning
    from spark_shap.core.surrogate.links import Link
    from spark_shap.core.surrogate.trees import ObliviousTrees

__all__ = ["Form", "Surrogate"]


@dataclass(frozen=True)
class Form:
    """What was fitted: sums of functions and trees, of one output a column.

    With a link there are 2 K columns: first the K margins of the fine surrogate, then the K outputs of the exact one.

    Attributes
    ----------
    binning
        Borders of the F features.
    additive
        Functions of single features.
    trees
        The trees.
    units, offset
        (K or 2 K,) what 1 means in functions and leaves, and what is added.
    link
        Makes outputs of the margins, or None.
    players
        Which player each feature is; None where every feature is one.
    """

    binning: Binning
    additive: Additive
    trees: ObliviousTrees
    units: FloatArray
    offset: FloatArray
    link: Link | None
    players: Players | None = None

    @cached_property
    def played(self) -> ObliviousTrees:
        """The trees with the player of each cut in place of its feature: their games' players."""
        if self.players is None:
            return self.trees
        return replace(self.trees, features=self.players.of_column[self.trees.features].astype(np.int32))

    @cached_property
    def function_players(self) -> IntArray:
        """The player (A,) of each feature that has a function."""
        features = self.additive.features
        return features if self.players is None else self.players.of_column[features]

    @property
    def n_columns(self) -> int:
        """Columns: K, or 2 K with a link."""
        return len(self.offset)

    @property
    def n_outputs(self) -> int:
        """K."""
        return self.n_columns if self.link is None else self.link.n_outputs

    def encode(self, x: FloatArray) -> Encoded:
        """Return rows x (n, F), NaN where missing, ready for the other methods."""
        codes = kernels().codes_of_bins(self.binning.encode(x), self.trees.features, self.trees.cuts)
        return Encoded(codes, pack(self.additive.encode(x)))

    def columns(self, rows: Encoded) -> FloatArray:
        """Return the columns (n, K or 2 K) of rows."""
        words = kernels().words_of_codes(rows.codes, self.tables.leaves) + rows.parts.sum(axis=1)
        return self.scaled(words)

    def pair_columns(
        self, rows: Encoded, background: Encoded, background_index: IntArray, members: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the columns at both hybrids of pairs, (n, P, K or 2 K) each."""
        if len(background) > background_index.size:
            # Kernels turn the whole background round; of a large one only the rows that are asked for.
            background = background.take(background_index.ravel())
            background_index = np.arange(background_index.size).reshape(background_index.shape)
        codes, parts = (rows.codes, background.codes), (rows.parts, background.parts)
        hybrid, mirror = kernels().pair_words(codes, parts, background_index, members.view(np.uint8), self.tables)
        return self.scaled(hybrid), self.scaled(mirror)

    def scaled(self, words: NDArray[np.int64]) -> FloatArray:
        """Return the columns of summed words."""
        return np.asarray(self.offset + self.units * unpack(words, self.n_columns))

    def outputs(self, columns: FloatArray) -> FloatArray:
        """Return the exact surrogate's outputs (..., K)."""
        return columns[..., self.n_columns - self.n_outputs :]

    def fine_outputs(self, columns: FloatArray) -> FloatArray:
        """Return the fine surrogate's outputs (..., K)."""
        return columns if self.link is None else self.link.probabilities(columns[..., : self.n_outputs])

    @cached_property
    def tables(self) -> Tables:
        """The trees as the kernels read them."""
        leaves = np.ascontiguousarray(pack(self.trees.leaves).transpose(0, 2, 1))
        functions = self.function_players.astype(np.int64)
        return Tables(leaves, self.played.features.astype(np.int64), self.played.slots(), functions)


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate g with its background.

    Attributes
    ----------
    form
        What was fitted.
    background
        The B background rows.
    weights
        (B,) their weights, which sum to one.
    base_values
        (K,) weighted mean of g over the background.
    fine_base_values
        (K,) that of the fine surrogate.
    code_weights
        (T, L) weight of the background by code.
    tables
        (T, L, depth, K) Shapley value of each slot by code.
    """

    form: Form
    background: Encoded
    weights: FloatArray
    base_values: FloatArray
    fine_base_values: FloatArray
    code_weights: FloatArray
    tables: FixedPoint

    @classmethod
    def bind(cls, form: Form, background: FloatArray, weights: FloatArray) -> Surrogate:
        """Return the surrogate that explains against background rows (B, F) of weights (B,)."""
        encoded, weights = form.encode(background), weights / weights.sum()
        columns = form.columns(encoded)
        mass = code_weights(encoded.codes, weights, form.trees.leaves.shape[1])
        base, fine = weights @ form.outputs(columns), weights @ form.fine_outputs(columns)
        return cls(form, encoded, weights, base, fine, mass, value_tables(form.played, _leaves(form), mass))

    @property
    def refines(self) -> bool:
        """True when there is a fine surrogate beside the exact one."""
        return self.form.link is not None

    @property
    def n_players(self) -> int:
        """M: F where every feature is a player."""
        return len(self.form.binning.borders) if self.form.players is None else self.form.players.n_players

    def encode(self, x: FloatArray) -> Encoded:
        """Return rows x (n, F) float64, NaN where missing, ready for the other methods."""
        return self.form.encode(x)

    def predict(self, rows: Encoded) -> FloatArray:
        """Return g of the rows, (n, K)."""
        return self.form.outputs(self.form.columns(rows))

    def fine_predict(self, rows: Encoded) -> FloatArray:
        """Return the fine surrogate of the rows, (n, K)."""
        return self.form.fine_outputs(self.form.columns(rows))

    def values(self, rows: Encoded) -> FloatArray:
        """Return the Shapley values of g against the whole background, (n, M, K).

        Exact but for rounding; a row's sum to its prediction less the base values.
        """
        total = kernels().value_sums(rows.codes, self.tables.integers, self.form.played.features, self.n_players)
        values, functions = self.tables.units * total, self._functions(rows) - self._mean_functions
        if self.form.players is None:
            values[:, self.form.function_players] += functions
        else:  # several functions may be one player's
            for place, player in enumerate(self.form.function_players):
                values[:, player] += functions[:, place]
        return np.asarray(values)

    def pair_differences(self, rows: Encoded, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) - g(z on S, x elsewhere), (n, P, K).

        Parameters
        ----------
        rows
            n rows x.
        background_index
            (n, P) the background row z of each pair.
        members
            (n, M, P) True for the players in the pair's coalition S.
        """
        hybrid, mirror = self.form.pair_columns(rows, self.background, background_index, members)
        return np.asarray(self.form.outputs(hybrid) - self.form.outputs(mirror))

    def pair_sums(self, rows: Encoded, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return g(x on S, z elsewhere) + g(z on S, x elsewhere), (n, P, K); see `pair_differences`."""
        hybrid, mirror = self.form.pair_columns(rows, self.background, background_index, members)
        return np.asarray(self.form.outputs(hybrid) + self.form.outputs(mirror))

    def pair_answers(self, rows: Encoded, background_index: IntArray, members: BoolArray) -> PairAnswers:
        """Return the differences of the fine surrogate and of the exact one; see `pair_differences`."""
        hybrid, mirror = self.form.pair_columns(rows, self.background, background_index, members)
        return PairAnswers(
            self.form.fine_outputs(hybrid) - self.form.fine_outputs(mirror),
            self.form.outputs(hybrid) - self.form.outputs(mirror),
        )

    def interactions(self, rows: Encoded) -> FloatArray:
        """Return pairwise Shapley interaction values of g, (n, M, M, K).

        Off the diagonal half the interaction index of two players each; a row's sums over the last player axis
        are its `values`.
        """
        n_rows, n_players = len(rows), self.n_players
        first, second = slot_pairs(self.form.trees.depth)
        lower, upper = (self.form.played.features[:, side].astype(np.int32) for side in (first, second))
        integers, units = self._interaction_tables
        total = kernels().value_sums(rows.codes, integers, lower * n_players + upper, n_players**2)
        out = (units * total).reshape(n_rows, n_players, n_players, -1)
        out += out.transpose(0, 2, 1, 3)
        diagonal = np.arange(n_players)
        out[:, diagonal, diagonal] = 0.0
        out[:, diagonal, diagonal] = self.values(rows) - out.sum(axis=2)
        return np.asarray(out)

    @cached_property
    def background_predictions(self) -> FloatArray:
        """(B, K) g of the background rows."""
        return self.predict(self.background)

    @cached_property
    def _interaction_tables(self) -> FixedPoint:
        return interaction_tables(self.form.played, _leaves(self.form), self.code_weights)

    @cached_property
    def _mean_functions(self) -> FloatArray:
        return np.asarray(np.einsum("b,bak->ak", self.weights, self._functions(self.background)))

    def _functions(self, rows: Encoded) -> FloatArray:
        """Return (n, A, K) the functions' values of the exact outputs."""
        integers = unpack(rows.parts, self.form.n_columns)
        return np.asarray(self.form.outputs(self.form.units * integers))


def _leaves(form: Form) -> FloatArray:
    return np.asarray(form.outputs(form.units * form.trees.leaves))


def kernels() -> Any:
    """Return the module of kernels, compiled where that is available."""
    suffix = "_compiled" if accelerate.available() else ""
    return import_module(f"spark_shap.core.surrogate.lookup{suffix}")
