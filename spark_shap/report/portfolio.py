"""What stands on the page of a run: how it was made, what it found, what was checked, what changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from spark_shap.report.checks import checks_of
from spark_shap.report.compared import compared_section, reference_text
from spark_shap.report.drifting import drift_section
from spark_shap.report.reasoning import reason_sections, reason_terms, stable_meaning
from spark_shap.report.sections import output_section
from spark_shap.report.words import clean, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.io.runs import RunRecord
    from spark_shap.report.evidence import Evidence

__all__ = ["UNITS", "made_rows", "only_aggregates", "portfolio_content"]

_OUTPUTS = 6  # with figures; a model of hundreds of classes would make a page that nobody opens
UNITS = {"probability": "probability", "margin": "margin", "prediction": "prediction"}
METHODS = {
    "linear": "exact, by the closed form of a linear model",
    "tree": "exact, by sums over the leaves of the trees",
    "exact": "all coalitions of features",
    "sampling": "every value has a standard error",
}


def portfolio_content(evidence: Evidence) -> dict[str, Any]:
    """Return what the template of a run's page is filled in with."""
    record = evidence.record
    shown = record.output_names[:_OUTPUTS]
    unit = UNITS.get(record.output_space, record.output_space)
    rejects = [] if evidence.rejects is None else evidence.rejects.to_dict("records")
    return {
        "title": _title(record),
        "record": record,
        "unit": unit,
        "tiles": _tiles(evidence),
        "run_rows": _run_rows(record),
        "made_rows": made_rows(record),
        "reference": reference_text(record),
        "config": json.dumps(json.loads(record.config), indent=2, ensure_ascii=False),
        "versions": sorted(record.versions.items()),
        "references": compared_section(evidence, unit),
        "against": [_against(one, shown, unit) for one in (evidence, *evidence.others)],
        "hidden_outputs": record.output_names[_OUTPUTS:],
        "reason_rows": reason_terms(record),
        "stable_meaning": stable_meaning(record),
        "only_aggregates": only_aggregates(record),
        "checks": checks_of(evidence),
        "rejects": rejects,
        "hidden_rejects": max(0, evidence.n_reject_kinds - len(rejects)),
        "drift": None if evidence.comparison is None else drift_section(evidence.comparison, unit),
    }


def _against(evidence: Evidence, outputs: Sequence[str], unit: str) -> dict[str, Any]:
    """Return what stands on the page once a reference."""
    return {
        "name": clean(evidence.record.reference_name),
        "reference": reference_text(evidence.record),
        "sections": [output_section(evidence, name, unit) for name in outputs],
        "reasons": reason_sections(evidence),
    }


def _title(record: RunRecord) -> str:
    names = record.output_names
    return f"What drives the prediction of {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"


def only_aggregates(record: RunRecord) -> bool:
    """Return whether applicants were explained only as precisely as their mean needs."""
    return bool(json.loads(record.config).get("explain", {}).get("audit") == "aggregates")


def made_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Return how a run's numbers were made, as terms and what is said of them."""
    each = record.model_evaluations / max(1, record.rows_explained)
    return [
        ("Model", record.model_uri),
        ("Model fingerprint", record.model_fingerprint),
        ("Explained", f"{record.output_space} of {', '.join(record.output_names)}"),
        ("Compared with", reference_text(record) + _first_of(record)),
        ("Reference fingerprint", record.reference_fingerprint),
        ("Method", f"{record.method}: {METHODS.get(record.method, 'see the reason')}"),
        ("Why this method", record.method_reason),
        ("Model evaluations", f"{record.model_evaluations:,} ({each:,.0f} an applicant)"),
        ("Seed", str(record.seed)),
    ]


def _first_of(record: RunRecord) -> str:
    """Return that a reference is one of several, which have fingerprints and methods of their own."""
    others = len(record.reference_names) - 1
    return f"; one of {others + 1} references" if others else ""


def _run_rows(record: RunRecord) -> list[tuple[str, str]]:
    rows = [
        ("Run", record.run_id),
        ("Started", f"{record.started_at:%Y-%m-%d %H:%M} UTC"),
        ("Finished", f"{record.finished_at:%Y-%m-%d %H:%M} UTC"),
        ("Rows read", f"{record.rows_read:,}"),
        ("Explained", f"{record.rows_explained:,}"),
        ("Rejected", f"{record.rows_rejected:,}"),
        ("Features", f"{len(record.feature_names)}"),
        ("Input version", record.input_version or "no version known"),
    ]
    if record.rows_left_out:
        rows.insert(6, ("Left out", f"{record.rows_left_out:,}: a random sample was explained, for the aggregates"))
    return rows


def _tiles(evidence: Evidence) -> list[dict[str, str]]:
    record, checks = evidence.record, checks_of(evidence)
    failed = [check for check in checks if check["status"] == "failed"]
    n_judged = sum(check["status"] != "noted" for check in checks)
    rejected = record.rows_rejected / max(1, record.rows_read)
    tiles = [
        {
            "label": "applicants explained",
            "value": f"{record.rows_explained:,}",
            "note": f"{record.rows_rejected:,} rejected ({percent(rejected, 1)})",
            "tone": "",
        },
        {
            "label": "checks",
            "value": f"{len(failed)} failed" if failed else f"{n_judged} of {n_judged} passed",
            "note": failed[0]["what"] if failed else "counts, additivity",
            "tone": "bad" if failed else "good",
        },
        {
            "label": "standard error of a value",
            "value": number(record.std_error_median, 2) if record.std_error_median else "exact",
            "note": f"99 % are below {number(record.std_error_p99, 2)}"
            if record.std_error_median
            else "nothing was sampled",
            "tone": "",
        },
    ]
    comparison = evidence.comparison
    if comparison is not None:
        n = len(comparison.changed)
        tiles.append(
            {
                "label": "since the run before",
                "value": f"{n} change{'' if n == 1 else 's'}" if n else "no change",
                "note": f"of {comparison.n_tested:,} comparisons",
                "tone": "warn" if n else "good",
            }
        )
    return tiles
