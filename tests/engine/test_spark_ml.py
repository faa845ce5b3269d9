"""Spark ML models: the values are those of the same function in Python, and what breaks the order is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import SQLTransformer, VectorAssembler

from spark_shap import Explainer, MethodError

pytestmark = pytest.mark.slow

NAMES = ["income", "debt", "term"]
DATA = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=NAMES).assign(term=np.arange(300) % 7)
KEYED = DATA.assign(id=np.arange(300), bad=(DATA["income"] * DATA["debt"] + DATA["term"] > 3).astype(float))


@pytest.fixture(scope="module")
def table(spark):
    return spark.createDataFrame(KEYED).repartition(3)


@pytest.fixture(scope="module")
def pipeline(spark, table):
    products = "select *, income * debt as both from __THIS__"
    stages = [
        SQLTransformer(statement=products),
        VectorAssembler(inputCols=[*NAMES, "both"], outputCol="x"),
        LogisticRegression(featuresCol="x", labelCol="bad", regParam=0.01),
    ]
    return Pipeline(stages=stages).fit(table)


@pytest.fixture(scope="module")
def twin(pipeline):
    """The same function in Python."""
    line = pipeline.stages[-1]
    weights, offset = line.coefficients.toArray(), line.intercept

    def probability(rows):
        x = np.column_stack([rows[name] for name in NAMES] + [rows["income"] * rows["debt"]])
        return 1 / (1 + np.exp(-(x @ weights + offset)))

    return probability


def test_values_are_those_of_the_same_function_in_python(table, pipeline, twin):
    settings = {"n_evaluations": 33, "seed": 3, "surrogate_evaluations": 0, "method": "sampling"}
    background = DATA[:100]
    explainer = Explainer(pipeline, background, **settings)
    assert explainer.prepared.output_space == "probability"
    found = explainer.explain(table, key="id", keep="bad").toPandas().sort_values("id", ignore_index=True)
    expected = Explainer(twin, background, **settings)(KEYED, key="id")
    assert found["error"].isna().all()
    assert found["bad"].tolist() == KEYED["bad"].tolist()
    assert found["prediction"].to_numpy() == pytest.approx(expected.predictions, abs=1e-12)
    values, errors = (np.array([list(row.values()) for row in found[name]]) for name in ("shap_values", "std_errors"))
    assert values == pytest.approx(expected.values, abs=1e-9)
    assert errors == pytest.approx(expected.std_errors, abs=1e-6)
    assert errors.max() > 0


def test_rows_that_cannot_be_explained_stay_rows(spark, pipeline):
    rows = KEYED.astype({"term": object})
    rows.loc[[0, 7], "term"] = None
    frame = spark.createDataFrame(rows, "income double, debt double, term long, id long, bad double")
    explainer = Explainer(pipeline, DATA[:50], n_evaluations=17, surrogate_evaluations=0)
    found = explainer.explain(frame, key="id").toPandas()
    assert len(found) == 300
    assert sorted(found.loc[found["error"].notna(), "id"]) == [0, 7]


def test_a_pipeline_that_shuffles_is_refused(spark, table, pipeline):
    sort = SQLTransformer(statement="select * from __THIS__ order by income")
    model = PipelineModel([sort, *pipeline.stages])
    explainer = Explainer(model, DATA[:50], n_evaluations=17, surrogate_evaluations=0)
    with pytest.raises(PySparkException, match="loses rows or changes their order"):
        explainer.explain(table, key="id").toPandas()


def test_what_such_a_model_cannot_do(pipeline, table):
    with pytest.raises(MethodError, match="'prediction' of LogisticRegressionModel is a label"):
        Explainer(pipeline, DATA[:50], output_space="prediction")
    explainer = Explainer(pipeline, DATA[:50], tolerance=0.5, surrogate_evaluations=0)
    with pytest.raises(MethodError, match="no row can stop early"):
        explainer.explain(table, key="id")
