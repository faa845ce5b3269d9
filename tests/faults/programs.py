"""Programs that make a run and are killed, and what they leave; nothing in the product is touched for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import portfolio
import yaml
from portfolio import Model, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
N_SHARDS = 3
FOLDED = ("summary", "dependence", "reason_rates")
COUNTS = ["rows_read", "rows_explained", "rows_rejected", "rows_left_out", "reason_rows", "model_evaluations", "shards"]
ERRORS = ["additivity_gap_max", "std_error_median", "std_error_p99"]


class Watched(Model):
    """Writes down what it is asked by the workers that explain, takes its time there, and misbehaves as it is told.

    It kills its process once, when that has been asked for more than `dies_after` rows there, if the file
    ``log.dies`` exists; in working folders with `slow_at` in their path it takes a thousand times as long.
    """

    def __init__(
        self,
        log: Path,
        *,
        seconds: float = 0.0,
        dies_after: int | None = None,
        slow_at: str = "nowhere",
        **options: int,
    ) -> None:
        super().__init__(log, **options)
        self.seconds, self.dies_after, self.slow_at, self.n_rows = seconds, dies_after, slow_at, 0

    def __call__(self, rows: pd.DataFrame) -> Any:
        out = super().__call__(rows.rename(columns={"loan_amount": "loan amount", "rate_pct": "rate.pct"}))
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_name != "explain_batches":  # asked by the timing, or the driver
            frame = frame.f_back  # type: ignore[assignment]  # None ends it
        if frame is not None:
            with open(self.log + ".explaining", "ab", buffering=0) as file:
                file.write(f"{os.getpid()} {len(rows)}\n".encode())
            time.sleep(1000 * self.seconds if self.slow_at in os.getcwd() else self.seconds)
            self.n_rows += len(rows)
            if self.dies_after is not None and self.n_rows > self.dies_after:
                try:
                    os.unlink(self.log + ".dies")  # of all workers, one finds it
                except FileNotFoundError:
                    return out
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)
        return out


class Asked:
    """How many rows the explaining workers have put to a model since a moment."""

    def __init__(self, log: Path) -> None:
        self.path = Path(f"{log}.explaining")
        self.path.touch()
        self.start = self.path.stat().st_size

    def calls(self) -> list[tuple[int, int]]:
        """Process and number of rows of each call."""
        lines = self.path.read_bytes()[self.start :].splitlines()
        return [(int(pid), int(n_rows)) for pid, n_rows in map(bytes.split, lines)]

    def rows(self, by: list[int] | None = None) -> int:
        return sum(n_rows for pid, n_rows in self.calls() if by is None or pid in by)

    def last(self, by: list[int]) -> int:
        """How many rows some processes were asked in their last call, the fewest of any that was called."""
        return min(n_rows for n_rows in dict(call for call in self.calls() if call[0] in by).values())


def save(model: Any, path: Path) -> Path:
    """Pickle a model with its code, where that is a test's."""
    ours = {sys.modules[__name__], sys.modules[type(model).__module__]}
    ours = {module for module in ours if str(module.__file__).startswith(str(ROOT))}
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        return portfolio.save(model, path)
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)


class Work:
    """A folder with applicants and a model, whose run can be made into several places."""

    def __init__(
        self, folder: Path, model: Any, data: pd.DataFrame, *, conf: dict[str, Any] | None = None, **sections: Any
    ) -> None:
        self.folder, self.log, self.data = folder, folder / "calls", data
        self.sections, self.conf = sections, conf or {}
        data.to_parquet(folder / "applicants.parquet", index=False)
        self.model = save(model, folder / "model.pkl")

    def settings(self, out: Path, **sections: dict[str, Any]) -> dict[str, Any]:
        conf = {"spark.ui.enabled": False, "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        base: dict[str, dict[str, Any]] = {
            "applicants": {"keep": ["region"]},
            "explain": {"shards": N_SHARDS, "seed": 7, "n_evaluations": 65, "surrogate_evaluations": 0},
            "summary": {"by": [["region"]]},
            "output": {"path": str(out)},
            "spark": {"master": "local[2]", "conf": {**conf, "spark.sql.shuffle.partitions": 2, **self.conf}},
        }
        for name, values in [*self.sections.items(), *sections.items()]:
            base[name] = {**base.get(name, {}), **values}
        return settings(self.folder, self.model, **base)


