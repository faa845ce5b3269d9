"""Named references in whole runs: who belongs, several in one pass, what `runs` says of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from portfolio import FEATURES, Model, applicants, save, score, settings

from spark_shap import Explainer, schema
from spark_shap.config import RunConfig
from spark_shap.errors import InputError
from spark_shap.io.reading import read_run
from spark_shap.pipeline import RunResult, run
from spark_shap.report.words import number, percent, signed
from spark_shap.reporting import applicant_report, run_report

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

CUTOFF, BAND = 0.55, 0.1
TYPICAL = {"age": 40, "income": 30_000.0, "loan amount": 1500, "rate.pct": 5.0, "purpose": "car"}
NAMED = {
    "near_cutoff": {"population": "near_cutoff", "band": BAND, "size": 15},
    "all_applicants": {"size": 40},
    "typical": {"row": TYPICAL},
}


def start(session: SparkSession, folder: Path, /, **sections: Any) -> RunResult:
    file = folder / "model.pkl"
    if not file.exists():
        applicants(120).to_parquet(folder / "applicants.parquet", index=False)
        save(Model(folder / "calls"), file)
    given = settings(folder, file, **sections)
    if "references" in given:
        del given["reference"]
    return run(session, RunConfig.model_validate(given))


def table(session: SparkSession, result: RunResult, name: str = "attributions") -> pd.DataFrame:
    return read_run(session, result.location, result.record.run_id, table=name).toPandas()


def values(lines: pd.DataFrame) -> np.ndarray:
    return np.array([[row[name] for name in FEATURES] for row in lines["shap_values"]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("references")


@pytest.fixture(scope="module")
def result(spark: SparkSession, folder: Path) -> RunResult:
    reasons = {"harm": "high", "cutoff": CUTOFF, "max_evaluations": 0}
    summary = {"by": ["region", ["region", "purpose"]], "dependence": 4}
    applicants = {"weight": "exposure", "keep": ["purpose"]}
    explain = {"surrogate_evaluations": 0}
    return start(
        spark, folder, references=NAMED, reasons=reasons, explain=explain, summary=summary, applicants=applicants
    )


@pytest.fixture(scope="module")
def lines(spark: SparkSession, result: RunResult) -> pd.DataFrame:
    return table(spark, result).sort_values(["id", "reference"], ignore_index=True)


def test_every_applicant_is_compared_with_every_reference(result: RunResult, lines: pd.DataFrame) -> None:
    assert result.record.rows_explained == 120
    assert lines.groupby("reference").size().to_dict() == dict.fromkeys(NAMED, 120)
    assert lines.groupby("id")["prediction"].nunique().eq(1).all()
    total = lines["base_value"] + values(lines).sum(axis=1)
    assert np.abs(total - lines["prediction"]).max() < 1e-9
    assert result.record.model_evaluations == lines["n_evaluations"].sum()


def test_values_are_those_of_a_run_with_that_reference_alone(
    spark: SparkSession, folder: Path, lines: pd.DataFrame
) -> None:
    sections = {"reference": {"size": 40}, "explain": {"surrogate_evaluations": 0}}
    alone = table(spark, start(spark, folder, **sections)).sort_values("id")
    assert "reference" not in alone.columns
    own = lines[lines["reference"] == "all_applicants"]
    assert np.array_equal(values(own), values(alone))
    # The model was asked for the row itself once, against the first reference.
    assert (own["n_evaluations"].to_numpy() == alone["n_evaluations"].to_numpy() - 1).all()


def test_a_single_row_is_compared_with_exactly(lines: pd.DataFrame) -> None:
    own = lines[lines["reference"] == "typical"]
    data = applicants(120)[FEATURES]
    expected = Explainer(score, pd.DataFrame([TYPICAL])[FEATURES], method="exact")(data)
    assert own["base_value"].iloc[0] == score(pd.DataFrame([TYPICAL])[FEATURES])[0]
    assert np.abs(values(own) - expected.values).max() < 1e-12


def test_near_the_cutoff_are_those_just_accepted(result: RunResult, lines: pd.DataFrame) -> None:
    told = json.loads(result.record.references)
    assert [one["name"] for one in told] == list(result.record.reference_names) == list(NAMED)
    near = told[0]
    scores = score(applicants(120)[FEATURES])
    belongs = (scores < CUTOFF) & (scores >= CUTOFF - BAND)
    assert near["rows_scored"] == 120
    assert near["rows_found"] == belongs.sum() > near["rows"] == 15
    assert CUTOFF - BAND <= near["base_values"]["bad"] < CUTOFF
    assert len({one["fingerprint"] for one in told}) == 3
    assert result.record.reference_name == "near_cutoff"
    assert result.record.reference_rows == 15


def test_agreement_of_the_four_largest(result: RunResult, lines: pd.DataFrame) -> None:
    tops = [set(np.argsort(-np.abs(one))[:4]) - set(np.flatnonzero(one == 0)) for one in values(lines)]
    by_row = dict(zip(zip(lines["id"], lines["reference"], strict=True), tops, strict=True))
    for (one, other), share in {tuple(k.split(" & ")): v for k, v in result.record.reference_agreement.items()}.items():
        pairs = [(by_row[key, one], by_row[key, other]) for key in lines["id"].unique()]
        assert share == pytest.approx(np.mean([len(a & b) / max(len(a), len(b)) for a, b in pairs]))
    assert len(result.record.reference_agreement) == 3
    assert all(row[name] == 1.0 for row, name in zip(lines["top4_agreement"], lines["reference"], strict=True))


def test_summary_and_reasons_are_by_reference(spark: SparkSession, result: RunResult, lines: pd.DataFrame) -> None:
    summary = table(spark, result, "summary")
    summary = summary[summary["segment_by"] == ""]
    assert summary.groupby("reference").size().to_dict() == dict.fromkeys(NAMED, len(FEATURES))
    means = summary.set_index(["reference", "feature"])["mean_shap"]
    for name in NAMED:
        own = lines[lines["reference"] == name]
        assert np.allclose(means[name][FEATURES], np.average(values(own), axis=0, weights=own["exposure"]))
    reasons = table(spark, result, "reasons")
    assert tuple(reasons.columns) == ("run_id", "id", "reference", *schema.REASON_COLUMNS)
    declined = lines[lines["prediction"] >= CUTOFF]
    assert set(zip(reasons["id"], reasons["reference"], strict=True)) == set(
        zip(declined["id"], declined["reference"], strict=True)
    )
    assert result.record.reason_rows == len(declined) / 3


def test_dependence_is_the_mean_value_by_bins_of_the_feature(
    spark: SparkSession, result: RunResult, lines: pd.DataFrame
) -> None:
    curves = table(spark, result, "dependence")
    own = lines[lines["reference"] == "all_applicants"].set_index("id")
    data = applicants(120).set_index("id").loc[own.index]
    found = curves[(curves["reference"] == "all_applicants") & (curves["feature"] == "age")].sort_values("bin")
    assert len(found) == 4
    assert found["n_rows"].sum() == 120
    shap = own["shap_values"].map(lambda row: row["age"])
    for _, cell in found.iterrows():
        inside = pd.Series(True, index=data.index)
        inside &= True if np.isnan(cell["low"]) else data["age"] > cell["low"]
        inside &= True if np.isnan(cell["high"]) else data["age"] <= cell["high"]
        assert inside.sum() == cell["n_rows"]
        assert cell["mean_shap"] == pytest.approx(np.average(shap[inside], weights=own["exposure"][inside]))
        assert cell["band_low"] < cell["mean_shap"] < cell["band_high"]
    income = curves[(curves["reference"] == "typical") & (curves["feature"] == "income")].set_index("label")
    assert income.loc["missing", "n_rows"] == 1
    assert income["monte_carlo_error"].eq(0).all()  # one row to compare with: exact
    purpose = curves[(curves["reference"] == "typical") & (curves["feature"] == "purpose")]
    assert dict(zip(purpose["label"], purpose["n_rows"], strict=True)) == data["purpose"].value_counts().to_dict()


def test_reasons_are_counted_by_segment(spark: SparkSession, result: RunResult) -> None:
    rates, reasons = table(spark, result, "reason_rates"), table(spark, result, "reasons")
    kept = table(spark, result)[["id", "region", "exposure"]].drop_duplicates("id").set_index("id")
    part = rates[(rates["reference"] == "near_cutoff") & (rates["segment_by"] == "region")]
    assert set(rates["segment_by"]) == {"", "region", "region, purpose"}
    north = part[part["segment"] == "north"].set_index("feature")
    own = reasons[reasons["reference"] == "near_cutoff"].join(kept, on="id")
    own = own[own["region"] == "north"]
    everyone = own.drop_duplicates("id")["exposure"]
    assert north["n_rows"].eq(len(everyone)).all()
    assert north["weight"].iloc[0] == pytest.approx(everyone.sum())
    for feature in FEATURES:
        named = own[own["feature"] == feature]
        first = named[named["rank"] == 1]["exposure"].sum() / everyone.sum()
        assert north.loc[feature, "first_share"] == pytest.approx(first)
        assert north.loc[feature, "any_share"] == pytest.approx(named["exposure"].sum() / everyone.sum())
    assert north["any_share_error"].max() > 0


@pytest.mark.slow
def test_rejected_once_whatever_it_is_compared_with_in_long_shards_and_groups(
    spark: SparkSession, tmp_path: Path
) -> None:
    data = applicants(60)
    data.to_parquet(tmp_path / "applicants.parquet", index=False)
    file = save(Model(tmp_path / "calls", raises_at=int(data["age"][7])), tmp_path / "model.pkl")
    bad = int((data["age"] == data["age"][7]).sum())
    explain = {"shards": 2, "groups": {"money": ["income", "loan amount"]}, "surrogate_evaluations": 0}
    given = settings(tmp_path, file, output={"max_rejects": bad + 1, "layout": "long"}, explain=explain)
    del given["reference"]
    given["references"] = {"a": {"size": 20}, "b": {"size": 30, "seed": 3, "where": "age > 30"}}
    result = run(spark, RunConfig.model_validate(given))
    assert result.record.rows_rejected == bad
    rejects = table(spark, result, "rejects")
    assert len(rejects) == bad
    written = table(spark, result)
    players = ("age", "money", "rate.pct", "purpose")
    assert result.record.feature_names == players
    assert len(written) == (60 - bad) * 2 * len(players)
    assert set(written["reference"]) == {"a", "b"}
    again = run(spark, RunConfig.model_validate(given))
    assert "explain" not in again.seconds


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"population": "near_cutoff", "cutoff": 4.0, "harm": "high", "band": 0.1}, "none of 120 rows has a score"),
        ({"row": {**TYPICAL, "age": 40.5}}, r"row: age: 40.5 does not fit the applicants' int64"),
        ({"row": {"age": 40}}, "no value for income"),
        ({"row": {**TYPICAL, "agge": 1}}, "'agge' is no feature"),
    ],
)
def test_a_reference_that_cannot_be_is_named(
    spark: SparkSession, folder: Path, result: RunResult, reference: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        start(spark, folder, references={"mine": reference})


@pytest.mark.slow
def test_the_report_shows_each_reference_with_its_own_numbers(
    spark: SparkSession, result: RunResult, lines: pd.DataFrame
) -> None:
    pytest.importorskip("jinja2", reason="reports need jinja2 and matplotlib: pip install 'spark-shap[report]'")
    page = run_report(spark, result.location, result.record.run_id)
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for name in NAMED:
        assert f"What matters, against {name}" in said
        base = lines.loc[lines["reference"] == name, "base_value"].iloc[0]
        assert re.search(rf"{name} applicants.*?{number(base, 4)}|{name} a single row.*?{number(base, 4)}", said)
    first, second, _ = NAMED
    assert percent(result.record.reference_agreement[f"{first} & {second}"], 1) in said
    curves = table(spark, result, "dependence")
    for name in NAMED:
        one = curves[(curves["reference"] == name) & (curves["feature"] == "purpose")].iloc[0]
        assert f"{one['label']} {signed(one['mean_shap'])} ± " in page
    key = str(lines["id"].iloc[0])
    own = applicant_report(spark, result.location, {"id": key}, result.record.run_id)
    assert own.count("Waterfall of the") == 3
