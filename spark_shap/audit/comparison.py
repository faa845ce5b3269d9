"""Two audits side by side: what differs in how they were made, and in what they found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_shap.audit.changes import Change, check_comparable, recorded_changes, same_applicants
from spark_shap.audit.drift import Limits, compare_summaries

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.io.runs import RunRecord

__all__ = ["Comparison", "compare_runs"]


@dataclass(frozen=True)
class Comparison:
    """What changed from run A to run B.

    Attributes
    ----------
    before, after
        The runs' rows in the table of runs.
    made
        What differs in how they were made.
    table
        All comparisons, see `spark_shap.audit.drift.compare_summaries`.
    same_rows
        Both explained all of the same applicants, so that the population's error is no part of the test.
    same_reference
        Both compare with the very same rows, so that the reference's error is none either.
    limits
        When a difference is a change.
    """

    before: RunRecord
    after: RunRecord
    made: tuple[Change, ...]
    table: pd.DataFrame
    same_rows: bool
    same_reference: bool
    limits: Limits

    @property
    def changed(self) -> pd.DataFrame:
        """Comparisons that are changes beyond the threshold."""
        return self.table[self.table["changed"]]

    @property
    def n_tested(self) -> int:
        """How many comparisons were tested."""
        return int(self.table["p_value"].notna().sum())

    @property
    def test(self) -> str:
        """What was tested, in a sentence."""
        parts = {"the applicants' draw": not self.same_rows, "the references' draw": not self.same_reference}
        errors = ", ".join([*(name for name, there in parts.items() if there), "the sampler's draws"])
        return (
            f"by more than {100 * self.limits.least_change:.3g} % of a segment's total mean |SHAP|, allowing for "
            f"the errors from {errors}; Holm's adjustment for {self.n_tested:,} comparisons keeps the chance of any "
            f"false alarm at {100 * self.limits.alpha:.3g} %"
        )


def compare_runs(
    before: tuple[RunRecord, pd.DataFrame], after: tuple[RunRecord, pd.DataFrame], limits: Limits | None = None
) -> Comparison:
    """Return what changed between two runs, each given as its record and its rows of the table ``summary``.

    Raises
    ------
    UsageError
        Their values have different units, or they have no output in common.
    """
    limits = limits or Limits()
    (old, old_summary), (new, new_summary) = before, after
    check_comparable(old, new)
    same_rows = same_applicants(old, new)
    same_reference = old.reference_fingerprint == new.reference_fingerprint
    references = None if same_reference else (old.reference_rows, new.reference_rows)
    table = compare_summaries(old_summary, new_summary, same_rows=same_rows, references=references, limits=limits)
    return Comparison(old, new, recorded_changes(old, new), table, same_rows, same_reference, limits)
