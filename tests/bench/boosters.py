"""Our trees beside a library's: how much of a model they leave unexplained, and how long they take to fit.

    .venv/bin/python tests/bench/boosters.py [--data credit_card_default.csv] [--hybrids 20000 77000]

The surrogate's trees could be grown by CatBoost, whose trees are symmetric, too, and be copied into our tables. Both
get the same binned hybrid rows and the model's answers, on one core, and as many trees, levels and bins; CatBoost its
own penalty and the better of two learning rates. A fifth of the rows judges.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tasks import TASKS, make_task

from spark_shap import Explainer
from spark_shap.core.surrogate import fitting
from spark_shap.core.surrogate.boosting import boost

if TYPE_CHECKING:
    from spark_shap.core.surrogate.settings import SurrogateSettings
    from spark_shap.core.surrogate.trees import ObliviousTrees

NAMES = ("f20-network-probability", "card-network-probability", "card-boosting-margin", "f60-boosting-margin")
RATES = (0.3, 0.15)


def fitted_on(name: str, credit_card: str | None, n_hybrids: int) -> tuple[np.ndarray, np.ndarray, SurrogateSettings]:
    """Return what the surrogate of a task is fitted on: bins (F, N), answers (N,), settings."""
    task = make_task(name, credit_card)
    seen: list[tuple[np.ndarray, np.ndarray, SurrogateSettings]] = []

    def watch(bins: Any, residuals: Any, n_leading: int, settings: Any, rng: Any) -> ObliviousTrees:
        seen.append((bins.copy(), residuals[0].astype(float), settings))
        return boost(bins, residuals, n_leading, settings, rng)

    fitting.boost = watch
    try:
        Explainer(task.predict, task.background, surrogate_evaluations=n_hybrids, population=task.pool)
    finally:
        fitting.boost = boost
    return seen[-1]  # the ones before are trials


def ours(bins: np.ndarray, answers: np.ndarray, settings: SurrogateSettings, n_fitted: int) -> tuple[float, float]:
    """Return the share of variance left on the other rows, and processor seconds of the fit."""
    rows, residuals = np.ascontiguousarray(bins[:, :n_fitted]), answers[None, :n_fitted].astype(np.int32)
    start = time.process_time()
    trees = boost(rows, residuals, 1, settings, np.random.default_rng(0))
    seconds = time.process_time() - start
    others = bins[:, n_fitted:]
    found = np.zeros(others.shape[1])
    for features, cuts, leaves in zip(trees.features, trees.cuts, trees.leaves, strict=True):
        codes = sum(
            (others[f] > cut).astype(int) << level for level, (f, cut) in enumerate(zip(features, cuts, strict=True))
        )
        found += leaves[codes, 0]
    return left(answers[n_fitted:], found), seconds


def catboost(bins: np.ndarray, answers: np.ndarray, settings: SurrogateSettings, n_fitted: int) -> tuple[float, float]:
    """Return the same of CatBoost, at its better learning rate."""
    from catboost import CatBoostRegressor

    rows, found = bins.T.astype(np.float32), []
    for rate in RATES:
        model = CatBoostRegressor(
            iterations=settings.n_trees,
            depth=settings.depth,
            learning_rate=rate,
            border_count=min(254, settings.max_bins),
            bootstrap_type="No",
            random_strength=0,
            boosting_type="Plain",
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        start = time.process_time()
        model.fit(rows[:n_fitted], answers[:n_fitted] / answers.std())
        seconds = time.process_time() - start
        found.append((left(answers[n_fitted:] / answers.std(), model.predict(rows[n_fitted:])), seconds))
    return min(found)


def left(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the share of the variance that is not explained."""
    return float(((wanted - found) ** 2).mean() / wanted.var())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="UCI default of credit card clients, as CSV")
    parser.add_argument("--hybrids", type=int, nargs="+", default=[20_000, 77_000])
    parser.add_argument("--tasks", nargs="+", default=list(NAMES), choices=list(TASKS))
    options = parser.parse_args()
    print("| task | hybrid rows | variance left, ours | CatBoost | processor seconds, ours | CatBoost |")
    print("|---|---|---|---|---|---|")
    for name in options.tasks:
        for n_hybrids in options.hybrids:
            bins, answers, settings = fitted_on(name, options.data, n_hybrids)
            n_fitted = int(0.8 * len(answers))
            own = ours(bins, answers, settings, n_fitted)
            other = catboost(bins, answers, settings, n_fitted)
            title = make_task(name, options.data).title
            print(
                f"| {title} | {n_hybrids:,} | {own[0]:.4f} | {other[0]:.4f} | {own[1]:.2f} | {other[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
