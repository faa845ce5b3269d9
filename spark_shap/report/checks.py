"""What was checked of a run's numbers, again, from its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.report.words import number, percent

if TYPE_CHECKING:
    from spark_shap.report.evidence import Evidence

__all__ = ["checks_of"]

_GAP = 1e-6  # of the predictions' scale


def checks_of(evidence: Evidence) -> list[dict[str, str]]:
    """Return checks: what, status (``passed``, ``failed`` or ``noted``), and what was found."""
    return [_counts(evidence), *_additivity(evidence), *_errors(evidence)]


def _check(what: str, passed: bool | None, found: str) -> dict[str, str]:
    return {"what": what, "status": "noted" if passed is None else "passed" if passed else "failed", "found": found}


def _counts(evidence: Evidence) -> dict[str, str]:
    record = evidence.record
    parts = (record.rows_explained, record.rows_rejected, record.rows_left_out)
    text = f"{record.rows_read:,} = {parts[0]:,} explained + {parts[1]:,} rejected"
    if parts[2]:
        text += f" + {parts[2]:,} left out of the sample"
    return _check("Every row read is accounted for", sum(parts) == record.rows_read, text)


def _additivity(evidence: Evidence) -> list[dict[str, str]]:
    record = evidence.record
    predictions = [np.abs(sample.prediction) for sample in evidence.samples.values() if len(sample.prediction)]
    scale = max((float(one.max()) for one in predictions), default=1.0) or 1.0
    checks = []
    if record.additivity_gap_max is not None:
        passed = record.additivity_gap_max <= _GAP * scale
        found = f"largest gap {number(record.additivity_gap_max, 2)}, allowed {number(_GAP * scale, 2)}"
        checks.append(_check("Base value plus SHAP values is the prediction, every row", passed, found))
    if predictions:
        gaps = [
            np.abs(sample.base_value + sample.shap_values.sum(axis=1) - sample.prediction).max()
            for sample in evidence.samples.values()
            if len(sample.prediction)
        ]
        n_rows = sum(len(one) for one in predictions)
        found = f"largest gap {number(max(gaps), 2)} in {n_rows:,} rows of the table"
        checks.append(_check("The same, added up again for this report", max(gaps) <= _GAP * scale, found))
    return checks


def _errors(evidence: Evidence) -> list[dict[str, str]]:
    record = evidence.record
    if not record.std_error_median and not record.std_error_p99:
        return [_check("Standard errors", None, "all values are exact, nothing was sampled")]
    overall = evidence.summary[evidence.summary["segment_by"] == ""]
    top = float(overall["mean_abs_shap"].max())
    median, p99 = record.std_error_median or 0.0, record.std_error_p99 or 0.0
    found = f"median {number(median, 2)}, 99 % below {number(p99, 2)}"
    if top > 0:
        found += f": {percent(median / top, 1)} and {percent(p99 / top, 1)} of the largest mean |SHAP|"
    checks = [_check("Standard error of one applicant's value", None, found)]
    sums = overall[["mean_abs_shap", "sampling_error", "monte_carlo_error"]].sum()
    if sums["mean_abs_shap"] > 0:
        parts = (percent(sums[name] / sums["mean_abs_shap"], 1) for name in ("sampling_error", "monte_carlo_error"))
        found = "{} from the applicants being a sample, {} from sampling coalitions".format(*parts)
        checks.append(_check("Error of mean |SHAP|, summed over features", None, found))
    return checks
