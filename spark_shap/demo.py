"""The demonstration: German credit applications, a model trained on the spot, Parquet tables.

`german_credit_model` is that model; it is trained when it is first asked for, so that a configuration can name
``spark_shap.demo:german_credit_model`` without a model file.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from spark_shap.config import RunConfig
from spark_shap.data import german_credit_path
from spark_shap.errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["demo_config", "train_german_credit"]

_log = logging.getLogger(__name__)
_MODEL = "german_credit_model"


def train_german_credit(path: str | Path) -> Any:
    """Return a scikit-learn pipeline that predicts bad credit from the columns as they are.

    Strings are one-hot encoded and numbers scaled inside the pipeline, so that an explanation is by
    column of the application, not by encoded column.
    """
    try:
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler
    except ImportError as error:
        raise MissingDependencyError("the demo trains with scikit-learn: pip install 'spark-shap[sklearn]'") from error
    import pandas as pd

    data = pd.read_csv(path)
    features = data.drop(columns=["application_id", "bad"])
    text = [name for name in features.columns if not pd.api.types.is_numeric_dtype(features[name])]
    encode = ColumnTransformer([("text", OneHotEncoder(handle_unknown="error"), text)], remainder=StandardScaler())
    return make_pipeline(encode, LogisticRegression(C=0.3, max_iter=1000)).fit(features, data["bad"])


@cache
def _trained() -> Any:
    path = german_credit_path()
    _log.info("training a scikit-learn pipeline on %s", path)
    return train_german_credit(path)


def __getattr__(name: str) -> Any:
    """Train the model when it is asked for."""
    if name == _MODEL:
        return _trained()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def demo_config(output: str | Path) -> RunConfig:
    """Return the configuration that explains the German credit applications.

    Parameters
    ----------
    output
        Folder for the tables.
    """
    return RunConfig.model_validate(
        {
            "applicants": {"path": str(german_credit_path()), "key": ["application_id"], "keep": ["bad"]},
            "reference": {"size": "all"},
            "model": {"object": f"{__name__}:{_MODEL}", "output_names": ["bad"]},
            "explain": {"n_evaluations": 513},
            "output": {"path": str(output)},
            "summary": {"by": [["purpose"]]},
        }
    )
