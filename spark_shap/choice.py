"""Which method explains a model, and why."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal  # a number of coalitions is beyond floats from 1,024 features on
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_shap.core.exact import enumerated_pairs
from spark_shap.core.trees import TreePlan, plan_tables, plan_trees
from spark_shap.errors import MethodError
from spark_shap.models.linear import LinearModel, NotLinear, read_linear
from spark_shap.models.trees import NotReadable, TreeModel, read_forest
from spark_shap.options import grouping_of

if TYPE_CHECKING:
    from spark_shap.models.frames import Layout
    from spark_shap.models.predictor import Predictor
    from spark_shap.options import Options

__all__ = ["Choice", "PlannedTrees", "choose"]

_MAX_ENUMERATION = 2**24  # the answers of one row then take 64 MB an output


class PlannedTrees(NamedTuple):
    """A tree model as it was read, and the form that each tree takes."""

    model: TreeModel
    plan: TreePlan


@dataclass(frozen=True)
class Choice:
    """A method.

    Attributes
    ----------
    name, reason
        Which it is, and why.
    reading
        The model as a closed form or an exact engine sees it.
    """

    name: str
    reason: str
    reading: LinearModel | PlannedTrees | None = None


def choose(model: Any, predictor: Predictor, layout: Layout, n_background: int, options: Options) -> Choice:
    """Choose the method: the named one, or the first that is exact, or sampling.

    Parameters
    ----------
    model, predictor
        The user's object, and the function that is explained.
    layout
        The columns.
    n_background
        Rows of the background.
    options
        What was asked for.

    Raises
    ------
    MethodError
        The named method cannot explain this model.
    """
    asked = f"method={options.method!r} was asked for"
    players, names = grouping_of(options.groups, layout.names)
    linear = tree = None
    if options.method in ("auto", "linear"):
        linear = read_linear(model, predictor.output_space, layout)
        if isinstance(linear, LinearModel):
            reason = asked if options.method == "linear" else f"{_kind(model)} is linear in its features"
            return Choice("linear", reason, linear)
    if options.method in ("auto", "tree"):
        tree = read_forest(model, predictor.output_space, layout)
        if isinstance(tree, TreeModel):
            if options.method == "tree":
                return Choice("tree", asked, PlannedTrees(tree, plan_trees(tree.forest, players=players)))
            plan = plan_tables(tree.forest, players=players)
            what = f"{_kind(model)} is a sum of {len(tree.forest.roots):,} trees in this output space"
            if plan is not None:
                return Choice("tree", what, PlannedTrees(tree, plan))
            # Deep trees are walked against every background row: exact, but slower than sampling.
            walked = "(method='tree' walks those)" if players is None else "with groups of features as players"
            return Choice("sampling", f"{what}, but some have paths too long for tables {walked}")
    if isinstance(linear, NotLinear) and options.method == "linear":
        raise MethodError(
            f"method: 'linear' needs a model that is linear in its features where it is explained; a {_kind(model)} in "
            f"output space {predictor.output_space!r} is not: {linear.reason}; use 'auto'"
        )
    if isinstance(tree, NotReadable) and options.method == "tree":
        raise MethodError(
            f"method: 'tree' needs a sum of trees in output space {predictor.output_space!r}; {tree.reason}; use 'auto'"
        )
    return _enumeration_or_sampling(model, predictor, len(names), n_background, options)


def _enumeration_or_sampling(
    model: Any, predictor: Predictor, n_features: int, n_background: int, options: Options
) -> Choice:
    n_evaluations = 2 * enumerated_pairs(n_features, n_background) + 1
    if options.method == "exact":
        if n_evaluations > _MAX_ENUMERATION:
            raise MethodError(
                f"method: 'exact' would need {Decimal(n_evaluations):.2e} evaluations a row for {n_features} features "
                f"and {n_background} background rows; use 'sampling', or a smaller background"
            )
        return Choice("exact", "method='exact' was asked for")
    if options.method == "sampling":
        return Choice("sampling", "method='sampling' was asked for")
    if n_evaluations <= options.n_evaluations:
        return Choice("exact", f"enumeration takes {n_evaluations} evaluations a row, within the budget")
    return Choice(
        "sampling",
        f"no closed form for a {_kind(model)} in output space {predictor.output_space!r}, and enumeration would take "
        f"{Decimal(n_evaluations):.3g} evaluations a row",
    )


def _kind(model: Any) -> str:
    return type(model).__name__
