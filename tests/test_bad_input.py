"""What cannot be used is refused in one line that names it, through the command line and without a stack trace."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
import yaml
from portfolio import Model, applicants, save, score, settings

from spark_shap.cli import main
from spark_shap.io.location import Location
from spark_shap.io.runs import read_runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from pyspark.sql import SparkSession

FAILED, REFUSED = 1, 2


class Said(NamedTuple):
    code: int
    lines: list[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which a run would work."""
    applicants(60).to_parquet(tmp_path / "applicants.parquet", index=False)
    save(Model(tmp_path / "calls"), tmp_path / "model.pkl")
    return tmp_path


@pytest.fixture
def run(spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process, on the session of the tests; return what it said on standard error."""
    assert spark.getActiveSession() is not None

    def call(*arguments: str, config: str | None = None, **sections: dict[str, Any]) -> Said:
        file = folder / "run.yaml"
        text = yaml.safe_dump(settings(folder, folder / "model.pkl", **sections)) if config is None else config
        file.write_text(text)
        capsys.readouterr()
        code = main(["run", "--quiet", "--config", str(file), *arguments])
        printed = capsys.readouterr()
        assert printed.out == ""
        if (folder / "out" / "runs").exists():
            found = read_runs(spark, Location(str(folder / "out")), status=None)
            assert {record.status for record in found} <= {"failed"}, "a refused run exists"
        lines = printed.err.splitlines()
        assert all(line.startswith(("config: ", "error: ", "failed: ")) for line in lines), "no stack trace, no noise"
        return Said(code, lines)

    return call


def one(said: Said, code: int, *texts: str) -> None:
    assert said.code == code, said
    (line,) = said.lines
    for text in texts:
        assert text in line, line


# ---------------------------------------------------------------------------------------- configuration


def test_configuration_that_is_not_there(run: Callable[..., Said], folder: Path) -> None:
    said = run("--config", str(folder / "no.yaml"))
    one(said, REFUSED, "config:", "no.yaml")


def test_configuration_that_is_no_yaml(run: Callable[..., Said]) -> None:
    one(run(config="applicants: [1, 2\nmodel: }"), REFUSED, "run.yaml", "line 2")


def test_all_problems_at_once(run: Callable[..., Said]) -> None:
    said = run(applicants={"ky": "id"}, explain={"n_evaluations": 2, "sed": 1}, output={"max_rejects": -1})
    assert said.code == REFUSED
    text = "\n".join(said.lines)
    assert len(said.lines) == 4
    for part in ("applicants.ky", "explain.n_evaluations", "explain.sed", "did you mean", "output.max_rejects"):
        assert part in text, text


def test_override_of_an_unknown_key(run: Callable[..., Said]) -> None:
    one(run("--set", "explain.n_evals=5"), REFUSED, "explain.n_evals", "n_evaluations")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "COMMAND"),
        (["run"], "--config"),
        (["go"], "invalid choice"),
        (["run", "--config", "a.yaml", "--sett", "a=b"], "unrecognized arguments"),
    ],
)
def test_usage(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == REFUSED
    assert text in capsys.readouterr().err


def test_max_rejects_that_is_no_number(run: Callable[..., Said]) -> None:
    one(run("--max-rejects", "some"), REFUSED, "output.max_rejects", "share")


# ---------------------------------------------------------------------------------------- applicants


def change(folder: Path, **columns: Any) -> None:
    applicants(60).assign(**columns).to_parquet(folder / "applicants.parquet", index=False)


def test_missing_columns(run: Callable[..., Said], folder: Path) -> None:
    applicants(60).drop(columns="rate.pct").to_parquet(folder / "applicants.parquet", index=False)
    one(run(), REFUSED, "error: applicants: no column 'rate.pct'", "it has:")
    one(run(applicants={"key": ["idd"]}), REFUSED, "no column 'idd'", "did you mean 'id'?")
    one(run(summary={"by": [["regions"]]}), REFUSED, "no column 'regions'", "did you mean 'region'?")
    one(run(applicants={"weight": "exposures"}), REFUSED, "no column 'exposures'", "did you mean 'exposure'?")


def test_reference_without_a_feature(run: Callable[..., Said], folder: Path) -> None:
    applicants(60).drop(columns="age").to_parquet(folder / "ref.parquet", index=False)
    one(run(reference={"path": str(folder / "ref.parquet")}), REFUSED, "reference: no column 'age'")


def test_wrong_dtype(run: Callable[..., Said], folder: Path) -> None:
    applicants(60).to_parquet(folder / "ref.parquet", index=False)
    change(folder, age="forty")
    one(run(reference={"path": str(folder / "ref.parquet")}), REFUSED, "feature 'age'")


def test_empty_tables(run: Callable[..., Said], folder: Path) -> None:
    one(run(reference={"where": "age > 200"}), REFUSED, "reference", "no row satisfies where: age > 200")
    one(run(applicants={"where": "age > 200"}), REFUSED, "no row satisfies where: age > 200")
    applicants(60).iloc[:0].to_parquet(folder / "ref.parquet", index=False)
    one(run(reference={"path": str(folder / "ref.parquet")}), REFUSED, "ref.parquet: it has no rows")
    applicants(60).iloc[:0].to_parquet(folder / "applicants.parquet", index=False)
    one(run(), REFUSED, "applicants.parquet: it has no rows")


def test_bad_predicates(run: Callable[..., Said]) -> None:
    one(run(reference={"where": "agee > 20"}), REFUSED, "where: agee > 20", "agee", "its columns are id, age")
    one(run(applicants={"where": "age >"}), REFUSED, "where: age >")


def test_unreadable_applicants(run: Callable[..., Said], folder: Path) -> None:
    one(run(applicants={"path": str(folder / "no.parquet")}), REFUSED, "no.parquet: cannot be read", "check the path")
    (folder / "bad.parquet").write_text("not parquet at all")
    one(run(applicants={"path": str(folder / "bad.parquet")}), REFUSED, "bad.parquet: cannot be read")
    one(run(applicants={"path": None, "table": "no.such.table"}), REFUSED, "table no.such.table: cannot be read")


def test_duplicate_keys(run: Callable[..., Said], folder: Path) -> None:
    change(folder, id=1)
    one(run(), FAILED, "60 of 60 rows cannot be explained", "null or not unique", "max_rejects=0.01")


def test_keys_of_a_type_that_is_no_key(run: Callable[..., Said]) -> None:
    one(run(applicants={"key": ["income"], "features": ["age"]}), REFUSED, "key column 'income' has type double")


@pytest.mark.parametrize(("value", "shown"), [(-1.0, "-1.0"), (np.inf, "Infinity"), (None, "null")])
def test_weights(run: Callable[..., Said], folder: Path, value: float | None, shown: str) -> None:
    weights = applicants(60)["exposure"].astype(object)
    weights[7] = value
    change(folder, exposure=weights.astype("Float64"))
    said = run(applicants={"weight": "exposure"})
    one(said, REFUSED, f"weight column 'exposure' has the value {shown}; weights are finite, 0 or more")


def test_weights_that_are_no_numbers(run: Callable[..., Said]) -> None:
    one(run(applicants={"weight": "purpose"}), REFUSED, "weight column 'purpose' is string, not a number")
    one(run(reference={"weight": "purpose"}), REFUSED, "weight column 'purpose' is", "not a number")


def test_columns_that_differ_in_case_only(run: Callable[..., Said], folder: Path, spark: SparkSession) -> None:
    change(folder, Age=1.0)
    said = run(applicants={"keep": ["Age"]})
    one(said, REFUSED, "already exists", "age")
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        said = run(applicants={"keep": ["Age"]})
    finally:
        spark.conf.unset("spark.sql.caseSensitive")
    one(said, REFUSED, "the columns 'Age' and 'age' differ only in case; rename one of them")


def test_reserved_names(run: Callable[..., Said], folder: Path) -> None:
    change(folder, Output="x", run_id="y")
    one(run(applicants={"keep": ["Output"]}), REFUSED, "'Output' is a column of the output", "rename")
    one(run(applicants={"key": ["run_id"]}), REFUSED, "'run_id' is a column of the output", "rename")


# ---------------------------------------------------------------------------------------- model


def by_value(model: Any, folder: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    save(model, folder / "model.pkl")
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def raises(rows: pd.DataFrame) -> Any:
    raise ZeroDivisionError(f"no score for {len(rows)} rows")


def cube(rows: pd.DataFrame) -> Any:
    return np.zeros((len(rows), 2, 2))


def short(rows: pd.DataFrame) -> Any:
    return np.zeros(3)


def not_finite(rows: pd.DataFrame) -> Any:
    return np.where(rows["age"] < 50, np.nan, score(rows))


@pytest.mark.parametrize(
    ("model", "texts"),
    [
        (raises, ("ZeroDivisionError", "no score for", "background rows")),
        (cube, ("(40, 2, 2)",)),
        (short, ("3",)),
        (not_finite, ("background row", "its prediction is [nan], which is not finite")),
        ({"no": "model"}, ("dict",)),
    ],
)
def test_models_that_are_no_models(run: Callable[..., Said], folder: Path, model: Any, texts: tuple[str, ...]) -> None:
    by_value(model, folder)
    one(run(), REFUSED, "error: ", *texts)


def test_model_files(run: Callable[..., Said], folder: Path) -> None:
    one(run(model={"file": str(folder / "no.pkl")}), REFUSED, "no.pkl: no such file")
    (folder / "broken.pkl").write_bytes((folder / "model.pkl").read_bytes()[:50])
    one(run(model={"file": str(folder / "broken.pkl")}), REFUSED, "broken.pkl: cannot be unpickled")
    one(run(model={"sha256": "0" * 64}), REFUSED, "its sha256 is", "it was not loaded")
    one(run(model={"file": None, "object": "no_module:x"}), REFUSED, "no module 'no_module'")


def test_methods_that_cannot(run: Callable[..., Said]) -> None:
    one(run(explain={"method": "linear"}), REFUSED, "'linear' needs a model that is linear")
    one(run(model={"output_names": ["a", "b"]}), REFUSED, "it returned 1 outputs, and output_names has 2: a, b")


def only_young(rows: pd.DataFrame) -> Any:
    if (rows["age"] > 60).any():
        raise RuntimeError("too old")
    return score(rows)


def test_a_model_that_fails_on_all_applicants(run: Callable[..., Said], folder: Path) -> None:
    by_value(only_young, folder)
    said = run(reference={"where": "age < 60"}, applicants={"where": "age > 60"})
    one(said, REFUSED, "where: age < 60")  # nobody is left for the reference
    applicants(60).query("age < 60").to_parquet(folder / "ref.parquet", index=False)
    said = run(reference={"path": str(folder / "ref.parquet")}, applicants={"where": "age > 60"})
    one(said, REFUSED, "it fails on each of the first", "RuntimeError: too old")


def test_some_rows_too_many(run: Callable[..., Said], folder: Path) -> None:
    by_value(only_young, folder)
    one(run("--max-rejects", "2", reference={"where": "age < 60"}), FAILED, "failed: ", "max_rejects", "too old")


class Unpicklable:
    """A model that loads but cannot be sent to workers."""

    def __call__(self, rows: pd.DataFrame) -> Any:
        self.lock = threading.Lock()
        return score(rows)


def test_a_model_that_cannot_travel(run: Callable[..., Said], folder: Path) -> None:
    by_value(Unpicklable(), folder)
    one(run(), REFUSED, "it cannot be sent to the workers")


# ---------------------------------------------------------------------------------------- output


def test_output_folder_with_other_things(run: Callable[..., Said], folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.doc").touch()
    one(run(), REFUSED, "out: this folder holds other things (thesis.doc)", "new or empty folder")
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.doc"]


def test_output_that_is_a_file(run: Callable[..., Said], folder: Path) -> None:
    (folder / "taken").touch()
    one(run(output={"path": str(folder / "taken")}), REFUSED, "taken", "is a file, not a folder")


def test_output_that_cannot_be_written(run: Callable[..., Said], folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o555)
    one(run(output={"path": str(folder / "locked" / "out")}), REFUSED, "cannot be written", "Permission denied")


def test_schema_that_is_not_there(run: Callable[..., Said]) -> None:
    said = run(output={"path": None, "schema": "nowhere", "format": "delta"})
    one(said, REFUSED, "no schema nowhere", "CREATE SCHEMA nowhere")
