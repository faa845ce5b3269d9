"""What `spark-shap status` says of runs: complete, failed, interrupted, being made."""

from __future__ import annotations

import json
from argparse import Namespace
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from portfolio import Model, applicants, save, settings

from spark_shap import job, pipeline
from spark_shap.config import RunConfig
from spark_shap.errors import InputError, TooManyRejectsError
from spark_shap.io.claim_stores import other_store_of, store_of
from spark_shap.io.claims import new_claim
from spark_shap.io.location import Location
from spark_shap.io.shards import commit_shard
from spark_shap.pipeline import run
from spark_shap.status import RunStatus, read_status
from spark_shap.status_command import status

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

SHARDS = {"shards": 2, "n_evaluations": 17, "seed": 1}


def configure(folder: Path, /, raises_at: int | None = None, **sections: Any) -> RunConfig:
    applicants(90).to_parquet(folder / "applicants.parquet", index=False)
    model = save(Model(folder / "calls", raises_at=raises_at), folder / "model.pkl")
    return RunConfig.model_validate(
        settings(folder, model, **{"reference": {"size": 20}, "explain": SHARDS, **sections})
    )


class Killed(BaseException):
    """Ends a run as kill -9 does: nothing is written of it."""


def kill_at(n_commits: int, monkeypatch: pytest.MonkeyPatch, look: Any = lambda: None) -> None:
    """Kill the next run before it commits for that time; look at it then."""
    made: list[int] = []

    def commit(*arguments: Any) -> None:
        made.append(1)
        if len(made) == n_commits:
            look()
            monkeypatch.setattr(pipeline, "write_run", lambda *_: None)
            raise Killed
        commit_shard(*arguments)

    monkeypatch.setattr(job, "commit_shard", commit)


def arguments(folder: Path, run_id: str | None = None, **options: Any) -> Namespace:
    values = {"location": str(folder / "out"), "schema": None, "config": None, "format": None, "json": False}
    return Namespace(run=run_id, **{**values, **options})


@pytest.mark.slow
def test_from_a_run_that_is_made_to_one_that_is_complete(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, config = Location(str(tmp_path / "out")), configure(tmp_path)
    running: list[RunStatus] = []
    with monkeypatch.context() as patch, suppress(Killed):
        # The copy of the input and the rejected keys are committed as well, before the first shard.
        kill_at(4, patch, lambda: running.extend(read_status(spark, place)))
        run(spark, config)
    assert (running[0].state, running[0].shards, running[0].attempts) == ("running", 2, 1)
    assert running[0].made_by is not None
    assert status(spark, arguments(tmp_path)).code == 0

    (dead,) = read_status(spark, place)
    assert (dead.state, dead.shards_done, dead.shards, dead.made_by) == ("interrupted", 1, 2, None)
    assert dead.rows_read == 90
    assert 0 < dead.rows_explained < 90
    assert status(spark, arguments(tmp_path, dead.run_id)).code == 1

    # The claim of a program of another machine: what became of that cannot be known.
    elsewhere = replace(new_claim(), host="far", place="far away")
    store = store_of(spark, place, dead.run_id)
    assert store.create(json.dumps(asdict(elsewhere)))
    (held,) = read_status(spark, place)
    assert (held.state, held.made_by) == ("claimed", elsewhere.who)
    assert status(spark, arguments(tmp_path, dead.run_id)).code == 3
    store.remove()
    shared = other_store_of(spark, place, dead.run_id)  # where a program claims that works through Spark Connect
    assert shared.create(json.dumps(asdict(elsewhere)))
    assert read_status(spark, place)[0].state == "claimed"
    shared.remove()
    assert read_status(spark, place)[0].state == "interrupted"

    done = run(spark, config).record
    (complete,) = read_status(spark, place, done.run_id)
    assert (complete.state, complete.attempts, complete.shards_done) == ("complete", 2, 2)
    assert (complete.rows_explained, complete.rows_rejected) == (done.rows_explained, done.rows_rejected)
    assert complete.started_at <= complete.updated_at <= datetime.now(UTC)
    said = status(spark, arguments(tmp_path, done.run_id))
    assert said.code == 0
    assert said.lines[0].startswith(
        f"run {done.run_id}: complete, attempt 2, 2 of 2 shards, {done.rows_explained} of 90 rows explained, "
        f"{done.rows_rejected} rejected, started "
    )
    with pytest.raises(InputError, match=f"no run 'x'; the newest there are: {done.run_id}"):
        status(spark, arguments(tmp_path, "x"))


@pytest.mark.slow
def test_a_failed_run_says_why(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TooManyRejectsError):
        run(spark, configure(tmp_path, raises_at=40, reference={"size": 20, "where": "age <> 40"}))
    said = status(spark, arguments(tmp_path, json=True))
    (found,) = json.loads("\n".join(said.lines))
    assert found["state"] == "failed"
    assert found["error"].startswith("TooManyRejectsError: ")
    assert "no age 40" in found["error"]
    assert datetime.fromisoformat(found["started_at"]) <= datetime.fromisoformat(found["updated_at"])
    lines = status(spark, arguments(tmp_path, found["run_id"])).lines
    assert lines[1] == f"  {found['error']}"
    assert status(spark, arguments(tmp_path, found["run_id"])).code == 1


def test_there_are_no_runs(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table 'runs' to read"):
        status(spark, arguments(tmp_path))


@pytest.mark.slow
@pytest.mark.delta
def test_delta_and_catalog(spark: SparkSession, tmp_path: Path) -> None:
    done = run(spark, configure(tmp_path, output={"format": "delta"})).record
    (found,) = json.loads("\n".join(status(spark, arguments(tmp_path, json=True)).lines))
    assert (found["run_id"], found["state"], found["shards_done"]) == (done.run_id, "complete", 2)
    spark.sql(f"CREATE SCHEMA shown LOCATION '{tmp_path}/shown'")
    try:
        output = {"path": None, "schema": "shown", "format": "delta"}
        done = run(spark, configure(tmp_path, output=output)).record
        said = status(spark, arguments(tmp_path, done.run_id, location=None, schema="shown"))
        assert said.code == 0
        assert said.lines[0].startswith(f"run {done.run_id}: complete")
    finally:
        spark.sql("DROP SCHEMA shown CASCADE")
