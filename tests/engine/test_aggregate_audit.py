"""Aggregates of attributions with exact parts: two passes, the same numbers on Spark, on one table and from numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spark_shap.core.shrinkage import fit_residuals, residual_moments
from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import summary_result
from spark_shap.core.summary_rows import Split
from spark_shap.engine import summary_blocks
from spark_shap.engine.aggregate import local_batches, merge_batches, summarize, summarize_table
from spark_shap.engine.residual_pass import RESIDUAL_SCHEMA, local_residuals, merge_residual_batches, table_models
from spark_shap.engine.summary_schema import SUMMARY_SCHEMA
from spark_shap.engine.summary_spec import SummarySpec
from spark_shap.errors import InputError, UsageError

FEATURES = ("age", "income.net", "größe cm", "x y", "e", "f")
NUMBERS = [f.name for f in SUMMARY_SCHEMA if f.type in (pa.float64(), pa.int32())]
SPEC = SummarySpec(FEATURES, ((), ("region",)), "w")


def struct(matrix: np.ndarray, kind: pa.DataType, mask: np.ndarray | None = None) -> pa.StructArray:
    arrays = [pa.array(column, type=kind) for column in matrix.T]
    return pa.StructArray.from_arrays(arrays, names=list(FEATURES), mask=None if mask is None else pa.array(mask))


def attributions(n_rows: int = 900, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    shape = (n_rows, len(FEATURES))
    known = rng.laplace(0.1, 1.0, shape) * np.geomspace(0.05, 2, len(FEATURES))
    errors = rng.uniform(0.3, 0.6, shape)
    errors[:7] = 0.0  # exact rows
    output = rng.choice(["bad", "good"], n_rows)
    spread = np.where(output == "bad", 0.15, 0.6)[:, None]
    residuals = spread * rng.normal(size=shape) + errors * rng.normal(size=shape)
    return pa.table(
        {
            "id": pa.array(range(n_rows)),
            "region": pa.array(rng.choice(np.array(["north", "south", None], dtype=object), n_rows)),
            "w": pa.array(rng.uniform(0.5, 2.0, n_rows)),
            "output": pa.array(output),
            "shap_values": struct(known + residuals, pa.float64()),
            "std_errors": struct(errors, pa.float32()),
            "surrogate_values": struct(known, pa.float64()),
        }
    )


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    return np.array([[row[name] for name in FEATURES] for row in column.to_pylist()])


def struct_with_nulls(matrix: np.ndarray) -> pa.StructArray:
    arrays = [pa.array(column, from_pandas=True) for column in matrix.T]
    return pa.StructArray.from_arrays(arrays, names=list(FEATURES))


def merged_residuals(table: pa.Table) -> list[dict[str, Any]]:
    merged = merge_residual_batches(local_residuals(SPEC, table.to_batches()))
    return [row for batch in merged for row in batch.to_pylist()]


def keyed(table: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = [n for n in ("run_id", "segment_by", "segment", "output", "feature") if n in table.column_names]
    return {tuple(row[n] for n in names): row for row in table.to_pylist()}


def assert_same(left: pa.Table, right: pa.Table, rtol: float = 1e-12) -> None:
    a, b = keyed(left), keyed(right)
    assert a.keys() == b.keys()
    for key, row in a.items():
        assert row["n_rows"] == b[key]["n_rows"], key
        got, wanted = ([np.nan if r[n] is None else r[n] for n in NUMBERS] for r in (row, b[key]))
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-14, err_msg=str(key))


def spark_frame(spark: Any, table: pa.Table, partitions: int) -> Any:
    from pyspark.sql.types import DoubleType, FloatType, LongType, StringType, StructField, StructType

    kinds = {pa.int64(): LongType(), pa.float64(): DoubleType(), pa.string(): StringType(), pa.float32(): FloatType()}

    def kind(arrow: pa.DataType) -> Any:
        if pa.types.is_struct(arrow):
            return StructType([StructField(one.name, kinds[one.type]) for one in arrow])
        return kinds[arrow]

    schema = StructType([StructField(field.name, kind(field.type)) for field in table.schema])
    rows = [tuple(tuple(c.values()) if isinstance(c, dict) else c for c in r.values()) for r in table.to_pylist()]
    return spark.createDataFrame(rows, schema).repartition(partitions)


def collected(frame: Any) -> pa.Table:
    names = frame.columns
    return pa.Table.from_pylist(
        [row.asDict() for row in frame.collect()], schema=pa.schema([SUMMARY_SCHEMA.field(name) for name in names])
    )


def test_segments_are_corrected_with_the_model_of_their_whole_output() -> None:
    table = attributions()
    found = keyed(summarize_table(table, by=["region"], weight="w"))
    values, errors, known = (matrix(table[name]) for name in ("shap_values", "std_errors", "surrogate_values"))
    output, region, weight = (np.array(table[name].to_pylist()) for name in ("output", "region", "w"))
    split = np.where(errors > 0, known, values)
    for one in ("bad", "good"):
        mine = output == one
        moments = residual_moments((values - split)[mine], errors[mine] ** 2, split[mine], weight[mine])
        model = fit_residuals(moments)
        for segment, inside in ((None, mine), *((name, mine & (region == name)) for name in ("north", "south"))):
            part = {"std_errors": errors[inside], "weights": weight[inside], "split": Split(known[inside], model)}
            numbers = summary_result(local_summary(values[inside], **part))
            for j, feature in enumerate(FEATURES):
                row = found["region" if segment else "", segment, one, feature]
                got = [row[name] for name in numbers]
                np.testing.assert_allclose(got, [column[j] for column in numbers.values()], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("size", "cells"), [(1, 6), (37, 500), (10_000, 1 << 20)])
def test_both_passes_give_the_same_for_any_cut(size: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = attributions(300)
    whole = summarize_table(table, by=["region"], weight="w")
    monkeypatch.setattr(summary_blocks, "_CELLS_PER_BLOCK", cells)
    parts = [part.to_batches(max_chunksize=size) for part in (table.slice(0, 90), table.slice(90, 0), table.slice(90))]
    moments = [batch for part in parts for batch in local_residuals(SPEC, part)]
    merged = list(merge_residual_batches(reversed(moments)))
    assert [batch.schema for batch in merged] == [RESIDUAL_SCHEMA]
    assert merged[0].num_rows == 2  # one a run and output
    spec = replace(SPEC, models=table_models(SPEC, pa.concat_tables([table.slice(150), table.slice(0, 150)])))
    states = [batch for part in parts for batch in local_batches(spec, part)]
    result = pa.Table.from_batches(list(merge_batches(spec, reversed(states)))).drop_columns(["run_id"])
    assert_same(result, whole)


@pytest.mark.parametrize("partitions", [1, 7])
def test_spark_equals_the_table_route(spark: Any, partitions: int) -> None:
    table = attributions(150)
    result = summarize(spark_frame(spark, table, partitions), by=["region"], weight="w", sampled_share=0.5)
    assert_same(collected(result), summarize_table(table, by=["region"], weight="w", sampled_share=0.5))


@pytest.mark.connect
def test_connect_equals_the_table_route(spark_connect: Any) -> None:
    table = attributions(60)
    result = summarize(spark_frame(spark_connect, table, 3), by=["region"], weight="w")
    assert_same(collected(result), summarize_table(table, by=["region"], weight="w"))


def test_spark_reads_its_rows_twice_and_no_more(spark: Any) -> None:
    table = attributions(60)
    frame = spark_frame(spark, table, 3)
    seen = spark.sparkContext.accumulator(0)

    def count(batches: Any) -> Any:
        for batch in batches:
            seen.add(batch.num_rows)
            yield batch

    summarize(frame.mapInArrow(count, frame.schema), by=["region"]).collect()
    assert seen.value == 120


def test_the_column_makes_the_difference() -> None:
    table = attributions()
    split, plain = (
        keyed(one) for one in (summarize_table(table), summarize_table(table.drop_columns(["surrogate_values"])))
    )
    for key, row in split.items():
        assert row["mean_shap"] == plain[key]["mean_shap"]
        assert row["sd"] == plain[key]["sd"]
        assert row["mean_abs_shap"] != plain[key]["mean_abs_shap"]


def test_a_run_without_exact_parts_is_not_touched_by_one_that_has_them() -> None:
    table, other = attributions(200), attributions(200, seed=3)
    missing = struct(matrix(other["surrogate_values"]), pa.float64(), mask=np.ones(200, dtype=bool))
    plain = other.set_column(6, "surrogate_values", missing)
    run = pa.array(["light"] * 200 + ["full"] * 200)
    both = pa.concat_tables([table, plain]).append_column("run_id", run).take(np.random.default_rng(0).permutation(400))
    found = summarize_table(both, by=["region"])
    for name, alone in (("light", table), ("full", other.drop_columns(["surrogate_values"]))):
        part = found.filter(pa.array([one == name for one in found["run_id"].to_pylist()])).drop_columns(["run_id"])
        assert_same(part, summarize_table(alone, by=["region"]), rtol=1e-6)  # models are rounded to 7 digits


def test_what_was_not_split_says_nothing_of_residuals() -> None:
    table, half = attributions(400), np.arange(400) % 2 == 0
    known = matrix(table["surrogate_values"])
    holes = table.set_column(6, "surrogate_values", struct(known, pa.float64(), mask=half))
    models, alone = table_models(SPEC, holes), table_models(SPEC, table.filter(pa.array(~half)))
    for key, model in models.items():
        np.testing.assert_allclose(model.ratio, alone[key].ratio, rtol=1e-6)
        np.testing.assert_allclose(model.magnitude, alone[key].magnitude, rtol=1e-6)
    known[:, 2] = np.where(half, np.nan, known[:, 2])
    partly = table.set_column(6, "surrogate_values", struct_with_nulls(known))
    ratios = [
        {row["output"]: row["excess"][2] / row["noise"][2] for row in merged_residuals(one)} for one in (holes, partly)
    ]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-9)


def test_rows_with_an_error_and_rows_of_no_weight_do_not_count_in_either_pass() -> None:
    table = attributions(100)
    bad = np.arange(100) % 5 == 0
    error = pa.array([{"stage": "model"} if one else None for one in bad])
    broken = np.where(bad[:, None], 1e9, matrix(table["shap_values"]))
    rejected = table.set_column(4, "shap_values", struct(broken, pa.float64())).append_column("error", error)
    good = table.filter(pa.array(~bad))
    assert_same(summarize_table(rejected), summarize_table(good))
    weightless = rejected.drop_columns(["error"]).set_column(2, "w", pa.array(np.where(bad, 0.0, 1.0)))
    for key, row in keyed(summarize_table(weightless, weight="w")).items():
        assert row["mean_abs_shap"] == pytest.approx(keyed(summarize_table(good))[key]["mean_abs_shap"], rel=1e-9)


def test_a_sampled_share_speaks_of_the_portfolio() -> None:
    table = attributions(400)
    rows, part = (keyed(summarize_table(table, weight="w", sampled_share=share)) for share in (1.0, 0.19))
    for key, row in rows.items():
        assert part[key]["weight"] == pytest.approx(row["weight"] / 0.19)
        assert part[key]["sampling_error"] == pytest.approx(0.9 * row["sampling_error"])
        assert part[key]["n_rows"] == row["n_rows"]
        assert part[key]["monte_carlo_error"] == row["monte_carlo_error"]
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(UsageError, match="sampled_share"):
            summarize_table(table, sampled_share=share)


@pytest.mark.slow
def test_thousands_of_segments_bring_no_more_to_the_driver() -> None:
    table = attributions(4000)
    table = table.append_column("branch", pa.array(np.arange(4000) // 2))
    models = table_models(replace(SPEC, segmentations=((), ("branch",))), table)
    assert set(models) == {(None, "bad"), (None, "good")}
    found = summarize_table(table, by=["branch"])
    assert found.num_rows > 2000 * len(FEATURES)
    assert min(found["mean_abs_shap"].to_pylist()) >= 0


def test_an_empty_table_and_a_table_of_exact_rows() -> None:
    table = attributions(7)
    assert summarize_table(table.slice(0, 0)).num_rows == 0
    assert_same(summarize_table(table), summarize_table(table.drop_columns(["surrogate_values"])))


def test_exact_parts_that_lack_a_feature_are_refused() -> None:
    table = attributions(10)
    short = pa.array([{"age": 1.0}] * 10)
    with pytest.raises(InputError, match=r"surrogate_values has no field 'income\.net'"):
        summarize_table(table.set_column(6, "surrogate_values", short))
