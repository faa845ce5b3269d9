"""Seconds a row to the error that shap.SamplingExplainer has, on one core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from peers import PEERS, run_peer
from product import Prepared

if TYPE_CHECKING:
    from product import Variant
    from tasks import Task
    from truth import Truth

EVALUATIONS = 1281
_LADDER = sorted({2 * round(2 ** (step / 8)) + 1 for step in range(8, 90)})  # each about 9 % more, from 5 on


def race(task: Task, truth: Truth, variant: Variant, *, n_timed: int = 2000) -> dict[str, Any]:
    """Find the product's smallest budget with an error no larger than the peer's, and time both."""
    n_rows = len(truth.values)
    peer = PEERS["shap.SamplingExplainer"]
    run = run_peer(task, peer, {"nsamples": (EVALUATIONS - 1) // 2}, task.pool[:n_rows], 5)
    target = float(((run.values - truth.values) ** 2).mean() / truth.variance)
    out = {"task": task.name, "kind": task.kind, "variant": variant.name, "target": target, "peer_seconds": run.seconds}
    prepared, budget, error = _reach(task, truth, variant, target)
    if prepared is None:
        return {**out, "budget": None, "ratio": 0.0}
    rows = np.resize(task.pool, (n_timed, task.n_features))
    prepared.explain(rows[:200])
    seconds = float(np.median([prepared.explain(rows).seconds for _ in range(3)]))
    return {
        **out,
        "budget": budget,
        "nmse": error,
        "seconds": seconds,
        "prepare_seconds": prepared.seconds,
        "ratio": run.seconds / seconds,
    }


def _reach(task: Task, truth: Truth, variant: Variant, target: float) -> tuple[Prepared | None, int, float]:
    """Guess from one measurement by error ~ 1 / evaluations, then climb until draws of their own confirm the target."""
    guess = 65 * _error(Prepared(task, 65, variant, 0), truth, 0) / target
    for budget in _LADDER[max(0, int(np.searchsorted(_LADDER, guess)) - 1) :]:
        prepared = Prepared(task, budget, variant, 0)
        if _error(prepared, truth, 0) <= target:
            confirmed = _error(prepared, truth, 1_000_000)
            if confirmed <= target:
                return prepared, budget, confirmed
    return None, 0, float("nan")


def _error(prepared: Prepared, truth: Truth, first_key: int) -> float:
    """nMSE over four sets of draws."""
    outcome = prepared.explain(np.tile(prepared.task.pool[: len(truth.values)], (4, 1)), first_key)
    errors = outcome.values.reshape(4, *truth.values.shape) - truth.values
    return float((errors**2).mean() / truth.variance)
