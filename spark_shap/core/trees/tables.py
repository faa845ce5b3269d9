r"""The two phases: histograms of the background, made in parts that add up, and the tables that explain rows.

::

    plan = plan_trees(forest)
    state = BackgroundHistograms.local(plan, background, weights)   # per part of the background; a.merge(b)
    tables = TreeTables.build(plan, state)                          # this is shipped
    tables.values(x)                                                # (n, F, K)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.trees.deep_tree import DeepTree

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.trees.deep_tree import DeepTables
    from spark_shap.core.trees.nodes import Background
    from spark_shap.core.trees.plan import TreePlan
    from spark_shap.core.trees.section import SectionTables

__all__ = ["BackgroundHistograms", "TreeTables"]


@dataclass(frozen=True)
class BackgroundHistograms:
    """What a forest has to know of a part of the background; without deep trees it does not grow with the rows.

    Attributes
    ----------
    weight
        Sum of the weights.
    histograms
        The weight of the rows in each state, for each section of the plan.
    rows
        For each deep tree, the distinct rows as bins.
    """

    weight: float
    histograms: tuple[FloatArray, ...]
    rows: tuple[Background, ...]

    @classmethod
    def local(cls, plan: TreePlan, x: FloatArray, weights: FloatArray) -> BackgroundHistograms:
        """Return the state of background rows x (n, F) float64, NaN where missing, with weights (n,) of any sum.

        Raises
        ------
        MethodError
            Deep trees, and too many rows for them.
        """
        return cls(
            float(weights.sum()),
            tuple(section.histogram(x, weights) for section in plan.sections),
            tuple(tree.collect(x, weights) for tree in plan.deep),
        )

    def merge(self, other: BackgroundHistograms) -> BackgroundHistograms:
        """Return the state of both parts together."""
        return BackgroundHistograms(
            self.weight + other.weight,
            tuple(one + more for one, more in zip(self.histograms, other.histograms, strict=True)),
            tuple(DeepTree.merge(one, more) for one, more in zip(self.rows, other.rows, strict=True)),
        )


@dataclass(frozen=True)
class TreeTables:
    """Exact interventional Shapley values of a forest against one weighted background.

    Attributes
    ----------
    base_values
        (K,) the forest's weighted mean over the background.
    sections, deep
        The trees with what they know of the background.
    n_features
        F.
    """

    base_values: FloatArray
    sections: tuple[SectionTables, ...]
    deep: tuple[DeepTables, ...]
    n_features: int

    @classmethod
    def build(cls, plan: TreePlan, state: BackgroundHistograms) -> TreeTables:
        """Return the tables of a plan and the state of the whole background."""
        base = plan.constant.copy()
        sections, deep = [], []
        for section, histogram in zip(plan.sections, state.histograms, strict=True):
            filled, mean = section.fill(histogram / state.weight)
            sections.append(filled)
            base += mean
        for tree, rows in zip(plan.deep, state.rows, strict=True):
            walked, mean = tree.fill(rows._replace(weights=rows.weights / state.weight))
            deep.append(walked)
            base += mean
        return cls(base, tuple(sections), tuple(deep), plan.n_features)

    @property
    def _parts(self) -> tuple[SectionTables | DeepTables, ...]:
        return (*self.sections, *self.deep)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(part.nbytes for part in self._parts)

    def values(self, x: FloatArray) -> FloatArray:
        """Return (n, F, K) Shapley values of the rows x (n, F) float64, NaN where missing."""
        n_outputs = len(self.base_values)
        out = np.zeros((self.n_features * n_outputs, len(x)))
        for part in self._parts:
            part.add_values(x, out)
        return np.ascontiguousarray(out.T).reshape(len(x), self.n_features, n_outputs)

    def predict(self, x: FloatArray) -> FloatArray:
        """Return (n, K) the forest's outputs: base values and Shapley values add up to them."""
        return np.asarray(self.base_values + self.values(x).sum(axis=1))

    def interactions(self, x: FloatArray) -> FloatArray:
        """Return (n, F, F, K) interaction values of the rows x (n, F); the sums over a row are the values.

        Off the diagonal stands half of the Shapley interaction index of two features (Grabisch and Roubens
        1999; Lundberg et al. 2020), on it the rest of a feature's value.
        """
        n_features, n_outputs = self.n_features, len(self.base_values)
        out = np.zeros((n_features * n_features * n_outputs, len(x)))
        for part in self._parts:
            part.add_interactions(x, out)
        square = np.ascontiguousarray(out.T).reshape(len(x), n_features, n_features, n_outputs)
        square += square.transpose(0, 2, 1, 3).copy()
        diagonal = np.arange(n_features)
        square[:, diagonal, diagonal] = self.values(x) - square.sum(axis=2)
        return square
