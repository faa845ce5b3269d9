"""Explaining for aggregates only: as few evaluations, or rows, as the asked precision of the summary allows.

The choice is made from a pilot on applicants that are drawn by the hash of their keys and from what
evaluations cost in model calls, never from a clock: the same inputs choose the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.audit_plan import AuditCosts, AuditPilot, AuditPlan, AuditTargets, plan_audit
from spark_shap.core.sampler import Sampler
from spark_shap.core.seeding import Stream, uniform_words

if TYPE_CHECKING:
    from spark_shap.models.frames import Rows
    from spark_shap.prepare import Prepared

__all__ = ["Audit", "lighten"]

_PILOT_ROWS = 600
_PILOT_EVALUATIONS = 129
_LEAST_PILOT = 50
# In model evaluations: what a row takes besides them (keys, the surrogate's values, reading and writing).
_COSTS = AuditCosts(20.0, 1.0)


class Audit(NamedTuple):
    """A method for the aggregates, and what was chosen; None where values are exact anyway."""

    prepared: Prepared
    plan: AuditPlan | None


def lighten(prepared: Prepared, rows: Rows, *, n_rows: int, targets: AuditTargets) -> Audit:
    """Return the method with no more evaluations than the aggregates need.

    Parameters
    ----------
    prepared
        The method for rows.
    rows
        Applicants drawn at random.
    n_rows
        All applicants.
    targets
        How good the aggregates shall be.
    """
    method = prepared.method
    if not isinstance(method, Sampler) or method.control is None or len(rows) < _LEAST_PILOT:
        return Audit(prepared, None)
    rows = rows.take(slice(0, _PILOT_ROWS))
    numbers = np.arange(len(rows), dtype=np.uint64)
    words = uniform_words(method.seed, numbers, Stream.AUDIT_PILOT, 2)
    pilot = replace(method, n_evaluations=_PILOT_EVALUATIONS, tolerance=None)
    found = pilot.explain(rows, words[:, 0] << np.uint64(32) | words[:, 1])
    good = np.setdiff1d(np.arange(len(rows)), list(found.failures))
    if len(good) < _LEAST_PILOT or found.known is None:
        return Audit(prepared, None)
    seen = AuditPilot(found.known[good], found.values[good], found.std_errors[good], _PILOT_EVALUATIONS)
    plan = plan_audit(seen, n_rows=n_rows, costs=_COSTS, targets=targets)
    light = replace(method, n_evaluations=plan.n_evaluations, tolerance=None)
    reason = f"{prepared.method_reason}; for aggregates {plan.reason}"
    return Audit(replace(prepared, method=light, method_reason=reason), plan)
