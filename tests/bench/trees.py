"""What exact values of boosted trees cost, beside shap's TreeExplainer and woodelf-explainer.

    .venv/bin/python tests/bench/trees.py [--data credit_card_default.csv] [--only speed backgrounds memory job]

XGBoost (200 trees of depth 6) and LightGBM (200 trees of 31 leaves) in margin, everybody on the same rows and
background, one core, in turns in one process; each part has processes of its own. Then backgrounds that are
Spark tables of up to 2,000,000 rows, a forest of 1,000 trees on 500 features in Spark's workers, and the whole
Spark job over 1,000,000 rows. Without --data a table of the same shape is made. --quick makes all of it small.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import tree_engines as engines
import tree_scale as scale
from job import make_table

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("speed", "backgrounds", "memory", "job")
CHILDREN = {
    "speed": engines.speed,
    "agree": engines.agree,
    "backgrounds": lambda folder, sizes: scale.backgrounds(folder, json.loads(sizes)),
    "wide-forest": lambda folder, n_trees: scale.wide_forest(folder, int(n_trees)),
    "wide-rows": scale.wide_rows,
    "bare": lambda folder, n_rows, part: scale.bare_engine(folder, int(n_rows), int(part)),
    "job": scale.whole_job,
}


class Sizes(NamedTuple):
    """How much is measured: rows of the table, of the Spark backgrounds and of the job; trees of the wide forest."""

    rows: int
    backgrounds: tuple[int, ...]
    job: int
    trees: int


WHOLE = Sizes(30_000, (1000, 10_000, 100_000, 1_000_000, 2_000_000), 1_000_000, 1000)
QUICK = Sizes(3000, (1000, 2000, 4000), 4000, 30)


class Verdict(NamedTuple):
    """A goal and what was measured."""

    goal: str
    measured: str
    reached: bool


def child(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def answer(process: subprocess.Popen) -> dict[str, Any]:
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a measuring process failed; its message is above")
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found


def report_speed(folder: Path, n_rows: int, *, peers: bool) -> list[Verdict]:
    """Table and goals of the models on one core."""
    verdicts = []
    for library in engines.LIBRARIES:
        found = answer(child("speed", str(folder), library, "peers" if peers else "alone"))
        warm_up = found.pop("warm-up")
        print(f"\n{library}, {n_rows:,} rows, background {engines.N_BACKGROUND:,}; CPU seconds of one core")
        print("(least of three turns; numpy and TreeExplainer one turn, and TreeExplainer on 40 rows, scaled)")
        print(f"(numba compiles before, or loads what it compiled once: {warm_up:.1f} s with the first 100 rows)")
        print(f"{'':24}{'before rows':>12}{'rows':>10}{'rows/s':>12}{'rows/s, all':>13}{'gap':>10}")
        for name, (before, rows, gap) in found.items():
            rates = f"{n_rows / rows:>12,.0f}{n_rows / (before + rows):>13,.0f}"
            print(f"{name:24}{before:>12.2f}{rows:>10.2f}{rates}{gap:>10.0e}")
        if peers:
            verdicts += compare(folder, library, found)
    return verdicts


def compare(folder: Path, library: str, found: dict[str, Any]) -> list[Verdict]:
    """The goals that name a peer: all that the Explainer does against all that they do, look-ups against theirs."""
    whole = {name: before + rows for name, (before, rows, _) in found.items()}
    woodelf = whole["woodelf-explainer"] / whole["Explainer"]
    shap = whole["shap.TreeExplainer"] / whole["Explainer"]
    rows = found["woodelf-explainer"][1] / found["engine"][1]
    gaps = answer(child("agree", str(folder), library))
    gap = f"{gaps['values']:.0e} of scale, interactions {gaps['interactions']:.0e}"
    return [
        Verdict(f"{library}: rows/s, all counted, at least woodelf's", f"{woodelf:.1f} times", woodelf >= 1),
        Verdict(f"{library}: at least 100 times TreeExplainer's", f"{shap:,.0f} times", shap >= 100),
        Verdict(f"{library}: row phase at least 2 times woodelf's", f"{rows:.1f} times", rows >= 2),
        Verdict(f"{library}: woodelf's values to 1e-5, background 20,000", gap, max(gaps.values()) <= 1e-5),
    ]


def report_backgrounds(folder: Path, sizes: list[int]) -> list[Verdict]:
    """Seconds of the background phase, and of a row after it."""
    for size in sizes:
        scale.write_table(folder, f"background-{size}", size)
    found = answer(child("backgrounds", str(folder), json.dumps(sizes)))
    print("\nLightGBM, background a Spark table, background_size='all', local[2]; wall seconds, rows by CPU")
    print(f"{'background':>12}{'explainer':>11}{'fold':>8}{'fold, us/row':>14}{'rows/s':>10}{'shipped, MB':>13}")
    for size, one in ((size, found[str(size)]) for size in sizes):
        fold = f"{one['fold']:>8.1f}{one['fold'] / size * 1e6:>14.1f}"
        print(f"{size:>12,}{one['seconds']:>11.1f}{fold}{1 / one['row']:>10,.0f}{one['bytes'] / 2**20:>13.1f}")
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    change = last["row"] / first["row"] - 1
    large, half = sizes[-1], sizes[-2]
    growth, wanted = last["fold"] / found[str(half)]["fold"], 1.05 * large / half
    return [
        Verdict(f"rows/s with {large:,} background rows within 10 %", f"{-change:+.1%}", abs(change) <= 0.1),
        Verdict(f"fold linear: at most {wanted:.2f} times that of {half:,}", f"{growth:.2f}", growth <= wanted),
    ]


def report_memory(folder: Path, n_trees: int) -> list[Verdict]:
    """Peak memory of Spark's workers with a forest whose tables take all that they may."""
    made = answer(child("wide-forest", str(folder), str(n_trees)))
    found = answer(child("wide-rows", str(folder)))
    gigabytes = found["peak"] / 2**30
    print(f"\n{n_trees:,} trees of depth 8 on 500 features, {made['leaves']:,} leaves, method {made['method']!r}")
    shipped, driver = made["bytes"] / 2**20, made["peak"] / 2**30
    print(f"driver: {made['seconds']:.1f} CPU s, peak {driver:.2f} GB; {shipped:,.0f} MB are shipped")
    print(f"Python workers on local[2]: peak {gigabytes:.2f} GB, {found['rate']:,.0f} rows/s with loading")
    return [
        Verdict(f"500 features, {n_trees:,} trees, depth 8 in 2 GB a worker", f"{gigabytes:.2f} GB", gigabytes <= 2)
    ]


