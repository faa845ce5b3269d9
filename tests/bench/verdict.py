"""Tables a person reads, and whether what is promised was reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Record = dict[str, Any]


class Target(NamedTuple):
    """What is promised of a task: the ratio to reach, and what was found."""

    what: str
    task: str
    reached: float
    wanted: float

    @property
    def met(self) -> bool:
        return self.reached >= self.wanted


def least_ratio(kind: str, n_features: int, variant: str) -> float:
    """How many times smaller than the best peer's the error is to be at an equal number of evaluations."""
    if variant == "pilot":
        return 2.0
    if n_features <= 23:
        return 10.0
    return 5.0 if kind == "network" else 7.0


def best_peer(records: list[Record], task: str, budget: int, *, any_background: bool) -> Record | None:
    """The peer with the smallest error; with `any_background` also those that explain against a summary."""
    found = [
        one
        for one in records
        if one["task"] == task
        and one["budget"] == budget
        and not one["method"].startswith("spark-shap")
        and (any_background or not one["other_background"])
    ]
    return min(found, key=lambda one: one["nmse"]) if found else None


def ours(records: list[Record], task: str, budget: int, variant: str) -> Record | None:
    wanted = (task, budget, f"spark-shap {variant}")
    return next((one for one in records if (one["task"], one["budget"], one["method"]) == wanted), None)


def error_targets(tasks: list[Record], records: list[Record], variants: Sequence[str]) -> list[Target]:
    """Targets of errors at 257 and 1,025 evaluations, against either kind of best peer."""
    found = []
    for task in tasks:
        for variant in variants:
            for budget in (257, 1025):
                own = ours(records, task["name"], budget, variant)
                for any_background, against in ((False, "whole background"), (True, "any background")):
                    peer = best_peer(records, task["name"], budget, any_background=any_background)
                    if own and peer:
                        wanted = least_ratio(task["kind"], task["n_features"], variant)
                        what = f"{variant}, {budget:,} evaluations, best peer of {against}"
                        found.append(Target(what, task["name"], peer["nmse"] / own["nmse"], wanted))
    return found


def speed_targets(races: list[Record]) -> list[Target]:
    """Targets of seconds a row: 40 times on networks, 30 on boosting."""
    wanted = {"network": 40.0, "boosting": 30.0}
    return [
        Target("seconds to shap.SamplingExplainer's error at 1,281", one["task"], one["ratio"], wanted[one["kind"]])
        for one in races
        if one["kind"] in wanted
    ]


def aggregate_targets(aggregates: list[Record]) -> list[Target]:
    """Targets of mean |SHAP| at 17 evaluations: within 3 %, as how many times smaller than that the error is."""
    return [
        Target(f"{one['variant']}: mean |SHAP| at 17 evaluations within 3 %", one["task"], 0.03 / one["error"], 1.0)
        for one in aggregates
        if one["budget"] == 17
    ]


def aggregate_table(aggregates: list[Record]) -> list[str]:
    """One line a task and variant: errors of mean |SHAP| by evaluations a row, and of the mean of noisy |values|."""
    budgets = sorted({one["budget"] for one in aggregates})
    shown = "".join(f"{budget:>16}" for budget in budgets)
    lines = [f"{'sum of |error| of mean |SHAP| / sum, naive in brackets':56}{shown}{'rows':>8}{'to prepare':>12}"]
    for task, variant in dict.fromkeys((one["task"], one["variant"]) for one in aggregates):
        line = f"{task:42}{variant:>14}"
        for one in aggregates:
            if (one["task"], one["variant"]) == (task, variant):
                text = f"{one['error']:.1%} ({one['naive']:.0%})"
                line += f"{text:>16}"
        lines.append(f"{line}{one['rows']:>8,}{one['prepare_evaluations']:>12,}")
    return lines


def error_table(tasks: list[Record], records: list[Record], budgets: list[int], variants: Sequence[str]) -> list[str]:
    """One line a task and budget: errors of the product and of the best peers."""
    lines = [
        f"{'nMSE: mean squared error / variance of the true values':56}"
        + "".join(f"{variant:>11}" for variant in variants)
        + f"{'best peer':>12}  {'(its ratio to the first column)':52}{'of any background':>12}"
    ]
    for task in tasks:
        for budget in budgets:
            cells = [ours(records, task["name"], budget, variant) for variant in variants]
            line = f"{task['title']:46}{budget:>8,}  " + "".join(_number(cell) for cell in cells)
            for any_background in (False, True):
                peer = best_peer(records, task["name"], budget, any_background=any_background)
                if peer is None:
                    line += f"{'-':>12}  {'':52}"
                else:
                    ratio = f" x{peer['nmse'] / cells[0]['nmse']:.1f}" if cells and cells[0] else ""
                    line += f"{peer['nmse']:>12.4f}  {peer['method'] + setting_text(peer) + ratio:52}"
            lines.append(line.rstrip())
    return lines


