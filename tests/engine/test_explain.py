"""Explaining Spark frames: the same values wherever a row lies, everything out once, nothing computed twice."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from games import credit_like
from pyspark.sql import functions as f
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from spark_shap import Explainer, InputError, ModelError
from spark_shap.engine.explain import explain_frame
from spark_shap.engine.worker import Columns, RejectLimit

ROOT = Path(__file__).parents[2]
NAMES = [f"x{index}" for index in range(8)]


def collect(explained, key="id") -> pd.DataFrame:
    """Explained rows in the order of their keys, values and errors as arrays."""
    out = pd.DataFrame([row.asDict() for row in explained.collect()]).sort_values(key, ignore_index=True)
    for name in ("shap_values", "std_errors"):
        out[name] = [None if row is None else np.array(row) for row in out[name]]
    return out


@pytest.fixture(scope="module")
def data():
    x = pd.DataFrame(credit_like(460, 8), columns=NAMES)
    target = np.sin(x["x0"] * x["x1"]) + x["x2"] * (x["x3"] > 0.8)
    return x.iloc[:60], x.iloc[60:].assign(id=[f"A{row:03}" for row in range(400)]), x, target.to_numpy()


TREES = {
    "tree": DecisionTreeRegressor(max_depth=6, random_state=0),
    # One thread: with several a forest sums its trees in the order in which the threads end.
    "forest": RandomForestClassifier(8, max_depth=6, random_state=0),
    "boosting": HistGradientBoostingRegressor(max_iter=15, random_state=0),
}


@pytest.mark.parametrize("kind", TREES)
def test_placement_does_not_change_a_bit(spark, data, kind):
    background, rows, x, target = data
    model = TREES[kind].fit(x, target > 0.3 if kind == "forest" else target)
    explainer = Explainer(model, background, n_evaluations=65, seed=3)
    there = explainer(rows, key="id")
    table = spark.createDataFrame(rows)
    shuffled = spark.createDataFrame(rows.sample(frac=1, random_state=1))
    placed = {"1": table.coalesce(1), "7": table.repartition(7), "200": shuffled.repartition(200, "id"), "again": table}
    if kind != "tree":
        placed = {"7": shuffled.repartition(7)}
    for name, frame in placed.items():
        out = collect(explainer.explain(frame, key="id"))
        assert np.array_equal(np.stack(out["shap_values"]), there.values), name
        assert np.array_equal(np.stack(out["std_errors"]), there.std_errors.astype(np.float32)), name
        assert np.array_equal(out["prediction"], there.predictions), name
        gap = out["base_value"] + np.stack(out["shap_values"]).sum(axis=1) - out["prediction"]
        assert np.abs(gap).max() <= 1e-6 * np.abs(out["prediction"]).max()


@pytest.mark.parametrize("size", [1, 10_000])
def test_arrow_batches_and_planned_partitions_do_not_change_a_bit(spark, data, size):
    background, rows, x, target = data
    explainer = Explainer(TREES["tree"].fit(x, target), background, n_evaluations=65, seed=3)
    there = explainer(rows, key="id")
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(name)
    spark.conf.set(name, str(size))
    try:
        explained = explainer.explain(spark.createDataFrame(rows), key="id", partitions=5)
        assert explained.select(f.spark_partition_id()).distinct().count() == 5
        assert np.array_equal(np.stack(collect(explained)["shap_values"]), there.values)
    finally:
        spark.conf.set(name, before)


def test_placement_with_a_network_whose_bits_depend_on_the_batch(spark, data):
    background, rows, x, target = data
    network = make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=150, random_state=0)).fit(x, target > 0.3)
    explainer = Explainer(network, background, n_evaluations=65, seed=3)
    there = explainer(rows, key="id").values
    for frame in (spark.createDataFrame(rows).coalesce(1), spark.createDataFrame(rows[::-1]).repartition(37)):
        values = np.stack(collect(explainer.explain(frame, key="id"))["shap_values"])
        assert np.abs(values - there).max() < 1e-9


def first_two(frame):
    """A model of the test's own module, which workers cannot import."""
    return frame["a"].to_numpy() * (1.0 + np.sin(frame["b"].to_numpy()))


