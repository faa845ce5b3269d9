"""Calls of boosters' methods, and what is done with what they return."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

__all__ = ["PROBABILITIES", "BoosterCall", "has_two_classes", "known_names", "log_odds", "positive", "softmax"]

PROBABILITIES = {
    "binary:logistic", "multi:softprob", "multi:softmax", "binary", "multiclass", "multiclassova", "cross_entropy",
}  # fmt: skip
"""Objectives of XGBoost and LightGBM whose predictions are probabilities."""
_UNNAMED = re.compile(r"(Column_|f)?\d+")  # what the libraries call columns of an array


@dataclass(frozen=True)
class BoosterCall:
    """A model's method with fixed arguments, as a function of rows.

    Attributes
    ----------
    model
        An estimator, a pipeline that ends in one, or a Booster.
    method
        Its name.
    arguments
        By name.
    threads
        Name of the argument that says how many threads to use; ``OMP_NUM_THREADS`` is passed on by it.
    after
        Applied to what is returned.
    """

    model: Any
    method: str
    arguments: dict[str, Any]
    threads: str | None = None
    after: Callable[[Any], Any] | None = None

    def __call__(self, rows: Any) -> Any:
        """Return what the method returns."""
        arguments = dict(self.arguments)
        limit = os.environ.get("OMP_NUM_THREADS", "")
        if self.threads and limit.isdigit():
            arguments[self.threads] = int(limit)
        found = getattr(self.model, self.method)(rows, **arguments)
        return found if self.after is None else self.after(found)


def positive(probabilities: Any) -> NDArray[Any]:
    """Return the second column of two, all columns otherwise."""
    out = np.asarray(probabilities)
    return out[:, 1] if out.ndim == 2 and out.shape[1] == 2 else out


def log_odds(scores: Any) -> NDArray[Any]:
    """Return the difference of two classes' scores, which a softmax turns into probabilities; else the scores."""
    out = np.asarray(scores)
    return out[:, 1] - out[:, 0] if out.ndim == 2 and out.shape[1] == 2 else out


def softmax(margins: Any) -> NDArray[np.float64]:
    """Return the probabilities of K classes from their scores (n, K)."""
    powers = np.exp(margins - np.max(margins, axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def has_two_classes(model: Any) -> bool:
    """Whether a model is a classifier of two classes, so that one score is its margin."""
    return len(getattr(model, "classes_", ())) == 2


def known_names(names: Iterable[Any] | None) -> tuple[str, ...] | None:
    """Return the names of columns, None where they are those that the libraries give an array's."""
    found = tuple(str(one) for one in names or ())
    return None if all(map(_UNNAMED.fullmatch, found)) else found
