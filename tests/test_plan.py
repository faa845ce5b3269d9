"""The arithmetic of plans, without Spark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from portfolio import FEATURES, applicants, score

from spark_shap import Explainer
from spark_shap.engine.session import is_warm, note_warm
from spark_shap.models.frames import background_rows
from spark_shap.models.predictor import as_predictor
from spark_shap.options import Options
from spark_shap.plan import JOB_SECONDS, Plan, Probe, make_plan
from spark_shap.prepare import Prepared, prepare
from spark_shap.probe import probe_rows

PROBE = Probe(
    n_rows=10, row_seconds=0.01, model_seconds=1e-5, surrogate_seconds=1e-3, n_evaluations=500.0, std_error=0.02
)


def prepared(frame: pd.DataFrame | None = None, **options: int) -> Prepared:
    frame = applicants(50)[FEATURES] if frame is None else frame
    model = score if list(frame.columns) == FEATURES else (lambda rows: np.asarray(rows)[:, 0])
    settings = Options(**{"n_evaluations": 65, **options})
    return prepare(as_predictor(model, None, None), background_rows(frame), None, model=model, options=settings)


@pytest.fixture(scope="module")
def method() -> Prepared:
    return prepared()


def test_time_is_the_rows_times_their_cost(method: Prepared) -> None:
    plan = make_plan(method, PROBE, n_rows=10_000, parallelism=4)
    assert plan.seconds == pytest.approx(JOB_SECONDS + 10_000 * 0.01 / 4)
    assert plan.model_share == pytest.approx(1e-5 * 500 / 0.01)
    assert make_plan(method, replace(PROBE, model_seconds=1.0), n_rows=10, parallelism=1).model_share == 1.0


@pytest.mark.parametrize(
    ("n_rows", "parallelism", "tasks"),
    [(1, 4, 1), (3, 4, 3), (100, 4, 4), (10_000, 4, 8), (1_000_000, 4, 512), (1_000_000, 7, 525)],
)
def test_tasks_take_twenty_seconds_and_use_all_cores(
    method: Prepared, n_rows: int, parallelism: int, tasks: int
) -> None:
    assert make_plan(method, PROBE, n_rows=n_rows, parallelism=parallelism).partitions == tasks


@pytest.mark.parametrize(("n_rows", "shards"), [(10_000, 1), (1_000_000, 8), (10**10, 4096)])
def test_shards_take_five_minutes(method: Prepared, n_rows: int, shards: int) -> None:
    assert make_plan(method, PROBE, n_rows=n_rows, parallelism=4).shards == shards
    assert make_plan(method, PROBE, n_rows=n_rows, parallelism=4, shards=3).shards == 3


def test_shares_of_the_whole_job_are_of_its_wall_seconds(method: Prepared) -> None:
    probe = replace(PROBE, model_seconds=4e-6, surrogate_seconds=3e-3)
    plan = make_plan(method, probe, n_rows=10_000, parallelism=4)  # rows take 25 s of wall time: 20, 30 and 50 % of it
    assert plan.shares_of(50.0) == "model 10%, surrogate 15%, sampling 25%, Spark and what is done once 50%"
    assert plan.shares_of(1.0).endswith("sampling 50%, Spark and what is done once 0%")
    alone = replace(plan, partitions=1, surrogate_share=0.0)
    assert alone.shares_of(200.0) == "model 10%, sampling 40%, Spark and what is done once 50%"


def test_tasks_as_they_are_asked_for(method: Prepared) -> None:
    assert make_plan(method, PROBE, n_rows=5, parallelism=2, partitions=77).partitions == 77


def wide(n_features: int, n_rows: int = 60) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(n_rows, n_features))
    return pd.DataFrame(values, columns=[f"f{index}" for index in range(n_features)])


@pytest.mark.parametrize("n_features", [5, 100, 2000])
@pytest.mark.parametrize("memory_mb", [16, 256])
def test_memory_stays_near_what_is_allowed(n_features: int, memory_mb: int) -> None:
    method = prepared(wide(n_features), memory_mb=memory_mb, n_evaluations=129, surrogate_evaluations=0)
    plan = make_plan(method, replace(PROBE, n_evaluations=129), n_rows=10**9, parallelism=1000)
    blocks = 3 * plan.block_rows * n_features * 8 / 2**20
    assert blocks <= memory_mb
    assert blocks <= plan.worker_megabytes <= memory_mb + 100
    smaller = make_plan(method, replace(PROBE, n_evaluations=129), n_rows=10, parallelism=1)
    assert smaller.worker_megabytes == plan.worker_megabytes, "whatever the size of the table"


def test_lines_say_what_a_person_asks(method: Prepared) -> None:
    text = "\n".join(make_plan(method, PROBE, n_rows=10_000_000, parallelism=100).lines())
    for part in (
        "sampling: ",
        "10,000,000 in 5,100 tasks, 100 at a time, committed in 3 shards",
        "500 a row, 5,000,000,000 in all",
        "17 min",
    ):
        assert part in text, text
    assert "2 h 47 min" in "\n".join(make_plan(method, PROBE, n_rows=10**8, parallelism=100).lines())


def test_probe_measures_and_names_what_cannot_be_explained(method: Prepared) -> None:
    probe = probe_rows(method, applicants(100))
    assert probe.n_evaluations == 65
    assert 0 < probe.model_seconds * 65 < probe.row_seconds * 3
    assert 0 < probe.std_error < 0.2
    plan = make_plan(method, probe, n_rows=100, parallelism=2)
    assert isinstance(plan, Plan)


def test_an_explainer_plans_without_explaining(spark):
    frame = applicants(400)
    explainer = Explainer(score, frame[FEATURES].head(60), n_evaluations=65, seed=1)
    plan = explainer.plan(frame)
    assert (plan.n_rows, plan.parallelism, plan.n_evaluations) == (400, 1, 65)
    text = "\n".join(plan.lines())
    for part in ("sampling: ", "a surrogate fitted to 20,000 evaluations leaves", "surrogate ", "microseconds a row"):
        assert part in text, text
    found = explainer(frame.head(200), key="id")
    assert 0.5 < np.median(found.std_errors) / plan.std_error < 2
    there = explainer.plan(spark.createDataFrame(frame).repartition(3))
    assert (there.n_rows, there.n_evaluations) == (400, 65)
    assert there.row_seconds > 0


def test_a_plan_under_a_tolerance_expects_fewer_evaluations():
    frame = applicants(300)
    loose, tight = (
        Explainer(score, frame[FEATURES].head(60), n_evaluations=1025, tolerance=limit).plan(frame)
        for limit in (0.01, 0.0005)
    )
    assert loose.n_evaluations < tight.n_evaluations <= 1025


def test_a_session_is_warm_once_it_has_made_a_run(spark):
    assert not is_warm(object())
    note_warm(spark)
    assert is_warm(spark)