def small(n_rows=30, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=n_rows), "b": rng.normal(size=n_rows), "c": rng.integers(0, 5, n_rows)})


def test_keys_of_every_type_and_columns_kept(spark):
    rows = small(12, seed=1)
    rows["day"] = [dt.date(2020, 1, 1 + row // 2) for row in range(12)]
    rows["n"] = range(12)
    rows["text"] = [f"ü{row:02}" for row in range(12)]
    rows["at"] = pd.to_datetime("2020-01-01 10:11:12.5") + pd.to_timedelta(range(12), unit="h")
    explainer = Explainer(first_two, small(), n_evaluations=5, method="sampling")
    table = spark.createDataFrame(rows)
    for key in ("n", "text", "at", ["day", "n"], ["day", "text"]):
        explained = explainer.explain(table, key=key, keep=["c", "day"] if isinstance(key, str) else ["a"])
        names = [key] if isinstance(key, str) else key
        assert explained.columns[: len(names)] == names
        out = collect(explained, names)
        assert np.array_equal(np.stack(out["shap_values"]), explainer(rows, key=key).values), key
        assert out[names[0]].tolist() == rows[names[0]].tolist()
    types = dict(explained.dtypes)
    assert (types["day"], types["a"], types["n_evaluations"]) == ("date", "double", "int")
    # An instant is the same key in any time zone of the session.
    values = np.stack(collect(explainer.explain(table, key="at"), "at")["shap_values"])
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        assert np.array_equal(np.stack(collect(explainer.explain(table, key="at"), "at")["shap_values"]), values)
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)


def test_columns_that_cannot_be_are_refused_at_once(spark):
    explainer = Explainer(first_two, small(), n_evaluations=5, method="sampling")
    table = spark.createDataFrame(small(3).assign(id=[1, 2, 3], output="x", Prediction=1.0))
    for options, text in [
        ({"key": "nr"}, r"key column 'nr' is not in the input \(1 missing: nr\); the input has a, b, c, id"),
        ({"key": "id", "keep": "region"}, "keep column 'region' is not in the input"),
        ({"key": []}, "key: name at least one column"),
        ({"key": "output"}, "key, keep: 'output' is a column of the output; rename the column"),
        ({"key": "id", "keep": "Prediction"}, "'Prediction' is a column of the output"),
        ({"key": "id", "keep": "id"}, "'id' is named twice in key and keep"),
    ]:
        with pytest.raises(InputError, match=text):
            explainer.explain(table, **options)
    with pytest.raises(InputError, match="feature 'b' is not in the input"):
        explainer.explain(table.drop("b"), key="id")
    with pytest.raises(Exception, match="key column 'a' has type double, which is no safe key"):
        explainer.explain(table, key="a").collect()


def test_names_with_spaces_dots_backticks_and_unicode(spark):
    names = ["a b", "a.b", "größe`cm`", "収入"]
    background = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 4)), columns=names)

    def model(frame):
        if list(frame.columns) != names:
            raise KeyError(f"{list(frame.columns)}")
        return frame["a b"].to_numpy() * frame["a.b"].to_numpy() + frame["収入"].to_numpy()

    explainer = Explainer(model, background, n_evaluations=33)
    rows = background.assign(**{"k.1": range(30), "keep`me": "x"})
    table = spark.createDataFrame(rows)
    explained = explainer.explain(table, key="k.1", keep="keep`me", partitions=3)
    out = collect(explained, "k.1")
    assert explained.schema["shap_values"].dataType.names == names
    assert np.array_equal(np.stack(out["shap_values"]), explainer(rows, key="k.1").values)
    assert set(out["keep`me"]) == {"x"}


