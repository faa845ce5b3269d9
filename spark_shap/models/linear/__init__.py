"""Linear models of scikit-learn and pipelines that end in one, where each column comes from one feature."""

from __future__ import annotations

from spark_shap.models.linear.model import LinearModel
from spark_shap.models.linear.read import NotLinear, read_linear

__all__ = ["LinearModel", "NotLinear", "read_linear"]
