"""How often each reason was given, how sure it is, and what may be none."""

from __future__ import annotations

import json
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.report.figures import frequencies, histogram
from spark_shap.report.words import clean, percent, plain

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.io.runs import RunRecord
    from spark_shap.report.evidence import Evidence

__all__ = ["common_text", "reason_sections", "reason_terms", "stable_meaning"]

_REASONS = 12
_EDGES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def reason_terms(record: RunRecord) -> list[tuple[str, str]]:
    """Return how the reasons of a run were found, as terms and what is said of them; nothing where it gave none."""
    asked = _asked(record)
    if not asked:
        return []
    terms = [
        ("Adverse side", f"a {asked['harm']} {record.output_space}"),
        ("Applicants to have reasons", _who(record, asked)),
        ("Reasons an applicant", f"up to {asked['top']}"),
    ]
    if record.reason_stable_share is not None:
        terms.append(("All reasons stable", f"for {percent(record.reason_stable_share, 1)} of them"))
    terms.append(("Features that may be no reason", _excluded(record)))
    sets = ", ".join(f"{name} (version {version})" for name, version in sorted(record.reason_codes.items()))
    if sets:
        terms.append(("Code sets", sets))
        terms.append(("Code file's fingerprint", str(record.reason_codes_fingerprint)))
    if record.reason_uncoded:
        terms.append(("Without a code", "; ".join(record.reason_uncoded)))
    return terms


def stable_meaning(record: RunRecord) -> str:
    """Return what a stable reason is, in a sentence."""
    least = percent(1.0 - float(_asked(record).get("max_p_swap", 0.025)), 1)
    return f"A reason is stable where the exact values would name it, too, with a probability above {least}."


def _asked(record: RunRecord) -> dict[str, Any]:
    return json.loads(record.config).get("reasons") or {}


def _who(record: RunRecord, asked: dict[str, Any]) -> str:
    text = f"{record.reason_rows or 0:,} of {record.rows_explained:,}"
    if asked["cutoff"] is not None:
        side = "more" if asked["harm"] == "high" else "less"
        text += f", whose {record.output_space} is {plain(asked['cutoff'])} or {side}"
    return text + (f", where {asked['where']}" if asked["where"] else "")


def _excluded(record: RunRecord) -> str:
    if not record.reason_exclusions:
        return "none was excluded"
    each = [f"{name}, for {percent(share, 1)}" for name, share in sorted(record.reason_exclusions.items())]
    return (
        f"{'; '.join(each)} of these applicants it would have been one. "
        f"Any of them: {percent(record.reason_exclusion_share, 1)}"
    )


def reason_sections(evidence: Evidence) -> list[dict[str, Any]]:
    """Return what is shown of each output and code set; nothing where the run gave no reasons."""
    if evidence.reasons is None or evidence.swaps is None:
        return []
    keys = ["output", "code_set"]
    swaps = dict(list(evidence.swaps.fillna({"code_set": ""}).groupby(keys, sort=False)))
    found = evidence.reasons.fillna({"code_set": ""}).groupby(keys, sort=False)
    sections = [_section(output, code_set, rows, swaps[output, code_set]) for (output, code_set), rows in found]
    for before, section in pairwise(sections):
        if before["output"] == section["output"]:  # ranks are the same whatever they are called
            section["stability"] = None
    return sections


def _section(output: str, code_set: str, rows: pd.DataFrame, swaps: pd.DataFrame) -> dict[str, Any]:
    # A run may give reasons to some of its applicants only.
    n_given = max(1, int(swaps["n"].max()))
    ranks = sorted(int(rank) for rank in rows["rank"].unique())
    table = rows.pivot_table(index="name", columns="rank", values="n", aggfunc="sum", fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    shares = table.to_numpy(dtype=float) / n_given
    texts = {name: _text(group) for name, group in rows.groupby("name")}
    lines = [
        {"name": name, "text": texts[name], "ranks": list(share), "any": float(share.sum())}
        for name, share in zip(table.index, shares, strict=True)
    ]
    labels = [
        f"{line['name']} {line['text']}" if line["text"] and line["text"] != line["name"] else line["name"]
        for line in lines[:_REASONS]
    ]
    return {
        "output": output,
        "code_set": code_set,
        "svg": frequencies(labels, shares[:_REASONS], ranks=ranks),
        "ranks": ranks,
        "lines": lines,
        "n_drawn": len(labels),
        "shared": bool(rows["shared"].any()),
        "stability": _stability(swaps),
    }


def _text(rows: pd.DataFrame) -> str:
    """Return what applicants were told; of texts that hold their own values, what is the same in all."""
    texts = [clean(text) for name in ("text", "last_text") for text in rows[name].dropna()]
    return common_text(min(texts), max(texts)) if texts else ""


def common_text(first: str, last: str) -> str:
    """Return the words that two texts begin and end with, and an ellipsis for what differs between them."""
    if first == last:
        return first
    one, other = first.split(" "), last.split(" ")
    start = _n_alike(one, other)
    end = min(_n_alike(one[::-1], other[::-1]), len(one) - start, len(other) - start)
    return " ".join([*one[:start], "\N{HORIZONTAL ELLIPSIS}", *one[len(one) - end :]])


def _n_alike(one: list[str], other: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _stability(swaps: pd.DataFrame) -> dict[str, Any]:
    ranks = [
        {"rank": int(row["rank"]), "n": int(row["n"]), "share": row["n_stable"] / max(1, row["n"])}
        for row in swaps.to_dict("records")
    ]
    counts = swaps[[f"p{index}" for index in range(5)]].to_numpy(dtype=float).sum(axis=0)
    total = counts.sum()
    shares = counts / total if total else counts
    said = "; ".join(
        f"{percent(share, 1)} between {low:.1f} and {high:.1f}"
        for share, low, high in zip(shares, _EDGES[:-1], _EDGES[1:], strict=True)
    )
    title = "Probability that a reason and the next would change places"
    drawn = histogram(_EDGES, shares, what=title.lower(), alternative=f"{title}, share of reasons: {said}.")
    return {"ranks": ranks, "svg": drawn if total else None}