def test_several_outputs_and_rejects_on_spark(spark):
    def model(frame):
        if (frame["c"] == 77).any():
            raise ValueError("no rate for 77")
        one = first_two(frame)
        return np.stack([one, -one], axis=1)

    explainer = Explainer(model, small(), n_evaluations=5, method="sampling", output_names=["plus", "minus"])
    rows = small(20, seed=1).assign(id=range(20))
    rows.loc[4, "c"] = 77
    table = spark.createDataFrame(rows).withColumn("c", f.when(f.col("id") != 7, f.col("c")))
    out = collect(explainer.explain(table.repartition(3), key="id", keep="c"), ["id", "output"])
    bad = out[out["error"].notna()].set_index("id")
    assert bad.index.tolist() == [4, 7]
    assert bad.loc[4, "error"][:3] == ("model", "ValueError", "no rate for 77")
    assert bad.loc[7, "error"][:2] == ("input", "ValueDoesNotFit")
    good = out[out["error"].isna()]
    assert good.groupby("id")["output"].apply(list).tolist() == [["minus", "plus"]] * 18
    clean = explainer(rows.drop(index=[4, 7]), key="id").values
    assert np.array_equal(np.stack(good["shap_values"][good["output"] == "plus"]), clean[:, :, 0])


def test_a_run_over_its_limit_of_rejects_stops_with_the_first_messages(spark):
    explainer = Explainer(first_two, small(), n_evaluations=5, method="sampling")
    table = spark.createDataFrame(small(20).assign(id=range(20)).astype({"c": "float64"}))
    table = table.withColumn("c", f.when(f.col("id") < 15, f.lit(0.5)).otherwise(1.0)).coalesce(1)
    explained = explain_frame(table, explainer.prepared, columns=Columns(("id",), ()), limit=RejectLimit(count=3))
    with pytest.raises(Exception, match=r"TooManyRejectsError: 15 of the first 20 rows .*value 0.5 does not"):
        explained.collect()


class Counting:
    """A model that leaves a line in a file for each load and each call."""

    def __init__(self, path):
        self.path = str(path)

    def note(self, text):
        with open(self.path, "a") as file:
            file.write(text + "\n")

    def __setstate__(self, state):
        self.__dict__.update(state)
        import os

        self.note(f"load {os.getpid()}")

    def __call__(self, frame):
        import os

        self.note(f"call {os.getpid()} {len(frame)}")
        return first_two(frame)


def lines(path, word):
    return [line.split()[1:] for line in path.read_text().splitlines() if line.startswith(word)]


def test_lazy_loaded_once_a_process_and_evaluated_once(spark, tmp_path):
    log = tmp_path / "log"
    explainer = Explainer(Counting(log), small(), n_evaluations=17, method="sampling")
    log.unlink()
    table = spark.createDataFrame(small(500, seed=1).assign(id=range(500))).repartition(16)
    explained = explainer.explain(table, key="id")
    assert not log.exists()  # neither the model nor Spark has run
    written = explained.where("error is null").select("id", "shap_values", "prediction")
    written.write.parquet(str(tmp_path / "out"))
    calls, loads = lines(log, "call"), lines(log, "load")
    assert sum(int(size) for _, size in calls) == 500 * 17
    assert len({pid for (pid,) in loads}) == len(loads) <= 4  # 16 tasks
    assert {pid for pid, _ in calls} <= {pid for (pid,) in loads}
    assert spark.read.parquet(str(tmp_path / "out")).count() == 500
    # Another frame of the same explainer is the same model to the workers.
    explainer.explain(table, key="id").collect()
    assert len({pid for (pid,) in lines(log, "load")}) == len(lines(log, "load"))


def test_partitions_without_rows_load_nothing(spark, tmp_path):
    log = tmp_path / "log"
    explainer = Explainer(Counting(log), small(), n_evaluations=17, method="sampling")
    log.unlink()
    empty = spark.createDataFrame(small(3).assign(id=range(3))).where("id < 0")
    assert explainer.explain(empty.repartition(3), key="id").collect() == []
    assert not log.exists()


