"""The two faults that happen most, with real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import portfolio
import pytest
from faults.programs import (
    N_SHARDS,
    Asked,
    Watched,
    Work,
    assert_same_tables,
    committed,
    evaluations,
    explaining,
    program,
    run_row,
)
from portfolio import applicants
from pyspark import cloudpickle

from spark_shap.config import RunConfig
from spark_shap.errors import InputError, RunError
from spark_shap.io.reading import read_run
from spark_shap.pipeline import run

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("faults")
    cloudpickle.register_pickle_by_value(portfolio)  # its own module goes with a model, its base class's does not
    data = applicants(160)
    data.loc[40:43, "age"] = 99
    model = Watched(folder / "calls", seconds=0.2, dies_after=0, nan_at=99)
    return Work(folder, model, data, output={"max_rejects": 0.1})


@pytest.fixture(scope="module")
def plain(work: Work, spark: SparkSession) -> Path:
    """The tables of a run that nothing happened to."""
    run(spark, RunConfig.model_validate(work.settings(work.folder / "plain")))
    return work.folder / "plain"


@pytest.mark.slow
def test_killed_driver(work: Work, plain: Path, spark: SparkSession) -> None:
    out = work.folder / "driver"
    config = RunConfig.model_validate(work.settings(out))
    with program(work, out) as first:
        first.wait_for(committed(0))
        first.wait_for(explaining(1))
        first.kill()
    with pytest.raises(InputError, match="is not finished: started"):
        read_run(spark, str(out), run_row(out)["run_id"])
    asked = Asked(work.log)
    record = run(spark, config).record  # at once: nobody waits for the claim of a dead program
    assert (record.attempts, record.shards, record.rows_rejected) == (2, N_SHARDS, 4)
    assert_same_tables(out, plain)
    assert 0 < evaluations(out, 2) < evaluations(out, 1) + evaluations(out, 2) == record.model_evaluations
    # Rejected rows are looked at twice, for the reason.
    assert evaluations(out, 2) <= asked.rows() <= evaluations(out, 2) + 65 * 2 * 4


@pytest.mark.slow
def test_killed_worker(work: Work, plain: Path, spark: SparkSession) -> None:
    out = work.folder / "worker"
    config = RunConfig.model_validate(work.settings(out))
    (work.folder / "calls.dies").touch()
    with pytest.raises(RunError, match=r"worker exited unexpectedly"):  # local[2] tries a task once
        run(spark, config)
    assert "exited unexpectedly" in run_row(out)["error"]
    assert run(spark, config).record.attempts == 2
    assert_same_tables(out, plain)
