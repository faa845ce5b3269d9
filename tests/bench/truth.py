"""The true values of a task, with their own error; nothing of the product is used here.

Trees: exact interventional TreeSHAP. Up to 10 features: enumeration of all coalitions and background rows. Else
very long antithetic permutation walks over the whole background, each background row equally often.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tasks import Task

_MOST_ENUMERATED = 10
_FEWEST_SWEEPS, _MOST_SWEEPS = 4, 200


@dataclass(frozen=True)
class Truth:
    """(n, M) values, how they were made, and the mean square of their own errors over their variance."""

    values: np.ndarray
    how: str
    noise: float

    @property
    def variance(self) -> float:
        return float(self.values.var())


def find_truth(task: Task, rows: np.ndarray, folder: Path, *, quick: bool = False) -> Truth:
    """Return the truth, from the folder if it holds one as good of the same model, background and rows."""
    # Errors at the largest budgets are about 0.0005 up to 23 features and 0.01 above: a twentieth and less of those.
    noise = 2e-3 if quick else 2e-5 if task.n_features <= 23 else 3e-4
    path = kept_path(task, rows, folder / "truth")
    if path.exists():
        with np.load(path) as found:
            truth = Truth(found["values"], str(found["how"]), float(found["noise"]))
        if truth.noise <= noise:
            return truth
    truth = _make(task, rows, noise)
    np.savez(path, values=truth.values, how=truth.how, noise=truth.noise)
    return truth


def kept(task: Task, rows: np.ndarray, start: Path, make: Callable[[Task, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return what `make` finds, from the file if there is one of the same model, background and rows."""
    path = kept_path(task, rows, start)
    if not path.exists():
        np.savez(path, values=make(task, rows))
    with np.load(path) as found:
        return found["values"]


def kept_path(task: Task, rows: np.ndarray, start: Path) -> Path:
    """Return the file, named by its content's origin, whose name starts as `start`."""
    key = hashlib.sha256(task.name.encode())
    for part in (rows, task.background, task.predict(rows), task.predict(task.background)):
        key.update(np.ascontiguousarray(part).tobytes())
    start.parent.mkdir(parents=True, exist_ok=True)
    return start.with_name(f"{start.name}-{task.name}-{key.hexdigest()[:16]}.npz")


def _make(task: Task, rows: np.ndarray, noise: float) -> Truth:
    if task.trees is not None and task.transform is None:
        return Truth(tree_values(task, rows), "exact TreeSHAP", 0.0)
    if task.n_features <= _MOST_ENUMERATED:
        return Truth(enumerate_all(task.predict, rows, task.background), "enumeration", 0.0)
    return long_run(task, rows, noise)


def tree_values(task: Task, rows: np.ndarray) -> np.ndarray:
    """(n, M) exact values of the margin of a tree ensemble against the whole background."""
    import shap

    masker = shap.maskers.Independent(task.background, max_samples=len(task.background))
    values = shap.TreeExplainer(task.trees, masker, model_output="raw").shap_values(rows, check_additivity=False)
    return values[..., 1] if values.ndim == 3 else values


def enumerate_all(predict: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(n, M) Shapley values by all coalitions against all background rows."""
    n_features = rows.shape[1]
    members = (np.arange(2**n_features)[:, None] >> np.arange(n_features)) & 1 == 1
    size = members.sum(axis=1)
    joining = np.array([factorial(k) * factorial(max(n_features - k - 1, 0)) for k in range(n_features + 1)])
    joining = joining / factorial(n_features)
    weights = np.where(members, joining[size - 1][:, None], -joining[size][:, None])
    values = np.empty(rows.shape)
    for place, row in enumerate(rows):
        hybrids = np.where(members[:, None, :], row, background).reshape(-1, n_features)
        values[place] = predict(hybrids).reshape(len(members), -1).mean(axis=1) @ weights
    return values


def long_run(task: Task, rows: np.ndarray, noise: float) -> Truth:
    """Walk until the error that the sweeps' own spread shows is below `noise` of the values' variance.

    A model that transforms the margin of trees is walked on what is not linear in the margin: the margin's own
    values are exact.
    """
    slope, known = 0.0, np.zeros(rows.shape)
    if task.trees is not None and task.transform is not None:
        margin = task.margin(task.background)
        slope = float(np.cov(margin, task.transform(margin))[0, 1] / margin.var(ddof=1))
        known = slope * tree_values(task, rows)

    def game(numbers: np.ndarray) -> np.ndarray:
        if task.transform is None:
            return task.predict(numbers)
        margin = task.margin(numbers)
        return task.transform(margin) - slope * margin

    sweeps: list[np.ndarray] = []
    rng = np.random.default_rng(20_000)
    while len(sweeps) < _MOST_SWEEPS:
        sweeps.append(np.stack([walk(game, row, task.background, rng) for row in rows]))
        if len(sweeps) >= _FEWEST_SWEEPS:
            values = known + np.mean(sweeps, axis=0)
            error = float(np.var(sweeps, axis=0, ddof=1).mean() / len(sweeps) / values.var())
            if error <= noise:
                break
    evaluations = 2 * len(sweeps) * len(task.background) * (task.n_features - 1)
    return Truth(values, f"walks, {evaluations:,} evaluations a row", error)


def check_walks(task: Task, n_rows: int = 20, n_sweeps: int = 8) -> float:
    """Squared error of walks of a margin of trees, by exact values, over what their own spread says: near 1."""
    rng = np.random.default_rng(30_000)
    rows = task.pool[:n_rows]
    sweeps = [np.stack([walk(task.margin, row, task.background, rng) for row in rows]) for _ in range(n_sweeps)]
    errors = np.mean(sweeps, axis=0) - tree_values(task, rows)
    return float((errors**2).mean() / (np.var(sweeps, axis=0, ddof=1).mean() / n_sweeps))


def walk(
    game: Callable[[np.ndarray], np.ndarray], row: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(M,) values of a sweep: every background row once, along one random order of the features and its reverse."""
    n_background, n_features = background.shape
    turn = rng.random(background.shape).argsort(axis=1)  # when each feature comes
    values = np.zeros(n_features)
    for when in (turn, n_features - 1 - turn):
        steps = np.arange(1, n_features)
        hybrids = np.where(when < steps[:, None, None], row, background)
        inner = game(hybrids.reshape(-1, n_features)).reshape(n_features - 1, n_background)
        path = np.concatenate([game(background)[None], inner, np.full((1, n_background), game(row[None])[0])])
        gains = np.diff(path, axis=0)  # gains[t, b]: of the feature that comes t-th
        values += np.take_along_axis(gains.T, when, axis=1).mean(axis=0)
    return values / 2
