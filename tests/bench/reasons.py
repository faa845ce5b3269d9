"""Evaluations until reasons are stable: rows that go on until theirs are, against the same budget for every row.

    .venv/bin/python tests/bench/reasons.py --data credit_card_default.csv

For each task the share of rows whose reasons are stable, by uniform budgets and by a budget of 129 with a cap; the
last column is what a uniform budget takes for the same share, interpolated in the logarithm of evaluations.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from tasks import N_BACKGROUND, TASKS, make_task

from spark_shap import Explainer, Reasons

if TYPE_CHECKING:
    from tasks import Task

BASE, LIMIT = 129, 0.025
UNIFORM = (129, 257, 513, 1025, 2049, 4097)
CAPS = (513, 1025, 2049)


def measure(task: Task, n_rows: int, n_evaluations: int, cap: int) -> tuple[float, float]:
    """Return the mean evaluations a row, and the share of rows whose reasons are stable."""
    background, rows = task.as_taken(task.background[:N_BACKGROUND]), task.as_taken(task.pool[:n_rows])
    population = task.as_taken(task.pool[n_rows:])
    reasons = Reasons(harm="high", max_p_swap=LIMIT, max_evaluations=cap)
    explainer = Explainer(
        task.predict,
        background,
        method="sampling",
        n_evaluations=n_evaluations,
        population=population,
        seed=1,
        reasons=reasons,
    )
    found = explainer(rows)
    assert found.ranking is not None
    return float(found.n_evaluations.mean()), float(found.ranking.settled(LIMIT).mean())


def needed(uniform: list[tuple[float, float]], share: float) -> float:
    """Return the uniform budget that gives a share of stable rows; infinite beyond the largest."""
    evaluations, shares = np.array(uniform).T
    shares = np.maximum.accumulate(shares)
    return float(np.exp(np.interp(share, shares, np.log(evaluations), right=np.inf)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="FILE", help="credit_card_default.csv; a generated table stands in for it")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tasks", nargs="*", default=["german-logistic-probability", "card-network-probability"])
    options = parser.parse_args()
    for name in options.tasks:
        task = make_task(name, options.data)
        uniform = [measure(task, options.rows, budget, 0) for budget in UNIFORM]
        print(TASKS[name] if options.data else task.title)
        for evaluations, share in uniform:
            print(f"  uniform        {evaluations:8,.0f} evaluations a row, {share:6.1%} of rows stable")
        for cap in CAPS:
            evaluations, share = measure(task, options.rows, BASE, cap)
            same = needed(uniform, share)
            print(
                f"  up to {cap:8,d} {evaluations:8,.0f} evaluations a row, {share:6.1%} of rows stable; "
                f"uniform takes {same:,.0f}, {same / evaluations:.1f} times as many"
            )


if __name__ == "__main__":
    main()
