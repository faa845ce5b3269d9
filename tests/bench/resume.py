"""What it costs to kill a job and start it again, over a job that is left alone.

    .venv/bin/python tests/bench/resume.py [--rows 1500000] [--shards 6]

The model is that of ``job.py``, 257 evaluations a row, on ``local[2]``. One job is left alone. Another is killed with
kill -9, driver and workers, in the middle of its middle shard, and the same command is started again at once. What
the two attempts take together, less what the undisturbed job took, less what the killed attempt had done since
its last commit, is the price of a resume: the start of Spark and Python workers, and the preparation of the method.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from job import make_table, train

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, out: str, shards: int) -> subprocess.Popen:
    config = {
        "applicants": {"path": str(folder / "table.parquet"), "key": "id"},
        "reference": {"size": 1000},
        "model": {"file": str(folder / "model.pkl")},
        "explain": {"n_evaluations": 257, "seed": 7, "shards": shards},
        "output": {"path": str(folder / out)},
        "spark": {"master": "local[2]", "conf": {"spark.driver.memory": "2g"}},
    }
    (folder / f"{out}.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "spark_shap.cli", "run", "--config", str(folder / f"{out}.yaml")]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=variables, start_new_session=True)


def lines(out: Path) -> list[float]:
    """Times at which numbered shards were committed."""
    return sorted(file.stat().st_mtime for file in out.glob("shards/*/shard=[0-9]*/*.parquet"))


def until_killed(process: subprocess.Popen, out: Path, begun: float, shards: int) -> tuple[float, float]:
    """Kill a job in the middle of a shard; return how long it ran, and for how long of that for nothing."""
    while len(lines(out)) < shards // 2:
        if process.poll() is not None:
            raise SystemExit("the job ended before it could be killed")
        time.sleep(0.02)
    there = lines(out)
    time.sleep((there[-1] - there[-2]) / 2)
    os.killpg(process.pid, signal.SIGKILL)
    killed = time.time()
    process.wait()
    return killed - begun, killed - there[-1]


def left_alone(folder: Path, shards: int) -> float:
    begun = time.time()
    if start(folder, "alone", shards).wait():
        raise SystemExit("the job failed")
    return time.time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--shards", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_table(arguments.rows, None)
        (folder / "model.pkl").write_bytes(pickle.dumps(train(data)))
        data.drop(columns="bad").to_parquet(folder / "table.parquet", index=False, row_group_size=50_000)
        alone = left_alone(folder, arguments.shards)
        begun = time.time()
        first, lost = until_killed(
            start(folder, "killed", arguments.shards), folder / "killed", begun, arguments.shards
        )
        begun = time.time()
        if start(folder, "killed", arguments.shards).wait():
            raise SystemExit("the resumed job failed")
        second = time.time() - begun
    price = first + second - lost - alone
    print(f"\nundisturbed           {alone:8.1f} s")
    print(f"killed after          {first:8.1f} s, {lost:.1f} s of them since the last commit")
    print(f"resumed in            {second:8.1f} s")
    print(f"beyond the lost shard {price:8.1f} s, {price / alone:.1%} of the undisturbed job")


if __name__ == "__main__":
    main()
