"""The demonstration: German credit applications, a model trained on the spot, a local Spark, Parquet tables."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_shap.config import RunConfig
from spark_shap.data import german_credit_path
from spark_shap.engine.session import make_session
from spark_shap.errors import MissingDependencyError
from spark_shap.pipeline import RunResult, run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["run_demo", "train_german_credit"]

_log = logging.getLogger(__name__)


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


def run_demo(output: str | Path) -> tuple[SparkSession, RunResult]:
    """Explain the German credit applications and write the tables.

    Parameters
    ----------
    output
        Folder for the tables.
    """
    import pickle

    path = german_credit_path()
    _log.info("training a scikit-learn pipeline on %s", path)
    model = train_german_credit(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.pkl")
        file.write_bytes(pickle.dumps(model))
        config = RunConfig.model_validate(
            {
                "applicants": {"path": str(path), "key": ["application_id"], "keep": ["bad"]},
                "reference": {"size": "all"},
                "model": {"file": str(file)},
                "output": {"path": str(output)},
                "summary": {"by": [["purpose"]]},
            }
        )
        _log.info("starting Spark on this machine")
        spark = make_session(None, {}, delta=False)
        return spark, run(spark, config)
