"""Whether the standard errors tell the truth: coverage of 95 % intervals, and bias, at every budget.

    .venv/bin/python tests/bench/intervals.py [--credit-card credit_card_default.csv] [--output FOLDER] [--quick]

On all tasks of accuracy.py, at budgets from 9 to 1,025, with a surrogate fitted to 200,000 evaluations, with the
default one, and with nothing spent on one: the share of exact values within t * standard error. Then 200 sets of draws
at 17 evaluations: the mean error over its own standard error, a z-score whose mean square is 1 if there is no bias.
Writes coverage.json, and coverage.md with the README's table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402 - threads are set before numpy is loaded
from product import DEFAULT, PILOT, PORTFOLIO, Prepared, Variant, judge_errors  # noqa: E402
from tasks import TASKS, make_task  # noqa: E402
from truth import Truth, find_truth  # noqa: E402

BUDGETS = (9, 17, 33, 65, 129, 257, 513, 1025)
LOW, HIGH = 0.93, 0.97
_BIAS_BUDGET, _REPLICATES = 17, 200


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", help=f"some of: {', '.join(TASKS)}")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="model evaluations a row")
    parser.add_argument("--rows", type=int, default=100, help="rows to explain")
    parser.add_argument("--draws", type=int, default=4, help="sets of draws a row")
    parser.add_argument(
        "--surrogate-evaluations", type=int, default=PORTFOLIO, help=f"spent once on the surrogate ({PORTFOLIO:,})"
    )
    parser.add_argument("--credit-card", metavar="PATH", help="the credit card clients' CSV file")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "spark-shap-accuracy")
    parser.add_argument("--quick", action="store_true", help="one task, two budgets: whether it runs")
    args = parser.parse_args()
    args.tasks = args.tasks.split(",") if args.tasks else list(TASKS)
    args.budgets = [int(budget) for budget in args.budgets.split(",")]
    if args.quick:
        args.tasks, args.budgets, args.rows = ["f8-network-probability"], [17, 65], 24
        args.surrogate_evaluations = min(args.surrogate_evaluations, 40_000)
    return args


def coverage(prepared: Prepared, truth: Truth, budget: int, draws: int) -> dict[str, Any]:
    n_rows = len(truth.values)
    outcome = prepared.at(budget).explain(np.tile(prepared.task.pool[:n_rows], (draws, 1)))
    errors = outcome.values.reshape(draws, n_rows, -1) - truth.values
    own = (part.reshape(errors.shape) for part in (outcome.std_errors, outcome.halves))
    return {"budget": budget, **judge_errors(errors, *own)}


def bias(prepared: Prepared, truth: Truth) -> dict[str, Any]:
    """z-scores of the mean error; what the spread of few replicates adds to their square is taken out."""
    n_rows = len(truth.values)
    rows = np.tile(prepared.task.pool[:n_rows], (_REPLICATES, 1))
    outcome = prepared.at(_BIAS_BUDGET).explain(rows)
    errors = outcome.values.reshape(_REPLICATES, n_rows, -1) - truth.values
    spread = errors.var(axis=0, ddof=1) / _REPLICATES + truth.noise * truth.variance
    ratio = (errors.mean(axis=0) ** 2)[spread > 0] / spread[spread > 0]
    square = float(ratio.mean()) * (_REPLICATES - 3) / (_REPLICATES - 1)
    return {"mean_square_z": square, "values": int(ratio.size)}


def markdown(result: dict[str, list[dict[str, Any]]], budgets: list[int]) -> list[str]:
    """The README's table: least and greatest coverage over the tasks, by what is taken off."""
    lines = ["| coverage of 95 % intervals | " + " | ".join(f"{budget:,}" for budget in budgets) + " | mean z^2 |"]
    lines.append("|---" * (len(budgets) + 2) + "|")
    for variant in dict.fromkeys(one["variant"] for one in result["coverage"]):
        cells = [_range(result["coverage"], "coverage", variant=variant, budget=budget) for budget in budgets]
        squares = _range(result["bias"], "mean_square_z", variant=variant)
        lines.append("| " + " | ".join([variant, *cells, squares]) + " |")
    return lines


def _range(records: list[dict[str, Any]], name: str, **wanted: Any) -> str:
    found = [one[name] for one in records if all(one[key] == value for key, value in wanted.items())]
    return f"{min(found):.3f} to {max(found):.3f}"


def main() -> None:
    args = parse()
    args.output.mkdir(parents=True, exist_ok=True)
    result: dict[str, list[dict[str, Any]]] = {"coverage": [], "bias": []}
    print(f"{'':44}{'':>10}" + "".join(f"{budget:>8,}" for budget in args.budgets) + f"{'z^2':>8}")
    for name in args.tasks:
        task = make_task(name, args.credit_card)
        truth = find_truth(task, task.pool[: args.rows], args.output, quick=args.quick)
        for variant in (Variant("surrogate", args.surrogate_evaluations), DEFAULT, PILOT):
            prepared, about = (
                Prepared(task, max(args.budgets), variant, 3),
                {"task": task.name, "variant": variant.name},
            )
            found = [{**about, **coverage(prepared, truth, budget, args.draws)} for budget in args.budgets]
            result["coverage"] += found
            result["bias"].append({**about, **bias(prepared, truth)})
            shown = "".join(f"{one['coverage']:>8.3f}" for one in found)
            print(f"{task.title:44}{variant.name:>10}{shown}{result['bias'][-1]['mean_square_z']:>8.2f}", flush=True)
        (args.output / "coverage.json").write_text(json.dumps(result, indent=1))
    (args.output / "coverage.md").write_text("\n".join(markdown(result, args.budgets)) + "\n")
    outside = [one for one in result["coverage"] if not LOW <= one["coverage"] <= HIGH]
    for one in outside:
        print(f"MISSED {one['task']}, {one['variant']}, {one['budget']:,} evaluations: {one['coverage']:.3f}")
    inside = len(result["coverage"]) - len(outside)
    print(f"{'MISSED' if outside else 'met'} {inside} of {len(result['coverage'])} between {LOW:.2f} and {HIGH:.2f}")


if __name__ == "__main__":
    main()
