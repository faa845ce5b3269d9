"""What it costs to kill a job and start it again, over a job that is left alone.

    .venv/bin/python tests/bench/resume.py [--rows 600000] [--evaluations 1025] [--shards 6] [--wait MICROSECONDS]

The model is that of ``job.py``, on ``local[2]``; with ``--wait`` it takes its time for every row, as a model behind a
network does, so that what else a machine does makes a job hardly slower or faster. One job is left alone. Another is
killed with kill -9, driver and workers, in the middle of its middle shard, and the same command is started again at
once. What the two attempts take together, less what the undisturbed job took, is the price: what the killed attempt had
done since its last commit (the lost shard), a second start of Java and Python, a second preparation (up to the plan;
what the first attempt has kept is used), and a rest, which is what a fresh JVM takes to compile its code, less what the
disturbance of a machine may add or take. In seconds of the clock, and of processors, which other programs on the
machine disturb less.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from job import make_table, train
from pyspark import cloudpickle

ROOT = Path(__file__).resolve().parents[2]
SAID = ("model:", "time          about")  # what the log has once Spark is there, and once there is a plan


class Waiting:
    """A model that takes so many seconds a row."""

    def __init__(self, model: Any, seconds: float) -> None:
        self.model, self.seconds = model, seconds

    def __call__(self, rows: Any) -> Any:
        time.sleep(self.seconds * len(rows))
        return self.model.predict_proba(rows)[:, 1]


def start(folder: Path, out: str, evaluations: int, shards: int) -> Job:
    config = {
        "applicants": {"path": str(folder / "table.parquet"), "key": "id"},
        "reference": {"size": 1000},
        "model": {"file": str(folder / "model.pkl")},
        "explain": {"n_evaluations": evaluations, "seed": 7, "shards": shards},
        "output": {"path": str(folder / out), "report": False},
        "spark": {"master": "local[2]", "conf": {"spark.driver.memory": "2g"}},
    }
    (folder / f"{out}.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "spark_shap.cli", "run", "--config", str(folder / f"{out}.yaml")]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = folder / f"{out}.{time.monotonic_ns()}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=variables, start_new_session=True)
    return Job(process, log, Watch(process.pid, log))


class Time(NamedTuple):
    """Seconds of the clock and of processors."""

    clock: float
    processors: float

    def __add__(self, other: Time) -> Time:  # type: ignore[override]  # a time, not a pair
        return Time(self.clock + other.clock, self.processors + other.processors)

    def __sub__(self, other: Time) -> Time:
        return Time(self.clock - other.clock, self.processors - other.processors)


class Watch(threading.Thread):
    """Adds up what all processes of a job have used, those that have ended included, and how much when it said what."""

    def __init__(self, session: int, log: Path) -> None:
        super().__init__(daemon=True)
        self.session, self.log, self.begun = session, log, time.time()
        self.used, self.marks, self.done = dict[int, float](), dict[str, Time](), threading.Event()
        self.start()

    def run(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        while not self.done.wait(0.1):
            for one in Path("/proc").glob("[0-9]*"):
                try:
                    fields = (one / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:  # it has ended
                    continue
                if int(fields[3]) == self.session:
                    self.used[int(one.name)] = (int(fields[11]) + int(fields[12])) / ticks
            said = self.log.read_text()
            for mark in SAID:
                if mark in said:
                    self.marks.setdefault(mark, self.now())

    def now(self) -> Time:
        return Time(time.time() - self.begun, sum(list(self.used.values())))


class Job(NamedTuple):
    process: subprocess.Popen
    log: Path
    watch: Watch


def lines(out: Path) -> list[float]:
    """Times at which numbered shards were committed."""
    return sorted(file.stat().st_mtime for file in out.glob("shards/*/shard=[0-9]*/*.parquet"))


def until_killed(job: Job, out: Path, shards: int) -> tuple[Time, Time]:
    """Kill a job in the middle of a shard; return what it took, and what of that was for nothing."""
    while len(lines(out)) < shards // 2:
        if job.process.poll() is not None:
            raise SystemExit(job.log.read_text())
        time.sleep(0.02)
    committed, there = job.watch.now(), lines(out)
    time.sleep((there[-1] - there[-2]) / 2)
    os.killpg(job.process.pid, signal.SIGKILL)
    killed = job.watch.now()
    job.watch.done.set()
    job.process.wait()
    return killed, killed - committed


def to_the_end(job: Job) -> Time:
    code = job.process.wait()
    job.watch.done.set()
    if code:
        raise SystemExit(job.log.read_text())
    return job.watch.now()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--evaluations", type=int, default=1025)
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--wait", type=float, default=0.0, help="microseconds a row that the model is asked for")
    arguments = parser.parse_args()
    settings = arguments.evaluations, arguments.shards
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_table(arguments.rows, None)
        model = train(data)
        model = Waiting(model, arguments.wait * 1e-6) if arguments.wait else model
        (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))  # with the code of this file
        data.drop(columns="bad").to_parquet(folder / "table.parquet", index=False, row_group_size=50_000)
        alone = to_the_end(start(folder, "alone", *settings))
        killed = start(folder, "killed", *settings)
        first, lost = until_killed(killed, folder / "killed", arguments.shards)
        resumed = start(folder, "killed", *settings)
        second = to_the_end(resumed)
    started, prepared = (resumed.watch.marks[mark] for mark in SAID)
    beyond = first + second - alone - lost
    rows = {
        "undisturbed": alone,
        "killed after": first,
        "resumed in": second,
        "price: the lost shard": lost,
        "price: start of Java and Python": started,
        "price: preparation": prepared - started,
        "price: rest": beyond - prepared,
        "beyond the lost shard": beyond,
    }
    print(f"{'':<32} {'seconds':>9} {'':>6} {'of processors':>14}")
    for what, took in rows.items():
        shares = [value / whole for value, whole in zip(took, alone, strict=True)]
        print(f"{what:<32} {took.clock:>9.1f} {shares[0]:>6.1%} {took.processors:>14.1f} {shares[1]:>6.1%}")


if __name__ == "__main__":
    main()
