"""Linear models of scikit-learn: their slopes, where the explained output is linear in the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Layout, Rows

__all__ = ["linear_weights", "numbers"]


def linear_weights(model: Any, output_space: str, layout: Layout) -> NDArray[np.float64] | None:
    """Return (M, K) slopes of a model that is linear in its features, else None.

    Linear in this sense are scikit-learn's linear regressions (their prediction) and linear
    classifiers (their margin), on numeric features.
    """
    numeric = sum(len(members) for members in layout.blocks.values()) == len(layout.names)
    if not numeric or not type(model).__module__.startswith("sklearn.linear_model"):
        return None
    has_margin = hasattr(model, "decision_function")
    # Generalised linear models (Poisson, Gamma, Tweedie) predict through an exponential.
    if hasattr(model, "_base_loss") or output_space != ("margin" if has_margin else "prediction"):
        return None
    slopes = np.asarray(getattr(model, "coef_", np.empty(0)), dtype=np.float64)
    slopes = np.atleast_2d(slopes).T
    return slopes if slopes.shape[0] == len(layout.names) else None


def numbers(rows: Rows) -> NDArray[np.float64]:
    """Return all-numeric rows as one (n, M) float64 matrix."""
    return np.stack([np.asarray(column, dtype=np.float64) for column in rows.columns], axis=1)
