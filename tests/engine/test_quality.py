"""Checks of written attributions: in Spark where all values are exact, in Python where one is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as f

from spark_shap import Explainer
from spark_shap.engine import quality

NAMES = ["income.net", "age"]


@pytest.fixture(scope="module")
def exact(spark):
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=NAMES)
    explainer = Explainer(lambda rows: np.stack([rows["age"], rows["income.net"] ** 2], axis=1), x, method="exact")
    rows = explainer.explain(spark.createDataFrame(x.assign(id=np.arange(40))), key="id").drop("error")
    return rows.withColumn("additivity_gap", f.when(f.col("id") == 3, -0.5).otherwise(f.col("additivity_gap"))).cache()


def test_exact_attributions_are_checked_without_python(exact, monkeypatch):
    usual = quality.measure(exact, output="output_0")
    monkeypatch.delattr(quality, "measure_batches")
    found = quality.measure(exact, output="output_0", sampled=False)
    assert found == usual
    assert (found.n_rows, found.additivity_gap, found.std_error_p99) == (40, 0.5, 0.0)
    assert found.n_evaluations > 0
    assert quality.measure(exact.limit(0), output="output_0", sampled=False) == quality.Quality(0, 0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("error", [0.25, float("nan")])
def test_a_standard_error_where_none_should_be_is_found(exact, error):
    wrong = f.when(f.col("id") >= 20, f.lit(error).cast("float")).otherwise(f.lit(0.0).cast("float"))
    rows = exact.withColumn("std_errors", f.struct(f.lit(0.0).cast("float").alias(NAMES[0]), wrong.alias(NAMES[1])))
    assert quality._exact(rows, "output_0") is None
    if error == error:
        assert quality.measure(rows, output="output_0", sampled=False).std_error_p99 == pytest.approx(0.25, rel=0.01)
