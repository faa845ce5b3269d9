"""The tree engine through Spark: a reference of any size is folded where it is, and only tables travel."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from games import credit_like
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from spark_shap import Explainer, MethodError
from spark_shap.config import RunConfig
from spark_shap.engine.shipping import dumps
from spark_shap.io.runs import read_runs
from spark_shap.pipeline import run

NAMES = [f"f{index}" for index in range(6)]


@pytest.fixture(scope="module")
def data():
    x = credit_like(6000, 6, seed=4)
    target = (x[:, 0] + x[:, 1] * x[:, 2] + np.random.default_rng(0).normal(size=len(x)) > 1).astype(int)
    frame = pd.DataFrame(x, columns=NAMES).assign(id=np.arange(len(x)), weight=1.0 + np.arange(len(x)) % 3)
    return frame, GradientBoostingClassifier(n_estimators=30, max_depth=4, random_state=0).fit(frame[NAMES], target)


@pytest.mark.parametrize("weights", [None, "weight"])
def test_the_whole_reference_is_folded_on_the_workers(spark, data, weights):
    frame, model = data
    background = spark.createDataFrame(frame if weights else frame.drop(columns="weight")).repartition(7)
    folded = Explainer(
        model, background, background_size="all", background_key="id", weights=weights, output_space="margin"
    )
    here = Explainer(
        model,
        frame[NAMES],
        weights=None if weights is None else frame["weight"].to_numpy(),
        output_space="margin",
    )
    assert folded.method == here.method == "tree"
    assert folded.prepared.n_background == 6000
    x = frame[NAMES].head(50)
    np.testing.assert_allclose(folded(x).values, here(x).values, atol=1e-12)
    np.testing.assert_allclose(folded.base_values, here.base_values, atol=1e-12)
    small = Explainer(model, frame[NAMES].head(1000), output_space="margin")
    assert len(dumps(folded.prepared)) < 1.2 * len(dumps(small.prepared)), "tables alone travel"


def test_a_linear_model_folds_too(spark, data):
    frame, _ = data
    model = LinearRegression().fit(frame[NAMES], frame["f0"] * 2 + frame["f3"])
    background = spark.createDataFrame(frame[[*NAMES, "id"]])
    folded = Explainer(model, background, background_size="all", background_key="id")
    here = Explainer(model, frame[NAMES])
    np.testing.assert_allclose(folded(frame[NAMES].head(9)).values, here(frame[NAMES].head(9)).values, atol=1e-12)
    np.testing.assert_allclose(folded.base_values, here.base_values, atol=1e-12)


def test_rows_of_a_table_get_the_same_values(spark, data):
    frame, model = data
    explainer = Explainer(model, frame[NAMES].head(500), output_space="margin")
    rows = explainer.explain(spark.createDataFrame(frame.head(200)).repartition(5), key="id").toPandas()
    rows = rows.sort_values("id", ignore_index=True)
    found = np.array([[row[name] for name in NAMES] for row in rows["shap_values"]])
    np.testing.assert_array_equal(found, explainer(frame[NAMES].head(200)).values)
    assert rows["error"].isna().all()


def test_a_run_records_the_choice_and_its_reason(spark, data, tmp_path):
    frame, model = data
    pd.DataFrame(frame.head(300)).to_parquet(tmp_path / "applicants.parquet")
    joblib.dump(model, tmp_path / "model.joblib")
    config = RunConfig.model_validate(
        {
            "applicants": {"path": str(tmp_path / "applicants.parquet"), "key": ["id"], "features": NAMES},
            "reference": {"size": 100},
            "model": {"file": str(tmp_path / "model.joblib")},
            "explain": {"output_space": "margin"},
            "output": {"path": str(tmp_path / "out")},
        }
    )
    result = run(spark, config)
    (record,) = read_runs(spark, result.location)
    assert record.method == "tree"
    assert record.method_reason == "GradientBoostingClassifier is a sum of 30 trees in this output space"
    assert (record.std_error_median, record.std_error_p99) == (0.0, 0.0)
    assert 0.0 <= record.additivity_gap_max < 1e-9


def test_a_named_method_that_cannot_do_the_job_is_an_error(data):
    frame, model = data
    x = frame[NAMES].head(50)
    linear = LinearRegression().fit(x, x["f0"])
    for other in (linear, lambda rows: rows["f0"] ** 2):
        with pytest.raises(MethodError, match=r"method: 'tree' needs a sum of trees in output space 'prediction'"):
            Explainer(other, x, method="tree")
    with pytest.raises(MethodError, match=r"'tree' needs a sum of trees in output space 'probability'.*'margin'"):
        Explainer(model, x, method="tree")
    with pytest.raises(MethodError, match="method: 'linear' needs a model that is linear"):
        Explainer(model, x, method="linear", output_space="margin")
