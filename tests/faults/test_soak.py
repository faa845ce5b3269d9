"""Thirty kills at random times; every run is completed at last, with the same tables."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from faults.programs import (
    N_SHARDS,
    Asked,
    Program,
    Watched,
    Work,
    assert_same_tables,
    complete,
    found,
    program,
    python_workers,
    run_row,
    started_by,
)
from portfolio import applicants

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

N_KILLS = int(os.environ.get("SPARK_SHAP_SOAK_KILLS", "30"))


def kill(one: Program, what: str, moment: float) -> bool:
    """Kill at a moment, or as soon as there is something to kill from then on; whether there was."""
    find = {
        "driver and JVM": one.all,
        "driver's Python": lambda: [one.process.pid],
        "driver's JVM": lambda: started_by(one.process.pid, "org.apache.spark.deploy.SparkSubmit"),
        "worker": lambda: python_workers(one.process.pid)[:1],
    }[what]
    start = time.monotonic()
    while one.process.poll() is None:
        victims = find() if time.monotonic() >= start + moment else []
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victims:
            return True
        time.sleep(0.05)
    return False


def test_random_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tell(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)  # noqa: T201  # a seed that nobody sees is lost

    seed = int(os.environ.get("SPARK_SHAP_SOAK_SEED") or random.SystemRandom().randrange(10**6))
    tell(f"soak: SPARK_SHAP_SOAK_SEED={seed}")
    rng = random.Random(seed)
    data = applicants(160)
    data.loc[40:43, "age"] = 99
    model = Watched(tmp_path / "calls", seconds=0.1, nan_at=99)
    work = Work(tmp_path, model, data, output={"max_rejects": 0.1}, spark={"master": "local[2,4]"})
    start = time.monotonic()
    complete(work, tmp_path / "plain")
    whole = time.monotonic() - start
    noted_complete = False  # killed when there was nothing left to do
    kills, runs, asked, attempts, noted = list[str](), 0, Asked(work.log), 0, 0
    while len(kills) < N_KILLS or attempts:
        out = tmp_path / f"out{runs}"
        began = time.monotonic()
        with program(work, out) as one:
            attempts += 1
            killed = ""
            if len(kills) < N_KILLS:
                moment = rng.uniform(0.25, 1.0) * whole
                killed = rng.choice(["driver and JVM", "driver's Python", "driver's JVM", "worker", "worker"])
                if kill(one, killed, moment):
                    kills.append(f"run {runs}, attempt {attempts}: {killed} after {moment:.2f} s")
                    tell(kills[-1])
                else:
                    killed = ""
            code = one.wait()
            if not killed and attempts == 1:
                whole = time.monotonic() - began  # the machine is faster now
            # Spark replaces a worker; without a driver nothing is left to say how it ended.
            assert code == 0 or (killed and killed != "worker"), f"{code}\n{one.said}"
        there = found(out, "runs/*/*.parquet")
        if code != 0:
            before, noted = noted, int(run_row(out)["attempts"]) if there else 0
            assert before <= noted <= before + 1, "an attempt counts once, when it has begun to write"
            noted_complete = there and run_row(out)["status"] == "complete"
            continue
        assert_same_tables(out, tmp_path / "plain")
        row = run_row(out)
        assert (row["status"], row["attempts"]) == ("complete", noted + (not noted_complete))
        runs, attempts, noted, noted_complete = runs + 1, 0, 0, False
    assert len(kills) == N_KILLS
    evaluations = run_row(tmp_path / "plain")["model_evaluations"]
    # A kill loses what one shard had asked at most.
    second_looks = runs * 65 * 2 * 4
    assert asked.rows() <= evaluations * (runs + N_KILLS / N_SHARDS) + second_looks + N_KILLS * 65 * 4
    tell(f"soak: {N_KILLS} kills, {runs} runs complete, {time.monotonic() - start:.0f} s")
