"""Reports and comparisons of real runs: from their tables, at their end, and by the command line."""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from portfolio import FEATURES, Model, applicants, save, settings

from spark_shap import inspect_commands, schema
from spark_shap.audit.comparison import compare_runs
from spark_shap.audit.drift import Limits
from spark_shap.cli import _parser, main
from spark_shap.command_place import Said, session_for
from spark_shap.config import RunConfig
from spark_shap.errors import InputError, MissingDependencyError, UsageError
from spark_shap.io.documents import write_text
from spark_shap.io.evidence import RunTables
from spark_shap.io.location import Location
from spark_shap.io.reading import read_run
from spark_shap.io.samples import forget_sample
from spark_shap.io.staging import read_staged
from spark_shap.io.tables import read_table, replace_run, tagged
from spark_shap.pipeline import RunResult, run
from spark_shap.report.words import percent
from spark_shap.reporting import applicant_report, report_after, run_report, write_report

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

pytest.importorskip("jinja2", reason="reports need jinja2 and matplotlib: pip install 'spark-shap[report]'")
N = 260
CODES = """
version: autumn
sets:
  own:
    version: "1"
    codes:
      "01": {text: "Loan of {value} at a rate", features: [loan amount, rate.pct]}
      "02": {text: "Income", features: [income]}
"""


class Runs(NamedTuple):
    data: pd.DataFrame
    first: RunResult  # with a report and reasons, long
    other: RunResult  # richer applicants, and two that cannot be explained; keeps no features' values but one

    @property
    def location(self) -> Location:
        return self.first.location


