"""How to explain a portfolio for its aggregates only: every row lightly, or a sample of rows more deeply.

The candidates are all rows with 5, 9 or 17 evaluations, and the smallest sample with 65 or 257 that keeps the
targets. What each would be off by is `spark_shap.core.audit_errors`' to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from spark_shap.core.audit_errors import AuditPilot, ErrorForecast

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AuditCosts", "AuditPilot", "AuditPlan", "AuditTargets", "plan_audit"]

_EVERY_ROW = (5, 9, 17)
_SAMPLE = (65, 257)
_FIRST_SAMPLE = 256
_STEP = 1.25


class AuditCosts(NamedTuple):
    """What rows and evaluations cost, in any one unit: seconds, or evaluations themselves."""

    row: float  # whatever its evaluations
    evaluation: float  # with all that is done for it


class AuditTargets(NamedTuple):
    """What the aggregates shall be good for.

    Attributes
    ----------
    mean_abs_error
        Sum over features of the |error| of mean |SHAP|, over the sum of mean |SHAP|.
    top4_error
        Largest error of a feature's top-4 rate.
    """

    mean_abs_error: float = 0.03
    top4_error: float = 0.03


@dataclass(frozen=True)
class AuditPlan:
    """One way to make the aggregates.

    Attributes
    ----------
    n_evaluations
        Model evaluations a row.
    n_rows
        Rows to explain.
    share
        Their share of the portfolio; 1 for every row.
    mean_abs_error, top4_error
        Predicted errors, as in `AuditTargets`.
    cost
        In the unit of the costs given.
    meets
        Whether both errors are within their targets.
    reason
        Why it was chosen.
    """

    n_evaluations: int
    n_rows: int
    share: float
    mean_abs_error: float
    top4_error: float
    cost: float
    meets: bool
    reason: str = ""

    def describe(self) -> str:
        """Return the plan as a phrase."""
        rows = (
            f"all {self.n_rows:,} rows" if self.share == 1.0 else f"a sample of {self.n_rows:,} rows ({self.share:.2%})"
        )
        return (
            f"{rows} with {self.n_evaluations} evaluations each (mean |SHAP| off by {self.mean_abs_error:.1%}, top-4 "
            f"rates by {self.top4_error:.3f}; {self.n_rows * self.n_evaluations:,} evaluations)"
        )


@dataclass(frozen=True)
class _Planner:
    forecasts: Sequence[ErrorForecast]
    n_portfolio: int
    costs: AuditCosts
    targets: AuditTargets

    def plan(self, n_evaluations: int, n_rows: int) -> AuditPlan:
        """Return the plan of so many rows, by the output that is worst off."""
        found = [forecast.errors(n_evaluations, n_rows, self.n_portfolio) for forecast in self.forecasts]
        mean_abs, top4 = (max(errors) for errors in zip(*found, strict=True))
        cost = n_rows * (self.costs.row + n_evaluations * self.costs.evaluation)
        meets = mean_abs <= self.targets.mean_abs_error and top4 <= self.targets.top4_error
        return AuditPlan(n_evaluations, n_rows, n_rows / self.n_portfolio, mean_abs, top4, cost, meets)

    def sample(self, n_evaluations: int) -> AuditPlan:
        """Return the smallest sample within the targets; all rows where none is."""
        n_rows = min(_FIRST_SAMPLE, self.n_portfolio)
        while n_rows < self.n_portfolio:
            plan = self.plan(n_evaluations, n_rows)
            if plan.meets:
                return plan
            n_rows = min(self.n_portfolio, int(_STEP * n_rows) + 1)
        return self.plan(n_evaluations, self.n_portfolio)

    def excess(self, plan: AuditPlan) -> float:
        """Return the larger ratio of an error to its target."""
        return max(plan.mean_abs_error / self.targets.mean_abs_error, plan.top4_error / self.targets.top4_error)


def plan_audit(pilot: AuditPilot, *, n_rows: int, costs: AuditCosts, targets: AuditTargets | None = None) -> AuditPlan:
    """Choose the cheapest way within the targets; where there is none, the one that comes nearest to them.

    Parameters
    ----------
    pilot
        Rows explained ahead.
    n_rows
        Rows of the portfolio.
    costs
        What rows and evaluations cost.
    targets
        What is asked; by default 3 % and 0.03.
    """
    mean_abs, top4 = targets = targets or AuditTargets()
    forecasts = [ErrorForecast.of(pilot, output) for output in range(pilot.values.shape[2])]
    planner = _Planner(forecasts, n_rows, costs, targets)
    plans = [planner.plan(n_evaluations, n_rows) for n_evaluations in _EVERY_ROW]
    plans += [planner.sample(n_evaluations) for n_evaluations in _SAMPLE]
    good = sorted((plan for plan in plans if plan.meets), key=lambda plan: plan.cost)
    asked = f"mean |SHAP| within {mean_abs:.1%} and top-4 rates within {top4:.3f}"
    if not good:
        best = min(plans, key=planner.excess)
        return replace(best, reason=f"nothing gives {asked}; nearest are {best.describe()}")
    others = f"; next, {good[1].describe()}" if len(good) > 1 else ""
    return replace(good[0], reason=f"the cheapest for {asked}: {good[0].describe()}{others}")
