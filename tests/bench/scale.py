"""Memory of the whole job as the rows grow: a linear model or trees of 23 features, through the command line.

    .venv/bin/python tests/bench/scale.py [--rows 1000000 5000000] [--method tree] [--conf name=value]

Each size is a job of its own on ``local[2]``. Of every process of a job the kernel's own record of its largest
resident set (VmHWM) is read until it ends: of the Python workers (the largest one counts), of the driver's
Python, and of the JVM. A JVM fills the heap that it is allowed before it clears it up, whatever it needs, so here all
of its heap is resident from the start: what it shows beyond that is what grows, and one column has that alone. The last
has the largest resident sets as shares of those of the first size.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from spark_shap.engine.java import java_options

ROOT = Path(__file__).resolve().parents[2]
N_FEATURES = 23
FEATURES = [f"x{index}" for index in range(N_FEATURES)]
CHUNK = 250_000
HEAP = "2g"
HEAP_MB = 2048


def write_table(path: Path, n_rows: int) -> None:
    """Write rows in portions: this process stays small, too."""
    writer = None
    for start in range(0, n_rows, CHUNK):
        values = np.random.default_rng(start).normal(size=(min(CHUNK, n_rows - start), N_FEATURES)).round(5)
        frame = pd.DataFrame(values, columns=FEATURES)
        frame.insert(0, "id", np.arange(start, start + len(frame)))
        frame["region"] = (frame["id"] % 7).astype(str)
        chunk = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, chunk.schema)
        writer.write_table(chunk, row_group_size=50_000)
    if writer is not None:
        writer.close()


def write_model(path: Path, method: str) -> None:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    rows = pd.DataFrame(rng.normal(size=(20_000, N_FEATURES)), columns=FEATURES)
    bad = rng.random(len(rows)) < 1 / (1 + np.exp(-rows @ rng.normal(size=N_FEATURES)))
    linear, trees = make_pipeline(StandardScaler(), LogisticRegression()), GradientBoostingClassifier(max_depth=4)
    path.write_bytes(pickle.dumps((linear if method == "linear" else trees).fit(rows, bad)))


def memory_of(process: subprocess.Popen) -> dict[str, float]:
    """Largest resident sets until a job ends, in MB, by kind of process."""
    most = {"worker": 0.0, "driver": 0.0, "JVM": 0.0}
    while process.poll() is None:
        for one in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(one.name)) != process.pid:
                    continue
                command = (one / "cmdline").read_bytes()
                kilobytes = (one / "status").read_text().split("VmHWM:")[1].split()[0]
            except (OSError, IndexError):  # it has ended
                continue
            kind = "worker" if b"pyspark.worker" in command else "JVM" if b"java" in command[:100] else "driver"
            if kind != "driver" or int(one.name) == process.pid:
                most[kind] = max(most[kind], int(kilobytes) / 1024)
        time.sleep(0.1)
    return most


def measure(folder: Path, n_rows: int, method: str, conf: dict[str, str]) -> dict[str, float]:
    write_table(folder / "table.parquet", n_rows)
    config = {
        "applicants": {"path": str(folder / "table.parquet"), "key": "id", "features": FEATURES},
        "reference": {"size": 1000},
        "model": {"file": str(folder / "model.pkl")},
        "explain": {"method": method, "output_space": "margin", "seed": 7},
        "summary": {"by": ["region"]},
        "output": {"path": str(folder / f"out{n_rows}")},
        "spark": {
            "master": "local[2]",
            "conf": {
                "spark.driver.memory": HEAP,
                "spark.driver.extraJavaOptions": f"{java_options()} -Xms{HEAP} -XX:+AlwaysPreTouch",
                **conf,
            },
        },
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "spark_shap.cli", "run", "--config", str(folder / "run.yaml")]
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, start_new_session=True)
        found = memory_of(process)
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    return {"seconds": time.perf_counter() - start, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--method", choices=("linear", "tree"), default="linear")
    parser.add_argument("--conf", nargs="*", default=[], metavar="NAME=VALUE", help="of Spark")
    arguments = parser.parse_args()
    conf = dict(pair.split("=", 1) for pair in arguments.conf)
    first = None
    print(f"{'rows':>10} {'seconds':>8} {'worker MB':>10} {'driver MB':>10} {'JVM MB':>7} beyond heap   of the first")
    for n_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder, "model.pkl"), arguments.method)
            row = measure(Path(folder), n_rows, arguments.method, conf)
        first = first or row
        shares = ", ".join(f"{row[kind] / first[kind]:.3f}" for kind in ("worker", "driver", "JVM"))
        print(
            f"{n_rows:>10,} {row['seconds']:>8.1f} {row['worker']:>10.0f} {row['driver']:>10.0f} {row['JVM']:>7.0f}"
            f" {row['JVM'] - HEAP_MB:>11.0f}   {shares}",
            flush=True,
        )


if __name__ == "__main__":
    main()
