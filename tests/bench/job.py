"""How much of the job's time the model needs: the whole Spark job against the bare model.

    .venv/bin/python tests/bench/job.py [--data credit_card_default.csv] [--rows 30000] [--evaluations 257]

The model is a StandardScaler and an MLP (64, 32), explained in probability, on ``local[2]``. The bare
model is timed in two processes at once, at the batch size that suits it best. Each job runs in a process of
its own; time counts from the moment the session stands. Without --data a table of the same shape is made.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1024, 4096, 8192, 16384, 32768, 65536)


def make_table(n_rows: int, path: str | None) -> pd.DataFrame:
    """A table of 23 integer features, a key and a label; from the credit card file, repeated, or generated."""
    if path is not None:
        data = pd.read_csv(path).rename(columns={"client_id": "id", "defaulted": "bad"})
        data = pd.concat([data] * -(-n_rows // len(data)), ignore_index=True).iloc[:n_rows]
        return data.assign(id=np.arange(n_rows))
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, 23))
    amounts = np.exp(8 + 0.7 * common + 0.7 * rng.normal(size=(n_rows, 23)))
    data = pd.DataFrame(amounts.round().astype(np.int64), columns=[f"amount_{index}" for index in range(23)])
    score = np.tanh(common[:, 0] - common[:, 1] * (common[:, 2] > 0))
    return data.assign(id=np.arange(n_rows), bad=(rng.random(n_rows) < 1 / (1 + np.exp(1 - 2 * score))).astype(int))


def train(data: pd.DataFrame):
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=15, random_state=0))
    sample = data.sample(min(len(data), 30_000), random_state=0)
    return model.fit(sample.drop(columns=["id", "bad"]), sample["bad"])


def time_model(folder: Path) -> None:
    """Print the best seconds a row of the bare model (one of two processes that run at once)."""
    model = pickle.loads((folder / "model.pkl").read_bytes())
    frame = pd.read_parquet(folder / "table.parquet").drop(columns=["id", "bad"])
    found = {}
    for size in BATCHES:
        block = pd.DataFrame(np.resize(frame.to_numpy(), (size, frame.shape[1])), columns=frame.columns)
        times = []
        for _ in range(max(5, 400_000 // size)):
            start = time.perf_counter()
            model.predict_proba(block)
            times.append(time.perf_counter() - start)
        found[size] = float(np.median(times)) / size
    print(json.dumps(found))


class PeakMemory(threading.Thread):
    """Samples the resident memory of this process's Spark workers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.2):
            parents, peaks = {}, {}
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    text = status.read_text()
                    command = status.with_name("cmdline").read_bytes()
                except OSError:
                    continue
                number = int(status.parent.name)
                parents[number] = int(text.split("PPid:")[1].split()[0])
                if b"pyspark.worker" in command and "VmHWM" in text:
                    peaks[number] = int(text.split("VmHWM:")[1].split()[0]) * 1024
            own = [peak for number, peak in peaks.items() if self._is_ours(number, parents)]
            self.peak = max([self.peak, *own])

    @staticmethod
    def _is_ours(number: int, parents: dict[int, int]) -> bool:
        while number not in (0, os.getpid()):
            number = parents.get(number, 0)
        return number != 0


def run_job(folder: Path, name: str, settings: dict) -> None:
    """Run the job twice in this process, cold and warm, and print the seconds."""
    from spark_shap.config import RunConfig
    from spark_shap.engine.session import make_session
    from spark_shap.pipeline import run

    spark = make_session("local[2]", {}, delta=False)
    memory = PeakMemory()
    memory.start()
    out = {}
    for kind in ("cold", "warm"):
        config = RunConfig.model_validate(
            {
                "applicants": {"path": str(folder / f"{name}.parquet"), "key": ["id"]},
                "reference": {"path": str(folder / "table.parquet"), "size": settings["background"]},
                "model": {"file": str(folder / "model.pkl")},
                "explain": {"n_evaluations": settings["evaluations"], "seed": 7},
                "output": {
                    "path": str(folder / f"out-{name}-{kind}"),
                    "report": False,
                },  # for a person, after the tables
            }
        )
        start = time.perf_counter()
        result = run(spark, config)
        out[kind] = time.perf_counter() - start
        out[f"{kind} stages"] = result.seconds
        out[f"{kind} planned"] = result.plan.seconds
    memory.done.set()
    out["memory"] = memory.peak
    print(json.dumps(out))


