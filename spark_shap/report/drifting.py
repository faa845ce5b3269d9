"""What changed since the run before, as it stands on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_shap.report.figures import changes
from spark_shap.report.words import clean, segment_title

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.audit.comparison import Comparison

__all__ = ["MEASURES", "drift_section"]

MEASURES = {"mean_abs_shap": "mean |SHAP|", "mean_shap": "mean SHAP"}
_LINES = 40
_DRAWN = 10


def drift_section(comparison: Comparison, unit: str) -> dict[str, Any]:
    """Return the comparison with the run before: how both were made, the figure, and all changes, in `unit`."""
    table = comparison.table
    changed = comparison.changed
    return {
        "before": comparison.before,
        "made": comparison.made,
        "same_rows": comparison.same_rows,
        "test": comparison.test,
        "n_changed": len(changed),
        "n_tested": comparison.n_tested,
        "least_rows": comparison.limits.least_rows,
        "n_untested": len(table) - comparison.n_tested,
        "figures": [_figure(table, output, unit) for output in table["output"].drop_duplicates().head(2)],
        "lines": [_line(row) for row in changed.head(_LINES).to_dict("records")],
        "n_hidden": max(0, len(changed) - _LINES),
    }


def _figure(table: pd.DataFrame, output: str, unit: str) -> dict[str, str]:
    rows = table[(table["output"] == output) & (table["segment_by"] == "") & (table["measure"] == "mean_abs_shap")]
    rows = rows.assign(size=rows[["before", "after"]].max(axis=1)).sort_values("size", ascending=False, kind="stable")
    rows = rows.head(_DRAWN)
    drawn = changes(
        rows["feature"].tolist(),
        rows["before"].to_numpy(dtype=float),
        rows["after"].to_numpy(dtype=float),
        1.96 * rows["std_error"].to_numpy(dtype=float),
        marked=rows["changed"].tolist(),
        what=f"mean |SHAP| ({unit})",
    )
    return {"output": clean(output), "svg": drawn}


def _line(row: dict[str, Any]) -> dict[str, Any]:
    whole = not row["segment_by"]
    place = "all applicants" if whole else segment_title(row["segment"], row["segment_by"])
    return {**row, "place": place, "measure": MEASURES[row["measure"]], "half": 1.96 * row["std_error"]}
