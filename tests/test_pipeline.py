"""A whole run: what it writes, that it computes it once, and that its counts and aggregates are true."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from portfolio import FEATURES, Model, applicants, save, score, settings, worker_rows

from spark_shap import Explainer, aggregates, job, rejects, schema
from spark_shap.config import RunConfig
from spark_shap.engine.door import missing_rows
from spark_shap.engine.explain import explain_frame
from spark_shap.errors import ModelError, RunError, TooManyRejectsError
from spark_shap.identity import run_identifier
from spark_shap.intake import read_inputs
from spark_shap.io.hash_samples import collect_sample
from spark_shap.io.location import Location
from spark_shap.io.references import background_of
from spark_shap.io.runs import RUNS_SCHEMA, read_runs
from spark_shap.io.tables import read_table
from spark_shap.pipeline import RunResult, plan_run, run

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

SECRET = "hunter2"


class Done(NamedTuple):
    folder: Path
    data: pd.DataFrame
    config: RunConfig
    result: RunResult
    asked: int  # rows that workers put to the model once the run had been planned

    def table(self, spark: SparkSession, name: str, run_id: str | None = None) -> pd.DataFrame:
        return read_table(spark, self.result.location, name, run_id or self.result.record.run_id).toPandas()


def start(session: SparkSession, folder: Path, data: pd.DataFrame, model: Model, /, **sections: Any) -> Done:
    data.to_parquet(folder / "applicants.parquet", index=False)
    config = RunConfig.model_validate(settings(folder, save(model, folder / "model.pkl"), **sections))
    before: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "explain_frame", noting(before, folder / "calls"))
        result = run(session, config)
    return Done(folder, data, config, result, worker_rows(folder / "calls") - before[0] if before else 0)


def noting(before: list[int], log: Path) -> Any:
    """The lazy `explain_frame`, noting what had been asked when it was called: the timing of a few rows."""

    def explain(*arguments: Any, **options: Any) -> Any:
        before.append(worker_rows(log))
        return explain_frame(*arguments, **options)

    return explain


@pytest.fixture(scope="module")
def done(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("run")
    return start(
        spark,
        folder,
        applicants(),
        Model(folder / "calls"),
        applicants={"weight": "exposure"},
        reference={"name": "adults", "where": "age >= 21", "as_of": "2026-01-31"},
        summary={"by": [["region"], ["region", "purpose"]]},
        spark={"conf": {"spark.hadoop.fs.s3a.secret.key": SECRET}},
    )


@pytest.fixture(scope="module")
def written(spark: SparkSession, done: Done) -> pd.DataFrame:
    return done.table(spark, "attributions").sort_values("id", ignore_index=True)


def cells(table: pd.DataFrame, name: str) -> np.ndarray:
    return np.array([[row[feature] for feature in FEATURES] for row in table[name]], dtype=float)


def test_tables_have_their_columns(spark: SparkSession, done: Done) -> None:
    keep = ("region", "purpose", "exposure")
    expected = {
        "attributions": schema.attribution_columns(["id"], keep),
        "summary": schema.SUMMARY_COLUMNS,
        "rejects": ("run_id", "id", *schema.REJECT_COLUMNS),
        "runs": tuple(RUNS_SCHEMA.names),
    }
    for name, columns in expected.items():
        assert tuple(done.table(spark, name).columns) == columns
    frame = read_table(spark, done.result.location, "attributions", done.result.record.run_id)
    assert frame.schema["shap_values"].dataType.fieldNames() == FEATURES
    assert dict(frame.dtypes)["id"] == "bigint"


def test_every_row_once_with_its_own_columns(done: Done, written: pd.DataFrame) -> None:
    assert written["id"].tolist() == done.data["id"].tolist()
    for name in ("region", "exposure", "purpose"):
        assert written[name].fillna("none").tolist() == done.data[name].fillna("none").tolist()
    assert set(written["output"]) == {"bad"}
    assert written["converged"].isna().all()


def test_values_add_up_to_predictions(done: Done, written: pd.DataFrame) -> None:
    total = written["base_value"] + cells(written, "shap_values").sum(axis=1)
    np.testing.assert_allclose(total, written["prediction"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(written["prediction"], score(done.data[FEATURES]), rtol=1e-12)
    assert (cells(written, "std_errors").max(axis=1) > 0).mean() > 0.9


def test_model_is_asked_once(done: Done, written: pd.DataFrame) -> None:
    assert done.asked == written["n_evaluations"].sum() == done.result.record.model_evaluations
    assert written["n_evaluations"].max() <= 65


def sample_of(done: Done, spark: SparkSession, where: str, size: int) -> pd.DataFrame:
    """Rows that the run drew, drawn again."""
    source = spark.createDataFrame(done.data).where(where)
    rows = collect_sample(source, FEATURES, key=["id"], size=size, seed=7)
    return background_of(rows.table, FEATURES)[0]


def reference_of(done: Done, spark: SparkSession) -> pd.DataFrame:
    return sample_of(done, spark, "age >= 21", 40)


@pytest.fixture(scope="module")
def explainer(done: Done, spark: SparkSession) -> Explainer:
    return Explainer(score, reference_of(done, spark), method="exact")


def test_same_values_as_the_explainer(done: Done, written: pd.DataFrame, spark: SparkSession) -> None:
    sampler = Explainer(
        score,
        reference_of(done, spark),
        n_evaluations=65,
        seed=7,
        population=sample_of(done, spark, "true", 5000),
        surrogate_evaluations=4000,
    )
    assert sampler.method_reason.split("; ")[1] == done.result.record.method_reason.split("; ")[1]
    mine = sampler(done.data[["id", *FEATURES]], key="id")
    np.testing.assert_allclose(mine.values, cells(written, "shap_values"), atol=1e-12)


def test_record_of_the_run(done: Done, written: pd.DataFrame, spark: SparkSession) -> None:
    (record,) = read_runs(spark, done.result.location)
    assert record == replace(done.result.record, started_at=record.started_at, finished_at=record.finished_at), (
        "what was returned is what was written"
    )
    assert (record.method, record.seed, record.output_space) == ("sampling", 7, "prediction")
    assert "enumeration" in record.method_reason
    assert (record.rows_read, record.rows_explained, record.rows_rejected) == (300, 300, 0)
    assert (record.reference_name, record.reference_rows, str(record.reference_as_of)) == ("adults", 40, "2026-01-31")
    assert len(record.model_fingerprint) == len(record.reference_fingerprint) == 64
    assert (record.feature_names, record.output_names) == (tuple(FEATURES), ("bad",))
    assert record.versions["numpy"] == np.__version__
    assert record.versions["spark"] == spark.version
    assert record.started_at < record.finished_at
    assert record.additivity_gap_max == pytest.approx(written["additivity_gap"].abs().max(), abs=1e-18)


def test_standard_errors_of_the_record_are_those_of_the_rows(done: Done, written: pd.DataFrame) -> None:
    errors = cells(written, "std_errors").ravel()
    record = done.result.record
    assert record.std_error_median == pytest.approx(np.quantile(errors, 0.5), rel=0.02)
    assert record.std_error_p99 == pytest.approx(np.quantile(errors, 0.99), rel=0.02)


def test_secrets_are_not_recorded(done: Done) -> None:
    text = done.result.record.config
    assert SECRET not in text
    assert json.loads(text)["spark"]["conf"] == {"spark.hadoop.fs.s3a.secret.key": "***"}
    assert json.loads(text)["explain"]["seed"] == 7


def test_summary_is_that_of_numpy(done: Done, written: pd.DataFrame, spark: SparkSession) -> None:
    summary = done.table(spark, "summary")
    values, weights = cells(written, "shap_values"), written["exposure"].to_numpy()
    overall = summary[summary["segment_by"] == ""].set_index("feature").loc[FEATURES]
    np.testing.assert_allclose(overall["mean_shap"], weights @ values / weights.sum(), atol=1e-9)
    np.testing.assert_allclose(overall["min"], values.min(axis=0))
    np.testing.assert_allclose(overall["max"], values.max(axis=0))
    np.testing.assert_allclose(overall["weight"], weights.sum())
    assert set(overall["n_rows"]) == {300}
    assert sorted(overall["rank"]) == [1, 2, 3, 4, 5]


def test_mean_abs_shap_is_that_of_exact_values(
    done: Done, written: pd.DataFrame, explainer: Explainer, spark: SparkSession
) -> None:
    weights = written["exposure"].to_numpy()
    exact = np.abs(explainer(done.data[["id", *FEATURES]], key="id").values)
    truth = pd.Series(weights @ exact / weights.sum(), FEATURES)
    summary = done.table(spark, "summary")
    overall = summary[summary["segment_by"] == ""].set_index("feature").loc[FEATURES]
    assert (np.abs(overall["mean_abs_shap"] - truth) < 4 * overall["monte_carlo_error"]).all()
    plain = pd.Series(weights @ np.abs(cells(written, "shap_values")) / weights.sum(), FEATURES)
    assert (plain - truth).abs().sum() > (overall["mean_abs_shap"] - truth).abs().sum(), "noise inflates it"


def test_summary_is_that_of_the_explainer(done: Done, spark: SparkSession) -> None:
    rows = read_table(spark, done.result.location, "attributions", done.result.record.run_id)
    explainer = Explainer(lambda x: x[:, 0], np.zeros((2, 1)))
    by = [["region"], ["region", "purpose"]]
    order = ["segment_by", "segment", "feature"]
    again = explainer.summarize(rows, by=by, weight="exposure").toPandas().sort_values(order, ignore_index=True)
    stored = done.table(spark, "summary").sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(again[list(stored.columns)], stored, rtol=1e-12)


def test_segments(done: Done, spark: SparkSession) -> None:
    summary = done.table(spark, "summary")
    one = summary[(summary["segment_by"] == "region") & (summary["feature"] == "age")]
    assert one["segment"].isna().sum() == 1  # rows without a region
    one = one.fillna({"segment": "null"}).set_index("segment")
    counts = done.data["region"].fillna("null").value_counts()
    assert one["n_rows"].to_dict() == counts.to_dict()
    weights = done.data.fillna({"region": "null"}).groupby("region")["exposure"].sum()
    assert one["weight"].to_dict() == pytest.approx(weights.to_dict())
    both = summary[(summary["segment_by"] == "region, purpose") & (summary["feature"] == "age")]
    assert both["n_rows"].sum() == 300
    assert '["north", "car"]' in set(both["segment"])


def test_rerun_replaces_and_another_seed_adds(done: Done, spark: SparkSession, written: pd.DataFrame) -> None:
    again = run(spark, done.config)
    assert again.record.run_id == done.result.record.run_id
    other = run(spark, RunConfig.model_validate(done.config.model_dump(by_alias=True) | {"explain": {"seed": 8}}))
    assert other.record.run_id != again.record.run_id
    assert {record.run_id for record in read_runs(spark, done.result.location)} == {
        again.record.run_id,
        other.record.run_id,
    }
    table = done.table(spark, "attributions").sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(table, written)
    assert len(done.table(spark, "attributions", other.record.run_id)) == 300
    assert len(done.table(spark, "summary")) == len(done.table(spark, "summary", other.record.run_id))


@pytest.mark.parametrize(
    ("section", "values", "same"),
    [
        ("explain", {"n_evaluations": 67, "seed": 7}, False),
        ("applicants", {"where": "age > 20"}, False),
        ("output", {"layout": "long"}, False),
        ("summary", {"by": [["region"]]}, False),
        ("explain", {"partitions": 3, "memory_mb": 99}, True),
        ("output", {"path": "/elsewhere", "max_rejects": 5}, True),
    ],
)
def test_run_id_depends_on_what_changes_the_result(
    done: Done, spark: SparkSession, section: str, values: dict[str, Any], same: bool
) -> None:
    changed = done.config.model_dump(by_alias=True)
    changed[section] |= values
    config = RunConfig.model_validate(changed)
    found = run_identifier(config, read_inputs(spark, config, Location(config.output.path)))
    assert (found == done.result.record.run_id) is same


def test_long_layout_is_the_wide_one_turned(
    done: Done, written: pd.DataFrame, spark: SparkSession, tmp_path: Path
) -> None:
    long = start(
        spark,
        tmp_path,
        done.data,
        Model(tmp_path / "calls", outputs=2),
        model={"output_names": ["bad", "good"]},
        applicants={"keep": ["region"]},
        reference={"where": "age >= 21"},
        output={"layout": "long"},
    )
    table = long.table(spark, "attributions")
    assert tuple(table.columns) == schema.attribution_columns(["id"], ["region"], layout="long")
    assert len(table) == 300 * 2 * len(FEATURES)
    bad = table[table["output"] == "bad"]
    values, errors = (
        bad.pivot(index="id", columns="feature", values=name)[FEATURES].sort_index().to_numpy()
        for name in ("shap_value", "std_error")
    )
    # Two outputs share a surrogate, which is another one than that of the first alone.
    assert (np.abs(values - cells(written, "shap_values")) < 6 * np.hypot(errors, cells(written, "std_errors"))).all()
    assert np.corrcoef(np.log(errors.ravel()), np.log(cells(written, "std_errors").ravel()))[0, 1] > 0.5
    assert long.asked == written["n_evaluations"].sum() == long.result.record.model_evaluations, "evaluated once"
    total = table.groupby(["id", "output"]).agg({"shap_value": "sum", "base_value": "first", "prediction": "first"})
    np.testing.assert_allclose(total["shap_value"] + total["base_value"], total["prediction"], atol=1e-6)
    assert long.result.record.std_error_median == pytest.approx(done.result.record.std_error_median, rel=0.2)
    summary = long.table(spark, "summary")
    mean = bad.groupby("feature")["shap_value"].mean()
    mine = summary[(summary["output"] == "bad") & (summary["segment_by"] == "")].set_index("feature")["mean_shap"]
    np.testing.assert_allclose(mine[FEATURES], mean[FEATURES], atol=1e-9)


# ---------------------------------------------------------------------------------------------- rejects


def spoiled() -> pd.DataFrame:
    """A null key, three rows of one key, a strange category, and ages at which a model misbehaves."""
    data = applicants(200).astype({"id": "Int64"})
    data["age"] = data["age"].clip(20, 70)
    data.loc[5, "id"] = pd.NA
    data.loc[[6, 7], "id"] = data.loc[8, "id"]
    data.loc[9, "purpose"] = "boat"
    data.loc[10, "age"] = 99
    data.loc[11, "age"] = 98
    return data


@pytest.fixture(scope="module")
def rejected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("rejects")
    model = Model(folder / "calls", raises_at=99, nan_at=98)
    where = "purpose <> 'boat' and age < 90 and id is not null"
    return start(spark, folder, spoiled(), model, reference={"where": where}, output={"max_rejects": 0.05})


def test_rejects_say_why(rejected: Done, spark: SparkSession) -> None:
    table = rejected.table(spark, "rejects")
    found = table.groupby(["stage", "error_class"]).size().to_dict()
    assert found.pop(("key", "NullKey")) == 1
    assert found.pop(("key", "DuplicateKey")) == 3
    assert sum(found.values()) == 3
    by_id = table[table["stage"] != "key"].set_index("id")
    assert "unknown purpose 'boat'" in by_id.loc[1009, "message"]
    assert by_id.loc[1009, "error_class"] == "ValueError"
    assert by_id.loc[1010, ["stage", "error_class", "message"]].tolist() == ["model", "RuntimeError", "no age 99"]
    assert "nan" in by_id.loc[1011, "message"].lower()
    row = json.loads(by_id.loc[1010, "row"])
    assert (row["age"], row["loan amount"]) == (99, int(rejected.data.loc[10, "loan amount"]))
    assert all(json.loads(text)["age"] for text in table["row"])


def test_counts_add_up(rejected: Done, spark: SparkSession) -> None:
    record = rejected.result.record
    assert (record.rows_read, record.rows_explained, record.rows_rejected) == (200, 193, 7)
    assert len(rejected.table(spark, "attributions")) == 193


@pytest.mark.parametrize(
    ("limit", "passes"),
    [
        pytest.param(7, True, marks=pytest.mark.slow),
        (6, False),
        (0.036, True),
        pytest.param(0.03, False, marks=pytest.mark.slow),
    ],
)
def test_max_rejects(spark: SparkSession, rejected: Done, tmp_path: Path, limit: float, passes: bool) -> None:
    values = json.loads(json.dumps(rejected.config.model_dump(mode="json", by_alias=True)))
    values["output"] |= {"path": str(tmp_path / "out"), "max_rejects": limit}
    config = RunConfig.model_validate_json(json.dumps(values))
    if passes:
        assert run(spark, config).record.rows_rejected == 7
        return
    with pytest.raises(TooManyRejectsError, match=r"7 of 200 rows .*max_rejects=.*First messages: .*no age 99"):
        run(spark, config)
    assert read_runs(spark, Location(str(tmp_path / "out"))) == (), "what failed does not look complete"


def test_null_and_duplicate_keys_alone_can_be_too_many(spark: SparkSession, rejected: Done, tmp_path: Path) -> None:
    values = rejected.config.model_dump(by_alias=True)
    values["output"] |= {"path": str(tmp_path / "out"), "max_rejects": 3}
    with pytest.raises(TooManyRejectsError, match=r"4 of 200 rows .* null or not unique"):
        run(spark, RunConfig.model_validate(values))
    assert not (tmp_path / "out" / "attributions").exists(), "nothing was explained"


@pytest.mark.slow
def test_a_model_that_fails_often_stops_early(spark: SparkSession, tmp_path: Path) -> None:
    data = applicants(20_000)
    data["age"] = np.where(np.arange(20_000) % 5 == 0, 99, data["age"])
    asked = {}
    for limit in (0.5, 0.01):
        folder = tmp_path / str(limit)
        folder.mkdir()
        with pytest.raises(TooManyRejectsError, match="First messages: no age 99") if limit < 0.2 else nullcontext():
            start(
                spark,
                folder,
                data,
                Model(folder / "calls", raises_at=99),
                reference={"where": "age < 90"},
                explain={"partitions": 16, "n_evaluations": 9},
                output={"max_rejects": limit},
            )
        asked[limit] = worker_rows(folder / "calls")
    assert asked[0.01] < 0.25 * asked[0.5], asked
    out = Location(str(tmp_path / "0.01" / "out"))
    assert [one.status for one in read_runs(spark, out, status=None)] == ["failed"]


class _Crash(Exception):
    pass


def test_a_run_that_fails_late_is_no_run_and_goes_on(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise _Crash("too late")

    with monkeypatch.context() as patch:
        patch.setattr(aggregates, "measure", crash)
        with pytest.raises(_Crash):
            start(spark, tmp_path, applicants(60), Model(tmp_path / "calls"))
    location = Location(str(tmp_path / "out"))
    assert read_runs(spark, location) == ()
    (failed,) = read_runs(spark, location, status=None)
    assert (failed.status, failed.attempts, failed.error) == ("failed", 1, "_Crash: too late")
    again = start(spark, tmp_path, applicants(60), Model(tmp_path / "calls"))
    assert again.asked == 0  # what was committed is not explained again
    assert (again.result.record.status, again.result.record.attempts, again.result.record.error) == (
        "complete",
        2,
        None,
    )
    assert again.result.record.rows_explained == 60


def test_a_complete_run_is_not_made_again(spark: SparkSession, tmp_path: Path) -> None:
    first = start(spark, tmp_path, applicants(60), Model(tmp_path / "calls"))
    again = start(spark, tmp_path, applicants(60), Model(tmp_path / "calls"))
    assert again.result.record == first.result.record
    assert again.asked == 0
    shutil.rmtree(next((tmp_path / "out" / "attributions").glob("run_id=*/shard=*")))
    mended = start(spark, tmp_path, applicants(60), Model(tmp_path / "calls"))
    assert mended.asked > 0
    assert mended.result.record.attempts == 2
    assert len(mended.table(spark, "attributions")) == 60


def test_rows_that_the_model_refuses_are_no_reference(spark: SparkSession, tmp_path: Path) -> None:
    data = applicants(120)
    data.loc[9, "purpose"] = "boat"
    done = start(spark, tmp_path, data, Model(tmp_path / "calls"), reference={"size": "all"})
    assert (done.result.record.rows_explained, done.result.record.rows_rejected) == (119, 1)
    assert done.result.record.reference_rows == 119
    # A reference of its own is taken at its word.
    apart = {"reference": {"path": str(tmp_path / "applicants.parquet"), "size": "all"}}
    values = done.config.model_dump(by_alias=True) | apart
    with pytest.raises(ModelError, match=r"fails on 1 of 120 background rows, the first time on row .*: ValueError"):
        run(spark, RunConfig.model_validate(values))


class Fickle(Model):
    """Raises at one age until a file says that the first pass is over."""

    def __call__(self, rows: pd.DataFrame) -> Any:
        if (rows["age"] == 99).any() and not os.path.exists(self.log + ".over"):
            raise RuntimeError("not now")
        return super().__call__(rows)


def test_a_model_that_changes_its_mind_fails_the_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = applicants(150)
    data.loc[3, "age"] = 99

    def missing(*arguments: Any) -> Any:
        (tmp_path / "calls.over").touch()
        return missing_rows(*arguments)

    monkeypatch.setattr(rejects, "missing_rows", missing)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(
            RunError, match=r"do not add up: of 150 rows read 1 of this shard could not be explained, and 0 when"
        ):
            start(spark, tmp_path, data, Fickle(tmp_path / "calls"), reference={"where": "age < 90"})
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert read_runs(spark, Location(str(tmp_path / "out"))) == ()


def test_shards_change_nothing(spark: SparkSession, tmp_path: Path) -> None:
    data = applicants(90)
    data.loc[[5, 17], "age"] = 99
    data.loc[[30, 31], "id"] = 1
    limits: dict[str, Any] = {
        "output": {"path": str(tmp_path / "out"), "max_rejects": 0.1},
        "reference": {"where": "age < 90"},
    }
    whole = start(spark, tmp_path, data, Model(tmp_path / "calls", raises_at=99), **limits)
    limits["output"] = limits["output"] | {"path": str(tmp_path / "cut")}
    cut = start(
        spark,
        tmp_path,
        data,
        Model(tmp_path / "calls", raises_at=99),
        **limits,
        explain={"shards": 4, "seed": 7, "n_evaluations": 65},
    )
    assert (whole.result.record.shards, cut.result.record.shards) == (1, 4)
    assert cut.result.record.run_id == whole.result.record.run_id
    assert cut.result.record.rows_rejected == whole.result.record.rows_rejected == 4
    for name, by in (
        ("attributions", ["id"]),
        ("rejects", ["id", "row"]),
        ("summary", ["segment_by", "segment", "feature"]),
    ):
        one, other = (done.table(spark, name).sort_values(by, ignore_index=True) for done in (whole, cut))
        pd.testing.assert_frame_equal(one, other)
    assert len(list((tmp_path / "cut" / "attributions").glob("run_id=*/shard=*"))) == 4
    assert not list((tmp_path / "cut" / "_staging").glob("*"))


@pytest.mark.slow
def test_plan_is_near_the_truth_and_writes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    applicants(8000).to_parquet(tmp_path / "applicants.parquet", index=False)
    model = save(Model(tmp_path / "calls"), tmp_path / "model.pkl")
    work = settings(tmp_path, model, explain={"method": "exact"}, reference={"size": 400})
    config = RunConfig.model_validate(work)
    plan = plan_run(spark, config)
    assert not (tmp_path / "out").exists()
    result = run(spark, config)
    actual = result.seconds["explain"]
    assert plan.seconds / 3 < actual < plan.seconds * 3, plan
    assert result.record.model_evaluations == pytest.approx(plan.n_evaluations * plan.n_rows, rel=0.2)


def test_location_is_absolute(done: Done) -> None:
    assert done.result.location == Location(root=str(done.folder / "out"))
