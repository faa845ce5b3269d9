"""Parquet tables: a run replaces itself and nothing else, whatever its names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.errors import InputError, UsageError
from spark_shap.io.location import Location
from spark_shap.io.samples import forget_sample
from spark_shap.io.tables import read_table, replace_run

ODD_NAMES = ["a b", "c.d", "e`f", "g,h;i{}()", "ü = é", "tab\tline\n", "1"]


def rows(spark: SparkSession, run_id: str, features: list[str], n_rows: int = 3) -> DataFrame:
    values = T.StructType([T.StructField(name, T.DoubleType()) for name in features])
    fields = [("run_id", T.StringType()), ("key no.", T.LongType()), ("shap_values", values)]
    data = [(run_id, i, tuple(i + 0.5 * j for j in range(len(features)))) for i in range(n_rows)]
    return spark.createDataFrame(data, T.StructType([T.StructField(name, kind) for name, kind in fields]))


def files(folder: Path) -> dict[str, float]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*.parquet")}


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(root=str(tmp_path / "out put"))


def test_run_comes_back_as_written(spark: SparkSession, location: Location) -> None:
    df = rows(spark, "r1", ODD_NAMES)
    replace_run(df, location, schema.ATTRIBUTIONS, "r1")
    back = read_table(spark, location, schema.ATTRIBUTIONS, "r1")
    assert back.columns == ["run_id", "key no.", "shap_values"]
    assert back.schema["shap_values"].dataType.names == ODD_NAMES  # type: ignore[attr-defined]  # a struct
    assert sorted(back.collect()) == sorted(df.collect())


def test_replacing_touches_no_other_run(spark: SparkSession, location: Location) -> None:
    for run in ("r1", "r2"):
        replace_run(rows(spark, run, ["x"]), location, schema.ATTRIBUTIONS, run)
    folder = Path(location.path(schema.ATTRIBUTIONS))
    other = files(folder / "run_id=r2")
    replace_run(rows(spark, "r1", ["x"], n_rows=5), location, schema.ATTRIBUTIONS, "r1")
    assert files(folder / "run_id=r2") == other
    assert read_table(spark, location, schema.ATTRIBUTIONS, "r1").count() == 5
    assert read_table(spark, location, schema.ATTRIBUTIONS).count() == 8


def test_no_rows_are_written_without_a_python_worker(
    spark: SparkSession, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineages, parquet = [], DataFrameWriter.parquet

    def noting(writer: Any, *arguments: Any) -> None:
        lineages.append(writer._df._jdf.queryExecution().toRdd().toDebugString())
        parquet(writer, *arguments)

    monkeypatch.setattr(DataFrameWriter, "parquet", noting)
    empty = spark.range(3).selectExpr("'r1' AS run_id", "id AS key").where("key > 5")
    replace_run(empty, location, schema.REJECTS, "r1")
    forget_sample(spark, location, "r1")
    replace_run(spark.range(2).selectExpr("'r1' AS run_id", "id AS key"), location, schema.SAMPLE, "r1")
    forget_sample(spark, location, "r1")
    assert len(lineages) == 5
    assert not [one for one in lineages if "PythonRDD" in one]
    assert read_table(spark, location, schema.SAMPLE, "r1").count() == 0


def test_a_run_without_rows_replaces_one_with_rows(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]), location, schema.REJECTS, "r1")
    replace_run(rows(spark, "r2", ["x"]), location, schema.REJECTS, "r2")
    replace_run(rows(spark, "r1", ["x"]).limit(0), location, schema.REJECTS, "r1")
    assert read_table(spark, location, schema.REJECTS, "r1").count() == 0
    assert read_table(spark, location, schema.REJECTS).count() == 3
    replace_run(rows(spark, "r1", ["x"]), location, schema.REJECTS, "r1")
    assert read_table(spark, location, schema.REJECTS, "r1").count() == 3


def test_first_run_may_have_no_rows(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]).limit(0), location, schema.REJECTS, "r1")
    back = read_table(spark, location, schema.REJECTS, "r1")
    assert (back.count(), back.columns) == (0, ["run_id", "key no.", "shap_values"])


def test_failed_job_leaves_the_run_as_it_was(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]), location, schema.ATTRIBUTIONS, "r1")
    broken = rows(spark, "r1", ["x"]).withColumn("key no.", F.expr("raise_error('broken')").cast("long"))
    with pytest.raises(Exception, match="broken"):
        replace_run(broken, location, schema.ATTRIBUTIONS, "r1")
    assert read_table(spark, location, schema.ATTRIBUTIONS, "r1").count() == 3


def test_rows_are_computed_once(spark: SparkSession, location: Location, tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def count(batches):  # type: ignore[no-untyped-def]  # pyarrow has no types
        for batch in batches:
            with open(log, "a", encoding="utf-8") as out:
                out.write("x" * batch.num_rows)
            yield batch

    df = spark.range(0, 500, 1, 3).mapInArrow(count, "id long").select(F.lit("r1").alias("run_id"), "id")
    replace_run(df, location, schema.ATTRIBUTIONS, "r1")
    assert os.path.getsize(log) == 500


def test_runs_with_other_features_keep_their_own(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x", "y"]), location, schema.ATTRIBUTIONS, "r1")
    replace_run(rows(spark, "r2", ["z", "x"]), location, schema.ATTRIBUTIONS, "r2")
    for run, names in (("r1", ["x", "y"]), ("r2", ["z", "x"])):
        kind = read_table(spark, location, schema.ATTRIBUTIONS, run).schema["shap_values"].dataType
        assert kind.names == names  # type: ignore[attr-defined]  # a struct
    both = read_table(spark, location, schema.ATTRIBUTIONS)
    assert both.where("shap_values.y is not null").count() == 3
    assert both.where("shap_values.x is not null").count() == 6


@pytest.mark.parametrize("run_id", ["0012", "1e10", "2026-01-31", "a" * 64])
def test_run_ids_that_look_like_numbers_stay_text(spark: SparkSession, location: Location, run_id: str) -> None:
    replace_run(rows(spark, run_id, ["x"]), location, schema.SUMMARY, run_id)
    assert read_table(spark, location, schema.SUMMARY, run_id).first()["run_id"] == run_id  # type: ignore[index]
    assert read_table(spark, location, schema.SUMMARY).first()["run_id"] == run_id  # type: ignore[index]
    replace_run(rows(spark, run_id, ["x"], n_rows=1), location, schema.SUMMARY, run_id)
    assert read_table(spark, location, schema.SUMMARY).count() == 1


def test_what_is_not_there_is_named(spark: SparkSession, location: Location) -> None:
    with pytest.raises(InputError, match=r"out put: no table 'runs' to read"):
        read_table(spark, location, schema.RUNS)
    replace_run(rows(spark, "r1", ["x"]), location, schema.SUMMARY, "r1")
    with pytest.raises(InputError, match=r"no run 'r9' in table 'summary' to read"):
        read_table(spark, location, schema.SUMMARY, "r9")


def test_misuse(spark: SparkSession, location: Location) -> None:
    with pytest.raises(UsageError, match=r"run_id '\.\./x': use letters"):
        replace_run(rows(spark, "../x", ["x"]), location, schema.SUMMARY, "../x")
    with pytest.raises(UsageError, match="first column must be run_id, not 'id'"):
        replace_run(spark.range(1), location, schema.SUMMARY, "r1")
    with pytest.raises(UsageError, match="not both"):
        Location()
    with pytest.raises(UsageError, match="Delta tables"):
        Location(catalog_schema="a.b")


def test_location_names() -> None:
    assert Location(root="out").root == os.path.abspath("out")
    assert Location(root="s3a://b/out/").path("runs") == "s3a://b/out/runs"
    assert Location(root="dbfs:/out").path("runs") == "dbfs:/out/runs"
    assert Location(catalog_schema="c.s", format="delta").identifier("runs") == "`c`.`s`.`runs`"
