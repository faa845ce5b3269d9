"""The command line as a process of its own: what it prints, what it does not, and its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import pandas as pd
import pytest
import yaml
from portfolio import Model, applicants, save, score, settings

import spark_shap

ROOT = Path(__file__).parents[1]
ENTRY = [sys.executable, "-m", "spark_shap.cli"]
# Each is said by Spark, the JVM or pyspark on a terminal, unless it is kept off it.
NOISE = re.compile(
    r"Traceback|WARNING|WARN|log4j|incubator|log level|setLogLevel|\tat |SQLSTATE|\"ts\":|ivy|Exception in"
)


class Said(NamedTuple):
    code: int
    out: str
    err: str


def environment(**variables: str | None) -> dict[str, str]:
    # The job starts elsewhere, so its workers find the package by this path.
    values = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SPARK_LOCAL_IP": "127.0.0.1", **variables}
    return {name: value for name, value in values.items() if value is not None}


def call(command: list[str], cwd: Path, **variables: str | None) -> Said:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=cwd,
        env=environment(TMPDIR=str(cwd), **variables),
    )
    assert not NOISE.search(done.stderr), done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def config(folder: Path, model: Any = None, n_rows: int = 120, **sections: dict[str, Any]) -> str:
    """Write a configuration that works into a folder, and return its name."""
    applicants(n_rows).to_parquet(folder / "applicants.parquet", index=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    file = save(Model(folder / "calls") if model is None else model, folder / "model.pkl")
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    base = {"spark": {"master": "local[2]"}, **sections}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings(folder, file, **base)))
    return "run.yaml"


def test_version_and_help(tmp_path: Path) -> None:
    assert call([*ENTRY, "--version"], tmp_path) == (0, f"spark-shap {spark_shap.__version__}\n", "")
    top = call([*ENTRY, "--help"], tmp_path)
    assert top.code == 0
    assert all(word in top.out for word in ("run", "plan", "demo"))
    assert "--max-rejects" in call([*ENTRY, "run", "--help"], tmp_path).out


@pytest.mark.slow
def test_run_prints_the_result(tmp_path: Path) -> None:
    said = call([*ENTRY, "run", "--config", config(tmp_path)], tmp_path)
    assert said.code == 0, said.err
    assert re.search(r"^run [0-9a-f]{16}: 120 of 120 rows explained, 0 rejected$", said.out, re.MULTILINE)
    assert "explained: prediction of bad, method sampling" in said.out
    ranks = re.findall(r"^ +(\d) (\S.*?)  +\d\.\d+ +\d\.\d+ +[+-]\d\.\d+ +\d+\.\d%$", said.out, re.MULTILINE)
    assert [rank for rank, _ in ranks] == ["1", "2", "3", "4", "5"]
    assert f"tables in {tmp_path}/out: runs, attributions, summary, sample, rejects" in said.out
    assert "method        sampling" in said.err
    assert len(pd.read_parquet(tmp_path / "out" / "attributions")) == 120


@pytest.mark.slow
def test_plan_prints_and_writes_nothing(tmp_path: Path) -> None:
    said = call(
        [*ENTRY, "plan", "--quiet", "--config", config(tmp_path), "--set", "explain.n_evaluations=33"], tmp_path
    )
    assert (said.code, said.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert set(lines) >= {"method", "rows", "evaluations", "memory", "blocks", "time"}
    assert lines["evaluations"].startswith("33 a row, 3,960 in all")
    assert not (tmp_path / "out").exists()


class Dies:
    """Ends the worker's process, which Spark notices as a crash; the driver's lives."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.driver: int | None = None

    def __call__(self, rows: pd.DataFrame) -> Any:
        if self.driver is None:
            self.driver = os.getpid()
        if os.getpid() != self.driver:
            os._exit(9)
        return score(rows)


@pytest.mark.slow
def test_a_crash_of_spark_is_one_line_and_names_the_log(tmp_path: Path) -> None:
    said = call([*ENTRY, "run", "--quiet", "--config", config(tmp_path, Dies())], tmp_path)
    assert (said.code, said.out) == (1, "")
    (line,) = said.err.splitlines()
    found = re.fullmatch(r"failed: Spark: (.+) \(Spark's log: (.+\.log)\)", line)
    assert found, line
    assert "Python worker exited unexpectedly" in found[1]
    log = Path(found[2])
    assert "Exception" in log.read_text()
    log.unlink()
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_model_that_fails_is_one_line(tmp_path: Path) -> None:
    model = Model(tmp_path / "calls", raises_at=79)
    name = config(tmp_path, model, n_rows=1500, reference={"where": "age < 79"}, explain={"partitions": 2})
    said = call([*ENTRY, "run", "--quiet", "--config", name, "--max-rejects", "3"], tmp_path)
    assert (said.code, said.out) == (1, "")
    (line,) = said.err.splitlines()
    assert line.startswith("failed: ")
    assert "no age 79" in line
    assert "max_rejects" in line


@pytest.mark.parametrize(
    ("conf", "text"),
    [({"spark.driver.memory": "5 bananas"}, "bananas"), ({"spark.master": "moon://here"}, "master must")],
)
def test_spark_that_does_not_start(tmp_path: Path, conf: dict[str, str], text: str) -> None:
    name = config(tmp_path, spark={"conf": conf, "master": conf.pop("spark.master", None)})
    said = call([*ENTRY, "run", "--config", name], tmp_path)
    (line,) = said.err.splitlines()
    assert said.code == 1
    assert line.startswith("failed: Spark: ")
    assert text in line.split("(Spark's log")[0].lower()


