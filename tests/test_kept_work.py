"""What an attempt keeps for the next one: nothing is fitted or counted twice, and all is gone with the run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from portfolio import Model, applicants, save, settings

from spark_shap import aggregates, controls, intake
from spark_shap.config import RunConfig
from spark_shap.io.kept_work import KeptWork
from spark_shap.io.location import Location
from spark_shap.io.staging import remove_staged
from spark_shap.io.tables import read_table
from spark_shap.pipeline import plan_run, run

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


class Killed(BaseException):
    pass


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which looks at all rows were taken."""
    taken: list[str] = []
    for name in ("census", "collect_sample"):
        look = getattr(intake, name)
        monkeypatch.setattr(intake, name, lambda *a, name=name, look=look, **k: (taken.append(name), look(*a, **k))[1])
    return taken


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many surrogates hybrid rows were put to the model."""
    made: list[int] = []
    new = controls.draw_hybrids

    def counted(*arguments: Any, **how: Any) -> Any:
        made.append(1)
        return new(*arguments, **how)

    monkeypatch.setattr(controls, "draw_hybrids", counted)
    return made


def crash(*_: Any, **__: Any) -> None:
    raise Killed


def config(folder: Path, out: str, **explain: Any) -> RunConfig:
    if not (folder / "applicants.parquet").exists():
        applicants(60).to_parquet(folder / "applicants.parquet", index=False)
        save(Model(folder / "calls"), folder / "model.pkl")
    explain = {"shards": 2, "seed": 7, "n_evaluations": 65, "surrogate_evaluations": 2000, **explain}
    return RunConfig.model_validate(
        settings(folder, folder / "model.pkl", explain=explain, output={"path": str(folder / out)})
    )


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "_staging").glob("run_id=*/kept/*.parquet"))


def test_the_next_attempt_neither_fits_nor_counts_again(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[int], looks: list[str]
) -> None:
    whole = run(spark, config(tmp_path, "whole"))
    assert (len(fits), kept(tmp_path / "whole")) == (1, [])
    with monkeypatch.context() as patch:
        patch.setattr(aggregates, "summarize", crash)
        with pytest.raises(Killed):
            run(spark, config(tmp_path, "cut"))
    assert (len(fits), len(looks), len(kept(tmp_path / "cut"))) == (2, 4, 1)
    done = run(spark, config(tmp_path, "cut"))
    assert (len(fits), len(looks)) == (2, 4)
    assert (done.record.attempts, done.record.run_id) == (2, whole.record.run_id)
    assert (done.record.rows_read, done.record.input_version) == (whole.record.rows_read, whole.record.input_version)
    assert done.record.method_reason == whole.record.method_reason
    assert not list((tmp_path / "cut" / "_staging").glob("*"))
    for table in ("attributions", "summary"):
        one, other = (
            read_table(spark, Location(str(tmp_path / name)), table, done.record.run_id).toPandas()
            for name in ("whole", "cut")
        )
        by = [name for name in ("id", "segment_by", "segment", "feature") if name in one]
        one, other = (rows.sort_values(by, ignore_index=True) for rows in (one, other))
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.slow
def test_another_run_does_its_own(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: list[int], looks: list[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(aggregates, "summarize", crash)
        with pytest.raises(Killed):
            run(spark, config(tmp_path, "out"))
    assert (len(fits), len(looks)) == (1, 2)
    plan_run(spark, config(tmp_path, "out"))
    assert (len(fits), len(looks)) == (1, 2)
    plan_run(spark, config(tmp_path, "out", seed=8))
    plan_run(spark, config(tmp_path, "elsewhere"))
    assert (len(fits), len(looks)) == (3, 6)
    # So is one that may be read otherwise.
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    try:
        plan_run(spark, config(tmp_path, "out"))
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
    assert len(looks) == 8
    # A changed input is counted, whatever its size: one applicant's income is another.
    data = pd.read_parquet(tmp_path / "applicants.parquet")
    before = os.stat(tmp_path / "applicants.parquet")
    data.assign(income=data["income"].iloc[::-1].to_numpy()).to_parquet(tmp_path / "applicants.parquet", index=False)
    os.utime(tmp_path / "applicants.parquet", ns=(before.st_atime_ns, before.st_mtime_ns + 10**6))
    done = run(spark, config(tmp_path, "out", shards=1))
    assert (len(looks), done.record.attempts) == (10, 1)
    assert len(kept(tmp_path / "out")) == 1  # of the run that did not end: one shard is never gone on with


def test_places(spark: SparkSession, tmp_path: Path) -> None:
    check_place(spark, Location(str(tmp_path)))
    # What a program that was killed while it wrote has left is nothing.
    folder = tmp_path / "_staging" / "run_id=dead" / "kept"
    (folder / "_temporary" / "0").mkdir(parents=True)
    (folder / "part-0.parquet").write_bytes(b"PAR1")
    assert KeptWork(spark, Location(str(tmp_path))).find(lambda: "a") is None


@pytest.mark.delta
def test_places_in_a_catalog_schema(spark: SparkSession) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS kept_work")
    try:
        check_place(spark, Location(catalog_schema="kept_work", format="delta"))
    finally:
        spark.sql("DROP SCHEMA kept_work CASCADE")


@pytest.mark.connect
def test_places_through_connect(spark_connect: SparkSession, tmp_path: Path) -> None:
    check_place(spark_connect, Location(str(tmp_path)), removed=False)


def never() -> Any:
    raise AssertionError("nothing is asked for where nothing is kept")


def check_place(spark: SparkSession, location: Location, *, removed: bool = True) -> None:
    fit = bytes(range(256)) * 5000
    assert KeptWork(spark, location).find(never) is None
    for run_id, work in (("one", {"a": fit, "b": b""}), ("another", {"c": b"c", "huge": bytes(2**25 + 1)})):
        mine = KeptWork(spark, location)
        for name, done in work.items():
            mine.keep(lambda name=name: name, lambda done=done: done)
        mine.write(run_id)
    again = KeptWork(spark, location)
    there = {name: again.find(lambda name=name: name) for name in ("a", "b", "c", "d", "huge")}
    assert there == {"a": fit, "b": b"", "c": b"c", "d": None, "huge": None}
    again.keep(lambda: "a", never)  # what was found is not written again
    again.write("third")
    remove_staged(spark, location, "one")
    if removed:
        after = KeptWork(spark, location)
        assert (after.find(lambda: "a"), after.find(lambda: "c")) == (None, b"c")
