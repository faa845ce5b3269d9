"""The product under measurement: its values, its standard errors, and its seconds.

Seconds here and of peers are CPU seconds of the one core that everything is bound to: what a clock on the wall shows
when nobody else uses the machine.
"""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tasks import Task
    from truth import Truth


class Variant(NamedTuple):
    """A way to run the product: its name and the model evaluations spent on a surrogate, None for the default."""

    name: str
    surrogate_evaluations: int | None


PORTFOLIO = 200_000
"""What a run of 30,000 rows with 1,025 evaluations each, or of 80,000 with 257, spends by default: 1 % and less."""

DEFAULT = Variant("default", None)
PILOT = Variant("pilot", 0)
"""Nothing is spent on a surrogate: what is taken off was fitted to the pilot's answers, which every job has."""


@dataclass(frozen=True)
class Outcome:
    """(n, M) values, standard errors and half widths of 95 % intervals, and model rows and seconds a row."""

    values: np.ndarray
    std_errors: np.ndarray
    halves: np.ndarray
    evaluations: float
    seconds: float
    reason: str


class Prepared:
    """An explainer of a task at a budget; the population is the portfolio that the rows come from."""

    def __init__(self, task: Task, n_evaluations: int, variant: Variant, seed: int) -> None:
        from spark_shap import Explainer

        self.asked = 0

        def model(rows: Any) -> np.ndarray:
            """The model as a function, so that no exact engine may look inside; its rows are counted."""
            self.asked += len(rows)
            return task.predict(rows)

        start = time.process_time()
        self.explainer = Explainer(
            model,
            task.as_taken(task.background),
            n_evaluations=n_evaluations,
            seed=seed,
            method="sampling",
            population=task.as_taken(task.pool),
            surrogate_evaluations=variant.surrogate_evaluations,
        )
        self.seconds = time.process_time() - start
        self.evaluations = self.asked
        self.task = task

    def at(self, n_evaluations: int) -> Prepared:
        """The same at another budget: what is fitted and tuned does not hang on it, but for the finer part's pairs."""
        from spark_shap.core.sampling import pairs_within

        prepared = self.explainer.prepared
        method, control = prepared.method, prepared.method.control
        if control is not None and control.refinement is not None:
            n_pairs = control.refinement.n_pairs // pairs_within(method.n_evaluations) * pairs_within(n_evaluations)
            control = replace(control, refinement=control.refinement._replace(n_pairs=n_pairs))
        other = copy(self)
        other.explainer = copy(self.explainer)
        other.explainer._prepared = replace(
            prepared, method=replace(method, n_evaluations=n_evaluations, control=control)
        )
        return other

    def attributions(self, numbers: np.ndarray) -> Any:
        """Values, errors and their exact part, (n, M, 1) each, as a worker finds them."""
        from spark_shap.models.conform import conform

        rows, _ = conform(self.task.as_taken(numbers), self.explainer.prepared.layout)
        return self.explainer.prepared.explain(rows, np.arange(len(numbers), dtype=np.uint64))

    def explain(self, numbers: np.ndarray, first_key: int = 0) -> Outcome:
        rows = self.task.as_taken(numbers)
        keys = np.arange(first_key, first_key + len(numbers))
        before, start = self.asked, time.process_time()
        found = self.explainer(rows, key=keys)
        seconds, asked = (time.process_time() - start) / len(numbers), (self.asked - before) / len(numbers)
        halves = found.confidence_interval(0.95)[1] - found.values
        return Outcome(found.values, found.std_errors, halves, asked, seconds, found.method_reason)


def measure(
    task: Task, truth: Truth, budget: int, variant: Variant, *, seeds: int = 2, replicates: int = 2
) -> dict[str, Any]:
    """Explain the rows with several seeds, several draws each, and compare with the truth."""
    n_rows = len(truth.values)
    made = [Prepared(task, budget, variant, seed) for seed in range(seeds)]
    for prepared in made:
        prepared.explain(task.pool[:8])  # what is made at the first call is not charged to the rows
    outcomes = [prepared.explain(np.tile(task.pool[:n_rows], (replicates, 1))) for prepared in made]
    errors = np.stack([one.values.reshape(replicates, n_rows, -1) - truth.values for one in outcomes])
    scale, halves = (
        np.stack([getattr(one, name).reshape(replicates, n_rows, -1) for one in outcomes])
        for name in ("std_errors", "halves")
    )
    return {
        "task": task.name,
        "method": f"spark-shap {variant.name}",
        "budget": budget,
        # The truth's own error is in the differences and not in the product's.
        "nmse": max(float((errors**2).mean() / truth.variance - truth.noise), 0.0),
        **{name: float(np.mean([getattr(one, name) for one in outcomes])) for name in ("evaluations", "seconds")},
        "prepare_seconds": float(np.mean([one.seconds for one in made])),
        "prepare_evaluations": float(np.mean([one.evaluations for one in made])),
        "reason": outcomes[0].reason,
        **judge_errors(errors, scale, halves),
    }


def judge_errors(errors: np.ndarray, std_errors: np.ndarray, halves: np.ndarray) -> dict[str, float]:
    """Coverage of 95 % intervals, and where |error| / standard error lies; exact zeros are right."""
    exact = (std_errors == 0) & (np.abs(errors) <= 1e-9 * np.abs(errors).max() + 1e-12)
    ratio = np.abs(errors[~exact]) / np.maximum(std_errors[~exact], 1e-300)
    return {
        "coverage": float((np.abs(errors) <= halves)[~exact].mean()),
        "median": float(np.median(ratio)),
        "p99": float(np.quantile(ratio, 0.99)),
        "values": int(ratio.size),
        "exact": float(exact.mean()),
    }
