"""A small portfolio and models of it, for tests of whole runs; workers get the models by value."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = ["age", "income", "loan amount", "rate.pct", "purpose"]


def applicants(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Ints, floats with a null, strings, names with a space and a dot, segments with a null, a weight."""
    rng = np.random.default_rng(seed)
    income = np.round(rng.lognormal(10, 0.5, n_rows), 2)
    income[min(3, n_rows - 1)] = np.nan
    region = rng.choice(["north", "south", "east"], n_rows).astype(object)
    region[:2] = None
    return pd.DataFrame(
        {
            "id": np.arange(n_rows) + 1000,
            "age": rng.integers(18, 80, n_rows),
            "income": income,
            "loan amount": rng.integers(1, 50, n_rows) * 100,
            "rate.pct": np.round(rng.normal(5, 1, n_rows), 3),
            "purpose": rng.choice(["car", "house", "tv"], n_rows),
            "region": region,
            "exposure": np.round(rng.uniform(0.5, 2, n_rows), 2),
        }
    )


def score(rows: pd.DataFrame) -> Any:
    """A probability of a row alone; ints must be ints and strings strings."""
    assert rows["age"].dtype.kind == "i", rows.dtypes
    assert list(rows.columns) == FEATURES
    known = rows["purpose"].isin(["car", "house", "tv"])
    if not known.all():
        raise ValueError(f"unknown purpose {rows['purpose'][~known].iloc[0]!r}")
    wealth = np.log(rows["income"].fillna(20_000.0).to_numpy() / rows["loan amount"].to_numpy())
    logit = 0.02 * (rows["age"].to_numpy() - 40) - 0.6 * wealth + 0.3 * rows["rate.pct"].to_numpy()
    logit = logit + np.where(rows["purpose"] == "car", 0.5, 0.0) * (wealth > 3)
    return 1 / (1 + np.exp(-logit))


class Model:
    """Scores rows; writes who asked for how many to a file, and misbehaves as it is told to."""

    def __init__(self, log: Path, *, outputs: int = 1, raises_at: int | None = None, nan_at: int | None = None) -> None:
        self.log, self.outputs, self.raises_at, self.nan_at = str(log), outputs, raises_at, nan_at

    def __call__(self, rows: pd.DataFrame) -> Any:
        with open(self.log, "ab", buffering=0) as file:  # one write a line: lines of several workers do not mix
            file.write(f"{os.getpid()} {len(rows)}\n".encode())
        if self.raises_at is not None and (rows["age"] == self.raises_at).any():
            raise RuntimeError(f"no age {self.raises_at}")
        out = np.asarray(score(rows))
        if self.nan_at is not None:
            out = np.where(rows["age"] == self.nan_at, np.nan, out)
        return out if self.outputs == 1 else np.column_stack([out, 1 - out])


def save(model: Any, path: Path) -> Path:
    """Pickle a model with its code, as a notebook's would be."""
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    path.write_bytes(cloudpickle.dumps(model))
    cloudpickle.unregister_pickle_by_value(here)
    return path


def worker_rows(log: Path) -> int:
    """Rows that the model scored outside of this process."""
    calls = [line.split() for line in log.read_text().splitlines()]
    return sum(int(rows) for pid, rows in calls if int(pid) != os.getpid())


def settings(folder: Path, model: Path, /, **sections: dict[str, Any]) -> dict[str, Any]:
    """A configuration that explains folder/applicants.parquet into folder/out; sections are merged in."""
    base: dict[str, dict[str, Any]] = {
        "applicants": {"path": str(folder / "applicants.parquet"), "key": ["id"], "features": FEATURES},
        "reference": {"size": 40},
        "model": {"file": str(model), "output_names": ["bad"]},
        "explain": {"n_evaluations": 65, "seed": 7},
        "output": {"path": str(folder / "out"), "report": False},  # seconds a run; tests/test_reporting.py has some
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return base
