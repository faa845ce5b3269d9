"""Mean |SHAP| of a population from few evaluations a row, as the summary makes it, against the truth.

The population is 3,000 rows; its true means come from exact values of trees, or from one sweep of walks over the whole
background a row, whose own error is too small to lift a mean |SHAP| by more than a few thousandths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from product import Prepared
from truth import kept, tree_values, walk

if TYPE_CHECKING:
    from pathlib import Path

    from product import Variant
    from tasks import Task

BUDGETS = (5, 9, 17)
TASKS = ("f20-boosting-margin", "f20-network-probability", "f20-logistic-probability", "german-logistic-probability")
TASKS += ("card-network-probability", "card-boosting-margin")  # the forest's exact values would take half an hour


def measure_aggregates(task: Task, variants: list[Variant], folder: Path, *, n_rows: int) -> list[dict[str, Any]]:
    """Return the error of each variant at each budget: sum over features of |error|, over the sum of mean |SHAP|."""
    rows = task.pool[:n_rows]
    wanted = np.abs(kept(task, rows, folder / "population", _population_values)).mean(axis=0)
    return [_measure(task, rows, wanted, budget, variant) for variant in variants for budget in BUDGETS]


def _population_values(task: Task, rows: np.ndarray) -> np.ndarray:
    if task.trees is not None and task.transform is None:
        return tree_values(task, rows)
    rng = np.random.default_rng(40_000)
    return np.stack([walk(task.predict, row, task.background, rng) for row in rows])


def _measure(task: Task, rows: np.ndarray, wanted: np.ndarray, budget: int, variant: Variant) -> dict[str, Any]:
    from spark_shap.core.shrinkage import fit_residuals, residual_moments
    from spark_shap.core.summary import local_summary
    from spark_shap.core.summary_result import summary_result
    from spark_shap.core.summary_rows import Split

    prepared = Prepared(task, budget, variant, 0)
    found = prepared.attributions(rows)
    values, errors, known = (part[:, :, 0] for part in (found.values, found.std_errors, found.known))
    moments = residual_moments(values - known, errors**2, known, np.ones(len(rows)))
    summary = summary_result(local_summary(values, std_errors=errors, split=Split(known, fit_residuals(moments))))
    off = {"error": summary["mean_abs_shap"], "naive": np.abs(values).mean(axis=0)}
    return {
        "task": task.name,
        "variant": variant.name,
        "budget": budget,
        "rows": len(rows),
        "prepare_evaluations": prepared.evaluations,
        **{name: float(np.abs(one - wanted).sum() / wanted.sum()) for name, one in off.items()},
    }
