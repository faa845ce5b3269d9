"""Exact Shapley values of tree models against a whole background, by tables that do not grow with it.

`plan_trees` chooses the form of each tree, `BackgroundHistograms` counts the background in mergeable parts,
`TreeTables` explains rows, and `TreeMethod` does so behind the face that every method has.
"""

from spark_shap.core.trees.method import TreeMethod
from spark_shap.core.trees.plan import TreePlan, plan_trees
from spark_shap.core.trees.tables import BackgroundHistograms, TreeTables

__all__ = ["BackgroundHistograms", "TreeMethod", "TreePlan", "TreeTables", "plan_trees"]