@pytest.mark.slow
def test_a_model_of_a_script_reaches_the_workers(tmp_path):
    """In __main__, with a class and a helper of its own, as in a notebook."""
    script = tmp_path / "score.py"
    script.write_text(
        "import numpy as np, pandas as pd\n"
        "from pyspark.sql import SparkSession\n"
        "from spark_shap import Explainer\n"
        "def helper(v): return np.sin(v)\n"
        "class Model:\n"
        "    def predict(self, frame): return helper(frame['a'].to_numpy()) * frame['b'].to_numpy()\n"
        "rows = pd.DataFrame({'a': [1.0, 2.0, 3.0], 'b': [0.5, 1.5, 9.0], 'id': [1, 2, 3]})\n"
        "explainer = Explainer(Model(), rows[['a', 'b']], n_evaluations=33)\n"
        "spark = SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "out = explainer.explain(spark.createDataFrame(rows), key='id').orderBy('id').collect()\n"
        "assert [list(row.shap_values) for row in out] == explainer(rows, key='id').values.tolist()\n"
        "print('same')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_what_cannot_be_pickled_is_refused_before_spark_starts(spark):
    table = spark.createDataFrame(small(3).assign(id=range(3)))
    lock = threading.Lock()
    for held, text in ((lock, "lock"), (spark, "only be used on the driver|CONTEXT_ONLY_VALID_ON_DRIVER")):

        def model(frame, held=held):
            return first_two(frame) + (held is None)

        explainer = Explainer(model, small(), n_evaluations=5, method="sampling")
        with pytest.raises(ModelError, match=rf"model: it cannot be sent to the workers \((?s:.*)({text})"):
            explainer.explain(table, key="id")


class Threads:
    """Predicts how many threads its estimators would use."""

    def __init__(self, model):
        self.model = model

    def predict(self, frame):
        forests = [self.model.steps[0][1], *self.model.steps[0][1].estimators_]
        return np.full(len(frame), float(max(abs(one.n_jobs or 1) * 10 + (one.n_jobs or 0) for one in forests)))


def test_workers_use_one_thread_and_the_callers_model_is_left_alone(spark):
    rows, target = small(40), np.arange(40) % 2
    forest = RandomForestClassifier(4, n_jobs=-1, random_state=0)
    pipeline = make_pipeline(VotingClassifier([("one", forest)], voting="soft", n_jobs=-1)).fit(rows, target)
    table = spark.createDataFrame(rows.iloc[:4].assign(id=range(4)))
    explainer = Explainer(Threads(pipeline), rows, n_evaluations=5, method="sampling")
    assert explainer(rows.iloc[:2]).predictions.tolist() == [9.0, 9.0]  # 10 - 1: all cores, as the caller has it
    assert {row["prediction"] for row in explainer.explain(table, key="id").collect()} == {11.0}
    # The fitted clones too, in a function as in an estimator; and the caller's have not been touched.
    plain = Explainer(pipeline, rows, n_evaluations=5, method="sampling")
    plain.explain(table, key="id").collect()
    plain(rows.iloc[:2])
    assert [pipeline.steps[0][1].n_jobs, pipeline.steps[0][1].estimators_[0].n_jobs, forest.n_jobs] == [-1, -1, -1]


@pytest.mark.parametrize("size", [25, "all"])
@pytest.mark.parametrize("key", ["id", None])
def test_a_background_from_spark_does_not_depend_on_its_partitions(spark, size, key):
    population = small(80, seed=2).assign(id=range(80), w=np.linspace(1.0, 2.0, 80))
    table = spark.createDataFrame(population if key else population.drop(columns="id"))
    rows = small(15, seed=1)
    found = []
    for frame in (table.coalesce(1), table.orderBy("a").repartition(13)):
        explainer = Explainer(
            first_two, frame, background_size=size, background_key=key, weights="w", n_evaluations=9, method="sampling"
        )
        assert explainer.feature_names == ("a", "b", "c")
        found.append((explainer.base_values, explainer(rows).values))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])
    if size == "all":
        expected = np.average(first_two(population), weights=population["w"])
        assert found[0][0] == pytest.approx(expected)
    else:
        options = {"background_size": size, "background_key": key, "weights": "w", "n_evaluations": 9}
        other = Explainer(first_two, table, seed=1, **options)
        assert other.base_values != found[0][0]


def test_the_linear_form_on_spark(spark, data):
    background, rows, x, target = data
    explainer = Explainer(LinearRegression().fit(x, target), background)
    out = collect(explainer.explain(spark.createDataFrame(rows.iloc[:50]), key="id"))
    assert explainer.method == "linear"
    assert np.stack(out["shap_values"]) == pytest.approx(explainer(rows.iloc[:50], key="id").values, abs=1e-12)
    assert (np.stack(out["std_errors"]) == 0).all()
    assert set(out["n_evaluations"]) == {1}
