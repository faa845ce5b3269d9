"""SHAP values with standard errors for every row of a pandas or Spark frame, and their aggregates.

`Explainer` is imported when it is first used, so that ``import spark_shap`` loads neither pandas nor Spark.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spark_shap.errors import (
    ConfigError,
    InputError,
    MethodError,
    MissingDependencyError,
    ModelError,
    RunError,
    SparkShapError,
    TooManyRejectsError,
    UsageError,
)

if TYPE_CHECKING:
    from spark_shap.explainer import Explainer, Explanation, Interactions, Reasons
    from spark_shap.io.location import Location
    from spark_shap.io.reading import read_run
    from spark_shap.reporting import applicant_report, run_report

__all__ = [
    "ConfigError",
    "Explainer",
    "Explanation",
    "InputError",
    "Interactions",
    "Location",
    "MethodError",
    "MissingDependencyError",
    "ModelError",
    "Reasons",
    "RunError",
    "SparkShapError",
    "TooManyRejectsError",
    "UsageError",
    "__version__",
    "applicant_report",
    "read_run",
    "run_report",
]

# Here, and read by the build: a zip given to spark-submit --py-files has no metadata to ask.
__version__ = "0.1.0"

_LAZY = dict.fromkeys(("Explainer", "Explanation", "Interactions", "Reasons"), "spark_shap.explainer") | {
    "Location": "spark_shap.io.location",
    "applicant_report": "spark_shap.reporting",
    "read_run": "spark_shap.io.reading",
    "run_report": "spark_shap.reporting",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