class Program:
    """A command line on its way, in a group of processes of its own."""

    def __init__(self, work: Work, out: Path, **sections: dict[str, Any]) -> None:
        self.out = out
        name = f"{out.name}.{time.monotonic_ns()}"
        config, self.log = work.folder / f"{name}.yaml", work.folder / f"{name}.log"
        config.write_text(yaml.safe_dump(work.settings(out, **sections)))
        variables = {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        variables = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", **variables}
        command = [sys.executable, "-m", "spark_shap.cli", "run", "--config", str(config)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=work.folder, env=variables, start_new_session=True
            )

    def all(self) -> list[int]:
        """Its processes: Python, the JVM, workers."""
        return [self.process.pid, *started_by(self.process.pid)]

    def wait(self, seconds: float = 300) -> int:
        return self.process.wait(seconds)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, seen: Callable[[Path], bool], seconds: float = 300) -> None:
        """Return as soon as the tables show something."""
        end = time.monotonic() + seconds
        while not seen(self.out):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it ended ({self.process.poll()}) before that was seen\n{self.said}")
            time.sleep(0.01)

    def kill(self, *, jvm: bool = True) -> None:
        """kill -9: the driver's Python alone, whose JVM then stops by itself, or both, with all workers."""
        if jvm:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(30)

    def end(self) -> None:
        """Leave nothing behind."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait(30)


@contextmanager
def program(work: Work, out: Path, **sections: dict[str, Any]) -> Iterator[Program]:
    """A command line that is gone at the end, whatever happens."""
    one = Program(work, out, **sections)
    try:
        yield one
    finally:
        one.end()


def complete(work: Work, out: Path, **sections: dict[str, Any]) -> str:
    """Run the command to its end; return what it said."""
    with program(work, out, **sections) as one:
        assert one.wait() == 0, one.said
        return one.said


def started_by(pid: int, text: str = "") -> list[int]:
    """The processes that a process has started, and those by them, whose command line holds a text."""
    parents: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for one in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((one / "stat").read_text().rsplit(")", 1)[1].split()[1])
            commands[int(one.name)] = (one / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except (OSError, IndexError):  # it has ended
            continue
        parents.setdefault(parent, []).append(int(one.name))
    waiting, below = [pid], list[int]()
    while waiting:
        there = parents.get(waiting.pop(), [])
        waiting += there
        below += there
    return sorted(one for one in below if text in commands[one])


def python_workers(pid: int) -> list[int]:
    """The Python workers below a process: children of a daemon."""
    return sorted({one for daemon in started_by(pid, "pyspark.worker") for one in started_by(daemon)})


# ------------------------------------------------------------------------- what can be seen of a run


def found(out: Path, pattern: str) -> bool:
    return next(out.glob(pattern), None) is not None


def written(part: int) -> Callable[[Path], bool]:
    """A shard's attributions are all there, its line is not."""
    return lambda out: found(out, f"attributions/*/shard={part:05d}of*/_SUCCESS") and not committed(part)(out)


def committed(part: int) -> Callable[[Path], bool]:
    return lambda out: found(out, f"shards/*/shard={part:05d}of*/*.parquet")


def explaining(part: int) -> Callable[[Path], bool]:
    return lambda out: found(out, f"attributions/*/shard={part:05d}of*/_temporary/0/_temporary/*/*.parquet")


def table(out: Path, name: str) -> pd.DataFrame:
    """A table as any reader of Parquet sees its folder: with all that lies there."""
    rows = pd.read_parquet(out / name)
    order = [one for one in ("id", "output", "rank", "segment_by", "segment", "feature", "bin") if one in rows]
    return rows.drop(columns="shard", errors="ignore").sort_values(order, ignore_index=True)


def numbers(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.array([list(row.values()) for row in rows[name]])


def assert_same_tables(out: Path, plain: Path) -> None:
    """Bit by bit, each row once, in all tables; sums of aggregates may be taken in another order."""
    mine, theirs = table(out, "attributions"), table(plain, "attributions")
    assert mine["id"].tolist() == theirs["id"].tolist()
    for name in ("shap_values", "std_errors"):
        np.testing.assert_array_equal(numbers(mine, name), numbers(theirs, name))
    apart = ["run_id", "shap_values", "std_errors"]  # a model with another log is another run
    pd.testing.assert_frame_equal(mine.drop(columns=apart), theirs.drop(columns=apart), check_exact=True)
    names = tables_in(plain)
    assert tables_in(out) == names
    for name in sorted(names - {"attributions", "runs", "shards"}):
        mine, theirs = (table(place, name).drop(columns="run_id") for place in (out, plain))
        how = {"rtol": 1e-12} if name in FOLDED else {"check_exact": True}
        pd.testing.assert_frame_equal(mine, theirs, **how)  # type: ignore[call-overload]
    mine, theirs = (run_row(place)[[*COUNTS, *ERRORS]].astype(float) for place in (out, plain))
    np.testing.assert_array_equal(mine[COUNTS], theirs[COUNTS])
    np.testing.assert_allclose(mine[ERRORS], theirs[ERRORS], rtol=1e-12)


def tables_in(out: Path) -> set[str]:
    return {one.name for one in out.iterdir() if one.is_dir() and not one.name.startswith("_")}


def run_row(out: Path) -> pd.Series:
    """The row of the only run; of two, where a program was killed while it replaced one, the later one."""
    rows = pd.read_parquet(out / "runs").sort_values(["attempts", "finished_at"])
    assert rows["run_id"].nunique() == 1
    return rows.iloc[-1]


def evaluations(out: Path, attempt: int) -> int:
    """Model evaluations of the rows in the shards that an attempt has committed."""
    lines = pd.read_parquet(out / "shards").astype({"attempt": str, "shard": str})
    mine = set(lines["shard"][lines["attempt"].str.startswith(f"{attempt:05d}")])
    rows = pd.read_parquet(out / "attributions").astype({"shard": str})
    return int(rows["n_evaluations"][rows["shard"].isin(mine)].sum())
