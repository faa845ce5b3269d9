"""The table of reasons of whole runs: read back from what was written, in every layout, with names that bite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from portfolio import FEATURES, Model, applicants, save, settings

from spark_shap import Explainer, Reasons, schema
from spark_shap.config import RunConfig
from spark_shap.errors import ConfigError, InputError
from spark_shap.io.reading import read_run
from spark_shap.io.runs import read_runs
from spark_shap.pipeline import RunResult, run

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

CODES = """
version: autumn
sets:
  own:
    version: "1"
    codes:
      "01": {text: "Income of {value} for '; drop table runs; --", features: [income, loan amount]}
      "02": {text: "{feature} is {value}", features: [purpose, rate.pct]}
  other:
    version: "2"
    codes:
      "1": {text: Amount, features: [loan amount]}
"""


def start(session: SparkSession, folder: Path, n_rows: int = 120, /, **sections: Any) -> RunResult:
    file, codes = folder / "model.pkl", folder / "codes.yaml"
    if not file.exists():  # a pickle made again has other bytes, and is another model
        applicants(n_rows).to_parquet(folder / "applicants.parquet", index=False)
        save(Model(folder / "calls"), file)
        codes.write_text(CODES)
    reasons = {"harm": "high", "cutoff": 0.5, "codes": str(codes), "exclude": ["age"]}
    sections = {"reasons": reasons, "applicants": {"keep": ["region"]}, **sections}
    given = {name: values for name, values in sections.items() if values is not None}
    return run(session, RunConfig.model_validate(settings(folder, file, **given)))


def table(session: SparkSession, result: RunResult, name: str = "reasons") -> pd.DataFrame:
    return read_run(session, result.location, result.record.run_id, table=name).toPandas()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reasons")


@pytest.fixture(scope="module")
def result(spark: SparkSession, folder: Path) -> RunResult:
    return start(spark, folder)


@pytest.fixture(scope="module")
def reasons(spark: SparkSession, result: RunResult) -> pd.DataFrame:
    return table(spark, result).sort_values(["id", "rank", "code_set"], ignore_index=True)


def test_the_table_is_what_was_written_ranked(
    spark: SparkSession, folder: Path, result: RunResult, reasons: pd.DataFrame
) -> None:
    assert tuple(reasons.columns) == ("run_id", "id", *schema.REASON_COLUMNS)
    written = table(spark, result, "attributions").set_index("id")
    declined = written[written["prediction"] >= 0.5]
    assert set(reasons["id"]) == set(declined.index)
    assert len(declined) < len(written)
    for key, part in reasons[reasons["code_set"] == "own"].groupby("id"):
        values = pd.Series(written["shap_values"][key])
        best = values.drop("age")[lambda one: one > 0].nlargest(4)
        assert part["rank"].tolist() == list(range(1, len(best) + 1))
        assert part["feature"].tolist() == best.index.tolist()
        np.testing.assert_array_equal(part["shap_value"], best)
        errors = written["std_errors"][key]
        np.testing.assert_array_equal(part["std_error"], [errors[name] for name in best.index])


def test_codes_texts_and_values(folder: Path, reasons: pd.DataFrame) -> None:
    data = applicants(120).set_index("id")
    assert set(reasons["code_set"]) == {"own", "other"}
    assert (reasons["code_set"].value_counts() == len(reasons) // 2).all()
    own = reasons[reasons["code_set"] == "own"]
    income = own[own["feature"] == "income"]
    for _, row in income.iterrows():
        value = data.loc[row["id"], "income"]
        shown = "missing" if np.isnan(value) else f"{value:.12g}"
        assert row["text"] == f"Income of {shown} for '; drop table runs; --"
    purpose = own[own["feature"] == "purpose"]
    assert purpose["text"].tolist() == [f"purpose is {data.loc[key, 'purpose']}" for key in purpose["id"]]
    other = reasons[(reasons["code_set"] == "other") & (reasons["feature"] != "loan amount")]
    assert len(other) > 0
    assert other["code"].isna().all()
    assert other["text"].isna().all()


def test_the_table_of_runs_says_how(spark: SparkSession, result: RunResult, reasons: pd.DataFrame) -> None:
    (record,) = read_runs(spark, result.location)
    written = table(spark, result, "attributions")
    declined = written[written["prediction"] >= 0.5]
    assert record.reason_rows == len(declined)
    stable = reasons.groupby("id")["stable"].all()
    assert record.reason_stable_share == pytest.approx(stable.reindex(declined["id"], fill_value=True).mean())
    assert record.reason_codes == {"own": "1", "other": "2"}
    assert len(record.reason_codes_fingerprint or "") == 64
    assert set(record.reason_uncoded) == {f"other: {name}" for name in FEATURES if name not in ("age", "loan amount")}
    values = pd.DataFrame(list(declined["shap_values"]))
    ranked = (values["age"] > 0) & (values.rank(axis=1, ascending=False)["age"] <= 4)
    assert record.reason_exclusions == {"age": pytest.approx(ranked.mean())}
    assert record.reason_exclusion_share == pytest.approx(ranked.mean())
    assert ranked.mean() > 0


def test_more_evaluations_only_for_declined_rows_that_need_them(spark: SparkSession, result: RunResult) -> None:
    written = table(spark, result, "attributions")
    beyond = written["prediction"] >= 0.5
    assert (written["n_evaluations"][~beyond] == 65).all()
    assert (written["n_evaluations"][beyond] > 65).any()
    assert written["n_evaluations"].sum() == result.record.model_evaluations


@pytest.mark.slow
def test_the_same_in_pandas(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    from portfolio import score

    explain = {"surrogate_evaluations": 0, "n_evaluations": 65, "seed": 7}
    reference = applicants(40, seed=3)
    reference.to_parquet(tmp_path / "ref.parquet", index=False)
    done = start(spark, tmp_path, explain=explain, reference={"path": str(tmp_path / "ref.parquet"), "size": "all"})
    mine = table(spark, done).sort_values(["id", "rank", "code_set"], ignore_index=True)
    rule = Reasons(harm="high", cutoff=0.5, codes=tmp_path / "codes.yaml", exclude=("age",))
    background = spark.read.parquet(str(tmp_path / "ref.parquet")).select("id", *(f"`{name}`" for name in FEATURES))
    explainer = Explainer(score, background, background_key="id", background_size="all", reasons=rule, **explain)
    data = applicants(120)[["id", *FEATURES]].set_index("id", drop=False)
    theirs = explainer(data, key="id").reasons()
    theirs = theirs.rename_axis("id").reset_index().sort_values(["id", "rank", "code_set"], ignore_index=True)
    assert mine["feature"].tolist() == theirs["feature"].tolist()
    assert mine["text"].fillna("").tolist() == theirs["text"].fillna("").tolist()
    np.testing.assert_allclose(mine["p_swap"], theirs["p_swap"], atol=1e-9)
    assert mine["stable"].tolist() == theirs["stable"].tolist()
    frame = spark.createDataFrame(applicants(120)[["id", *FEATURES]])
    explainer.explain(frame, key="id").write.parquet(str(tmp_path / "explained"))
    lazily = explainer.reasons(spark.read.parquet(str(tmp_path / "explained")), key="id").toPandas()
    assert lazily.sort_values(["id", "rank", "code_set"])["feature"].tolist() == theirs["feature"].tolist()


@pytest.mark.slow
def test_long_layout_and_a_predicate(spark: SparkSession, folder: Path, reasons: pd.DataFrame) -> None:
    rule = {"harm": "high", "where": "region = 'north' and prediction > 0.6", "exclude": ["age"]}
    done = start(spark, folder, reasons=rule, output={"path": str(folder / "long"), "layout": "long"})
    found = table(spark, done)
    data = applicants(120).set_index("id")
    assert len(found) > 0
    assert set(data.loc[found["id"], "region"]) == {"north"}
    assert found["code"].isna().all()
    assert done.record.reason_rows == found["id"].nunique()
    alike = reasons[(reasons["code_set"] == "own") & reasons["id"].isin(found["id"])]
    assert found.sort_values(["id", "rank"])["feature"].tolist() == alike["feature"].tolist()


@pytest.mark.slow
def test_no_row_to_give_reasons_for(spark: SparkSession, folder: Path) -> None:
    done = start(spark, folder, reasons={"harm": "low", "cutoff": -1.0})
    assert table(spark, done).empty
    assert done.record.reason_rows == 0
    assert done.record.reason_stable_share is None


@pytest.mark.slow
def test_a_code_map_that_changed_is_another_run(spark: SparkSession, folder: Path, result: RunResult) -> None:
    other = folder / "changed.yaml"
    other.write_text(CODES.replace("Amount", "Too much"))
    reasons = {"harm": "high", "cutoff": 0.5, "codes": str(other), "exclude": ["age"]}
    done = start(spark, folder, reasons=reasons)
    assert done.record.run_id != result.record.run_id
    assert "Too much" in set(table(spark, done)["text"])
    assert "Too much" not in set(table(spark, result)["text"])


@pytest.mark.parametrize(
    ("reasons", "error", "text"),
    [
        ({"harm": "high", "where": "regionn = 'north'"}, InputError, r"reasons\.where: regionn.*attributions have id"),
        ({"harm": "high", "where": "1; drop table runs"}, InputError, r"reasons\.where"),
        ({"harm": "high", "exclude": ["agee"]}, Exception, "'agee' is no feature"),
        ({"harm": "high", "output": "good"}, Exception, "'good' is no output"),
    ],
)
def test_refused_before_a_row_is_explained(
    spark: SparkSession, folder: Path, reasons: dict[str, Any], error: Any, text: str
) -> None:
    with pytest.raises(error, match=text):
        start(spark, folder, reasons=reasons)


def test_a_key_named_as_a_column_of_the_table(spark: SparkSession, tmp_path: Path) -> None:
    applicants(60).rename(columns={"id": "Code"}).to_parquet(tmp_path / "applicants.parquet", index=False)
    model = save(Model(tmp_path / "calls"), tmp_path / "model.pkl")
    config = settings(tmp_path, model, applicants={"key": ["Code"]}, reasons={"harm": "high"})
    with pytest.raises(InputError, match="key 'Code' is a column of the table of reasons"):
        run(spark, RunConfig.model_validate(config))


def test_configuration(tmp_path: Path) -> None:
    from spark_shap.config import load_config

    text = """
