"""References: samples that placement cannot change, and frames that lose nothing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_shap.errors import InputError
from spark_shap.io.hash_samples import collect_sample
from spark_shap.io.references import background_columns, background_of, collect_arrow, collect_columns
from spark_shap.models.conform import frame_from_arrow


@pytest.fixture(scope="module")
def population(spark: SparkSession) -> DataFrame:
    return spark.range(2000).select(
        F.concat(F.lit("a"), F.col("id")).alias("key one"),
        (F.col("id") % 7).alias("group.id"),
        (F.col("id") * 0.5).alias("x"),
    )


def drawn(
    df: DataFrame, key: list[str] | None, size: int | None, seed: int = 3, *, column: str = "key one"
) -> list[Any]:
    """What the rows of a sample have in a column."""
    return collect_sample(df, [column], key=key, size=size, seed=seed).table.column(0).to_pylist()


@pytest.mark.parametrize("key", [["key one"], ["group.id", "key one"], None])
def test_sample_depends_on_neither_partitions_nor_order(population: DataFrame, key: list[str] | None) -> None:
    samples = [
        drawn(df, key, 50)
        for df in (population, population.repartition(7), population.orderBy(F.col("x").desc()).coalesce(1))
    ]
    assert samples[0] == samples[1] == samples[2]
    assert len(set(samples[0])) == 50


def test_sample_depends_on_the_seed_and_sizes_are_nested(population: DataFrame) -> None:
    first = drawn(population, ["key one"], 50)
    assert drawn(population, ["key one"], 80)[:50] == first
    assert len(set(first) & set(drawn(population, ["key one"], 50, 4))) < 10


def test_sample_is_uniform(population: DataFrame) -> None:
    draws = np.array([int(name[1:]) for seed in range(20) for name in drawn(population, ["key one"], 50, seed)])
    # The mean of 1,000 draws from 0 .. 1999 has a standard error of 18.
    assert abs(draws.mean() - 999.5) < 4 * 18.3


def test_all_rows_come_in_the_same_order(population: DataFrame) -> None:
    whole = drawn(population.repartition(5), ["key one"], None)
    assert len(whole) == 2000
    assert whole[:50] == drawn(population, ["key one"], 50)


def test_rows_of_equal_key_are_told_apart(spark: SparkSession) -> None:
    df = spark.range(200).select(F.lit("same").alias("key"), "id")
    picks = {tuple(drawn(d, ["key"], 5, column="id")) for d in (df, df.repartition(6), df.orderBy(F.col("id").desc()))}
    assert len(picks) == 1


def test_timestamp_keys_do_not_depend_on_the_session_time_zone(spark: SparkSession) -> None:
    df = spark.range(300).select(F.timestamp_seconds(F.col("id") * 86400).alias("at"), "id")
    zone = spark.conf.get("spark.sql.session.timeZone")
    picks = []
    try:
        for name in ("UTC", "Asia/Tokyo"):
            spark.conf.set("spark.sql.session.timeZone", name)
            picks.append(drawn(df, ["at"], 10, column="id"))
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))
    assert picks[0] == picks[1]


def test_missing_key_is_named(population: DataFrame) -> None:
    with pytest.raises(InputError, match="reference: no column 'key_one'; did you mean 'key one'"):
        drawn(population, ["key_one"], 5)


@pytest.fixture(scope="module")
def mixed(spark: SparkSession) -> DataFrame:
    day, moment = dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=dt.UTC)
    rows = [
        (1, 10, True, day, Decimal("1.10"), "é", moment, 0.5, 2.0),
        (2, None, None, None, None, None, None, None, 1.0),
    ]
    columns = "k long, `n.i` int, flag boolean, day date, dec decimal(10,2), text string, "
    columns += "at timestamp, x double, w double"
    return spark.createDataFrame(rows, columns)


def test_arrow_types_are_those_of_a_worker(mixed: DataFrame) -> None:
    def types(batches):  # type: ignore[no-untyped-def]  # pyarrow has no types
        import pyarrow as pa

        for batch in batches:
            if batch.num_rows:
                yield pa.RecordBatch.from_pydict({"t": [[str(field.type) for field in batch.schema]]})

    plain = mixed.toDF(*(f"c{i}" for i in range(len(mixed.columns))))  # mapInArrow takes no dots in names
    in_worker = plain.coalesce(1).mapInArrow(types, "t array<string>").first()["t"]  # type: ignore[index]
    assert [str(field.type) for field in collect_arrow(mixed).schema] == in_worker
    assert collect_arrow(mixed).column_names == mixed.columns


def test_arrow_of_no_rows_keeps_the_columns(mixed: DataFrame) -> None:
    table = collect_arrow(mixed.where("k > 5"))
    assert (table.num_rows, table.column_names) == (0, mixed.columns)


def background(df: DataFrame, columns: list[str], weight: str | None = None) -> tuple[Any, Any]:
    table = collect_columns(df, columns, weight)
    assert table.column_names == background_columns(columns, weight)
    return background_of(table, columns, weight)


def test_background_has_the_dtypes_of_the_worker(mixed: DataFrame) -> None:
    columns = ["text", "n.i", "flag", "day", "dec", "at", "x"]
    frame, weights = background(mixed.orderBy("k"), columns, "w")
    assert list(frame.columns) == columns
    expected = frame_from_arrow(collect_arrow(mixed.orderBy("k")).select(columns))
    expected["at"] = expected["at"].dt.tz_localize(None)  # the session's clock, as toPandas() shows it
    assert list(frame.dtypes) == list(expected.dtypes)
    assert frame["at"].tolist()[0] == mixed.toPandas()["at"].sort_values().tolist()[0]
    assert frame["text"].tolist()[0] == "é"
    assert frame["n.i"].tolist()[0] == 10
    assert frame.iloc[1].isna().all()
    assert weights is not None
    assert weights.tolist() == [2.0, 1.0]
    assert background(mixed, ["x"])[1] is None


def test_empty_background(mixed: DataFrame) -> None:
    with pytest.raises(InputError, match="reference: it has no rows"):
        background(mixed.where("k > 5"), ["x"])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("null", "has 2 nulls"),
        ("'a'", "is string, not a number"),
        ("-1.5", r"has the value -1\.5"),
        ("double('NaN')", "has the value nan"),
        ("0", "is 0 in every row"),
    ],
)
def test_weights_that_are_none(mixed: DataFrame, weight: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        background(mixed.withColumn("w", F.expr(weight)), ["x"], "w")
