"""A job on a standalone cluster of two workers that have the package from ``--py-files`` alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import yaml
from clusters import SPARK, environment, standalone
from portfolio import FEATURES, Model, applicants, save, score, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[1]


class Telling(Model):
    """Writes from where its process has the package, and on which of the cluster's workers it runs."""

    def __call__(self, rows: pd.DataFrame) -> Any:
        import spark_shap

        with open(self.log + ".places", "a") as file:
            file.write(f"{spark_shap.__file__}\t{os.getcwd()}\n")
        return super().__call__(rows)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster, whose processes start in folders without the package."""
    with standalone(tmp_path_factory.mktemp("cluster")) as one:
        yield one.address


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as --py-files takes it: a zip, with what a wheel has."""
    path = tmp_path_factory.mktemp("dist") / "spark_shap.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((ROOT / "spark_shap").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(ROOT))
    return path


LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.executor.memory": "600m"}


def submit(folder: Path, options: list[str], conf: dict[str, str], arguments: list[str]) -> str:
    """What spark-submit and the job say."""
    # Away from the checkout, the zip is before an installed package on the path of all processes.
    job = folder / "explain_portfolio.py"
    job.write_bytes((ROOT / "jobs" / "explain_portfolio.py").read_bytes())
    pairs = [part for name, value in {**LOCAL, **conf}.items() for part in ("--conf", f"{name}={value}")]
    done = subprocess.run(
        [str(SPARK / "bin" / "spark-submit"), *options, *pairs, str(job), "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
        cwd=folder,
        env=environment(PYSPARK_DRIVER_PYTHON=sys.executable),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_job_with_the_package_from_a_zip(cluster: str, package: Path, tmp_path: Path) -> None:
    applicants(400).to_parquet(tmp_path / "applicants.parquet", index=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    model = save(Telling(tmp_path / "calls"), tmp_path / "model.pkl")
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    work = settings(tmp_path, model, applicants={"keep": ["region"]}, explain={"partitions": 6})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(work))
    conf = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.locality.wait": "0s",  # or small tasks wait for the worker that read the file
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # both workers or none
    }
    options = ["--master", cluster, "--py-files", str(package)]
    said = submit(tmp_path, options, conf, ["--config", "run.yaml"])
    assert "400 of 400 rows explained, 0 rejected" in said
    places = {tuple(line.split("\t")) for line in (tmp_path / "calls.places").read_text().splitlines()}
    executors = {(package, cwd) for package, cwd in places if re.search(r"/work[12]/", cwd)}
    assert all("spark_shap.zip/spark_shap" in package for package, _ in executors), places
    assert {match[0] for _, cwd in executors if (match := re.search(r"work[12]", cwd))} == {"work1", "work2"}
    rows = pd.read_parquet(tmp_path / "out" / "attributions").sort_values("id")
    values = np.array([list(row.values()) for row in rows["shap_values"]])
    np.testing.assert_allclose(values.sum(axis=1) + rows["base_value"], rows["prediction"], atol=1e-6)
    np.testing.assert_allclose(rows["prediction"], score(applicants(400)[FEATURES]), rtol=1e-12)


def test_example_settings(cluster: str, package: Path, tmp_path: Path) -> None:
    applicants(400).rename(columns={"id": "application_id"}).to_parquet(tmp_path / "applicants.parquet", index=False)
    model = save(Model(tmp_path / "calls"), tmp_path / "scorecard.pkl")
    options = ["--properties-file", str(ROOT / "conf" / "standalone.conf")]
    options += ["--master", cluster, "--py-files", str(package)]
    # The workers here are small, and on this machine.
    conf = {"spark.executor.cores": "1", "spark.driver.memory": "1g"}
    arguments = ["--config", str(ROOT / "conf" / "standalone.yaml"), "--log-format", "json"]
    overrides = {
        "applicants.path": tmp_path / "applicants.parquet",
        "applicants.features": json.dumps(FEATURES),
        "model.file": model,
        "output.path": tmp_path / "out",
        "explain.n_evaluations": 65,
        "explain.shards": 2,
    }
    for name, value in overrides.items():
        arguments += ["--set", f"{name}={value}"]
    said = submit(tmp_path, options, conf, arguments)
    assert "400 of 400 rows explained, 0 rejected" in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"time"')]
    assert [line["shard"] for line in lines if "shard" in line] == [1, 2]
    assert "%|" not in said
