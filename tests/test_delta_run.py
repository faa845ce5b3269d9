"""Whole runs from and into Delta tables, read again with the independent deltalake package where it can."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from portfolio import FEATURES, Model, applicants, save, settings, worker_rows

from spark_shap import InputError, job, read_run, schema
from spark_shap.config import RunConfig
from spark_shap.engine.explain import explain_frame
from spark_shap.io.runs import read_runs
from spark_shap.io.tables import read_table
from spark_shap.pipeline import RunResult, run

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.delta

PLAIN = {"loan amount": "loan_amount", "rate.pct": "rate_pct"}


def start(session: SparkSession, folder: Path, /, **sections: Any) -> RunResult:
    source = folder / "lake"
    if not source.exists():
        session.createDataFrame(applicants(120)).write.format("delta").option("delta.columnMapping.mode", "name").save(
            str(source)
        )
    applicant = {"path": str(source), "format": "delta", "keep": ["region"]}
    sections = {"applicants": applicant, "output": {"format": "delta"}, **sections}
    model = folder / "model.pkl"
    if not model.exists():  # a pickle made again has other bytes, and is another model
        save(Model(folder / "calls"), model)
    return run(session, RunConfig.model_validate(settings(folder, model, **sections)))


def values(table: pd.DataFrame) -> np.ndarray:
    return np.array([[row[name] for name in FEATURES] for row in table.sort_values("id")["shap_values"]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delta")


@pytest.fixture(scope="module")
def result(spark: SparkSession, folder: Path) -> RunResult:
    return start(spark, folder)


def test_delta_holds_what_parquet_holds(spark: SparkSession, result: RunResult, folder: Path, tmp_path: Path) -> None:
    table = read_table(spark, result.location, "attributions", result.record.run_id).toPandas()
    assert tuple(table.columns) == schema.attribution_columns(["id"], ["region"])
    parquet = start(spark, folder, output={"path": str(tmp_path / "parquet"), "format": "parquet"})
    same = read_table(spark, parquet.location, "attributions", parquet.record.run_id).toPandas()
    assert parquet.record.run_id == result.record.run_id
    np.testing.assert_array_equal(values(table), values(same))
    np.testing.assert_allclose(
        values(table).sum(axis=1) + table["base_value"].iloc[0],
        table.sort_values("id")["prediction"],
        atol=1e-6,
    )


@pytest.mark.slow
def test_model_is_asked_once(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[int] = []  # what the timing of a few rows has asked

    def explain(*arguments: Any, **options: Any) -> Any:
        before.append(worker_rows(tmp_path / "calls"))
        return explain_frame(*arguments, **options)

    monkeypatch.setattr(job, "explain_frame", explain)
    done = start(spark, tmp_path)
    assert worker_rows(tmp_path / "calls") - before[0] == done.record.model_evaluations


@pytest.mark.slow
def test_rerun_replaces_and_another_seed_adds(spark: SparkSession, result: RunResult, folder: Path) -> None:
    assert start(spark, folder).record.run_id == result.record.run_id
    other = start(spark, folder, explain={"seed": 8})
    assert {record.run_id for record in read_runs(spark, result.location)} == {
        result.record.run_id,
        other.record.run_id,
    }
    for name, n_rows in (("attributions", 120), ("summary", 5), ("rejects", 0), ("runs", 1)):
        assert read_table(spark, result.location, name, result.record.run_id).count() == n_rows


def test_deltalake_reads_tables_of_plain_names(spark: SparkSession, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    source = applicants(60).rename(columns=PLAIN)
    source.to_parquet(tmp_path / "applicants.parquet", index=False)
    features = [PLAIN.get(name, name) for name in FEATURES]
    model = save(Renaming(Model(tmp_path / "calls")), tmp_path / "model.pkl")
    section = {"features": features, "keep": ["region"]}
    config = settings(tmp_path, model, applicants=section, output={"format": "delta"})
    done = run(spark, RunConfig.model_validate(config))
    for name, n_rows in (("attributions", 60), ("summary", 5), ("runs", 1), ("rejects", 0)):
        table = deltalake.DeltaTable(str(tmp_path / "out" / name))
        sharded = ["shard"] if name in ("attributions", "rejects") else []
        assert table.metadata().partition_columns == ["run_id", *sharded]
        assert table.to_pyarrow_table().num_rows == n_rows
    rows = deltalake.DeltaTable(str(tmp_path / "out" / "attributions")).to_pyarrow_table().to_pandas()
    assert sorted(rows["id"]) == source["id"].tolist()
    total = [sum(row.values()) for row in rows["shap_values"]]
    np.testing.assert_allclose(total + rows["base_value"], rows["prediction"], atol=1e-6)
    assert set(rows["run_id"]) == {done.record.run_id}


class Renaming:
    """A model of columns with plain names."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, rows: pd.DataFrame) -> Any:
        return self.model(rows.rename(columns={"loan_amount": "loan amount", "rate_pct": "rate.pct"}))


