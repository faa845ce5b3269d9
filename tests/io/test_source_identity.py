"""What a source is, told without reading it: another where anything has changed, nothing where that is not known."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from spark_shap.io import source_identity as identities
from spark_shap.io.source_identity import source_identity
from spark_shap.io.sources import TableVersion, source_version

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def check_files(spark: SparkSession, folder: Path) -> None:
    tell = partial(source_identity, spark, table=None, version=None)
    for name in ("day=1/a.csv", "day=2/b.csv", "day=2/_c.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x\n1\n")
    path, glob = str(folder), f"{folder}/day=*"
    first = tell(path=path, where=None)
    assert first is not None
    assert first == tell(path=path, where=None) == tell(path=glob, where=None)
    seen = {first, tell(path=path, where="x > 1"), tell(path=f"{folder}/day=2", where=None)}
    (folder / "day=2" / "b.csv").write_text("x\n12\n")
    seen.add(tell(path=path, where=None))
    (folder / "day=2" / "b.csv").write_text("x\n21\n")
    os.utime(folder / "day=2" / "b.csv", (10**9, 10**9))
    seen.add(tell(path=path, where=None))
    (folder / "day=2" / "b.csv").rename(folder / "day=2" / "d.csv")
    seen.add(tell(path=path, where=None))
    (folder / "day=3").mkdir()
    (folder / "day=3" / "a.csv").write_text("x\n1\n")
    seen.add(tell(path=path, where=None))
    assert len(seen) == 7
    assert None not in seen


def test_files(spark: SparkSession, tmp_path: Path) -> None:
    check_files(spark, tmp_path)


def test_more_files_than_are_asked_one_by_one(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_LISTED", 0)
    check_files(spark, tmp_path)


@pytest.mark.connect
def test_files_through_connect(spark_connect: SparkSession, tmp_path: Path) -> None:
    check_files(spark_connect, tmp_path)


@pytest.mark.parametrize(
    ("where", "known"),
    [
        ("age > 21 and (region in ('a', 'b') or not (x is null))", True),
        ("`day` >= '2026-01-01'", True),
        ("day > current_date", False),
        ("day > current_date()", False),
        ("day > now() - interval 30 days", False),
        ("rand () < 0.5", False),
        ("id in (select id from others)", False),
        ("owner = session_user", False),
        ("t < localtimestamp", False),
    ],
)
def test_rows_chosen_by_what_may_change_are_not_known(
    spark: SparkSession, tmp_path: Path, where: str, known: bool
) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    found = source_identity(spark, path=str(tmp_path), table=None, where=where, version=None)
    assert (found is not None) == known


def test_tables_are_known_by_their_versions_alone(spark: SparkSession) -> None:
    tell = partial(source_identity, spark, path=None, where=None)
    assert tell(table="view", version=None) is None
    first = tell(table="a", version=TableVersion(3, "2026-01-01"))
    assert first is not None
    others = {
        tell(table="a", version=TableVersion(4, "2026-01-01")),
        tell(table="a", version=TableVersion(3, "2026-01-02")),
        tell(table="b", version=TableVersion(3, "2026-01-01")),
    }
    assert len(others | {first}) == 4


@pytest.mark.delta
def test_a_delta_table_made_anew_is_another(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "table")

    def told() -> str | None:
        version = source_version(spark, path=path, table=None, format="delta")
        return source_identity(spark, path=path, table=None, where=None, version=version)

    spark.range(3).write.format("delta").save(path)
    first = told()
    assert first == told() is not None
    spark.range(3).write.format("delta").mode("append").save(path)
    second = told()
    spark.range(3).write.format("delta").mode("overwrite").save(path)
    assert len({first, second, told()}) == 3
    os.rename(path, tmp_path / "old")
    spark.range(3).write.format("delta").save(path)
    assert told() not in (first, second, None)
