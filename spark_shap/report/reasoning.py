"""How often each reason was given, and how sure its rank is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.report.figures import frequencies, histogram
from spark_shap.report.words import clean, percent

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.report.evidence import Evidence

__all__ = ["reason_sections"]

_REASONS = 12
_EDGES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def reason_sections(evidence: Evidence) -> list[dict[str, Any]]:
    """Return what is shown of each output and code set; nothing where the run gave no reasons."""
    if evidence.reasons is None or evidence.swaps is None:
        return []
    keys = ["output", "code_set"]
    swaps = dict(list(evidence.swaps.fillna({"code_set": ""}).groupby(keys, sort=False)))
    found = evidence.reasons.fillna({"code_set": ""}).groupby(keys, sort=False)
    return [_section(output, code_set, rows, swaps[output, code_set]) for (output, code_set), rows in found]


def _section(output: str, code_set: str, rows: pd.DataFrame, swaps: pd.DataFrame) -> dict[str, Any]:
    # A run may give reasons to some of its applicants only.
    n_given = max(1, int(swaps["n"].max()))
    ranks = sorted(int(rank) for rank in rows["rank"].unique())
    # Features that share a code count together; without a code the feature is the reason.
    names = rows["code"].where(rows["code"].notna(), rows["feature"])
    table = rows.assign(name=names).pivot_table(index="name", columns="rank", values="n", aggfunc="sum", fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    shares = table.to_numpy(dtype=float) / n_given
    texts = {name: _text(group) for name, group in rows.assign(name=names).groupby("name")}
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
        "stability": _stability(swaps),
    }


def _text(rows: pd.DataFrame) -> str:
    """Return what applicants were told; of texts that hold their own values, one of them."""
    first, last = rows["text"].dropna(), rows["last_text"].dropna()
    if not len(first):
        return ""
    if first.min() == last.max():
        return clean(first.min())
    return f"such as: {clean(first.min())}"


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
