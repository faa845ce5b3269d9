"""Exact Shapley values of tree models against a whole background, by tables that do not grow with it.

`plan_trees` chooses the form of each tree (`plan_tables` gives up at the first one that is too deep for tables),
`BackgroundHistograms` counts the background in mergeable parts, and `TreeTables` explains rows.
"""

from spark_shap.core.trees.plan import TreePlan, plan_tables, plan_trees
from spark_shap.core.trees.tables import BackgroundHistograms, TreeTables

__all__ = ["BackgroundHistograms", "TreePlan", "TreeTables", "plan_tables", "plan_trees"]
