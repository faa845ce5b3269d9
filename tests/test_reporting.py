"""Reports and comparisons of real runs: from their tables, at their end, and by the command line."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from portfolio import FEATURES, Model, applicants, save, settings

from spark_shap import inspect_commands, schema
from spark_shap.audit.drift import Limits
from spark_shap.cli import main
from spark_shap.config import RunConfig
from spark_shap.errors import InputError, MissingDependencyError, UsageError
from spark_shap.io.documents import write_text
from spark_shap.io.evidence import RunTables
from spark_shap.io.location import Location
from spark_shap.io.tables import replace_run, tagged
from spark_shap.pipeline import RunResult, run
from spark_shap.reporting import applicant_report, compare, report_after, run_report, write_report

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

N = 260
REASON_COLUMNS = [
    "output",
    "rank",
    "code_set",
    "code",
    "text",
    "feature",
    "shap_value",
    "std_error",
    "p_swap",
    "stable",
]


class Runs(NamedTuple):
    data: pd.DataFrame
    first: RunResult  # with a report, long
    again: RunResult  # the same applicants, more evaluations
    other: RunResult  # richer applicants, and two that cannot be explained

    @property
    def location(self) -> Location:
        return self.first.location


def start(session: SparkSession, folder: Path, data: pd.DataFrame, /, **sections: Any) -> RunResult:
    data.to_parquet(folder / "applicants.parquet", index=False)
    model = folder / "model.pkl"
    file = model if model.exists() else save(Model(folder / "calls"), model)
    # Without a surrogate: these are no tests of precision.
    sections["explain"] = {"surrogate_evaluations": 0, **sections.get("explain", {})}
    return run(session, RunConfig.model_validate(settings(folder, file, **sections)))


@pytest.fixture(scope="module")
def runs(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("reports")
    data = applicants(N)
    by = {"summary": {"by": ["region"]}}
    first = start(spark, folder, data, output={"layout": "long", "report": True}, **by)
    again = start(spark, folder, data, explain={"n_evaluations": 129}, output={"sample": 60}, **by)
    richer = data.assign(income=data["income"] * 3, id=data["id"] + 5000)
    richer.loc[[4, 5], "purpose"] = "boat"
    other = start(spark, folder, richer, output={"max_rejects": 0.05, "sample": 0}, applicants={"keep": ["age"]}, **by)
    return Runs(data, first, again, other)


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
    assert runs.again.report is None  # portfolio.settings asks for none


def test_the_report_of_a_later_run_says_what_changed(spark: SparkSession, runs: Runs) -> None:
    page = run_report(spark, runs.location, runs.other.record.run_id)
    said = text_of(page)
    assert "2 of 260 rows could not be explained" in said
    assert "unknown purpose" in said
    assert runs.again.record.run_id in said  # the one before
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
    for result in (runs.first, runs.again):
        found = RunTables(spark, runs.location, result.record).sample(10_000)
        assert len(found.rows) == N
        total = found.rows["base_value"] + found.values.sum(axis=1)
        np.testing.assert_allclose(total, found.rows["prediction"], atol=1e-9)
        assert (found.errors >= 0).all()
        assert found.errors.max() > 0


def test_a_sample_is_bounded_and_decided_by_keys(spark: SparkSession, runs: Runs) -> None:
    tables = RunTables(spark, runs.location, runs.again.record)
    ids = tables.sample(60).rows["id"].tolist()
    assert 30 <= len(ids) <= 95
    assert ids == tables.sample(60).rows["id"].tolist()
    stored = tables._table(schema.SAMPLE).toPandas()
    assert set(stored["id"]) == set(ids)
    assert set(json.loads(stored["row"][0])) <= set(FEATURES)


def test_an_applicants_page(spark: SparkSession, runs: Runs) -> None:
    page = applicant_report(spark, runs.location, {"id": "1007"}, runs.first.record.run_id)
    said = text_of(page)
    row = runs.data[runs.data["id"] == 1007].iloc[0]
    assert "Applicant id 1007" in said
    assert f"age = {row['age']}" in said
    assert f"purpose = {row['purpose']}" in said
    assert "This run gave no reasons" in said


@pytest.mark.parametrize(
    ("key", "text"), [({"id": "77"}, "explained no row with id=77"), ({"name": "x"}, "give id=VALUE, not name")]
)
def test_applicants_that_are_not_there(spark: SparkSession, runs: Runs, key: dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        applicant_report(spark, runs.location, key)


def test_reasons_are_read_where_the_run_gave_some(spark: SparkSession, runs: Runs) -> None:
    run_id, columns = runs.again.record.run_id, ("id", *REASON_COLUMNS)
    rows = [
        (1000 + at, "bad", rank, "own", code, f"{code} text", "age", 0.1, 0.01, 0.2, rank == 1)
        for at in range(N)
        for rank, code in ((1, "R1"), (2, "R2" if at % 4 else "R3"))
    ]
    frame = spark.createDataFrame(pd.DataFrame(rows, columns=columns))
    replace_run(tagged(frame, run_id), runs.location, schema.REASONS, run_id)
    said = text_of(run_report(spark, runs.location, run_id))
    assert "R3 R3 text 0 % 25.0 % 25.0 %" in said
    assert "1 260 100.0 %" in said
    assert "2 260 0 %" in said
    one = text_of(applicant_report(spark, runs.location, {"id": "1004"}, run_id))
    assert "R3 text R3" in one
    assert "would change places with the next with a probability of 20 %" in one


def test_the_same_applicants_differ_by_the_samplers_errors_only(spark: SparkSession, runs: Runs) -> None:
    ids = (runs.first.record.run_id, runs.again.record.run_id)
    same = compare(spark, runs.location, *ids, Limits(least_change=0.0))
    assert same.same_rows
    assert [change.what for change in same.made] == ["explain.n_evaluations"]
    assert len(same.changed) == 0
    apart = compare(spark, runs.location, ids[1], "latest")
    assert not apart.same_rows
    assert set(apart.changed["feature"]) == {"income"}
    assert {change.what for change in apart.made} >= {"applicants' content", "rows rejected", "rows explained"}


def arguments(location: Location, **given: Any) -> argparse.Namespace:
    fixed = {"location": location.root, "format": None, "run": "latest", "key": [], "output": None}
    return argparse.Namespace(**{**fixed, "threshold": 0.02, "alpha": 0.05, **given})


def test_the_exit_code_of_a_comparison(spark: SparkSession, runs: Runs) -> None:
    first, again, other = (result.record.run_id for result in runs[1:])
    none = inspect_commands.diff(spark, arguments(runs.location, before=first, after=again))
    assert none.code == 0
    assert none.lines[-1].startswith("0 of ")
    some = inspect_commands.diff(spark, arguments(runs.location, before=again, after=other))
    assert some.code == 3
    assert any(re.match(r"income +all +mean_\w+ +[+-]\d", line) for line in some.lines)
    huge = inspect_commands.diff(spark, arguments(runs.location, before=again, after=other, threshold=5.0))
    assert huge.code == 0


def test_the_report_command(spark: SparkSession, runs: Runs, tmp_path: Path) -> None:
    said = inspect_commands.report(spark, arguments(runs.location, output=str(tmp_path / "new" / "page.html")))
    assert said == ([f"report in {tmp_path}/new/page.html"], 0)
    assert runs.other.record.run_id in (tmp_path / "new" / "page.html").read_text()
    beside = inspect_commands.report(spark, arguments(runs.location, key=["id=6007"]))
    assert beside.lines == [f"report in {runs.location.root}/applicant-of-{runs.other.record.run_id}.html"]
    with pytest.raises(UsageError, match="--key 1007: give the key column"):
        inspect_commands.report(spark, arguments(runs.location, key=["1007"]))
    with pytest.raises(InputError, match="cannot be written: Is a directory"):
        inspect_commands.report(spark, arguments(runs.location, output=str(tmp_path)))


def test_runs_with_other_units_are_not_compared(spark: SparkSession, runs: Runs, tmp_path: Path) -> None:
    from dataclasses import replace

    from spark_shap.audit.comparison import compare_runs

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


def test_a_report_that_cannot_be_written_is_one_line(
    spark: SparkSession, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = runs.first.record.run_id
    with caplog.at_level(logging.WARNING, "spark_shap"):
        assert report_after(spark, runs.location, run_id, str(runs.location.root)) is None
    assert f"make it later: spark-shap report --run {run_id}" in caplog.messages[0]
    with pytest.raises(UsageError, match="catalog schema: name a file"):
        write_report(spark, Location(catalog_schema="audits", format="delta"), "", None, "report.html")


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
