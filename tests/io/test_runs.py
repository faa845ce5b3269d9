"""Runs: a record comes back as it was written; locations are checked before hours are spent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from records import RECORD

from spark_shap import schema
from spark_shap.errors import InputError, UsageError
from spark_shap.io import tables
from spark_shap.io.location import Location
from spark_shap.io.places import check_location
from spark_shap.io.runs import RUNS_SCHEMA, find_run, read_runs, write_run
from spark_shap.io.tables import read_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(root=str(tmp_path / "out"))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris"])
def test_record_comes_back(spark: SparkSession, location: Location, zone: str) -> None:
    before = str(spark.conf.get("spark.sql.session.timeZone"))
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        write_run(spark, location, RECORD)
        assert read_runs(spark, location) == (RECORD,)
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)


def test_schema_is_the_record(spark: SparkSession, location: Location) -> None:
    write_run(spark, location, replace(RECORD, versions={}))
    assert sorted(read_table(spark, location, schema.RUNS, "0012").dtypes) == sorted(
        (f.name, f.dataType.simpleString()) for f in RUNS_SCHEMA
    )
    assert read_runs(spark, location)[0].versions == {}


def test_run_is_replaced_and_others_stay(spark: SparkSession, location: Location) -> None:
    later = replace(RECORD, run_id="r2", started_at=RECORD.started_at + timedelta(days=1))
    write_run(spark, location, later)
    write_run(spark, location, RECORD)
    write_run(spark, location, replace(RECORD, rows_rejected=2))
    assert [(r.run_id, r.rows_rejected) for r in read_runs(spark, location)] == [("0012", 2), ("r2", 1)]


def test_run_that_is_killed_while_its_row_is_replaced(
    spark: SparkSession, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    before = replace(RECORD, status="started", started_at=RECORD.started_at - timedelta(days=1))
    write_run(spark, location, before)
    with monkeypatch.context() as now:
        now.setattr(tables, "remove_files", killed)
        with pytest.raises(KeyboardInterrupt):
            write_run(spark, location, replace(before, attempts=2, status="failed"))
    found = find_run(spark, location, RECORD.run_id)
    assert found is not None
    assert (found.attempts, found.started_at) == (2, before.started_at)
    assert read_runs(spark, location) == ()
    write_run(spark, location, replace(before, attempts=3, status="complete"))
    assert [one.attempts for one in read_runs(spark, location)] == [3]
    assert len(list(Path(location.path(schema.RUNS)).glob("*/*.parquet"))) == 1


def test_link_in_place_of_a_run(spark: SparkSession, location: Location, tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", Path(location.path(schema.RUNS)) / f"run_id={RECORD.run_id}"
    write_run(spark, location, RECORD)
    link.rename(precious)
    link.symlink_to(precious)
    files = sorted(precious.iterdir())
    write_run(spark, location, replace(RECORD, rows_rejected=2))
    assert [one.rows_rejected for one in read_runs(spark, location)] == [2]
    assert sorted(precious.iterdir()) == files


def test_only_complete_runs_exist_unless_asked(spark: SparkSession, location: Location) -> None:
    write_run(spark, location, RECORD)
    write_run(spark, location, replace(RECORD, run_id="r2", status="failed"))
    assert [r.run_id for r in read_runs(spark, location)] == ["0012"]
    assert len(read_runs(spark, location, status=None)) == 2


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(UsageError, match="finished_at: needs a time zone"):
        replace(RECORD, finished_at=datetime(2026, 1, 1))


def test_groups_are_read_from_the_configuration() -> None:
    assert RECORD.groups == {}
    assert replace(RECORD, config='{"explain":{"groups":null}}').groups == {}
    assert replace(RECORD, config='{"explain":{"groups":{"money":["a","b"]}}}').groups == {"money": ["a", "b"]}


def test_no_runs_yet(spark: SparkSession, location: Location) -> None:
    with pytest.raises(InputError, match="no table 'runs' to read"):
        read_runs(spark, location)


def test_new_and_empty_folders_and_ours_are_fine(spark: SparkSession, location: Location) -> None:
    root = Path(str(location.root))
    check_location(spark, Location(root=str(root / "a" / "b")))
    check_location(spark, location)
    assert not root.exists()
    root.mkdir()
    (root / "_SUCCESS").touch()
    check_location(spark, location)
    write_run(spark, location, RECORD)
    (root / "notes.txt").touch()
    check_location(spark, location)


def test_folder_with_other_things(spark: SparkSession, location: Location) -> None:
    root = Path(str(location.root))
    root.mkdir()
    (root / "thesis.doc").touch()
    with pytest.raises(InputError, match=r"out: this folder holds other things \(thesis\.doc\).*new or empty"):
        check_location(spark, location)
    assert (root / "thesis.doc").exists()


def test_file_in_place_of_a_folder(spark: SparkSession, location: Location) -> None:
    Path(str(location.root)).touch()
    with pytest.raises(InputError, match="out is a file, not a folder"):
        check_location(spark, location)
    with pytest.raises(InputError, match="out is a file, not a folder"):
        check_location(spark, Location(root=f"{location.root}/below"))


def test_folder_that_cannot_be_written(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(InputError, match=r"locked/out: cannot be written: .*another output\.path"):
        check_location(spark, Location(root=str(tmp_path / "locked" / "out")))


def test_unknown_file_system(spark: SparkSession) -> None:
    with pytest.raises(InputError, match=r"nofs://host/out: cannot be written: No FileSystem"):
        check_location(spark, Location(root="nofs://host/out"))


def test_tables_of_the_other_format(spark: SparkSession, location: Location) -> None:
    write_run(spark, location, RECORD)
    with pytest.raises(InputError, match=r"holds parquet tables; set output\.format: parquet"):
        check_location(spark, Location(root=location.root, format="delta"))
    log = Path(location.path(schema.RUNS)) / "_delta_log"
    log.mkdir()
    with pytest.raises(InputError, match=r"holds delta tables; set output\.format: delta"):
        check_location(spark, location)


def test_schema_that_is_not_there(spark: SparkSession) -> None:
    check_location(spark, Location(catalog_schema="default", format="delta"))
    with pytest.raises(InputError, match="no schema nowhere; create it: CREATE SCHEMA nowhere"):
        check_location(spark, Location(catalog_schema="nowhere", format="delta"))
