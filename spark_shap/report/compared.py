"""A run's references side by side: what each is, how far they agree, how much features matter against each."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_shap.report.figures import beside
from spark_shap.report.sections import half_width
from spark_shap.report.words import clean, number, percent, plain

if TYPE_CHECKING:
    from spark_shap.io.runs import RunRecord
    from spark_shap.report.evidence import Evidence

__all__ = ["compared_section", "record_against", "reference_text"]

_LINES = 10
_DRAWN = 4  # references in a figure; the table has all


def reference_text(record: RunRecord) -> str:
    """Return which population the values compare with, in words."""
    text = f"{record.reference_rows:,} rows of {record.reference_name!r}"
    if record.reference_predicate:
        text += f", those where {record.reference_predicate}"
    if record.reference_as_of:
        text += f", as of {record.reference_as_of:%d %B %Y}"
    if record.reference_weight != record.reference_rows:
        text += f", weighted (sum of weights {number(record.reference_weight, 4)})"
    return text


def record_against(record: RunRecord, name: str) -> RunRecord:
    """Return a run's row as it would speak of another of its references."""
    one = _asked(record)[name]
    return replace(
        record,
        reference_name=name,
        reference_predicate=one.get("where"),
        reference_as_of=date.fromisoformat(one["as_of"]) if one.get("as_of") else None,
        reference_fingerprint=one["fingerprint"],
        reference_rows=int(one["rows"]),
        reference_weight=float(one["weight_sum"]),
        method=one["method"],
        method_reason=one["method_reason"],
    )


def compared_section(evidence: Evidence, unit: str) -> dict[str, Any] | None:
    """Return what is said of several references; None where there is one."""
    if not evidence.others:
        return None
    record, every = evidence.record, (evidence, *evidence.others)
    names = [clean(one.record.reference_name) for one in every]
    asked = _asked(record)
    rows = [_row(one.record, asked[one.record.reference_name]) for one in every]
    tables = [_table(every, output) for output in record.output_names[:2]]
    return {
        "names": names,
        "rows": rows,
        "agreement": _agreement(record, [one.record.reference_name for one in every]),
        "tables": tables,
        "figures": [
            beside(table["features"][:_LINES], table["values"][:_LINES, :_DRAWN], names[:_DRAWN], what=_what(unit))
            for table in tables
        ],
        "n_drawn": min(len(names), _DRAWN),
    }


def _what(unit: str) -> str:
    return f"mean |SHAP| ({unit})"


def _asked(record: RunRecord) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(record.references or "[]")}


def _row(record: RunRecord, asked: dict[str, Any]) -> dict[str, Any]:
    bases = asked.get("base_values", {})
    return {
        "name": clean(record.reference_name),
        "is": _meaning(asked),
        "rows": record.reference_rows,
        "base": ", ".join(
            number(value, 4) if len(bases) == 1 else f"{clean(output)} {number(value, 4)}"
            for output, value in bases.items()
        ),
        "method": record.method,
        "fingerprint": record.reference_fingerprint[:12],
    }


def _meaning(asked: dict[str, Any]) -> str:
    """Return what was asked for, in words."""
    if asked.get("row") is not None:
        return "a single row"
    where = (
        "applicants" if not (asked.get("path") or asked.get("table")) else clean(asked.get("path") or asked["table"])
    )
    words = {"approved": "whom the model's score accepts", "near_cutoff": "just on the accepted side of the cutoff"}
    text = f"{where} {words[asked['population']]}" if asked.get("population") in words else where
    if asked.get("cutoff") is not None and asked.get("population") in words:
        text += f" ({plain(asked['cutoff'])}"
        text += f", band {plain(asked['band'])})" if asked.get("band") is not None else ")"
    if asked.get("where"):
        text += f" where {clean(asked['where'])}"
    if asked.get("weight"):
        text += f", weighted by {clean(asked['weight'])}"
    if asked.get("as_of"):
        text += f", as of {asked['as_of']}"
    if asked.get("rows_scored"):
        text += f"; {asked['rows_found']:,} found among {asked['rows_scored']:,} scored"
    return text


def _agreement(record: RunRecord, names: list[str]) -> list[tuple[str, list[str]]]:
    """Return a line a reference: the share of the four largest values that it has in common with each."""
    known = {
        frozenset((a, b)): record.reference_agreement[f"{a} & {b}"]
        for a in names
        for b in names
        if f"{a} & {b}" in record.reference_agreement
    }
    return [(clean(a), ["" if a == b else percent(known.get(frozenset((a, b))), 1) for b in names]) for a in names]


def _table(every: tuple[Evidence, ...], output: str) -> dict[str, Any]:
    """Return the mean |SHAP| of each feature against each reference, with half its 95 % interval."""
    values, halves = [], []
    order: list[str] = []
    for one in every:
        rows = one.summary[(one.summary["output"] == output) & (one.summary["segment_by"] == "")]
        order = order or rows.sort_values("rank")["feature"].tolist()
        own = rows.assign(half=half_width(rows)).set_index("feature").loc[order]
        values.append(pd.to_numeric(own["mean_abs_shap"]).to_numpy(dtype=float))
        halves.append(own["half"].to_numpy(dtype=float))
    return {"output": clean(output), "features": order, "values": np.array(values).T, "halves": np.array(halves).T}
