"""Evaluations until reasons are stable: duels where they are not, against the same budget for every row.

    .venv/bin/python tests/bench/reasons.py --data credit_card_default.csv --rows 600

For each task the fifth of the applicants with the highest predictions, as if they were declined: the share of rows
whose four reasons are stable, by uniform budgets, and by a budget of 129 with more for rows that need it. The last
figure is what a uniform budget takes for the same share, interpolated in the logarithm of evaluations.
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
UNIFORM = (129, 257, 513, 1025, 2049, 4097, 8193, 16385)
CAPS = (257, 513, 1025, 4097)


def measure(task: Task, n_rows: int, n_evaluations: int, most: int) -> tuple[float, float]:
    """Return the mean evaluations a row, and the share of rows whose reasons are stable."""
    predictions = task.predict(task.as_taken(task.pool))
    declined = np.flatnonzero(predictions >= np.quantile(predictions, 0.8))[:n_rows]
    explainer = Explainer(
        task.predict,
        task.as_taken(task.background[:N_BACKGROUND]),
        method="sampling",
        n_evaluations=n_evaluations,
        population=task.as_taken(np.delete(task.pool, declined, axis=0)),
        seed=1,
        reasons=Reasons(harm="high", max_p_swap=LIMIT, max_evaluations=most),
    )
    found = explainer(task.as_taken(task.pool[declined]))
    assert found.ranking is not None
    return float(found.n_evaluations.mean()), float(found.ranking.settled(LIMIT).mean())


def needed(uniform: list[tuple[float, float]], share: float) -> float:
    """Return the uniform budget that gives a share of stable rows; infinite beyond the largest.

    A larger budget that gives no more than a smaller one, as happens with few rows, is left out.
    """
    kept = uniform[:1]
    kept += [here for here in uniform[1:] if here[1] > max(one[1] for one in uniform[: uniform.index(here)])]
    evaluations, shares = np.array(kept).T
    return float(np.exp(np.interp(share, shares, np.log(evaluations), right=np.inf)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="FILE", help="credit_card_default.csv; a generated table stands in for it")
    parser.add_argument("--rows", type=int, default=600)
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
            beside = f"uniform takes {same:,.0f}" if np.isfinite(same) else f"uniform more than {UNIFORM[-1]:,}"
            times = min(same, UNIFORM[-1]) / evaluations
            print(
                f"  up to {cap:8,d} {evaluations:8,.0f} evaluations a row, {share:6.1%} of rows stable; "
                f"{beside}, {times:.1f} times as many"
            )


if __name__ == "__main__":
    main()