def start(session: SparkSession, folder: Path, data: pd.DataFrame, /, **sections: Any) -> RunResult:
    data.to_parquet(folder / "applicants.parquet", index=False)
    model, reference = folder / "model.pkl", folder / "reference.parquet"
    if not model.exists():
        save(Model(folder / "calls"), model)
        applicants(200, seed=9).to_parquet(reference, index=False)
    # Without a surrogate: these are no tests of precision.
    sections["explain"] = {"n_evaluations": 33, "surrogate_evaluations": 0, **sections.get("explain", {})}
    sections["reference"] = {"path": str(reference), "name": "spring"}
    sections["summary"] = {"by": ["region"]}
    return run(session, RunConfig.model_validate(settings(folder, model, **sections)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def runs(spark: SparkSession, folder: Path) -> Runs:
    data = applicants(N)
    (folder / "codes.yaml").write_text(CODES)
    reasons = {"harm": "high", "top": 2, "codes": str(folder / "codes.yaml")}
    first = start(spark, folder, data, output={"layout": "long", "report": True}, reasons=reasons)
    richer = data.assign(income=data["income"] * 3, id=data["id"] + 5000)
    richer.loc[[4, 5], "purpose"] = "boat"
    other = start(spark, folder, richer, output={"max_rejects": 0.05, "sample": 0}, applicants={"keep": ["age"]})
    return Runs(data, first, other)


@pytest.fixture(scope="module")
def again(spark: SparkSession, folder: Path, runs: Runs) -> RunResult:
    """The applicants of the first run with more evaluations, in a place of its own, with a small sample."""
    output = {"sample": 60, "path": str(folder / "again")}
    return start(spark, folder, runs.data, explain={"n_evaluations": 129}, output=output)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_run_ends_with_its_report(runs: Runs) -> None:
    path = Path(str(runs.first.report))
    assert path == Path(str(runs.location.root), f"report-{runs.first.record.run_id}.html")
    said = text_of(path.read_text(encoding="utf-8"))
    assert runs.first.record.run_id in said
    assert f"{N} = {N} explained + 0 rejected" in said
    assert "rate.pct" in said
    assert "What changed" not in said
    assert runs.other.report is None  # portfolio.settings asks for none


def test_the_report_of_a_later_run_says_what_changed(spark: SparkSession, runs: Runs) -> None:
    page = run_report(spark, runs.location, runs.other.record.run_id)
    said = text_of(page)
    assert "2 of 260 rows could not be explained" in said
    assert "unknown purpose" in said
    assert runs.first.record.run_id in said  # the one before
    assert re.search(r"[1-9]\d* of \d+ comparisons changed", said)
    assert "boat" not in re.sub("unknown purpose .{0,9}boat", "", page)  # rejected rows are not shown


def test_features_values_come_from_the_sample_or_kept_columns(spark: SparkSession, runs: Runs) -> None:
    tables = RunTables(spark, runs.location, runs.first.record)
    drawn = tables.sample(1000)
    own = tables.features(drawn.rows)
    want = runs.data.set_index("id").loc[drawn.rows["id"]].reset_index()
    assert list(own.columns) == FEATURES
    for name in ("age", "income", "loan amount", "rate.pct"):
        np.testing.assert_array_equal(own[name], want[name])
    assert own["purpose"].tolist() == want["purpose"].tolist()
    other = RunTables(spark, runs.location, runs.other.record)
    assert list(other.features(other.sample(1000).rows).columns) == ["age"]


def test_values_are_those_of_the_table_in_both_layouts(spark: SparkSession, runs: Runs) -> None:
    for result, n_rows in ((runs.first, N), (runs.other, N - 2)):
        found = RunTables(spark, runs.location, result.record).sample(10_000)
        assert len(found.rows) == n_rows
        total = found.rows["base_value"] + found.values.sum(axis=1)
        np.testing.assert_allclose(total, found.rows["prediction"], atol=1e-9)
        assert (found.errors >= 0).all()
        assert found.errors.max() > 0


@pytest.mark.slow
def test_a_sample_is_bounded_decided_by_keys_and_can_be_removed(
    spark: SparkSession, folder: Path, runs: Runs, again: RunResult
) -> None:
    tables = RunTables(spark, again.location, again.record)
    ids = tables.sample(60).rows["id"].tolist()
    assert 30 <= len(ids) <= 95
    assert ids == tables.sample(60).rows["id"].tolist()
    stored = tables._table(schema.SAMPLE).toPandas()
    assert set(stored["id"]) == set(ids)
    assert set(json.loads(stored["row"][0])) <= set(FEATURES)
    output = {"sample": 0, "path": str(folder / "again")}
    result = start(spark, folder, runs.data, explain={"n_evaluations": 129}, output=output)
    assert "explain" not in result.seconds  # the same run, which is complete
    assert tables._table(schema.SAMPLE).count() == 0


@pytest.mark.slow
@pytest.mark.delta
def test_reports_and_samples_of_delta_tables(spark: SparkSession, tmp_path: Path) -> None:
    data, place = applicants(120), {"format": "delta", "report": True}
    first = start(spark, tmp_path, data, output=place)
    page = Path(str(first.report)).read_text(encoding="utf-8")
    assert first.record.run_id in page
    assert "purpose" in RunTables(spark, first.location, first.record).features(
        RunTables(spark, first.location, first.record).sample(50).rows
    )
    second = start(spark, tmp_path, data, output=place, explain={"seed": 8})
    assert first.record.run_id in Path(str(second.report)).read_text(encoding="utf-8")
    given = arguments(first.location, before="previous", after="latest", format="delta")
    assert inspect_commands.diff(spark, given).code == 0
    assert session_for(given)["delta"]
    start(spark, tmp_path, data, output={**place, "sample": 0})
    assert RunTables(spark, first.location, first.record)._table(schema.SAMPLE).count() == 0
    assert RunTables(spark, second.location, second.record)._table(schema.SAMPLE).count() > 0


@pytest.mark.slow
def test_a_sample_is_taken_from_the_copy_of_a_run_of_several_shards(
    spark: SparkSession, folder: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []

    def seen(*given: Any) -> Any:
        copies.append(read_staged(*given))
        return copies[-1]

    monkeypatch.setattr("spark_shap.kept_sample.read_staged", seen)
    output = {"path": str(folder / "sharded")}
    result = start(spark, folder, runs.data, explain={"shards": 2}, output=output)
    assert len(copies) == 1
    assert copies[0] is not None
    found = RunTables(spark, result.location, result.record)
    drawn = found.sample(1000)
    own = found.features(drawn.rows)
    want = runs.data.set_index("id").loc[drawn.rows["id"]].reset_index()
    assert own["purpose"].tolist() == want["purpose"].tolist()


def test_a_sample_is_forgotten_of_one_run_alone(spark: SparkSession, tmp_path: Path) -> None:
    location = Location(str(tmp_path))
    forget_sample(spark, location, "a")  # there is no table
    for run_id in ("a", "b"):
        rows = spark.createDataFrame([(1, "{}")], "id long, row string")
        replace_run(tagged(rows, run_id), location, schema.SAMPLE, run_id)
    forget_sample(spark, location, "a")
    assert [row["run_id"] for row in read_table(spark, location, schema.SAMPLE).collect()] == ["b"]


def test_an_applicants_page(spark: SparkSession, runs: Runs) -> None:
    page = applicant_report(spark, runs.location, {"id": "1007"}, runs.first.record.run_id)
    said = text_of(page)
    row = runs.data[runs.data["id"] == 1007].iloc[0]
    assert "Applicant id 1007" in said
    assert f"age = {row['age']}" in said
    assert f"purpose = {row['purpose']}" in said
    own = read_run(spark, runs.location, runs.first.record.run_id, table="reasons").where("id = 1007").toPandas()
    assert 1 <= len(own) <= 2
    for row in own.fillna("").itertuples():
        told = f"{row.text} {row.code} {row.feature}:" if row.text else row.feature
        assert re.search(rf" {re.escape(told)} \+0\.\d+ (± 0\.\d+ )?prediction\. (Stable|Not stable)", said)


@pytest.mark.parametrize(
    ("key", "text"), [({"id": "77"}, "explained no row with id=77"), ({"name": "x"}, "give id=VALUE, not name")]
)
def test_applicants_that_are_not_there(spark: SparkSession, runs: Runs, key: dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        applicant_report(spark, runs.location, key)


def test_reasons_are_counted(spark: SparkSession, runs: Runs) -> None:
    record = runs.first.record
    said = text_of(Path(str(runs.first.report)).read_text(encoding="utf-8"))
    table = read_run(spark, runs.location, record.run_id, table="reasons").toPandas()
    first = table[table["rank"] == 1]
    assert f"1 {len(first)} {percent(first['stable'].mean(), 1)}" in said
    best = table.assign(name=table["code"].fillna(table["feature"])).groupby(["id", "name"])["rank"].min()
    assert len(best) < len(table)  # some have code 01 twice
    counts = best.reset_index().groupby(["name", "rank"]).size().unstack(fill_value=0)
    for name, text in (("01", "Loan of … at a rate "), ("02", "Income "), ("age", "")):
        shares = [percent(count / len(first), 1) for count in (*counts.loc[name], counts.loc[name].sum())]
        assert f" {name} {text}{' '.join(shares)} " in said
    assert f"All reasons stable for {percent(record.reason_stable_share, 1)} of them" in said
    assert "Adverse side a high prediction" in said
    assert f"{N} of {N}" in said


@pytest.mark.slow
def test_the_same_applicants_differ_by_the_samplers_errors_only(
    spark: SparkSession, runs: Runs, again: RunResult
) -> None:
    before, after = (
        (result.record, RunTables(spark, result.location, result.record).summary()) for result in (runs.first, again)
    )
    same = compare_runs(before, after, Limits(least_change=0.0))
    assert same.same_rows
    assert {change.what for change in same.made} >= {"explain.n_evaluations", "reasons.harm"}
    assert len(same.changed) == 0


def arguments(location: Location, **given: Any) -> argparse.Namespace:
    fixed = {
        "location": location.root,
        "schema": None,
        "config": None,
        "format": None,
        "run": "latest",
        "key": [],
        "output": None,
    }
    return argparse.Namespace(**{**fixed, "threshold": 0.02, "alpha": 0.05, **given})


def test_the_exit_code_of_a_comparison(spark: SparkSession, runs: Runs) -> None:
    first, other = (result.record.run_id for result in runs[1:])
    some = inspect_commands.diff(spark, arguments(runs.location, before=first, after=other))
    assert some.code == 3
    assert any(re.match(r"income +all +mean_\w+ +[+-]\d", line) for line in some.lines)
    assert any(re.match(r" +applicants' content +content:\w+ -> content:\w+", line) for line in some.lines)
    huge = inspect_commands.diff(spark, arguments(runs.location, before="previous", after="latest", threshold=5.0))
    assert huge.lines[:2] == some.lines[:2]
    assert huge.code == 0
    assert huge.lines[-1].startswith("0 of ")
    alone = inspect_commands.diff(spark, arguments(runs.location, before="previous", after=first))
    assert alone == ([f"{runs.location} has no finished run before {first} to compare it with"], 0)


def test_the_commands_of_the_readme(spark: SparkSession, runs: Runs, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    report, page, diff = re.findall(r"^spark-shap ((?:report|diff) .+)$", readme, re.MULTILINE)

    def said(command: str) -> Said:
        command = command.replace("out/german_credit", str(runs.location.root)).replace("out/", f"{tmp_path}/new/")
        command = command.replace("application_id=G0017", "id=6007")
        given = _parser().parse_args(shlex.split(command))
        return given.inspect(spark, given)

    run_id = runs.other.record.run_id
    assert said(report) == ([f"report in {runs.location.root}/report-{run_id}.html"], 0)
    assert run_id in Path(str(runs.location.root), f"report-{run_id}.html").read_text()
    assert said(page) == ([f"report in {tmp_path}/new/applicant-G0017.html"], 0)
    assert "Applicant id 6007" in text_of((tmp_path / "new" / "applicant-G0017.html").read_text())
    assert said(diff).code == 3


def test_where_a_report_goes(spark: SparkSession, runs: Runs, tmp_path: Path) -> None:
    beside = inspect_commands.report(spark, arguments(runs.location, key=["id=6007"]))
    assert beside.lines == [f"report in {runs.location.root}/applicant-of-{runs.other.record.run_id}.html"]
    assert write_report(spark, runs.location, "", f"{tmp_path}/there/", "a.html") == f"{tmp_path}/there/a.html"
    assert (tmp_path / "there" / "a.html").exists()
    with pytest.raises(UsageError, match="--key 1007: give the key column"):
        inspect_commands.report(spark, arguments(runs.location, key=["1007"]))
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        write_report(spark, runs.location, "", str(tmp_path), "a.html")
    with pytest.raises(UsageError, match="catalog schema: name a file"):
        write_report(spark, Location(catalog_schema="audits", format="delta"), "", None, "report.html")


def test_runs_with_other_units_are_not_compared(spark: SparkSession, runs: Runs, tmp_path: Path) -> None:
    record = runs.first.record
    summary = RunTables(spark, runs.location, record).summary()
    with pytest.raises(UsageError, match="different units"):
        compare_runs((record, summary), (replace(record, output_space="margin"), summary))
    with pytest.raises(UsageError, match="no output in common"):
        compare_runs((record, summary), (replace(record, output_names=("good",)), summary))


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_run_goes_on_without_the_extra(
    spark: SparkSession, runs: Runs, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level(logging.WARNING, "spark_shap"):
        assert report_after(spark, runs.location, runs.first.record.run_id, True) is None
    (line,) = caplog.messages
    assert "pip install 'spark-shap[report]'" in line
    assert "output.report=false" in line
    with pytest.raises(MissingDependencyError, match=r"spark-shap\[report\]"):
        run_report(spark, runs.location)


@pytest.mark.parametrize("error", [InputError("it is full"), ValueError("a bug")])
def test_a_report_that_fails_is_one_line(
    spark: SparkSession, runs: Runs, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*given: Any) -> str:
        raise error

    monkeypatch.setattr("spark_shap.reporting.run_report", fail)
    run_id = runs.first.record.run_id
    with caplog.at_level(logging.WARNING, "spark_shap"):
        assert report_after(spark, runs.location, run_id, True) is None
    (line,) = caplog.messages
    assert str(error) in line
    assert f"spark-shap report --run {run_id}" in line


def test_a_report_beside_tables_of_another_file_system(spark: SparkSession, tmp_path: Path) -> None:
    write_text(spark, f"file:{tmp_path}/a b/one.html", "ü")
    assert (tmp_path / "a b" / "one.html").read_text(encoding="utf-8") == "ü"
    # Hadoop's own name for this machine's disk stands for hdfs: and s3a: here.
    spark.sparkContext._jsc.hadoopConfiguration().set("fs.viewfs.mounttable.here.link./there", f"file://{tmp_path}")
    write_text(spark, "viewfs://here/there/two.html", "é" * 70_000)
    assert (tmp_path / "two.html").read_text(encoding="utf-8") == "é" * 70_000
    with pytest.raises(InputError, match="cannot be written"):
        write_text(spark, "nosuch://here/three.html", "")


def test_commands_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["report"], ["diff", "a", "b"], ["diff", "a", "--location", "x"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert "--location" in capsys.readouterr().err
