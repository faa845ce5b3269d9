"""Aggregates of attributions: the same numbers on Spark, on one table and from numpy."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import summary_result
from spark_shap.engine import summary_blocks
from spark_shap.engine.aggregate import local_batches, merge_batches, summarize, summarize_table
from spark_shap.engine.summary_schema import STATE_SCHEMA, SUMMARY_SCHEMA
from spark_shap.engine.summary_spec import SummarySpec
from spark_shap.errors import InputError, UsageError

FEATURES = ("age", "income.net", "größe cm", "x y", "e", "f")
NUMBERS = [f.name for f in SUMMARY_SCHEMA if f.type in (pa.float64(), pa.int32())]
BY = ["region", ["region", "product"]]


def struct(matrix: np.ndarray, kind: pa.DataType) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.array(c, type=kind) for c in matrix.T], names=list(FEATURES))


def attributions(n_rows: int = 700, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.1, 1.0, (n_rows, len(FEATURES))) * np.geomspace(0.02, 3, len(FEATURES))
    return pa.table(
        {
            "id": pa.array(range(n_rows)),
            "region": pa.array(rng.choice(np.array(["north", "south", None], dtype=object), n_rows)),
            "product": pa.array(rng.choice(["card", "loan"], n_rows)),
            "w": pa.array(rng.uniform(0.5, 2.0, n_rows)),
            "output": pa.array(rng.choice(["good", "bad"], n_rows)),
            "shap_values": struct(values, pa.float64()),
            "std_errors": struct(rng.uniform(0, 0.1, values.shape), pa.float32()),
        }
    )


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    return np.array([[row[name] for name in FEATURES] for row in column.to_pylist()])


def keyed(table: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = [n for n in ("run_id", "segment_by", "segment", "output", "feature") if n in table.column_names]
    rows = table.to_pylist()
    found = {tuple(row[n] for n in names): row for row in rows}
    assert len(found) == len(rows), "a key came twice"
    return found


def assert_same(left: pa.Table, right: pa.Table) -> None:
    a, b = keyed(left), keyed(right)
    assert a.keys() == b.keys()
    for key, row in a.items():
        assert row["n_rows"] == b[key]["n_rows"], key
        got, wanted = ([np.nan if r[n] is None else r[n] for n in NUMBERS] for r in (row, b[key]))
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14, err_msg=str(key))


def spark_frame(spark: Any, table: pa.Table, partitions: int) -> Any:
    """Rows as Spark has them: structs, spread over a number of partitions, some of them empty."""
    from pyspark.sql.types import DoubleType, FloatType, LongType, StringType, StructField, StructType

    def wide(kind: Any) -> StructType:
        return StructType([StructField(name, kind) for name in FEATURES])

    plain = {pa.int64(): LongType(), pa.float64(): DoubleType(), pa.string(): StringType()}
    structs = {"shap_values": wide(DoubleType()), "std_errors": wide(FloatType())}
    schema = StructType([StructField(f.name, structs.get(f.name) or plain[f.type]) for f in table.schema])
    rows = [tuple(tuple(c.values()) if isinstance(c, dict) else c for c in r.values()) for r in table.to_pylist()]
    return spark.createDataFrame(rows, schema).repartition(partitions)


def collected(frame: Any) -> pa.Table:
    names = frame.columns
    rows = [row.asDict() for row in frame.collect()]
    return pa.Table.from_pylist(rows, schema=pa.schema([SUMMARY_SCHEMA.field(name) for name in names]))


def expected(table: pa.Table, mask: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    values, errors = (matrix(table[n])[mask] for n in ("shap_values", "std_errors"))
    return summary_result(local_summary(values, std_errors=errors, weights=weight[mask]))


def test_every_segment_is_numpys_on_its_rows() -> None:
    table = attributions()
    found = keyed(summarize_table(table, by=BY, weight="w"))
    region, product, output = (np.array(table[n].to_pylist()) for n in ("region", "product", "output"))
    weight = np.array(table["w"].to_pylist())
    everything = np.ones(len(region), dtype=bool)
    masks = {("", None): everything}
    masks |= {("region", r): region == r for r in ("north", "south", None)}
    masks |= {
        ("region, product", json.dumps([r, p])): (region == r) & (product == p)
        for r in ("north", "south", None)
        for p in ("card", "loan")
    }
    assert len(found) == len(masks) * 2 * len(FEATURES)
    for (by, segment), mask in masks.items():
        for name in ("good", "bad"):
            inside = mask & (output == name)
            numbers = expected(table, inside, weight)
            for j, feature in enumerate(FEATURES):
                row = found[by, segment, name, feature]
                assert row["n_rows"] == inside.sum()
                assert row["weight"] == pytest.approx(weight[inside].sum(), rel=1e-12)
                got = [row[n] for n in numbers]
                np.testing.assert_allclose(got, [c[j] for c in numbers.values()], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("size", "cells"), [(1, 6), (37, 500), (10_000, 1), (10_000, 1 << 20)])
def test_workers_give_the_same_for_any_cut(size: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = attributions(300)
    whole = summarize_table(table, by=["region"], weight="w")
    monkeypatch.setattr(summary_blocks, "_CELLS_PER_BLOCK", cells)
    spec = SummarySpec(FEATURES, ((), ("region",)), "w")
    parts = [table.slice(0, 90), table.slice(90, 0), table.slice(90, 210)]
    states = [batch for part in parts for batch in local_batches(spec, part.to_batches(max_chunksize=size))]
    assert all(batch.schema == STATE_SCHEMA for batch in states)
    result = list(merge_batches(spec, reversed(states)))
    assert all(batch.schema == SUMMARY_SCHEMA for batch in result)
    merged = pa.Table.from_batches(result).drop_columns(["run_id"])
    assert_same(merged, whole)


def test_workers_yield_nothing_for_an_empty_partition() -> None:
    spec = SummarySpec(FEATURES, ((),), None)
    empty = attributions(5).slice(0, 0).to_batches() or [pa.RecordBatch.from_pylist([], attributions(1).schema)]
    for batches in ([], empty):
        assert list(local_batches(spec, batches)) == []
    assert list(merge_batches(spec, [])) == []
    assert summarize_table(attributions(5).slice(0, 0)).num_rows == 0


@pytest.mark.parametrize("partitions", [1, 7, 40])
def test_spark_equals_the_table_route(spark: Any, partitions: int) -> None:
    table = attributions(120)
    frame = spark_frame(spark, table, partitions)
    result = summarize(frame, by=BY, weight="w")
    assert result.columns == [name for name in SUMMARY_SCHEMA.names if name not in ("run_id", "reference")]
    assert_same(collected(result), summarize_table(table, by=BY, weight="w"))


def test_spark_reads_its_rows_once(spark: Any) -> None:
    from pyspark.sql import functions as F

    table = attributions(60)
    frame = spark_frame(spark, table, 3)
    seen = spark.sparkContext.accumulator(0)

    def count(batches: Any) -> Any:
        for batch in batches:
            seen.add(batch.num_rows)
            yield batch

    summarize(frame.mapInArrow(count, frame.schema), by=BY).where(F.col("rank") == 1).collect()
    assert seen.value == 60


def test_columns_come_in_the_order_of_the_table() -> None:
    text = """run_id segment_by segment output reference feature n_rows weight mean_abs_shap mean_shap sd min max
        q01 q05 q25 q50 q75 q95 q99 share_positive rank top4_share sampling_error monte_carlo_error
        mean_shap_sampling_error mean_shap_monte_carlo_error"""
    assert text.split() == SUMMARY_SCHEMA.names


def test_run_id_is_part_of_the_key_and_comes_first() -> None:
    table = attributions(80)
    run = pa.array(["r1"] * 30 + ["r2"] * 50)
    both = summarize_table(table.append_column("run_id", run), by=["region"])
    assert both.column_names == [name for name in SUMMARY_SCHEMA.names if name != "reference"]
    second = both.filter(pa.array([r == "r2" for r in both["run_id"].to_pylist()])).drop_columns(["run_id"])
    assert_same(second, summarize_table(table.slice(30), by=["region"]))


def test_rows_with_an_error_do_not_count() -> None:
    table = attributions(50)
    error = pa.array([None if i % 5 else {"stage": "model"} for i in range(50)])
    cleared = [None if i % 5 == 0 else v for i, v in enumerate(table["shap_values"].to_pylist())]
    rejected = table.append_column("error", error).set_column(
        table.column_names.index("shap_values"),
        table.schema.field("shap_values"),
        pa.array(cleared, table.schema.field("shap_values").type),
    )
    good = table.filter(pa.array([i % 5 != 0 for i in range(50)]))
    assert_same(summarize_table(rejected), summarize_table(good))


def test_missing_or_null_standard_errors_are_zero() -> None:
    table = attributions(40)
    without = table.drop_columns(["std_errors"])
    null = without.append_column("std_errors", pa.nulls(40, table.schema.field("std_errors").type))
    assert_same(summarize_table(null), summarize_table(without))
    assert set(summarize_table(without)["monte_carlo_error"].to_pylist()) == {0.0}


def test_one_row_a_segment_has_no_sampling_error() -> None:
    result = summarize_table(attributions(1), by=["id"])
    assert set(result["sampling_error"].to_pylist()) == {None}
    assert set(result["segment"].to_pylist()) == {None, "0"}


def test_segment_values_of_any_plain_type_become_text() -> None:
    table = attributions(4).append_column("flag", pa.array([True, False, None, True]))
    table = table.append_column("band", pa.array([1, 2, 2, None], type=pa.int32()))
    found = {(r["segment_by"], r["segment"]) for r in summarize_table(table, by=["flag", ["band", "flag"]]).to_pylist()}
    assert found == {
        ("", None),
        *(("flag", v) for v in ("true", "false", None)),
        *(("band, flag", v) for v in ('["1", "true"]', '["2", "false"]', '["2", null]', '[null, "true"]')),
    }


def test_segments_that_look_alike_do_not_meet() -> None:
    table = attributions(4).append_column("p", pa.array(["a, b", "a", "null", None]))
    table = table.append_column("q", pa.array(["c", "b, c", "c", "c"]))
    found = {
        (r["segment_by"], r["segment"]): r["n_rows"] for r in summarize_table(table, by=["p", ["p", "q"]]).to_pylist()
    }
    assert len(found) == 1 + 4 + 4
    assert found["p", None] == found["p", "null"] == found["p, q", '["a, b", "c"]'] == 1


def test_a_segmentation_named_twice_counts_once() -> None:
    table = attributions(30)
    assert_same(summarize_table(table, by=["region", ["region"], []]), summarize_table(table, by=["region"]))


def test_requests_that_cannot_work_say_why() -> None:
    table = attributions(10)
    with pytest.raises(InputError, match=r"'regoin'.*region.*product"):
        summarize_table(table, by=["regoin"])
    with pytest.raises(InputError, match="'weigth'"):
        summarize_table(table, weight="weigth")
    with pytest.raises(UsageError, match=r"by=\['region'\]"):
        summarize_table(table, by="region")
    clash = table.append_column("region, product", table["region"])
    with pytest.raises(UsageError, match="'region, product'"):
        summarize_table(clash, by=["region, product", ["region", "product"]])
    with pytest.raises(InputError, match="'shap_values' of type struct"):
        summarize_table(table, by=["shap_values"])


def test_bad_weights_are_refused() -> None:
    table = attributions(3).drop_columns(["w"])
    with pytest.raises(InputError, match="null values"):
        summarize_table(table.append_column("w", pa.array([1.0, None, 1.0])), weight="w")
    with pytest.raises(InputError, match=r"weight -2\.0"):
        summarize_table(table.append_column("w", pa.array([1.0, -2.0, 1.0])), weight="w")


def test_an_unknown_column_is_refused_before_spark_runs(spark: Any) -> None:
    with pytest.raises(InputError, match=r"'regoin'.*region"):
        summarize(spark_frame(spark, attributions(2), 1), by=["regoin"])


def test_workers_need_neither_pandas_nor_spark() -> None:
    code = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "pyspark"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import pyarrow as pa
from spark_shap.engine.aggregate import summarize_table

shap = pa.array([{"a": 1.0, "b": -3.0}, {"a": 2.0, "b": 1.0}])
table = pa.table({"output": ["y", "y"], "shap_values": shap})
assert summarize_table(table)["mean_abs_shap"].to_pylist() == [1.5, 2.0]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_segments_and_weights_with_dots_in_their_names(spark: Any) -> None:
    rows = spark.sql(
        "select '1' as output, named_struct('x.y', cast(id as double)) as shap_values, "
        "id % 2 as `seg.ment`, 1.0D + id as `we ight` from range(4)"
    )
    found = summarize(rows, by=["seg.ment"], weight="we ight").where("segment = '1'").collect()
    assert [(row["feature"], row["n_rows"], row["weight"]) for row in found] == [("x.y", 2, 6.0)]
    assert found[0]["mean_shap"] == pytest.approx((2 * 1 + 4 * 3) / 6)
