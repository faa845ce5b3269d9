"""What stands on the page of one applicant: how the values lead to the prediction, reasons, the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.report.compared import reference_text
from spark_shap.report.figures import waterfall
from spark_shap.report.portfolio import UNITS, made_rows, only_aggregates
from spark_shap.report.reasoning import reason_terms, stable_meaning
from spark_shap.report.words import clean, plain

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.report.evidence import ApplicantEvidence, Sample

__all__ = ["applicant_content"]

_STEPS = 12


def applicant_content(evidence: ApplicantEvidence) -> dict[str, Any]:
    """Return what the template of an applicant's page is filled in with."""
    record = evidence.record
    unit = UNITS.get(record.output_space, record.output_space)
    name = ", ".join(f"{column} {value}" for column, value in evidence.key.items())
    return {
        "title": f"Applicant {name}",
        "record": record,
        "unit": unit,
        "key": evidence.key,
        "kept": evidence.kept,
        "reference": reference_text(record),
        "against": [_against(one, unit) for one in (evidence, *evidence.others)],
        "reason_rows": reason_terms(record),
        "stable_meaning": stable_meaning(record),
        "only_aggregates": only_aggregates(record),
    }


def _against(evidence: ApplicantEvidence, unit: str) -> dict[str, Any]:
    """Return what stands on the page once a reference."""
    return {
        "name": clean(evidence.record.reference_name),
        "reference": reference_text(evidence.record),
        "made_rows": made_rows(evidence.record),
        "sections": [_section(evidence, output, sample, unit) for output, sample in evidence.rows.items()],
        "has_reasons": evidence.reasons is not None,
        "reasons": [] if evidence.reasons is None else _reasons(evidence.reasons),
    }


def _section(evidence: ApplicantEvidence, output: str, sample: Sample, unit: str) -> dict[str, Any]:
    names = np.array(evidence.record.feature_names, dtype=object)
    values, errors = sample.shap_values[0], sample.std_errors[0]
    order = np.argsort(-np.abs(values), kind="stable")
    base, prediction = float(sample.base_value[0]), float(sample.prediction[0])
    own = _own(evidence, sample)
    rows = [
        {"name": names[at], "own": own.get(names[at], ""), "value": values[at], "half": 1.96 * errors[at]}
        for at in order
    ]
    shown = order[:_STEPS] if len(order) > _STEPS + 1 else order
    groups = evidence.record.groups
    labels = [names[at] if names[at] in groups else _label(names[at], own.get(names[at], "")) for at in shown]
    steps, halves = values[shown], 1.96 * errors[shown]
    rest = order[len(shown) :]
    if len(rest):
        labels.append(f"{len(rest)} other features")
        # Without their covariance no interval can be given for a sum.
        steps, halves = np.append(steps, values[rest].sum()), np.append(halves, 0.0)
    return {
        "name": output,
        "svg": waterfall(labels, steps, halves, base=base, prediction=prediction, what=f"{unit} of {output}"),
        "rows": rows,
        "knows_values": any(row["own"] for row in rows),
        "knows_all": all(row["own"] for row in rows),
        "base": base,
        "prediction": prediction,
        "unit": unit,
        "n_up": int((values > 0).sum()),
        "sampled": bool((errors > 0).any()),
    }


def _reasons(reasons: pd.DataFrame) -> list[dict[str, Any]]:
    texts = reasons[["code_set", "code", "text"]].fillna("")
    rows: list[dict[str, Any]] = reasons.assign(**{name: texts[name] for name in texts}).to_dict("records")
    return rows


def _own(evidence: ApplicantEvidence, sample: Sample) -> dict[str, str]:
    """Return the applicant's values of features, as far as they are known; of a group those of its members."""
    if not len(sample.features):
        return {}
    found = {str(name): plain(value) for name, value in sample.features.iloc[0].items()}
    for group, members in evidence.record.groups.items():
        there = [f"{name} {found[name]}" for name in members if found.get(name)]
        found[group] = ", ".join(there)
    return found


def _label(name: str, own: str) -> str:
    return f"{name} = {own}" if own else name
