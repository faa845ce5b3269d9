"""A job on a standalone cluster of two workers that have the package from ``--py-files`` alone."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pyspark
import pytest
import yaml
from portfolio import FEATURES, Model, applicants, save, score, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[1]
SPARK = Path(pyspark.__file__).parent


class Telling(Model):
    """Writes from where its process has the package, and on which of the cluster's workers it runs."""

    def __call__(self, rows: pd.DataFrame) -> Any:
        import spark_shap

        with open(self.log + ".places", "a") as file:
            file.write(f"{spark_shap.__file__}\t{os.getcwd()}\n")
        return super().__call__(rows)


def free_port(host: str) -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


def wait_for(log: Path, text: str) -> None:
    for _ in range(240):
        if text in log.read_text():
            return
        time.sleep(0.25)
    raise AssertionError(log.read_text())


def environment(**variables: str) -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_HOME")}
    return {
        **values,
        "SPARK_HOME": str(SPARK),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        **variables,
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster, whose processes start in folders without the package."""
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port("127.0.0.1")
    address = f"spark://127.0.0.1:{port}"
    processes = []

    def daemon(name: str, *arguments: str) -> Path:
        log = folder / f"{name}.log"
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
        with log.open("w") as file:
            processes.append(subprocess.Popen(command, stdout=file, stderr=file, cwd=folder, env=environment()))
        return log

    try:
        web = str(free_port("127.0.0.1"))
        log = daemon("master", "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", web)
        wait_for(log, "I have been elected leader")
        for number in (1, 2):
            host = f"127.0.0.{number}"
            options = ["--host", host, "--cores", "1", "--memory", "1200m", "--webui-port", str(free_port(host))]
            options += ["--work-dir", str(folder / f"work{number}")]
            daemon(f"worker{number}", "worker.Worker", *options, address)
        for number in (1, 2):
            wait_for(folder / f"worker{number}.log", "Successfully registered with master")
        yield address
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as --py-files takes it: a zip, with what a wheel has."""
    path = tmp_path_factory.mktemp("dist") / "spark_shap.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((ROOT / "spark_shap").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(ROOT))
    return path


def test_job_with_the_package_from_a_zip(cluster: str, package: Path, tmp_path: Path) -> None:
    applicants(400).to_parquet(tmp_path / "applicants.parquet", index=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    model = save(Telling(tmp_path / "calls"), tmp_path / "model.pkl")
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    work = settings(tmp_path, model, applicants={"keep": ["region"]}, explain={"partitions": 6})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(work))
    conf = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": "600m",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.locality.wait": "0s",  # or small tasks wait for the worker that read the file
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # both workers or none
    }
    command = [str(SPARK / "bin" / "spark-submit"), "--master", cluster, "--py-files", str(package)]
    for name, value in conf.items():
        command += ["--conf", f"{name}={value}"]
    # Away from the checkout, the zip is before an installed package on the path of all processes.
    job = tmp_path / "explain_portfolio.py"
    job.write_bytes((ROOT / "jobs" / "explain_portfolio.py").read_bytes())
    done = subprocess.run(
        [*command, str(job), "run", "--config", "run.yaml"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=tmp_path,
        env=environment(PYSPARK_DRIVER_PYTHON=sys.executable),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search("400 of 400 rows explained, 0 rejected", done.stdout)
    places = {tuple(line.split("\t")) for line in (tmp_path / "calls.places").read_text().splitlines()}
    executors = {(package, cwd) for package, cwd in places if re.search(r"/work[12]/", cwd)}
    assert all("spark_shap.zip/spark_shap" in package for package, _ in executors), places
    assert {match[0] for _, cwd in executors if (match := re.search(r"work[12]", cwd))} == {"work1", "work2"}
    rows = pd.read_parquet(tmp_path / "out" / "attributions").sort_values("id")
    values = np.array([list(row.values()) for row in rows["shap_values"]])
    np.testing.assert_allclose(values.sum(axis=1) + rows["base_value"], rows["prediction"], atol=1e-6)
    np.testing.assert_allclose(rows["prediction"], score(applicants(400)[FEATURES]), rtol=1e-12)