@pytest.mark.slow
def test_long_layout_needs_no_mapping_of_names(
    spark: SparkSession, folder: Path, result: RunResult, tmp_path: Path
) -> None:
    deltalake = pytest.importorskip("deltalake")
    long = start(spark, folder, output={"path": str(tmp_path / "long"), "format": "delta", "layout": "long"})
    assert long.record.run_id != result.record.run_id
    rows = deltalake.DeltaTable(str(tmp_path / "long" / "attributions")).to_pyarrow_table().to_pandas()
    wide = values(read_table(spark, result.location, "attributions", result.record.run_id).toPandas())
    turned = rows.pivot(index="id", columns="feature", values="shap_value")[FEATURES].sort_index()
    np.testing.assert_array_equal(turned, wide)


@pytest.mark.slow
def test_catalog_schema(spark: SparkSession, folder: Path, result: RunResult) -> None:
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS explained LOCATION '{folder}/db'")
    try:
        output = {"path": None, "schema": "explained", "format": "delta", "max_rejects": 0.5}
        first = start(spark, folder, output=output)
        again = start(spark, folder, output=output)
        assert again.record.run_id == first.record.run_id == result.record.run_id
        assert spark.table("explained.runs").count() == 1
        assert spark.table("explained.attributions").count() == 120
        assert str(first.location) == "explained"
        table = read_table(spark, first.location, "attributions", first.record.run_id).toPandas()
        same = read_table(spark, result.location, "attributions", result.record.run_id).toPandas()
        np.testing.assert_array_equal(values(table), values(same))
    finally:
        spark.sql("DROP SCHEMA explained CASCADE")


def test_shards_in_a_catalog_schema(spark: SparkSession, folder: Path, result: RunResult) -> None:
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS cut LOCATION '{folder}/cut'")
    try:
        output = {"path": None, "schema": "cut", "format": "delta", "max_rejects": 0.5}
        done = start(spark, folder, output=output, explain={"shards": 3, "n_evaluations": 65, "seed": 7})
        assert done.record == replace(
            result.record,
            shards=3,
            config=done.record.config,
            started_at=done.record.started_at,
            finished_at=done.record.finished_at,
        )
        table = read_run(spark, done.location).toPandas()
        same = read_run(spark, result.location, result.record.run_id).toPandas()
        np.testing.assert_array_equal(values(table), values(same))
        names = {row["tableName"] for row in spark.sql("SHOW TABLES IN cut").collect()}
        assert names == {"attributions", "claims", "rejects", "runs", "sample", "shards", "summary"}
    finally:
        spark.sql("DROP SCHEMA cut CASCADE")


def test_new_columns_are_refused_unless_asked_for(
    spark: SparkSession, folder: Path, result: RunResult, tmp_path: Path
) -> None:
    here = {"path": str(folder / "out"), "format": "delta", "max_rejects": 0.5}
    more = {"path": str(folder / "lake"), "format": "delta", "keep": ["region", "exposure"]}
    with pytest.raises(InputError, match=r"'attributions' has no exposure; set output.evolve_schema: true"):
        start(spark, folder, applicants=more, output=here)
    assert "exposure" not in spark.read.format("delta").load(result.location.path("attributions")).columns
    done = start(spark, folder, applicants=more, output=here | {"evolve_schema": True})
    assert read_run(spark, done.location, done.record.run_id).where("exposure is null").count() == 0


def test_a_delta_input_is_read_at_one_version(
    spark: SparkSession, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "applicants")
    rows = spark.createDataFrame(applicants(120))
    rows.write.format("delta").option("delta.columnMapping.mode", "name").save(source)

    def late(*arguments: Any, **options: Any) -> Any:  # once the rows are counted, others come
        rows.withColumn("id", rows["id"] + 10_000).write.format("delta").mode("append").save(source)
        return explain_frame(*arguments, **options)

    monkeypatch.setattr(job, "explain_frame", late)
    applied = {"path": source, "format": "delta"}
    done = start(spark, folder, applicants=applied, output={"path": str(tmp_path / "out"), "format": "delta"})
    assert done.record.rows_explained == 120
    assert str(done.record.input_version).startswith("delta:0 content:")
