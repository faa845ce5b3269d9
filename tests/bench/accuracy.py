"""Errors and seconds of spark-shap and of other explainers on the same rows, in one run.

    .venv/bin/python tests/bench/accuracy.py [--credit-card credit_card_default.csv] [--output FOLDER] [--quick]

Twelve tasks with 8 to 60 features, a background of 1,000 rows, 100 rows to explain. nMSE is the mean squared error
over rows and features, over the variance of the true values. Everybody is counted by the model rows they ask for,
and timed in CPU seconds of one core. The product runs with a surrogate fitted to 200,000 evaluations, which a portfolio
pays once, with its default for a population of unknown size, and with nothing spent on one. Best peers are named
twice: of those that explain against the whole background, and of all, with those that explain against a summary of it.
Then mean |SHAP| of 3,000 rows from 5 to 17 evaluations each. Writes accuracy.txt, accuracy.json, the README's table
and figures to the folder, and keeps true values there for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import plots  # noqa: E402 - threads are set before numpy is loaded
import verdict  # noqa: E402
from aggregates import TASKS as AGGREGATED  # noqa: E402
from aggregates import measure_aggregates  # noqa: E402
from peers import PEERS, run_peers  # noqa: E402
from product import DEFAULT, PILOT, PORTFOLIO, Variant, measure  # noqa: E402
from speed import race  # noqa: E402
from tasks import TASKS, Task, make_task  # noqa: E402
from truth import Truth, check_walks, find_truth  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

Found: TypeAlias = dict[str, Any]
QUICK = ("f8-network-probability", "f20-boosting-margin")
CHECKED = "f20-boosting-margin"  # where long walks are compared with exact values
QUICK_PEERS = ("shap.SamplingExplainer", "shap.KernelExplainer, k-means")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", help=f"some of: {', '.join(TASKS)}")
    parser.add_argument("--budgets", default="65,257,1025", help="model evaluations a row")
    parser.add_argument("--rows", type=int, default=100, help="rows to explain")
    parser.add_argument("--seeds", type=int, default=2, help="the product is prepared so often, and draws twice each")
    parser.add_argument(
        "--surrogate-evaluations", type=int, default=PORTFOLIO, help=f"spent once on the surrogate ({PORTFOLIO:,})"
    )
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--race", action=argparse.BooleanOptionalAction, default=True, help="seconds to equal error")
    parser.add_argument("--population", type=int, default=3000, help="rows whose mean |SHAP| is wanted; 0: none")
    parser.add_argument("--credit-card", metavar="PATH", help="the credit card clients' CSV file")
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "spark-shap-accuracy")
    parser.add_argument("--resume", action="store_true", help="take tasks over that are done in the folder already")
    parser.add_argument("--quick", action="store_true", help="two tasks, few rows: whether it runs")
    args = parser.parse_args()
    args.variants = [Variant("surrogate", args.surrogate_evaluations), DEFAULT, PILOT]
    args.budgets = [int(budget) for budget in args.budgets.split(",")]
    args.tasks = args.tasks.split(",") if args.tasks else list(QUICK if args.quick else TASKS)
    unknown = [name for name in args.tasks if name not in TASKS]
    if unknown:
        parser.error(f"--tasks: {', '.join(unknown)} not known; there are {', '.join(TASKS)}")
    if args.quick:
        args.rows, args.seeds, args.budgets, args.population = min(args.rows, 24), 1, [65, 257], 60
        args.variants[0] = Variant("surrogate", min(args.surrogate_evaluations, 40_000))
    return args


def stay_on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def describe(task: Task, truth: Truth) -> dict[str, Any]:
    about = {name: getattr(task, name) for name in ("name", "title", "kind", "n_features")}
    if task.name == CHECKED:
        about["walks"] = check_walks(task)
    return {**about, "truth": truth.how, "truth_noise": truth.noise, "sd": truth.variance**0.5}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.processor() or platform.machine()}
    for name in ("spark-shap", "numpy", "scikit-learn", "numba", "catboost", "shap", "shapiq"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def explain_task(args: argparse.Namespace, task: Task, truth: Truth, names: list[str]) -> list[dict[str, Any]]:
    records = []
    for budget in args.budgets:
        own = [measure(task, truth, budget, variant, seeds=args.seeds) for variant in args.variants]
        found = run_peers(task, truth, budget, names=names, n_search=min(12, args.rows // 2))
        records += own + found
        shown = [f"{one['method']} {one['nmse']:.4f}" for one in records if one["budget"] == budget]
        print(f"  {budget:>5,}: {'; '.join(shown)}", flush=True)
    return records


def resumed(args: argparse.Namespace, name: str, make: Callable[[], Found]) -> Found:
    """What is in the folder already, if that is wanted and made with the same settings; else what `make` finds."""
    card = None if args.credit_card is None else Path(args.credit_card).name
    kept = ("budgets", "rows", "seeds", "peers", "race", "population", "quick")
    settings = {option: getattr(args, option) for option in kept}
    settings |= {"variants": [list(one) for one in args.variants], "credit_card": card, "versions": versions()}
    path = args.output / f"{name}.json"
    if args.resume and path.exists():
        found: Found = json.loads(path.read_text())
        if found["settings"] == settings:
            return found
    found = {"settings": settings, **make()}
    path.write_text(json.dumps(found, indent=1))
    return found


def run_task(args: argparse.Namespace, task: Task, names: list[str], start: float) -> Found:
    """Errors, intervals and seconds of everybody on a task."""
    truth = find_truth(task, task.pool[: args.rows], args.output, quick=args.quick)
    print(f"{time.perf_counter() - start:6.0f} s  {task.title}; truth: {truth.how}", flush=True)
    racing = args.race and args.peers and task.kind in ("network", "boosting")
    return {
        "tasks": [describe(task, truth)],
        "records": explain_task(args, task, truth, names),
        "races": [race(task, truth, args.variants[0])] if racing else [],
    }


def run_aggregates(args: argparse.Namespace, task: Task) -> Found:
    """Aggregates of the product on a task."""
    return {"aggregates": measure_aggregates(task, args.variants, args.output, n_rows=args.population)}


def report(result: dict[str, Any], args: argparse.Namespace) -> list[str]:
    tasks, records, names = result["tasks"], result["records"], [one.name for one in args.variants]
    lines = ["", *verdict.error_table(tasks, records, args.budgets, names)]
    lines += ["", *verdict.interval_table(tasks, records)]
    if result["races"]:
        lines += ["", *verdict.race_table(result["races"])]
    if result["aggregates"]:
        lines += ["", *verdict.aggregate_table(result["aggregates"])]
    targets = verdict.error_targets(tasks, records, [names[0], names[-1]]) + verdict.speed_targets(result["races"])
    targets += verdict.aggregate_targets(result["aggregates"])
    lines += ["", *verdict.verdict_lines(targets)]
    noisy = [
        f"{task['title']}: the truth's own error is {task['truth_noise']:.1e}, more than 1/20 of {least:.1e}"
        for task in tasks
        if task["truth_noise"] > (least := min(one["nmse"] for one in records if one["task"] == task["name"])) / 20
    ]
    noisy = noisy or ["the truth's own error is below 1/20 of every nMSE above"]
    noisy += [
        f"{task['title']}: walks against exact values: squared error {task['walks']:.2f} times what they say of it"
        for task in tasks
        if "walks" in task
    ]
    return [*lines, "", *noisy]


def main() -> None:
    args = parse()
    absent = [name for name in ("shap", "shapiq", "sklearn", "scipy", "matplotlib") if find_spec(name) is None]
    if absent:
        raise SystemExit(f"not installed: {', '.join(absent)}; pip install '.[bench]'")
    stay_on_one_core()
    args.output.mkdir(parents=True, exist_ok=True)
    names = list(QUICK_PEERS if args.quick else PEERS) if args.peers else []
    result: dict[str, Any] = {"versions": versions(), "tasks": [], "records": [], "races": [], "aggregates": []}
    start = time.perf_counter()
    for name in args.tasks:
        task = make_task(name, args.credit_card)
        found = resumed(args, f"task-{name}", lambda task=task: run_task(args, task, names, start))
        if args.population and name in AGGREGATED:
            found |= resumed(args, f"aggregates-{name}", lambda task=task: run_aggregates(args, task))
        for part in ("tasks", "records", "races", "aggregates"):
            result[part] += found.get(part, [])
    result["seconds"] = time.perf_counter() - start
    lines = report(result, args)
    print("\n".join(lines))
    (args.output / "accuracy.json").write_text(json.dumps(result, indent=1))
    (args.output / "accuracy.txt").write_text("\n".join(lines) + "\n")
    table = verdict.markdown_table(result["tasks"], result["records"], [one.name for one in args.variants])
    (args.output / "accuracy.md").write_text("\n".join(table) + "\n")
    paths = plots.draw(result["tasks"], result["records"], args.output)
    print(f"\n{result['seconds']:.0f} s; {args.output / 'accuracy.json'}, {', '.join(path.name for path in paths)}")


if __name__ == "__main__":
    main()
