"""The figures and tables of one output: what matters most, sampled applicants, dependence, segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_shap.report.clouds import beeswarm, dependence, trend
from spark_shap.report.curves import table_curves
from spark_shap.report.figures import bars, segment
from spark_shap.report.words import clean, segment_title

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray
    from spark_shap.report.evidence import Evidence, Sample

__all__ = ["half_width", "output_section"]

_BARS = 15
_SWARM = 12
_CURVES = 6
_SEGMENTS = 8  # of each segmentation, side by side
_SEGMENT_BARS = 8


def half_width(rows: pd.DataFrame, errors: tuple[str, str] = ("sampling_error", "monte_carlo_error")) -> FloatArray:
    """Return half the width of the 95 % interval from the population's and the sampler's error, (n,)."""
    squares = [np.nan_to_num(pd.to_numeric(rows[name]).to_numpy(dtype=float)) ** 2 for name in errors]
    return np.asarray(1.96 * np.sqrt(squares[0] + squares[1]))


def output_section(evidence: Evidence, output: str, unit: str) -> dict[str, Any]:
    """Return what is shown of one output."""
    summary = evidence.summary[evidence.summary["output"] == output]
    overall = summary[summary["segment_by"] == ""].sort_values("rank")
    overall = overall.assign(half=half_width(overall))
    top = overall.head(_BARS)
    sample = evidence.samples[output]
    return {
        "name": clean(output),
        "bars": bars(
            top["feature"].tolist(),
            top["mean_abs_shap"].to_numpy(dtype=float),
            top["half"].to_numpy(dtype=float),
            what=f"mean |SHAP| ({unit})",
        ),
        "n_bars": len(top),
        "n_features": len(overall),
        "rows": overall.to_dict("records"),
        "shares": _shares(overall),
        "base_value": float(sample.base_value.mean()) if len(sample.base_value) else None,
        **_clouds(evidence, output, overall["feature"].tolist(), unit),
        "segmentations": _segmentations(summary, overall),
    }


def _shares(overall: pd.DataFrame) -> dict[str, float]:
    """Return each feature's share of the total mean |SHAP|."""
    total = float(overall["mean_abs_shap"].sum()) or 1.0
    return {name: value / total for name, value in zip(overall["feature"], overall["mean_abs_shap"], strict=True)}


def _clouds(evidence: Evidence, output: str, ranked: list[str], unit: str) -> dict[str, Any]:
    """Return the beeswarm and dependence figures, and what they cannot show."""
    sample, names = evidence.samples[output], list(evidence.record.feature_names)
    curves: list[dict[str, Any]] = []
    if evidence.curves is not None:
        rows = evidence.curves[evidence.curves["output"] == output]
        there = set(rows["feature"])
        drawn = [name for name in ranked if name in there][:_CURVES]
        curves = table_curves(rows, drawn, names, sample, unit=unit)
    of_all = bool(curves)
    if not len(sample.prediction):
        return {
            "beeswarm": None,
            "n_sampled": 0,
            "curves": curves,
            "of_all": of_all,
            "values_known": False,
            "all_known": False,
        }
    top = ranked[:_SWARM]
    values = sample.shap_values[:, [names.index(name) for name in top]]
    known = [name for name in ranked if name in sample.features.columns]
    features = sample.features.reindex(columns=top) if set(top) & set(known) else None
    if not curves:
        curves = [_sampled_curve(sample, name, names.index(name), unit) for name in known[:_CURVES]]
    return {
        "beeswarm": beeswarm(top, values, features, unit=unit),
        "n_sampled": len(sample.prediction),
        "curves": curves,
        "of_all": of_all,
        "values_known": features is not None,
        "all_known": features is not None and set(top) <= set(known),
    }


def _sampled_curve(sample: Sample, name: str, place: int, unit: str) -> dict[str, Any]:
    column = sample.shap_values[:, place]
    found = trend(sample.features[name], column)
    bins = zip(found.labels, found.counts, found.means, found.halves, strict=True)
    return {"name": name, "svg": dependence(name, found, column, unit=unit), "bins": list(bins)}


def _segmentations(summary: pd.DataFrame, overall: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    features = overall["feature"].head(_SEGMENT_BARS).tolist()
    whole = overall["mean_abs_shap"].head(_SEGMENT_BARS).to_numpy(dtype=float)
    for by, rows in summary[summary["segment_by"] != ""].groupby("segment_by", sort=False):
        sizes = rows.groupby("segment", dropna=False)["weight"].first().sort_values(ascending=False, kind="stable")
        # Python's own None again, where pandas made a NaN of it.
        kept = [None if pd.isna(segment) else segment for segment in sizes.index[:_SEGMENTS]]
        panels = [_panel(rows, one, by, features) for one in kept]
        limit = max(1.05 * max(*(panel["reach"] for panel in panels), *whole), 1e-12)
        for panel in panels:
            values, halves = np.array(panel["values"]), np.array(panel["halves"])
            panel["svg"] = segment(panel["name"], features, values, halves, overall=whole, limit=limit)
        found.append({"by": by, "panels": panels, "n_segments": len(sizes), "features": features})
    return found


def _panel(rows: pd.DataFrame, one: Any, by: str, features: list[str]) -> dict[str, Any]:
    mine = rows[rows["segment"].isna()] if one is None else rows[rows["segment"] == one]
    own = mine.set_index("feature").loc[features]
    values, halves = own["mean_abs_shap"].to_numpy(dtype=float), half_width(own)
    return {
        "name": segment_title(one, by),
        "n_rows": int(own["n_rows"].iloc[0]),
        "first": clean(mine.sort_values("rank")["feature"].iloc[0]),
        "reach": float(np.max(values + halves)),
        "values": values.tolist(),
        "halves": halves.tolist(),
        "means": own["mean_shap"].tolist(),
    }
