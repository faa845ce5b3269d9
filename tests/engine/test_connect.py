"""Spark Connect: the same function, the same values, another way to the workers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from games import credit_like
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

from spark_shap import Explainer, ModelError
from spark_shap.dataframes import is_connect
from spark_shap.engine import shipping

pytestmark = pytest.mark.connect
NAMES = [f"x{index}" for index in range(8)]


def values(explained: Any, key: str = "id") -> np.ndarray:
    rows = sorted(explained.collect(), key=lambda row: row[key])
    assert [row["error"] for row in rows] == [None] * len(rows)
    return np.array([list(row["shap_values"]) for row in rows])


@pytest.fixture(scope="module")
def data():
    x = pd.DataFrame(credit_like(360, 8), columns=NAMES)
    return x.iloc[:60], x.iloc[60:].assign(id=range(300)), x, np.sin(x["x0"] * x["x1"]) + (x["x3"] > 0.8)


def test_the_same_bits_as_in_memory_from_any_partitions(spark_connect, data):
    background, rows, x, target = data
    model = DecisionTreeRegressor(max_depth=6, random_state=0).fit(x, target)
    explainer = Explainer(model, background, n_evaluations=65, method="sampling")
    there = explainer(rows, key="id")
    table = spark_connect.createDataFrame(rows)
    assert is_connect(table)
    for frame in (table, table.repartition(7), table.orderBy("x1").repartition(40)):
        assert np.array_equal(values(explainer.explain(frame, key="id")), there.values)
    spark_connect.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1")
    try:
        assert np.array_equal(values(explainer.explain(table, key="id")), there.values)
    finally:
        spark_connect.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    row = explainer.explain(table, key="id", keep="x0", partitions=3).where("id = 17").first()
    assert row["prediction"] == there.predictions[17]
    assert abs(row["base_value"] + sum(row["shap_values"]) - row["prediction"]) < 1e-6
    assert row["n_evaluations"] == 65


class Heavy:
    """A model of two megabytes, in a module that workers cannot import."""

    def __init__(self):
        self.table = np.random.default_rng(0).normal(size=250_000)

    def predict(self, frame):
        return self.table[(frame["x0"].to_numpy() * 1000).astype(int) % 250_000] * frame["x1"].to_numpy()


def test_a_large_model_goes_as_an_artifact_as_often_as_one_likes(spark_connect, data, monkeypatch):
    background, rows, *_ = data
    sent = []
    add = type(spark_connect).addArtifacts
    monkeypatch.setattr(
        type(spark_connect), "addArtifacts", lambda *paths, **how: (sent.append(paths[1:]), add(*paths, **how))[1]
    )
    explainer = Explainer(Heavy(), background, n_evaluations=17, method="sampling")
    assert len(shipping.dumps(explainer.prepared)) > 2**20
    table = spark_connect.createDataFrame(rows)
    there = explainer(rows, key="id").values
    for _ in range(2):  # the same name twice in one session
        assert np.array_equal(values(explainer.explain(table, key="id")), there)
    other = Explainer(Heavy(), background, n_evaluations=19, method="sampling")
    assert np.array_equal(values(other.explain(table, key="id")), other(rows, key="id").values)
    names = [path.rsplit("/", 1)[1] for paths in sent for path in paths]
    assert len(names) == 3
    assert names[0] == names[1] != names[2]
    small = Explainer(first, background, n_evaluations=17, method="sampling")
    assert np.array_equal(values(small.explain(table, key="id")), small(rows, key="id").values)
    assert len(sent) == 3  # a small one travels in the function


def first(frame):
    return frame["x0"].to_numpy() * frame["x1"].to_numpy()


def test_rejects_and_several_outputs(spark_connect, data):
    background, rows, *_ = data

    def model(frame):
        if (frame["x0"] > 1e6).any():
            raise ValueError("off the scale")
        return np.stack([first(frame), -first(frame)], axis=1)

    explainer = Explainer(model, background, n_evaluations=17, method="sampling", output_names=["plus", "minus"])
    dirty = rows.iloc[:20].copy()
    dirty.loc[dirty.index[4], "x0"] = 2e6
    found = explainer.explain(spark_connect.createDataFrame(dirty), key="id").collect()
    bad = [row for row in found if row["error"] is not None]
    assert [(row["id"], row["error"]["message"], row["output"]) for row in bad] == [(4, "off the scale", None)]
    assert len(found) == 19 * 2 + 1


def test_what_cannot_be_pickled_is_refused(spark_connect, data):
    lock = threading.Lock()

    def model(frame):
        return first(frame) + (lock is None)

    explainer = Explainer(model, data[0], n_evaluations=17, method="sampling")
    with pytest.raises(ModelError, match="model: it cannot be sent to the workers"):
        explainer.explain(spark_connect.createDataFrame(data[1]), key="id")


def test_one_thread_a_worker(spark_connect, data):
    background, rows, x, target = data
    forest = RandomForestClassifier(3, max_depth=3, n_jobs=-1, random_state=0).fit(x, target > 0.5)

    class Threads:
        def __init__(self, forest):
            self.forest = forest

        def predict(self, frame):
            return np.full(len(frame), float(self.forest.n_jobs))

    explainer = Explainer(Threads(forest), background, n_evaluations=17, method="sampling")
    found = explainer.explain(spark_connect.createDataFrame(rows.iloc[:5]), key="id").select("prediction").collect()
    assert {row["prediction"] for row in found} == {1.0}
    assert forest.n_jobs == -1


@pytest.mark.parametrize("size", [25, "all"])
def test_a_background_from_connect_does_not_depend_on_its_partitions(spark_connect, data, size):
    population = data[1].iloc[:80].assign(w=np.linspace(1.0, 2.0, 80))
    table = spark_connect.createDataFrame(population)
    rows = data[0].iloc[:15]
    found = []
    for frame in (table.coalesce(1), table.orderBy("x1").repartition(13)):
        explainer = Explainer(first, frame, background_size=size, background_key="id", weights="w", n_evaluations=33)
        assert explainer.feature_names == tuple(NAMES)
        found.append((explainer.base_values, explainer(rows).values))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])
    if size == "all":
        assert found[0][0] == pytest.approx(np.average(first(population), weights=population["w"]))
