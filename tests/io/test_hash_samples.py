"""Samples of rows that come in bytes before they come in number."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_shap.io import hash_samples
from spark_shap.io.hash_samples import HashSample, collect_sample

WIDTH = 1000


@pytest.fixture(scope="module")
def wide(spark: SparkSession) -> DataFrame:
    """400 rows, every tenth with a text of 10 times the length."""
    length = F.when(F.col("id") % 10 == 0, 10 * WIDTH).otherwise(WIDTH).cast("int")
    text = F.expr("rpad(cast(id as string), 10000, 'é')")
    return spark.range(400).select(
        F.col("id").alias("the.key"), (F.col("id") * 0.5).alias("hash"), F.substring(text, F.lit(1), length).alias("t")
    )


@pytest.fixture(params=["texts in one go", "texts by themselves"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "texts by themselves":
        monkeypatch.setattr(hash_samples, "_FIRST_BYTES", 50 * WIDTH)


def drawn(df: DataFrame, size: int, most: int | None) -> HashSample:
    return collect_sample(df, ["t", "hash"], key=["the.key"], size=size, seed=3, most_bytes=most)


def in_order(df: DataFrame) -> list[str]:
    """The texts of all rows, as a sort by the hash of their keys in Spark orders them."""
    hashed = F.xxhash64(F.lit("3"), F.col("`the.key`").cast("string"))
    return [row["t"] for row in df.orderBy(hashed).select("t").collect()]


@pytest.mark.usefixtures("_ways")
def test_rows_are_the_first_of_the_sample_whatever_their_width(wide: DataFrame) -> None:
    found = drawn(wide, 60, None)
    assert found.table.column("t").to_pylist() == in_order(wide)[:60]
    assert (found.table.column_names, found.n_left_out) == (["t", "hash"], 0)


@pytest.mark.usefixtures("_ways")
def test_no_more_rows_than_hold_the_bytes_however_they_lie(wide: DataFrame) -> None:
    tables = [drawn(df, 60, 50 * WIDTH) for df in (wide, wide.repartition(7), wide.orderBy(F.col("hash").desc()))]
    assert tables[0] == tables[1] == tables[2]
    rows = in_order(wide)[:60]
    held = [len(text.encode()) + 8 for text in rows]
    kept = tables[0].table.column("t").to_pylist()
    assert kept == rows[: len(kept)]
    assert sum(held[: len(kept)]) <= 50 * WIDTH < sum(held[: len(kept) + 1])
    assert tables[0].n_left_out == 60 - len(kept)


def test_one_row_at_least_and_none_of_none(wide: DataFrame) -> None:
    assert drawn(wide, 60, 10).table.num_rows == 1
    empty = drawn(wide.limit(0), 60, 10)
    assert (empty.table.num_rows, empty.table.column_names, empty.n_left_out) == (0, ["t", "hash"], 0)


def test_numbers_are_counted_too(wide: DataFrame) -> None:
    numbers = collect_sample(wide, ["hash", "the.key"], key=None, size=60, seed=3, most_bytes=160)
    assert (numbers.table.num_rows, numbers.n_left_out) == (10, 50)
    few = collect_sample(wide.limit(7), ["hash"], key=None, size=60, seed=3, most_bytes=160)
    assert (few.table.num_rows, few.n_left_out) == (7, 0)
