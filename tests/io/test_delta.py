"""Delta tables on a real Spark with Delta, read again with the independent deltalake package where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.errors import InputError, RunError
from spark_shap.io.delta import refuse_new_fields
from spark_shap.io.location import Location
from spark_shap.io.places import check_location
from spark_shap.io.sources import read_source
from spark_shap.io.tables import read_table, replace_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.delta

ODD_NAMES = ["a b", "c.d", "e`f", "g,h;i{}()", "ü = é"]


def rows(
    spark: SparkSession, run_id: str, features: list[str], *, n_rows: int = 3, key: T.DataType | None = None
) -> DataFrame:
    values = T.StructType([T.StructField(name, T.DoubleType()) for name in features])
    fields = [("run_id", T.StringType()), ("key_no", T.LongType()), ("shap_values", values)]
    data = [(run_id, i, tuple(i + 0.5 * j for j in range(len(features)))) for i in range(n_rows)]
    df = spark.createDataFrame(data, T.StructType([T.StructField(name, kind) for name, kind in fields]))
    return df.withColumn("key_no", F.col("key_no").cast(key)) if key else df


def struct_names(df: DataFrame) -> list[str]:
    return list(df.schema["shap_values"].dataType.names)  # type: ignore[attr-defined]  # a struct


@pytest.fixture(params=["path", pytest.param("catalog", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Location:
    if request.param == "path":
        return Location(root=str(tmp_path / "out put"), format="delta")
    name = f"s{abs(hash(str(tmp_path)))}"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path}/db'")
    return Location(catalog_schema=f"spark_catalog.{name}", format="delta")


def test_replacing_touches_no_other_run(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x", "y"]), location, schema.ATTRIBUTIONS, "r1")
    replace_run(rows(spark, "r2", ["x", "y"]), location, schema.ATTRIBUTIONS, "r2")
    replace_run(rows(spark, "r1", ["x", "y"], n_rows=5), location, schema.ATTRIBUTIONS, "r1")
    assert read_table(spark, location, schema.ATTRIBUTIONS, "r1").count() == 5
    back = read_table(spark, location, schema.ATTRIBUTIONS, "r2")
    assert sorted(back.collect()) == sorted(rows(spark, "r2", ["x", "y"]).collect())
    assert read_table(spark, location, schema.ATTRIBUTIONS).count() == 8


def test_a_run_without_rows_replaces_one_with_rows(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]), location, schema.REJECTS, "r1")
    replace_run(rows(spark, "r2", ["x"]), location, schema.REJECTS, "r2")
    replace_run(rows(spark, "r1", ["x"]).limit(0), location, schema.REJECTS, "r1")
    assert read_table(spark, location, schema.REJECTS, "r1").count() == 0
    assert read_table(spark, location, schema.REJECTS).count() == 3


def test_names_that_delta_refuses(spark: SparkSession, location: Location) -> None:
    df = rows(spark, "r1", ODD_NAMES)
    replace_run(df, location, schema.ATTRIBUTIONS, "r1")
    back = read_table(spark, location, schema.ATTRIBUTIONS, "r1")
    assert struct_names(back) == ODD_NAMES
    assert sorted(back.collect()) == sorted(df.collect())


def test_column_mapping_is_turned_on_later(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]), location, schema.ATTRIBUTIONS, "r1")
    replace_run(rows(spark, "r2", ["x", *ODD_NAMES]), location, schema.ATTRIBUTIONS, "r2")
    replace_run(rows(spark, "r3", ["a b"]), location, schema.ATTRIBUTIONS, "r3")
    for run, names in (("r1", ["x"]), ("r2", ["x", *ODD_NAMES]), ("r3", ["a b"])):
        back = read_table(spark, location, schema.ATTRIBUTIONS, run)
        assert struct_names(back) == names
        assert sorted(back.collect()) == sorted(rows(spark, run, names).collect())


def test_runs_with_other_features_keep_their_own(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x", "y"]), location, schema.ATTRIBUTIONS, "r1")
    replace_run(rows(spark, "r2", ["z", "y"]), location, schema.ATTRIBUTIONS, "r2")
    first = read_table(spark, location, schema.ATTRIBUTIONS, "r1")
    assert sorted(first.collect()) == sorted(rows(spark, "r1", ["x", "y"]).collect())
    second = read_table(spark, location, schema.ATTRIBUTIONS, "r2", struct_fields=["z", "y"])
    assert struct_names(second) == ["z", "y"]
    assert sorted(second.collect()) == sorted(rows(spark, "r2", ["z", "y"]).collect())
    assert struct_names(read_table(spark, location, schema.ATTRIBUTIONS)) == ["x", "y", "z"]


def test_a_key_of_another_type_is_refused(spark: SparkSession, location: Location) -> None:
    replace_run(rows(spark, "r1", ["x"]), location, schema.ATTRIBUTIONS, "r1")
    other = rows(spark, "r2", ["x"], key=T.BooleanType())
    with pytest.raises(
        RunError, match=r"'attributions': column 'key_no' is bigint, not boolean; write to another location"
    ):
        replace_run(other, location, schema.ATTRIBUTIONS, "r2")
    assert read_table(spark, location, schema.ATTRIBUTIONS).count() == 3


def test_new_features_are_refused(spark: SparkSession, location: Location) -> None:
    refuse_new_fields(rows(spark, "r1", ["x"]), location, schema.ATTRIBUTIONS)
    replace_run(rows(spark, "r1", ["x", "y"]), location, schema.ATTRIBUTIONS, "r1")
    refuse_new_fields(rows(spark, "r2", ["y"]), location, schema.ATTRIBUTIONS)
    with pytest.raises(InputError, match=r"'attributions' has no shap_values\.z; set output\.evolve_schema: true"):
        refuse_new_fields(rows(spark, "r2", ["x", "z"]), location, schema.ATTRIBUTIONS)


def test_run_that_is_not_there(spark: SparkSession, location: Location) -> None:
    with pytest.raises(InputError, match="no table 'attributions' to read"):
        read_table(spark, location, schema.ATTRIBUTIONS)
    replace_run(rows(spark, "r1", ["x"]), location, schema.ATTRIBUTIONS, "r1")
    with pytest.raises(InputError, match="no run 'r9' in table 'attributions'"):
        read_table(spark, location, schema.ATTRIBUTIONS, "r9")


def test_independent_reader_agrees(spark: SparkSession, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    location = Location(root=str(tmp_path), format="delta")
    df = rows(spark, "r1", ["x", "y"])
    replace_run(rows(spark, "r1", ["x", "y"], n_rows=9), location, schema.ATTRIBUTIONS, "r1")
    replace_run(df, location, schema.ATTRIBUTIONS, "r1")
    replace_run(rows(spark, "r2", ["x"]), location, schema.ATTRIBUTIONS, "r2")
    table = deltalake.DeltaTable(location.path(schema.ATTRIBUTIONS))
    assert table.metadata().partition_columns == ["run_id"]
    read = [row for row in table.to_pyarrow_table().to_pylist() if row["run_id"] == "r1"]
    expected = [row.asDict(recursive=True) for row in df.collect()]
    assert sorted(read, key=lambda row: row["key_no"]) == expected


def test_column_mapping_as_an_independent_reader_sees_it(spark: SparkSession, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    location = Location(root=str(tmp_path), format="delta")
    replace_run(rows(spark, "r1", ODD_NAMES), location, schema.ATTRIBUTIONS, "r1")
    table = deltalake.DeltaTable(location.path(schema.ATTRIBUTIONS))
    assert table.metadata().configuration["delta.columnMapping.mode"] == "name"
    assert table.protocol().min_reader_version >= 2
    assert table.protocol().min_writer_version >= 5


def test_location_of_the_other_format(spark: SparkSession, tmp_path: Path) -> None:
    root = str(tmp_path)
    replace_run(rows(spark, "r1", ["x"]), Location(root=root, format="delta"), schema.SUMMARY, "r1")
    check_location(spark, Location(root=root, format="delta"))
    with pytest.raises(InputError, match=r"holds delta tables; set output\.format: delta"):
        check_location(spark, Location(root=root))


def test_source(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(10).write.format("delta").save(str(tmp_path / "d"))
    assert read_source(spark, path=str(tmp_path / "d"), format="delta", where="id > 3").count() == 6
    with pytest.raises(InputError, match="cannot be read"):
        read_source(spark, path=str(tmp_path / "nope"), format="delta")
    spark.sql(f"CREATE TABLE ten USING delta LOCATION '{tmp_path}/d'")
    try:
        assert read_source(spark, table="spark_catalog.default.ten").count() == 10
    finally:
        spark.sql("DROP TABLE ten")
