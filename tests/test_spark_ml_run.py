"""Whole runs of a model that Spark ML saved: what a folder is, tables, shards, rejects, references and reasons."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import SQLTransformer, StringIndexer, VectorAssembler

from spark_shap import Explainer, parts
from spark_shap.cli import main
from spark_shap.config import RunConfig
from spark_shap.engine.spark_ml_model import pipeline_inputs
from spark_shap.errors import MethodError, ModelError
from spark_shap.io.shards import STAGED
from spark_shap.io.tables import read_table
from spark_shap.models.adapters.mlflow import folder_digest
from spark_shap.models.formats import detect_folder
from spark_shap.pipeline import RunResult, plan_run, run

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

N = 240
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "id": [f"A{index:03d}" for index in range(N)],
        "income": RANDOM.normal(size=N),
        "debt": RANDOM.normal(size=N),
        "housing": RANDOM.choice(["own", "rent", "free"], N),
        "region": RANDOM.choice(["north", "south"], N),
    }
)
TABLE["bad"] = ((TABLE["income"] < TABLE["debt"]) & (TABLE["housing"] != "own")).astype(float)
FEATURES = ("housing", "income", "debt")


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pipeline")
    stages = [
        StringIndexer(inputCol="housing", outputCol="housed"),
        VectorAssembler(inputCols=["housed", "income", "debt"], outputCol="x"),
        LogisticRegression(featuresCol="x", labelCol="bad", regParam=0.01, maxIter=8),
    ]
    model = Pipeline(stages=stages).fit(spark.createDataFrame(TABLE))
    model.save((place / "model").as_uri())
    TABLE.to_parquet(place / "applicants.parquet", index=False)
    return place


def config(folder: Path, out: str, **sections: dict[str, Any]) -> RunConfig:
    settings: dict[str, dict[str, Any]] = {
        "applicants": {"path": str(folder / "applicants.parquet"), "key": "id", "keep": "region"},
        "reference": {"size": 40},
        "model": {"file": str(folder / "model")},
        "explain": {"n_evaluations": 33, "seed": 3, "surrogate_evaluations": 500, "method": "sampling"},
        "output": {"path": str(folder / out), "report": False},
    }
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values}
    if "references" in settings:
        del settings["reference"]
    return RunConfig.model_validate(settings)


def table(spark: SparkSession, result: RunResult, name: str) -> pd.DataFrame:
    found: pd.DataFrame = read_table(spark, result.location, name, result.record.run_id).toPandas()
    return found.sort_values("id", ignore_index=True) if "id" in found else found


def values(found: pd.DataFrame) -> np.ndarray:
    return np.array([[row[name] for name in FEATURES] for row in found["shap_values"]])


@pytest.fixture(scope="module")
def result(spark: SparkSession, folder: Path) -> RunResult:
    return run(spark, config(folder, "out", summary={"by": ["region"]}))


def test_a_folder_is_told_by_what_is_in_it(
    spark: SparkSession, folder: Path, result: RunResult, tmp_path: Path
) -> None:
    found = detect_folder(folder / "model")
    assert found is not None
    assert found == ("spark_ml", f"the folder has the metadata and stages of Spark ML {spark.version}", "")
    assert result.record.model_kind == f"spark_ml ({found.why}), a pyspark.ml.PipelineModel"
    assert result.record.model_fingerprint == folder_digest(folder / "model")
    assert detect_folder(tmp_path) is None
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "part-00000").write_text("no metadata of a model")
    assert detect_folder(tmp_path) is None


def test_the_tables_are_those_of_any_run(spark: SparkSession, folder: Path, result: RunResult) -> None:
    assert (result.record.rows_explained, result.record.rows_rejected) == (N, 0)
    assert result.record.feature_names == FEATURES  # neither the label nor the region: the stages say what they read
    assert result.record.output_space == "probability"
    found = table(spark, result, "attributions")
    scored = PipelineModel.load((folder / "model").as_uri()).transform(spark.createDataFrame(TABLE)).toPandas()
    expected = np.array([row[1] for row in scored.sort_values("id")["probability"]])
    assert found["prediction"].to_numpy() == pytest.approx(expected, abs=1e-12)
    assert found["additivity_gap"].abs().max() < 1e-9
    summary = table(spark, result, "summary")
    assert set(summary["segment"].dropna()) == {"north", "south"}
    income = summary[(summary["segment_by"] == "") & (summary["feature"] == "income")].iloc[0]
    assert income["mean_abs_shap"] == pytest.approx(np.abs(values(found)[:, 1]).mean(), rel=0.05)


def test_values_are_those_of_the_same_function_in_python(spark: SparkSession, folder: Path, result: RunResult) -> None:
    model = PipelineModel.load((folder / "model").as_uri())
    codes, line = {name: place for place, name in enumerate(model.stages[0].labels)}, model.stages[-1]

    def probability(rows: pd.DataFrame) -> np.ndarray:
        x = np.column_stack([rows["housing"].map(codes), rows["income"], rows["debt"]])
        return 1 / (1 + np.exp(-(x.astype(float) @ line.coefficients.toArray() + line.intercept)))

    explainer = Explainer(probability, TABLE[list(FEATURES)], n_evaluations=16_384, method="exact")
    exact = explainer(TABLE[list(FEATURES)]).values
    found = table(spark, result, "attributions")
    # Against 40 of the 240 applicants: values of other backgrounds agree as far as samples of populations do.
    assert np.corrcoef(values(found).ravel(), exact.ravel())[0, 1] > 0.97
    errors = np.array([[row[name] for name in FEATURES] for row in found["std_errors"]])
    assert 0 < np.median(errors) < 0.02


def test_a_run_of_shards_goes_on_where_it_ended(
    spark: SparkSession, folder: Path, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharded = config(folder, "sharded", summary={"by": ["region"]}, explain={"shards": 3})
    commit, explained = parts.commit, parts.explain_rows

    def killed(spark: SparkSession, job: Any, shard: Any) -> Any:
        if shard.part == 2:
            raise KeyboardInterrupt
        return commit(spark, job, shard)

    monkeypatch.setattr(parts, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        run(spark, sharded)
    monkeypatch.setattr(parts, "commit", commit)
    again = list[int]()
    monkeypatch.setattr(parts, "explain_rows", lambda rows, job: again.append(1) or explained(rows, job))
    second = run(spark, sharded)
    assert (len(again), second.record.attempts) == (1, 2)
    assert second.record.run_id == result.record.run_id
    assert STAGED < 0
    assert np.array_equal(values(table(spark, second, "attributions")), values(table(spark, result, "attributions")))


def test_several_references_groups_and_reasons(spark: SparkSession, folder: Path) -> None:
    rows = TABLE.copy()
    rows.loc[rows.index[:2], "housing"] = "nowhere"  # an error of the indexer, which would end the job
    rows.loc[rows.index[2], "income"] = np.nan  # and of the assembler
    rows.to_parquet(folder / "some.parquet", index=False)
    found = run(
        spark,
        config(
            folder,
            "several",
            applicants={"path": str(folder / "some.parquet")},
            references={"owners": {"where": "housing = 'own'", "size": 30}, "others": {"size": 30}},
            explain={"groups": {"money": ["income", "debt"]}},
            reasons={"harm": "high", "max_evaluations": 0},
            output={"max_rejects": 5},
        ),
    )
    written = table(spark, found, "attributions")
    assert (found.record.rows_explained, found.record.rows_rejected) == (N - 3, 3)
    assert written.groupby("reference").size().to_dict() == {"others": N - 3, "owners": N - 3}
    assert set(found.record.feature_names) == {"housing", "money"}
    assert written["additivity_gap"].abs().max() < 1e-9
    said = " ".join(table(spark, found, "rejects")["message"])
    assert "'housing': value 'nowhere' is none of the 3 that the model knows" in said
    assert "'income' is missing, which the model refuses" in said
    reasons = table(spark, found, "reasons")
    assert set(reasons["feature"]) == {"housing", "money"}


def test_what_depends_on_answers_is_refused_before_a_row_is_explained(spark: SparkSession, folder: Path) -> None:
    with pytest.raises(MethodError, match=r"reasons.max_evaluations: .* set it to 0"):
        plan_run(spark, config(folder, "no", reasons={"harm": "high"}))
    with pytest.raises(MethodError, match=r"tolerance: .* set n_evaluations instead"):
        plan_run(spark, config(folder, "no", explain={"tolerance": 0.01}))


def test_folders_that_cannot_be_used(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it was not loaded"):
        plan_run(spark, config(folder, "no", model={"sha256": "0" * 64}))
    (tmp_path / "metadata").mkdir()
    meta = '{"class": "org.apache.spark.ml.PipelineModel", "sparkVersion": "4.2.0"}'
    (tmp_path / "metadata" / "part-00000").write_text(meta)
    with pytest.raises(ModelError, match="Spark ML cannot load it"):
        plan_run(spark, config(folder, "no", model={"file": str(tmp_path)}))
    with pytest.raises(ModelError, match=r"model.format: spark_ml: .* is a file"):
        plan_run(spark, config(folder, "no", model={"file": str(folder / "applicants.parquet"), "format": "spark_ml"}))


def test_stages_that_do_not_say_what_they_read(spark: SparkSession, folder: Path) -> None:
    model = PipelineModel.load((folder / "model").as_uri())
    assert pipeline_inputs(model) == FEATURES
    assert pipeline_inputs(PipelineModel([SQLTransformer(statement="select * from __THIS__"), *model.stages])) is None
    assert pipeline_inputs(model.stages[-1]) is None
    assert pipeline_inputs("no model") is None


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = config(folder, "cli").model_dump_json(by_alias=True, exclude_none=True)
    (tmp_path / "run.yaml").write_text(text)
    logging.getLogger("spark_shap").setLevel(logging.INFO)
    assert main(["plan", "--config", str(tmp_path / "run.yaml")]) == 0
    assert "model" in capsys.readouterr().out
