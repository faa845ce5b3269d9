"""What runs nobody's code, deletes nobody's files, tells nobody's secrets, and takes text for text."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import yaml
from portfolio import FEATURES, Model, applicants, save, settings

from spark_shap import read_run
from spark_shap.cli import main
from spark_shap.config import RunConfig, load_config
from spark_shap.errors import ConfigError, InputError
from spark_shap.io.location import Location
from spark_shap.io.reading import find_complete
from spark_shap.io.runs import read_runs
from spark_shap.io.tables import read_table
from spark_shap.pipeline import RunResult, run
from spark_shap.status import read_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

SECRET = "hunter2"
RUN_IDS = ["x' or 1=1 --", "*", "run_id=*", "../../attributions", "..", "{a,b}", "x`; DROP TABLE runs; --", "a/b", ""]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system"])
def test_yaml_runs_nothing(tmp_path: Path, tag: str) -> None:
    (tmp_path / "run.yaml").write_text(f"applicants: {tag} ['touch {tmp_path}/made']\n")
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        load_config(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text("applicants: {path: a.csv, key: id}\n")
    with pytest.raises(ConfigError, match="not a YAML value"):
        load_config(tmp_path / "run.yaml", [f"applicants.where={tag} ['touch {tmp_path}/made']"])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "override",
    [
        f"spark.conf.spark.hadoop.fs.s3a.secret.key {SECRET}",
        f"spark.conf.spark.hadoop.fs.s3a.secret.key:{SECRET}",
        f"spark.conf.spark.hadoop.fs.s3a.secret.key='{SECRET}",
        f"spark.conf.spark.hadoop.fs.s3a.secret.key=[{SECRET}]",
        f"spark.password={SECRET}",
        f"spark.conf={{a: {{password: {SECRET}}}}}",
        f"applicants.path=https://me:{SECRET}@host/a.zip",
        f"output.path=s3a://AKIA:hun/{SECRET}@bucket/out",
    ],
)
def test_overrides_that_fail_tell_no_secret(tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("applicants: {key: id}\nmodel: {object: 'a:b'}\n")
    assert main(["run", "--quiet", "--config", str(tmp_path / "run.yaml"), "--set", override]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("config: ")
    assert SECRET not in out + err


class Scores:
    """Scores rows by the places of their columns, whatever their names; raises an error that holds a secret."""

    def __init__(self, *, leaks_at: int | None = None) -> None:
        self.leaks_at = leaks_at

    def __call__(self, rows: pd.DataFrame) -> Any:
        age, income, amount, rate, purpose = (rows.iloc[:, place] for place in range(5))
        if (age == self.leaks_at).any():
            raise RuntimeError("cannot ask https://me:hunter2@features.example/v1?sig=hunter2")
        wealth = np.log(income.fillna(20_000.0) / amount)
        return (1 / (1 + np.exp(0.6 * wealth - 0.02 * (age - 40) - 0.3 * rate + (purpose == "car")))).to_numpy()


@pytest.fixture
def restored() -> Iterator[None]:
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("spark_shap").setLevel(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.usefixtures("restored")
def test_a_run_tells_no_secret(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    work = tmp_path / f"lake?sig={SECRET}&x"  # a folder like a URL of a store
    work.mkdir()
    applicants(90).to_parquet(tmp_path / "applicants.parquet", index=False)
    cloud = save_here(Scores(leaks_at=40), work / "model.pkl")
    where = f"age <> 40 and purpose <> 'token={SECRET}'"
    conf = {"spark.hadoop.fs.azure.account.key.x": SECRET, "spark.my": f"a://b:{SECRET}@c", "spark.token": SECRET}
    config = settings(tmp_path, cloud, reference={"size": 20, "where": where}, spark={"conf": conf})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    command = ["run", "--config", "run.yaml", "--set", f"spark.conf.spark.secret={SECRET}", "--log-format", "json"]
    assert main([*command, "--max-rejects", "1"]) == 1
    failed = capsys.readouterr()
    location = Location(str(tmp_path / "out"))
    (record,) = read_runs(spark, location, status=None)
    assert "https://***@features.example" in str(record.error)
    assert record.model_uri == f"{tmp_path}/lake?sig=***&x/model.pkl"
    assert main([*command, "--max-rejects", "0.5"]) == 0
    done = capsys.readouterr()
    assert main(["status", "--location", "out"]) == 0
    shown = capsys.readouterr()
    everything = [*failed, *done, *shown, str(read_runs(spark, location, status=None))]
    assert len(read_runs(spark, location, status=None)) == 1
    for text in everything:
        assert SECRET not in text, text
    assert "cannot ask https://***@" in failed.err
    config_written = json.loads(record.config)
    assert set(config_written["spark"]["conf"].values()) == {"***", "a://***@c"}


def save_here(model: Scores, path: Path) -> Path:
    """Pickle a model with its code."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    path.write_bytes(cloudpickle.dumps(model))
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    return path