def markdown_table(tasks: list[Record], records: list[Record], variants: Sequence[str]) -> list[str]:
    """The README's table: errors at 257 and 1,025 evaluations, and how many times larger the best peer's is."""
    titles = {"surrogate": "spark-shap", "default": "default surrogate", "pilot": "nothing spent on one"}
    heads = [titles.get(variant, variant) for variant in variants]
    lines = ["| " + " | ".join(["task", "evaluations", *heads, "best other, same background", "ratios"]) + " |"]
    lines.append("|---" * (len(variants) + 4) + "|")
    for task in tasks:
        for budget in (257, 1025):
            peer = best_peer(records, task["name"], budget, any_background=False)
            own = [ours(records, task["name"], budget, variant) for variant in variants]
            if peer is None or None in own:
                continue
            errors = [f"{one['nmse']:.4f}" for one in own if one]
            ratios = ", ".join(f"{peer['nmse'] / one['nmse']:.1f}" for one in own if one)
            found = [task["title"], f"{budget:,}", *errors, f"{peer['nmse']:.3f} {peer['method']}", ratios]
            lines.append("| " + " | ".join(found) + " |")
    return lines


def _number(record: Record | None) -> str:
    return f"{'-':>11}" if record is None else f"{record['nmse']:>11.4f}"


def setting_text(record: Record) -> str:
    size = record["setting"].get("background")
    return "" if size is None else f" ({size or 'own'} row{'' if size == 1 else 's'})"


def interval_table(tasks: list[Record], records: list[Record]) -> list[str]:
    """Coverage of 95 % intervals, |error| / standard error, and what rows and the preparation cost."""
    lines = [
        f"{'':46}{'':>8}{'variant':>11}{'coverage':>10}{'median':>8}{'p99':>7}{'model rows':>12}{'us a row':>10}"
        f"{'to prepare: model rows':>24}{'s':>7}"
    ]
    titles = {task["name"]: task["title"] for task in tasks}
    lines += [
        f"{titles[one['task']]:46}{one['budget']:>8,}{one['method'].split()[1]:>11}{one['coverage']:>10.3f}"
        f"{one['median']:>8.2f}{one['p99']:>7.2f}{one['evaluations']:>12,.1f}{one['seconds'] * 1e6:>10,.0f}"
        f"{one['prepare_evaluations']:>24,.0f}{one['prepare_seconds']:>7.1f}"
        for one in records
        if one["method"].startswith("spark-shap")
    ]
    return lines


def race_table(races: list[Record]) -> list[str]:
    lines = [f"{'to the error of shap.SamplingExplainer at 1,281':52}{'nMSE':>8}{'us a row':>11}{'evaluations':>13}"]
    for one in races:
        lines.append(
            f"{one['task']:38}{'its own':>14}{one['target']:>8.4f}{one['peer_seconds'] * 1e6:>11,.0f}{1281:>13,}"
        )
        if one["budget"] is None:
            lines.append(f"{'':38}{one['variant']:>14}  not reached")
        else:
            lines.append(
                f"{'':38}{one['variant']:>14}{one['nmse']:>8.4f}{one['seconds'] * 1e6:>11,.0f}{one['budget']:>13,}"
                f"   {one['ratio']:.0f} times as fast, after {one['prepare_seconds']:.1f} s"
            )
    return lines


def verdict_lines(targets: list[Target]) -> list[str]:
    """Group targets by what they are: how many are met, and every one that is not."""
    lines = []
    for what in dict.fromkeys(one.what for one in targets):
        group = [one for one in targets if one.what == what]
        met = sum(one.met for one in group)
        lines.append(f"{'met ' if met == len(group) else 'MISSED'} {met} of {len(group)}: {what}")
        lines += [f"       {one.task}: {one.reached:.2f} of {one.wanted:.0f} times" for one in group if not one.met]
    return lines