def test_no_java(tmp_path: Path) -> None:
    name = config(tmp_path)
    said = call([*ENTRY, "run", "--config", name], tmp_path, PATH=str(tmp_path), JAVA_HOME=None)
    assert said == (2, "", said.err)
    (line,) = said.err.splitlines()
    assert "Java is not found: Spark needs Java 17" in line


@pytest.mark.slow
def test_interrupt(tmp_path: Path) -> None:
    name = config(tmp_path, Sleeps())
    command = [*ENTRY, "run", "--config", name]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if " time " in line:  # the last line of the plan: now rows are explained
            time.sleep(3)
            process.send_signal(signal.SIGINT)
    killer.cancel()
    assert process.wait() == 130
    assert lines[-1].startswith("interrupted")
    assert not NOISE.search("".join(lines)), lines
    assert not (tmp_path / "out" / "runs").exists()


class Sleeps(Dies):
    """Takes its time, on workers only."""

    def __call__(self, rows: pd.DataFrame) -> Any:
        if self.driver is None:
            self.driver = os.getpid()
        if os.getpid() != self.driver:
            time.sleep(60)
        return score(rows)


@pytest.mark.slow
def test_spark_submit(tmp_path: Path) -> None:
    submit = shutil.which("spark-submit", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert submit is not None
    name = config(tmp_path, spark={"master": "local[3]"})  # spark-submit's own master wins
    command = [
        submit,
        "--master",
        "local[2]",
        "--conf",
        "spark.ui.enabled=false",
        str(ROOT / "jobs" / "explain_portfolio.py"),
    ]
    done = subprocess.run(
        [*command, "run", "--config", name],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
        env=environment(PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable),
    )
    assert done.returncode == 0, done.stderr
    assert "120 of 120 rows explained" in done.stdout
    assert "2 at a time" in done.stdout + done.stderr
    refused = subprocess.run(
        [*command, "run", "--config", "no.yaml"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
        env=environment(PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable),
    )
    assert refused.returncode == 2
    assert "config: " in refused.stdout + refused.stderr  # spark-submit joins them


@pytest.mark.slow
def test_log_of_objects(tmp_path: Path) -> None:
    name = config(tmp_path, explain={"shards": 2, "n_evaluations": 17}, reference={"size": 20})
    said = call([*ENTRY, "run", "--config", name, "--log-format", "json"], tmp_path)
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert all(set(line) >= {"time", "level", "message"} for line in lines)
    first, second = [line for line in lines if "shard" in line]
    assert first["rows"] + second["rows"] == 120
    assert first["run_id"] == second["run_id"] == said.out.split()[1].rstrip(":")
    for line in (first, second):
        assert line["rows_per_second"] > 0
        assert line["evaluations_per_second"] > line["rows_per_second"]
    assert first["seconds_left"] > second["seconds_left"] == 0
    shown = call([*ENTRY, "status", "--location", "out", "--run", first["run_id"], "--json"], tmp_path)
    assert (shown.code, shown.err) == (0, "")
    (run,) = json.loads(shown.out)
    assert (run["run_id"], run["state"], run["shards_done"], run["rows_explained"]) == (
        first["run_id"],
        "complete",
        2,
        120,
    )
    assert call([*ENTRY, "status", "--location", "out", "--run", "no"], tmp_path).code == 2


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
def test_bar_in_a_terminal(tmp_path: Path, quiet: bool) -> None:
    pytest.importorskip("tqdm")
    name = config(tmp_path, explain={"shards": 2, "n_evaluations": 17}, reference={"size": 20})
    command = [*ENTRY, "run", "--config", name, *(["--quiet"] if quiet else [])]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=follower, text=True, cwd=tmp_path, env=environment(TMPDIR=str(tmp_path))
    )
    os.close(follower)
    seen = []
    with suppress(OSError):  # closed by the other side
        while part := os.read(leader, 65536):
            seen.append(part)
    os.close(leader)
    out, err = process.communicate()[0], b"".join(seen).decode()
    assert process.returncode == 0, err
    assert "120 of 120 rows explained" in out
    assert "%|" not in out
    if quiet:
        assert err == ""
        return
    assert re.search(r"explaining: 100%\|[^|]+\| 120.*rows/s, [\d,]+ evaluations/s\]", err)
    assert err.count("shard 2 of 2: ") == 1
    assert not NOISE.search(err), err


@pytest.mark.slow
def test_interrupting_a_program_ends_the_runs_jobs_and_not_its_session(tmp_path: Path) -> None:
    name = config(tmp_path, Sleeps())
    code = (
        "import logging, os, signal, threading, time\n"
        "from pyspark.sql import SparkSession\n"
        "from spark_shap.config import load_config\n"
        "from spark_shap.pipeline import run\n"
        "logging.basicConfig(level=logging.ERROR)\n"
        "spark = SparkSession.builder.master('local[2]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "tracker = spark.sparkContext.statusTracker()\n"
        "def interrupt():\n"
        "    time.sleep(25)\n"
        "    print('active', len(tracker.getActiveJobsIds()))\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "try:\n"
        f"    run(spark, load_config({name!r}))\n"
        "except KeyboardInterrupt:\n"
        "    start = time.time()\n"
        "    while tracker.getActiveJobsIds() and time.time() < start + 30:\n"
        "        time.sleep(0.2)\n"
        "    print('left', list(tracker.getActiveJobsIds()), 'counts', spark.range(7).count())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
        env=environment(PYSPARK_PYTHON=sys.executable),
    )
    assert re.search(r"active [1-9]\d*\nleft \[\] counts 7", done.stdout), done.stdout + done.stderr[-2000:]
