"""The benchmarks of errors run, and their oracles and counts are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parent / "bench"

pytest.importorskip("shap")
pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def _bench_modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def small_task(n_rows=8):
    from tasks import Task

    table = credit_like(60 + n_rows, 5)
    return Task("small", "small", "network", interacting, table[:60], table[60:])


def test_walks_agree_with_enumeration():
    from truth import enumerate_all, walk

    task = small_task()
    exact = enumerate_all(task.predict, task.pool, task.background)
    rng = np.random.default_rng(0)
    sweeps = np.array([[walk(interacting, row, task.background, rng) for row in task.pool] for _ in range(60)])
    error = sweeps.std(axis=0, ddof=1) / np.sqrt(60)
    assert np.abs(sweeps.mean(axis=0) - exact).max() <= 4.5 * error.max()
    total = task.predict(task.pool) - task.predict(task.background).mean()
    np.testing.assert_allclose(exact.sum(axis=1), total, atol=1e-12)
    np.testing.assert_allclose(sweeps[0].sum(axis=1), total, atol=1e-12)


def test_enumeration_agrees_with_the_subset_formula():
    from truth import enumerate_all

    task = small_task(2)
    game = background_game(interacting, task.pool[0], task.background)
    found = enumerate_all(task.predict, task.pool[:1], task.background)[0]
    np.testing.assert_allclose(found, shapley_by_subsets(game), atol=1e-12)


@pytest.mark.parametrize("name", ["shap.SamplingExplainer", "shap.KernelExplainer"])
def test_peers_are_counted_by_the_rows_that_they_ask_for(name):
    from peers import PEERS, fits, run_peer

    task, budget = small_task(3), 101
    setting = next(PEERS[name].settings(budget, 5))
    run = run_peer(task, PEERS[name], setting, task.pool, 0)
    assert run.values.shape == (3, 5)
    assert 0.3 * budget <= run.evaluations <= 1.02 * budget + 1
    assert fits(run, budget)
    assert not fits(run, 20)


def test_intervals_that_are_right_cover_as_they_say():
    from product import judge_errors
    from scipy import stats

    errors = stats.t.rvs(7, size=20_000, random_state=0)
    own, limit = np.ones_like(errors), stats.t.ppf(0.975, 7)
    found = judge_errors(errors, own, limit * own)
    assert found["coverage"] == pytest.approx(0.95, abs=0.006)
    assert judge_errors(errors, own, limit / 2 * own)["coverage"] < 0.8


def test_a_target_counts_how_many_times_smaller_the_error_is():
    from verdict import error_targets

    tasks = [{"name": "a", "kind": "network", "n_features": 60}]
    peer = {"task": "a", "budget": 257, "method": "p", "nmse": 0.6, "other_background": False}
    summary = {**peer, "method": "k", "nmse": 0.2, "other_background": True}
    own = {"task": "a", "budget": 257, "method": "spark-shap surrogate", "nmse": 0.1}
    whole, either = error_targets(tasks, [peer, summary, own], ["surrogate"])
    assert (whole.wanted, whole.met, either.met) == (5.0, True, False)
    assert (whole.reached, either.reached) == (pytest.approx(6.0), pytest.approx(2.0))


@pytest.mark.bench
@pytest.mark.parametrize(("script", "output"), [("accuracy.py", "accuracy.json"), ("intervals.py", "coverage.json")])
def test_the_command_runs(script, output, tmp_path):
    command = [sys.executable, str(BENCH / script), "--quick", "--output", str(tmp_path)]
    source = {**os.environ, "PYTHONPATH": str(BENCH.parents[1])}
    printed = subprocess.run(command, capture_output=True, text=True, env=source, check=False, timeout=600)
    assert printed.returncode == 0, printed.stderr
    assert json.loads((tmp_path / output).read_text())
    if script == "accuracy.py":
        assert "best peer" in printed.stdout
        assert (tmp_path / "nmse-evaluations.svg").stat().st_size > 1000
