"""A whole run on a Spark Connect session: the same rows as in pandas, rejects and refusals as on a classic one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from portfolio import FEATURES, Model, applicants, save, score, settings, worker_rows

from spark_shap import Explainer, aggregates, applicant_report, read_run
from spark_shap.config import RunConfig
from spark_shap.dataframes import is_connect
from spark_shap.errors import InputError, RunError, TooManyRejectsError
from spark_shap.io.claims import claimed, new_claim
from spark_shap.io.location import Location
from spark_shap.io.runs import read_runs
from spark_shap.io.shards import read_shards
from spark_shap.io.tables import read_table
from spark_shap.pipeline import RunResult, run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.connect
TABLES = ("attributions", "summary", "dependence", "reasons", "reason_rates")


def start(session: SparkSession, folder: Path, model: Any = None, /, **sections: Any) -> RunResult:
    data = applicants(120)
    data.loc[7, "age"] = 99
    data.to_parquet(folder / "applicants.parquet", index=False)
    file = folder / "model.pkl"
    if not file.exists():  # a pickle made again has other bytes, and is another model
        save(model or Model(folder / "calls"), file)
    return run(session, RunConfig.model_validate(settings(folder, file, **sections)))


@pytest.mark.parametrize("layout", ["wide", pytest.param("long", marks=pytest.mark.slow)])
def test_run(spark_connect: SparkSession, tmp_path: Path, layout: str) -> None:
    assert is_connect(spark_connect)
    result = start(
        spark_connect,
        tmp_path,
        applicants={"keep": ["region"], "weight": "exposure"},
        summary={"by": [["region"]]},
        reference={"size": "all"},
        output={"layout": layout},
    )
    assert worker_rows(tmp_path / "calls") >= result.record.model_evaluations > 0
    (record,) = read_runs(spark_connect, result.location)
    assert (record.rows_read, record.rows_explained, record.rows_rejected) == (120, 120, 0)
    table = read_table(spark_connect, result.location, "attributions", record.run_id).toPandas()
    data = applicants(120)
    data.loc[7, "age"] = 99
    if layout == "long":
        found = table.pivot(index="id", columns="feature", values="shap_value")[FEATURES].sort_index()
        assert len(table) == 120 * len(FEATURES)
    else:
        found = np.array([[row[name] for name in FEATURES] for row in table.sort_values("id")["shap_values"]])
    predictions = table.groupby("id")["prediction"].first()
    np.testing.assert_allclose(np.asarray(found).sum(axis=1) + record_base(table), predictions, atol=1e-6)
    np.testing.assert_allclose(predictions, score(data[FEATURES]), atol=1e-12)
    summary = read_table(spark_connect, result.location, "summary", record.run_id).toPandas()
    assert set(summary["segment_by"]) == {"", "region"}
    overall = summary[summary["segment_by"] == ""].set_index("feature").loc[FEATURES]
    np.testing.assert_allclose(overall["mean_shap"], np.average(found, axis=0, weights=data["exposure"]), atol=1e-9)


def record_base(table: Any) -> float:
    (value,) = set(table["base_value"])
    return float(value)


def test_same_values_as_in_pandas(spark_connect: SparkSession, tmp_path: Path) -> None:
    ref = applicants(40, seed=3)
    ref.to_parquet(tmp_path / "ref.parquet", index=False)
    reference = {"path": str(tmp_path / "ref.parquet"), "size": "all"}
    # Without a surrogate: that of a run has seen the applicants.
    result = start(spark_connect, tmp_path, reference=reference, explain={"surrogate_evaluations": 0})
    table = read_table(spark_connect, result.location, "attributions", result.record.run_id).toPandas()
    source = spark_connect.read.parquet(str(tmp_path / "ref.parquet")).select("id", *(f"`{n}`" for n in FEATURES))
    how = {"n_evaluations": 65, "seed": 7, "surrogate_evaluations": 0}
    explainer = Explainer(score, source, background_key="id", background_size="all", **how)
    data = applicants(120)
    data.loc[7, "age"] = 99
    mine = explainer(data[["id", *FEATURES]], key="id").values
    found = [[row[name] for name in FEATURES] for row in table.sort_values("id")["shap_values"]]
    np.testing.assert_allclose(found, mine, atol=1e-12)


@pytest.mark.slow
def test_rejects_and_rerun(spark_connect: SparkSession, tmp_path: Path) -> None:
    model = Model(tmp_path / "calls", raises_at=99)
    sections: dict[str, Any] = {"reference": {"where": "age < 90"}}
    first = start(spark_connect, tmp_path, model, **sections)
    again = start(spark_connect, tmp_path, model, **sections)
    assert first.record.run_id == again.record.run_id
    (row,) = read_table(spark_connect, first.location, "rejects", first.record.run_id).collect()
    assert (row["id"], row["stage"], row["error_class"], row["message"]) == (1007, "model", "RuntimeError", "no age 99")
    assert first.record.rows_explained == 119
    with pytest.raises(TooManyRejectsError, match="no age 99"):
        start(spark_connect, tmp_path, model, output={"max_rejects": 0.0}, **sections)


def test_refusals(spark_connect: SparkSession, tmp_path: Path) -> None:
    for sections, text in (
        ({"applicants": {"key": ["idd"]}}, "did you mean 'id'"),
        ({"reference": {"where": "agee > 2"}}, "where: agee > 2"),
        ({"applicants": {"weight": "purpose"}}, "not a number"),
    ):
        with pytest.raises(InputError, match=text):
            start(spark_connect, tmp_path, **sections)  # type: ignore[arg-type]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").write_text("x")
    with pytest.raises(InputError, match="holds other things"):
        start(spark_connect, tmp_path)


def test_shards_go_on_where_a_run_ended(
    spark_connect: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(spark_connect, tmp_path, output={"path": str(tmp_path / "whole")})
    cut: dict[str, Any] = {
        "output": {"path": str(tmp_path / "cut")},
        "explain": {"shards": 3, "n_evaluations": 65, "seed": 7},
    }

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aggregates, "summarize", crash)
        with pytest.raises(KeyboardInterrupt):
            start(spark_connect, tmp_path, **cut)
    cut_at = Location(str(tmp_path / "cut"))
    before = read_shards(spark_connect, cut_at, whole.record.run_id)
    done = start(spark_connect, tmp_path, **cut)
    assert read_shards(spark_connect, cut_at, whole.record.run_id) == before
    left = list((tmp_path / "cut" / "_staging").rglob("*.parquet"))
    assert [pq.read_table(file).num_rows for file in left] == [0]  # Connect removes rows, no folders
    assert (done.record.attempts, done.record.shards, done.record.run_id) == (2, 3, whole.record.run_id)
    one, other = (
        read_run(spark_connect, str(tmp_path / name)).toPandas().sort_values("id", ignore_index=True)
        for name in ("whole", "cut")
    )
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.slow
def test_reports(spark_connect: SparkSession, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="reports need jinja2 and matplotlib: pip install 'spark-shap[report]'")
    done = start(spark_connect, tmp_path, output={"report": True})
    assert done.record.run_id in Path(str(done.report)).read_text(encoding="utf-8")
    page = applicant_report(spark_connect, str(tmp_path / "out"), {"id": "1009"})
    assert f"age = {applicants(120)['age'][9]}" in page
    start(spark_connect, tmp_path, output={"sample": 0})
    assert read_table(spark_connect, done.location, "sample", done.record.run_id).count() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("model_mb", "background_rows"), [(50, 100_000), (300, 1000)])
def test_large_models_and_backgrounds(
    spark_connect: SparkSession, tmp_path: Path, model_mb: int, background_rows: int
) -> None:
    rng = np.random.default_rng(0)
    names = [f"x{index}" for index in range(25)]
    background = pd.DataFrame(rng.normal(size=(background_rows, 25)), columns=names)  # 100,000 rows: 20 MB
    background.to_parquet(tmp_path / "background.parquet")
    background.head(200).assign(id=range(200)).to_parquet(tmp_path / "applicants.parquet")
    save(Table(model_mb), tmp_path / "model.pkl")
    assert (tmp_path / "model.pkl").stat().st_size > model_mb * 10**6
    config = {
        "applicants": {"path": str(tmp_path / "applicants.parquet"), "key": "id"},
        "reference": {"path": str(tmp_path / "background.parquet"), "size": "all"},
        "model": {"file": str(tmp_path / "model.pkl")},
        "explain": {"n_evaluations": 33, "surrogate_evaluations": 0},
        "output": {"path": str(tmp_path / "out")},
    }
    done = run(spark_connect, RunConfig.model_validate(config))
    assert (done.record.rows_explained, done.record.reference_rows) == (200, background_rows)
    assert done.record.additivity_gap_max < 1e-9  # type: ignore[operator]  # a number: rows were explained


class Table:
    """A model of many numbers: each row looks some of them up."""

    def __init__(self, megabytes: int) -> None:
        self.table = np.random.default_rng(1).normal(size=megabytes * 125_001)

    def __call__(self, rows: pd.DataFrame) -> Any:
        x = rows.to_numpy()
        place = np.abs(x[:, :5] * 1000).astype(int).sum(axis=1) % len(self.table)
        return np.tanh(x[:, 0] * x[:, 1]) + x[:, 2] + self.table[place]


@pytest.mark.slow
def test_references_groups_and_curves(spark_connect: SparkSession, tmp_path: Path) -> None:
    applicants(120).to_parquet(tmp_path / "applicants.parquet", index=False)
    given = settings(
        tmp_path,
        save(Model(tmp_path / "calls"), tmp_path / "model.pkl"),
        references={
            "near": {"population": "near_cutoff", "cutoff": 0.6, "harm": "high", "band": 0.3, "size": 20},
            "all": {"size": 30},
        },
        explain={"groups": {"money": ["income", "loan amount"]}, "surrogate_evaluations": 0},
        summary={"by": ["region"], "dependence": 3},
        reasons={"harm": "high", "max_evaluations": 0},
    )
    del given["reference"]
    result = run(spark_connect, RunConfig.model_validate(given))
    assert result.record.feature_names == ("age", "money", "rate.pct", "purpose")
    assert 0 < result.record.reference_agreement["near & all"] <= 1
    tables = {name: read_run(spark_connect, result.location, table=name).toPandas() for name in TABLES}
    assert all(set(table["reference"]) == {"near", "all"} for table in tables.values())
    assert set(tables["dependence"]["feature"]) == {"age", "rate.pct", "purpose"}
    assert set(tables["reason_rates"]["segment_by"]) == {"", "region"}


def test_a_program_with_a_classic_session_is_seen(spark_connect: SparkSession, tmp_path: Path) -> None:
    location, file = Location(str(tmp_path)), tmp_path / "_claims" / "r1.json"  # where it claims
    file.parent.mkdir()
    file.write_text(json.dumps(asdict(new_claim())))
    with pytest.raises(RunError, match="is making it at this moment"), claimed(spark_connect, location, "r1"):
        pass
    file.write_text(json.dumps(asdict(replace(new_claim(), born="before"))))
    with claimed(spark_connect, location, "r1") as holder:
        holder.check()
