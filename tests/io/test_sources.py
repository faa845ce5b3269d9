"""Sources: what is read, and what is said when it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_shap.errors import InputError
from spark_shap.io.sources import SPARK_ERRORS, read_source, require_columns, spark_reason

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "applicants.csv"
    path.write_text('id,amount,text\n1,2.5,"a ""b"", c"\n2,,x\n', encoding="utf-8")
    return str(path)


def refused(spark: SparkSession, **source: str | None) -> str:
    with pytest.raises(InputError) as caught:
        read_source(spark, **source)  # type: ignore[arg-type]  # formats as plain text
    message = str(caught.value)
    assert "\n" not in message
    assert "Exception" not in message
    assert "SQLSTATE" not in message
    return message


def test_csv_has_a_header_types_and_doubled_quotes(spark: SparkSession, csv: str) -> None:
    df = read_source(spark, path=csv, format="csv")
    assert dict(df.dtypes) == {"id": "int", "amount": "double", "text": "string"}
    assert [tuple(row) for row in df.orderBy("id").collect()] == [(1, 2.5, 'a "b", c'), (2, None, "x")]


def test_parquet_and_predicate(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(10).write.parquet(str(tmp_path / "p"))
    df = read_source(spark, path=str(tmp_path / "p"), format="parquet", where="id >= 7")
    assert sorted(row.id for row in df.collect()) == [7, 8, 9]


def test_table(spark: SparkSession) -> None:
    spark.range(3).createOrReplaceTempView("three")
    assert read_source(spark, table="three").count() == 3


def test_missing_path_and_table(spark: SparkSession, tmp_path: Path) -> None:
    message = refused(spark, path=str(tmp_path / "no.csv"), format="csv")
    assert message.startswith(f"{tmp_path}/no.csv: cannot be read: [PATH_NOT_FOUND]")
    assert "check the path" in message
    message = refused(spark, table="nowhere")
    assert message.startswith("table nowhere: cannot be read: [TABLE_OR_VIEW_NOT_FOUND]")


def test_what_is_not_parquet(spark: SparkSession, csv: str) -> None:
    message = refused(spark, path=csv, format="parquet")
    assert message.startswith(f"{csv}: cannot be read: ")
    assert "check that it holds parquet data" in message


def test_predicate_that_cannot_be_used(spark: SparkSession, csv: str) -> None:
    message = refused(spark, path=csv, format="csv", where="amuont > 1")
    assert "where: amuont > 1: " in message
    assert "`amuont`" in message
    assert "its columns are id, amount, text" in message
    assert "where: amount >: " in refused(spark, path=csv, format="csv", where="amount >")


def test_no_rows(spark: SparkSession, csv: str, tmp_path: Path) -> None:
    assert "no row satisfies where: id > 9" in refused(spark, path=csv, format="csv", where="id > 9")
    (tmp_path / "head.csv").write_text("id,amount\n", encoding="utf-8")
    assert "it has no rows" in refused(spark, path=str(tmp_path / "head.csv"), format="csv")
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    assert "it has no columns" in refused(spark, path=str(tmp_path / "empty.csv"), format="csv")


def test_path_and_table_together_or_format_unknown(spark: SparkSession) -> None:
    assert "not both" in refused(spark, path="a", table="b")
    assert "give csv, parquet or delta" in refused(spark, path="a")


def test_missing_column_names_the_nearest(spark: SparkSession) -> None:
    with pytest.raises(InputError, match=r"applicants: no column 'idd' \(and 1 more\); did you mean 'id'\?"):
        require_columns(spark.range(1), ["idd", "id", "zzz"], what="applicants")
    require_columns(spark.range(1), ["id"], what="applicants")


def test_a_module_that_workers_lack_comes_with_a_way_out(spark: SparkSession) -> None:
    def lacking(batches):  # type: ignore[no-untyped-def]  # pyarrow has no types
        raise ModuleNotFoundError("No module named 'spark_shap.engine'")
        yield from batches

    with pytest.raises(SPARK_ERRORS) as caught:
        spark.range(1).mapInArrow(lacking, "id long").collect()
    reason = spark_reason(caught.value)
    assert reason.startswith("ModuleNotFoundError: No module named 'spark_shap.engine'; Python workers cannot import")
    assert "install spark-shap on every node" in reason


@pytest.mark.parametrize(
    "said",
    [
        "Caused by: java.lang.OutOfMemoryError: Java heap space",
        "Caused by: java.lang.RuntimeException: Cannot reserve additional contiguous bytes in the vectorized reader",
    ],
)
def test_memory_that_java_lacks_comes_with_a_way_out(said: str) -> None:
    assert "raise spark.driver.memory" in spark_reason(RuntimeError(f"Job aborted\n{said}\n\tat x.Y"))
