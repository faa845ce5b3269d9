"""Finished runs are read, and only those."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from records import RECORD

from spark_shap import InputError, read_run, schema
from spark_shap.io.location import Location
from spark_shap.io.runs import write_run
from spark_shap.io.shards import KEYS, Shard, commit_shard, read_shards, remove_others
from spark_shap.io.tables import read_table, replace_shard

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FINISHED = replace(RECORD, started_at=NOW, finished_at=NOW, rows_read=4, rows_explained=3)


def shard(part: int, name: str, n_rows: int = 3, attempt: str = "00001a") -> Shard:
    return Shard(
        part=part,
        n_parts=2,
        shard=name,
        n_rows=n_rows,
        n_explained=n_rows,
        n_rejected=0,
        attempt=attempt,
        committed_at=NOW,
    )


def put(spark: SparkSession, location: Location, name: str, first: int) -> None:
    rows = spark.range(first, first + 3).selectExpr("'r1' as run_id", "id")
    replace_shard(rows, location, schema.ATTRIBUTIONS, "r1", name)


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(str(tmp_path / "out"))


def test_a_shard_is_there_when_its_line_is(spark: SparkSession, location: Location) -> None:
    record = replace(FINISHED, run_id="r1", shards=2)
    for name, first in (("0-a", 0), ("0-b", 0), ("1-a", 3), ("1-dead", 3)):
        put(spark, location, name, first)
    # Two programs committed the first shard: every reader takes the one that began later.
    for one in (shard(0, "0-a", 3, "00002b"), shard(0, "0-b"), shard(1, "1-a"), shard(KEYS, "keys-a", 0)):
        commit_shard(spark, location, "r1", one)
    found = read_shards(spark, location, "r1")
    assert {part: one.shard for part, one in found.items()} == {0: "0-a", 1: "1-a", KEYS: "keys-a"}
    write_run(spark, location, record)
    rows = read_run(spark, location.root, "r1")  # type: ignore[arg-type]  # it has one
    assert rows.columns == ["run_id", "id"]
    assert sorted(row["id"] for row in rows.collect()) == list(range(6))
    remove_others(spark, location, "r1", found)
    assert sorted(row["id"] for row in read_table(spark, location, schema.ATTRIBUTIONS, "r1").collect()) == list(
        range(6)
    )


def test_unfinished_runs_are_not_shown(spark: SparkSession, location: Location) -> None:
    put(spark, location, "0-a", 0)
    commit_shard(spark, location, "r1", shard(0, "0-a"))
    with pytest.raises(InputError, match="no table 'runs' to read"):
        read_run(spark, location)
    write_run(spark, location, replace(FINISHED, run_id="r1", status="failed", error="the disk is full"))
    with pytest.raises(
        InputError, match=r"run r1 is not finished: failed \(the disk is full\); start the same command"
    ):
        read_run(spark, location, "r1")
    with pytest.raises(InputError, match=r"no finished run 'latest'; the newest there are: none"):
        read_run(spark, location)
    write_run(spark, location, replace(FINISHED, run_id="r1"))
    assert read_run(spark, location).count() == 3
    with pytest.raises(InputError, match=r"no finished run 'r2'; the newest there are: r1"):
        read_run(spark, location, "r2")
    with pytest.raises(InputError, match="table 'shards': a run has runs, attributions"):
        read_run(spark, location, table="shards")
