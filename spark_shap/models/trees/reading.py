"""What a reader of tree models gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_shap.forest import Forest
    from spark_shap.models.trees.numbers import Numbers

__all__ = ["NotReadable", "TreeModel", "UnreadableError", "require_space"]


@dataclass(frozen=True)
class TreeModel:
    """A model as a sum of trees, and rows as the trees compare them.

    Attributes
    ----------
    forest
        Whose prediction is the model's output in the space that was asked for.
    to_numbers
        From rows to (n, F) float64, NaN where missing, categories as the forest numbers them.
    """

    forest: Forest
    to_numbers: Numbers


@dataclass(frozen=True)
class NotReadable:
    """Why a model is not a sum of trees in the space that was asked for.

    Attributes
    ----------
    reason
        A clause that starts with the model's type.
    """

    reason: str


class UnreadableError(Exception):
    """A reader cannot read this model; `read_forest` makes a `NotReadable` of it."""


def require_space(asked: str, additive: str) -> None:
    """Refuse a space in which a model is no sum of trees.

    Raises
    ------
    UnreadableError
        Naming the space in which it is.
    """
    if asked != additive:
        raise UnreadableError(
            f"its output is a sum over its trees in output space {additive!r}, not in {asked!r}; say "
            f"output_space={additive!r}"
        )
