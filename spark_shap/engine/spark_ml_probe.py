"""Timing a Spark ML model on the session that will run it: the three passes of a few rows."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.dataframes import column
from spark_shap.engine.explain import explain_frame
from spark_shap.engine.session import parallelism
from spark_shap.engine.spark_ml import hybrids_of, scores_of
from spark_shap.engine.spark_ml_model import STEP
from spark_shap.engine.worker import Columns
from spark_shap.errors import ModelError
from spark_shap.plan import Probe
from spark_shap.schema import ERROR, N_EVALUATIONS, STD_ERRORS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_shap.engine.shipping import Carrier
    from spark_shap.engine.spark_ml_model import PipelineCall
    from spark_shap.prepare import Prepared

__all__ = ["probe_pipeline"]

_KEY = "_spark_shap_row"
_EVALUATIONS = 200_000  # that are timed


def probe_pipeline(frame: DataFrame, prepared: Prepared, call: PipelineCall, carrier: Carrier) -> Probe:
    """Explain some rows on all cores, and time it.

    Parameters
    ----------
    frame
        Rows with the features.
    prepared, carrier
        The method, and as it was shipped.
    call
        Its model.

    Returns
    -------
    Probe
        The model's seconds are those of the JVM, and of bringing hybrid rows there.

    Raises
    ------
    ModelError
        None of the rows can be explained.
    """
    from pyspark.sql import functions as F

    cores, columns = parallelism(frame.sparkSession), Columns((_KEY,), ())
    size = max(cores, _EVALUATIONS // (prepared.options.n_evaluations * len(prepared.references)))
    features = frame.select(*(column(frame, name) for name in prepared.column_names)).limit(size)
    rows = features.withColumn(_KEY, F.monotonically_increasing_id()).repartition(cores)
    hybrids = hybrids_of(rows, prepared, columns, carrier)
    explained = explain_frame(rows, prepared, columns=columns, carrier=carrier)
    checked = explained.select(N_EVALUATIONS, STD_ERRORS, ERROR)
    found: Any = checked.toPandas()  # compiles what is compiled once
    asked, scored, whole = (_seconds(one) for one in (hybrids.select(STEP), scores_of(hybrids, call), checked))
    good = found[found[ERROR].isna()]
    if not len(good):
        first = found[ERROR].iloc[0] if len(found) else {"error_class": "nothing", "message": "there are no rows"}
        raise ModelError(
            f"model: none of the first {len(found)} applicants can be explained, the first time with "
            f"{first['error_class']}: {first['message']}"
        )
    n_rows = len(found) // prepared.lines_a_row or 1
    evaluations = float(good[N_EVALUATIONS].mean()) * len(prepared.references)
    errors = np.array([list(one.values() if isinstance(one, dict) else one) for one in good[STD_ERRORS]])
    return Probe(
        n_rows=n_rows,
        row_seconds=whole * cores / n_rows,
        model_seconds=max(0.0, scored - asked) * cores / n_rows / max(evaluations, 1.0),
        surrogate_seconds=0.0,
        n_evaluations=evaluations,
        std_error=float(np.median(errors)),
    )


def _seconds(frame: DataFrame) -> float:
    start = perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return perf_counter() - start