def child(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def answer(process: subprocess.Popen) -> dict:
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a measuring process failed; its message is above")
    return json.loads(printed.strip().splitlines()[-1])


def engine_shares(folder: Path, evaluations: int) -> tuple[float, float]:
    """Seconds a row of the engine on one core, in memory, and the part of it that is the model."""
    from spark_shap import Explainer
    from spark_shap.engine.shipping import keep_freed_memory

    keep_freed_memory()
    model = pickle.loads((folder / "model.pkl").read_bytes())
    frame = pd.read_parquet(folder / "table.parquet")
    features = frame.drop(columns=["id", "bad"])
    spent = [0.0]

    def timed(rows):
        start = time.perf_counter()
        out = model.predict_proba(rows)[:, 1]
        spent[0] += time.perf_counter() - start
        return out

    explainer = Explainer(timed, features.iloc[:1000], n_evaluations=evaluations, seed=7)
    rows = frame.drop(columns="bad").iloc[:3000]
    explainer(rows.iloc[:500], key="id")
    spent[0], start = 0.0, time.perf_counter()
    explainer(rows, key="id")
    return (time.perf_counter() - start) / len(rows), spent[0] / len(rows)


def report(args: argparse.Namespace, folder: Path) -> None:
    data = make_table(args.rows, args.data)
    data.to_parquet(folder / "table.parquet", index=False)
    (folder / "model.pkl").write_bytes(pickle.dumps(train(data)))
    both = [child("model", str(folder)) for _ in range(2)]
    times = [answer(process) for process in both]
    best = min(times[0], key=lambda size: times[0][size] + times[1][size])
    model_seconds = (times[0][best] + times[1][best]) / 2  # of one core while both are busy
    bare = args.rows * args.evaluations * model_seconds / 2
    settings = {"evaluations": args.evaluations, "background": 1000}
    job = answer(child("job", str(folder), "table", json.dumps(settings)))
    row, in_model = engine_shares(folder, args.evaluations)

    print(f"\n{args.rows:,} rows x 23 features, {args.evaluations} evaluations a row, background 1,000, local[2]")
    print(f"bare model: {model_seconds * 1e6:.3f} us an evaluation in batches of {int(best):,}, two processes at once")
    print(f"            {bare:.2f} s for all evaluations on both cores\n")
    print(f"{'':34}{'seconds':>9}{'model-bound share':>20}")
    print(f"{'engine alone, one core, in memory':34}{row * args.rows:>9.2f}{in_model / row:>20.2f}")
    for kind in ("cold", "warm"):
        print(f"{f'whole job, {kind} session':34}{job[kind]:>9.2f}{bare / job[kind]:>20.2f}")
        stages = ", ".join(f"{stage} {value:.2f}" for stage, value in job[f"{kind} stages"].items())
        explain = job[f"{kind} stages"]["explain"]
        print(f"{f'  of which: {stages}':34}")
        print(f"{'  explaining and writing':34}{explain:>9.2f}{bare / explain:>20.2f}")
        planned = job[f"{kind} planned"]
        print(f"{'  of explaining, predicted':34}{planned:>9.2f}  {planned / explain:.2f} of what it took")
    print(f"\npeak memory of a Python worker: {job['memory'] / 2**20:.0f} MB")
    if args.large:
        large = make_table(10 * args.rows, args.data)
        large.to_parquet(folder / "large.parquet", index=False, row_group_size=50_000)
        ten = answer(child("job", str(folder), "large", json.dumps(settings)))
        longer = {kind: ten[kind] / job[kind] for kind in ("cold", "warm")}
        share, megabytes = 10 * bare / ten["cold"], ten["memory"] / 2**20
        print(
            f"\n10 times the rows: {ten['cold']:.1f} s, {longer['cold']:.2f} times as long ({longer['warm']:.2f} warm);"
        )
        print(f"model-bound share {share:.2f}, peak memory of a worker {megabytes:.0f} MB")
        wide = answer(child("background", str(folder), str(args.evaluations)))
        shown = ", ".join(f"{int(size):,} rows {seconds * 1e6:.0f} us" for size, seconds in wide.items())
        print(f"seconds a row by size of the background: {shown}")


def time_backgrounds(folder: Path, evaluations: int) -> None:
    """Print the engine's seconds a row for backgrounds of several sizes, best of three, in turns."""
    from spark_shap import Explainer
    from spark_shap.engine.shipping import keep_freed_memory

    keep_freed_memory()
    model = pickle.loads((folder / "model.pkl").read_bytes())
    features = pd.read_parquet(folder / "large.parquet").drop(columns=["id", "bad"])
    sizes = (1000, 10_000, 100_000)
    made = {size: Explainer(model, features.iloc[:size], n_evaluations=evaluations) for size in sizes}
    found = dict.fromkeys(sizes, np.inf)
    for _ in range(4):
        for size, explainer in made.items():
            start = time.perf_counter()
            explainer(features.iloc[-2000:])
            found[size] = min(found[size], (time.perf_counter() - start) / 2000)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the credit card clients' CSV file")
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--evaluations", type=int, default=257)
    parser.add_argument("--large", action="store_true", help="also 10 times the rows, and larger backgrounds")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, folder, *rest = args.child
        if what == "model":
            time_model(Path(folder))
        elif what == "job":
            run_job(Path(folder), rest[0], json.loads(rest[1]))
        else:
            time_backgrounds(Path(folder), int(rest[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args, Path(folder))


if __name__ == "__main__":
    main()