def report_job(folder: Path, n_rows: int) -> list[Verdict]:
    """The whole job over many rows, beside two processes that do nothing but explain and predict."""
    scale.write_table(folder, "large", n_rows)
    rates = [bare_rates(folder, n_rows)]
    jobs = {compiler: answer(child("job", str(folder), compiler)) for compiler in ("light", "full")}
    rates.append(bare_rates(folder, n_rows))  # before and after: others may use the machine
    bare, tables = (sum(pair) / 2 for pair in zip(*rates, strict=True))
    print(f"\nLightGBM, {n_rows:,} rows x 23, local[2], method {jobs['full']['warm']['method']!r}; wall seconds")
    before, after = (f"{rate:,.0f}" for rate, _ in rates)
    print(f"two bare processes, values and predictions: {before} rows/s before the jobs, {after} after")
    print(f"two bare processes, look-ups alone: {tables:,.0f} rows/s")
    best = 0.0
    for compiler, job in jobs.items():
        print(f"JVM with its {compiler} compiler; peak memory of a Python worker {job['memory'] / 2**20:.0f} MB")
        for kind in ("cold", "warm"):
            seconds = {name: value for name, value in job[kind].items() if name != "method"}
            stages = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
            rate, whole = n_rows / seconds["explain"], n_rows / sum(seconds.values())
            best = max(best, whole)
            print(f"  {kind} session: {stages}; {whole:,.0f} rows/s in all, {rate:,.0f} explaining and writing")
    share = best / bare
    return [Verdict("whole Spark job at least 0.7 of two bare processes", f"{share:.2f}", share >= 0.7)]


def bare_rates(folder: Path, n_rows: int) -> tuple[float, float]:
    for part in range(2):
        (folder / f"ready-{part}").unlink(missing_ok=True)
    both = [answer(process) for process in [child("bare", str(folder), str(n_rows), str(part)) for part in range(2)]]
    return sum(one["rate"] for one in both), sum(one["tables"] for one in both)


def report(args: argparse.Namespace, folder: Path) -> None:
    sizes = QUICK if args.quick else WHOLE
    data = make_table(sizes.rows, args.data)
    data.to_parquet(folder / "table.parquet", index=False)
    for library, model in engines.train(data).items():
        (folder / f"{library}.pkl").write_bytes(pickle.dumps(model))
    load = os.getloadavg()[0]
    parts = {
        "speed": lambda: report_speed(folder, sizes.rows, peers=args.peers),
        "backgrounds": lambda: report_backgrounds(folder, list(sizes.backgrounds)),
        "memory": lambda: report_memory(folder, sizes.trees),
        "job": lambda: report_job(folder, sizes.job),
    }
    verdicts = [verdict for name in args.only for verdict in parts[name]()]
    print(f"\nload of the machine {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors\n")
    for goal, measured, reached in verdicts:
        print(f"{'reached' if reached else 'NOT REACHED':13}{goal:60}{measured}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="the credit card clients' CSV file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="shap and woodelf too")
    parser.add_argument("--quick", action="store_true", help="few rows everywhere: whether it runs")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, folder, *rest = args.child
        CHILDREN[what](Path(folder), *rest)
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args, Path(folder))


if __name__ == "__main__":
    main()