applicants: {path: a.csv, key: id}
model: {object: a:b}
output: {path: out}
explain: {audit: aggregates}
reasons: {harm: up, top: 0, cutoff: high, max_p_swap: 1, codess: x}
"""
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    assert caught.value.problems[:1] == ["reasons.harm: must be 'high' or 'low', got 'up'"]
    found = "\n".join(caught.value.problems)
    for line in (
        "reasons.top: must be at least 1, got 0",
        "reasons.cutoff: ",
        "reasons.max_p_swap: ",
        "reasons.codess: unknown key; did you mean codes?",
        "reasons: need every row's own values",
    ):
        assert line in found
    with pytest.raises(ConfigError, match=r"reasons\.harm: is required"):
        load_config(tmp_path / "c.yaml", ["reasons={top: 3}", "explain.audit=rows"])


@pytest.mark.slow
@pytest.mark.delta
def test_delta(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    parquet = start(spark, folder)
    delta = start(spark, folder, output={"path": str(tmp_path / "delta"), "format": "delta"})
    assert delta.record.run_id == parquet.record.run_id
    by = ["id", "rank", "code_set"]
    one, other = (table(spark, each).sort_values(by, ignore_index=True) for each in (parquet, delta))
    pd.testing.assert_frame_equal(one, other)
    # Another run in the same tables, without reasons: their columns are not its own.
    plain = start(spark, folder, reasons=None, output={"path": str(tmp_path / "delta"), "format": "delta"})
    assert plain.record.reason_rows is None
    assert schema.RANKING not in read_run(spark, plain.location, plain.record.run_id).columns


@pytest.mark.slow
@pytest.mark.connect
def test_connect(spark_connect: SparkSession, tmp_path: Path) -> None:
    done = start(spark_connect, tmp_path)
    found = table(spark_connect, done)
    written = table(spark_connect, done, "attributions").set_index("id")
    assert set(found["id"]) == set(written.index[written["prediction"] >= 0.5])
    for key, part in found[found["code_set"] == "own"].groupby("id"):
        values = pd.Series(written["shap_values"][key]).drop("age")
        assert part.sort_values("rank")["feature"].tolist() == values[values > 0].nlargest(4).index.tolist()
    with pytest.raises(InputError, match=r"reasons\.where"):
        start(spark_connect, tmp_path, reasons={"harm": "high", "where": "nothing = 1"})