def test_nothing_is_deleted_but_a_runs_own(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    applicants(90).to_parquet(folder / "applicants.parquet", index=False)
    model = save(Model(folder / "calls"), folder / "model.pkl")

    def make() -> RunResult:
        explain = {"shards": 2, "n_evaluations": 17}
        return run(spark, RunConfig.model_validate(settings(folder, model, reference={"size": 20}, explain=explain)))

    out, precious, own, other = folder / "out", tmp_path / "precious", make().record.run_id, "0123456789abcdef"
    for table in ("runs", "attributions", "rejects", "sample", "summary", "shards"):
        shutil.copytree(out / table / f"run_id={own}", out / table / f"run_id={other}")
    others = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and other in str(file)}
    places = [
        precious / "shard=left",
        precious / "run_id=left",
        out,
        out / "attributions",
        out / "attributions" / "run_id=somebody" / "shard=left",
        out / "attributions" / own,  # not named as a run's folder
        out / "runs" / "run_id=somebody",
        out / "shards",
        out / "_claims",
        out / "_staging" / "run_id=somebody",
        out / "my tables",
    ]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / "_keep.txt").write_text(str(place))  # Spark reads over names that begin so
        others[place / "_keep.txt"] = str(place).encode()
        if place.name.startswith("shard="):
            shutil.copy(next((out / "attributions" / f"run_id={own}").rglob("*.parquet")), place / "rows.parquet")
            others[place / "rows.parquet"] = (place / "rows.parquet").read_bytes()
    # Links from the run's own folder to what is not its own.
    (out / "attributions" / f"run_id={own}" / "shard=linked").symlink_to(precious / "shard=left")
    (out / "rejects" / f"run_id={own}" / "shard=linked").symlink_to(precious / "shard=left")
    (out / "_staging" / f"run_id={own}").symlink_to(precious / "run_id=left")
    stale = out / "attributions" / f"run_id={own}" / "shard=00000of00002-stale"
    shutil.copytree(places[0], stale)
    shutil.rmtree(out / "shards" / f"run_id={own}")  # no shard is committed any more: all is made again

    again = make()
    assert (again.record.run_id, again.record.attempts) == (own, 2)
    assert not stale.exists()  # there was something to delete
    assert not (out / "attributions" / f"run_id={own}" / "shard=linked").exists()
    for file, content in others.items():
        assert file.read_bytes() == content, file
    assert read_run(spark, again.location, other).count() == 90


ODD = {
    "age": "x' or 1=1 --",
    "income": "a`b",
    "loan amount": "1); DROP TABLE attributions; --",
    "rate.pct": "${jndi:ldap://x/y}",
    "purpose": '<b>"&\\n%s{0}',
}
SEGMENT = "region' or '1'='1"
VALUES = {"north": "'; DROP TABLE runs; --", "south": '" or ""="', "east": "\\'; --\n${x} %s {}", None: None}


def injected(spark: SparkSession, folder: Path, output: dict[str, Any]) -> RunResult:
    """Run with names and values that are code elsewhere, and compare with plain ones."""
    plain, odd = folder / "plain", folder / "odd"
    results = []
    for place, names in ((plain, {}), (odd, {**ODD, "region": SEGMENT, "id": "id'\"`"})):
        place.mkdir()
        data = applicants(80)
        if names:
            data["region"] = [VALUES.get(value) for value in data["region"]]
            data["id"] = [f"{value}' or '1'='1" for value in data["id"]]
        else:
            data["id"] = data["id"].astype(str) + "' or '1'='1"  # the key draws the numbers
        data.rename(columns=names).to_parquet(place / "applicants.parquet", index=False)
        config = settings(
            place,
            save_here(Scores(), place / "model.pkl"),
            applicants={"key": [names.get("id", "id")], "features": [names.get(name, name) for name in FEATURES]},
            reference={"size": 20},
            explain={"shards": 2 if names else 1, "n_evaluations": 33, "seed": 5},
            output={"path": str(place / "out"), **output},
            summary={"by": [[names.get("region", "region")]]},
        )
        results.append(run(spark, RunConfig.model_validate(config)))
    found = results[1]
    assert found.record.feature_names == tuple(ODD.values())
    values = [wide(spark, result) for result in results]
    np.testing.assert_allclose(values[1].to_numpy(), values[0].to_numpy(), rtol=1e-9)
    tables = [summary(spark, result) for result in results]
    renamed = tables[0].rename(index={"region": SEGMENT, **ODD, **VALUES})
    pd.testing.assert_frame_equal(renamed.sort_index(), tables[1].sort_index(), rtol=1e-9)
    return found


def wide(spark: SparkSession, result: RunResult) -> pd.DataFrame:
    rows = read_run(spark, result.location, result.record.run_id).collect()
    assert len(rows) == 80
    return pd.DataFrame([tuple(row["shap_values"]) for row in rows], index=[row[1] for row in rows]).sort_index()


def summary(spark: SparkSession, result: RunResult) -> pd.DataFrame:
    table = read_run(spark, result.location, result.record.run_id, table="summary").toPandas()
    return table.fillna({"segment": "null"}).set_index(["segment_by", "segment", "feature"])[
        ["n_rows", "mean_abs_shap", "mean_shap"]
    ]


def refused_everywhere(spark: SparkSession, location: Location, run_id: str) -> None:
    with pytest.raises(InputError, match="no finished run"):
        read_run(spark, location, run_id)
    with pytest.raises(InputError, match="no finished run"):
        find_complete(spark, location, run_id)
    with pytest.raises(InputError, match="no run"):
        read_status(spark, location, run_id)
    with pytest.raises(InputError, match="no run or shard is called"):
        read_table(spark, location, "attributions", run_id)


@pytest.mark.slow
def test_names_and_values_are_text(spark: SparkSession, tmp_path: Path) -> None:
    found = injected(spark, tmp_path, {})
    for run_id in RUN_IDS:
        refused_everywhere(spark, found.location, run_id)


@pytest.mark.slow
@pytest.mark.delta
def test_names_and_values_are_text_on_delta(spark: SparkSession, tmp_path: Path) -> None:
    found = injected(spark, tmp_path, {"format": "delta"})
    for run_id in RUN_IDS:
        refused_everywhere(spark, found.location, run_id)
