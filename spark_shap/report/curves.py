"""Curves of how values depend on a feature, from the table of dependence: all explained applicants, not a sample.

A feature's bins stand side by side: of a number they hold about as many applicants each, so that the axis is one of
quantiles, with the ends of bins written where two of them meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_shap.report.clouds import slanted
from spark_shap.report.svg import COLOURS, drawing, inline_svg
from spark_shap.report.words import clean, number, plain, short, signed

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, FloatArray
    from spark_shap.report.evidence import Sample

__all__ = ["table_curves"]

_POINT = "#a35fd3"
_GOLDEN = 0.618034
_MISSING = "missing"
_TICKS = 5


def table_curves(
    rows: pd.DataFrame, features: list[str], names: list[str], sample: Sample, *, unit: str
) -> list[dict[str, Any]]:
    """Return the figure and the numbers of each feature that has a curve.

    Parameters
    ----------
    rows
        One output's, of the table of dependence.
    features
        Which to draw, in order.
    names
        The run's features, as the sample has them.
    sample
        Its points are drawn behind the curve, where their features' values are known.
    unit
        Of the values.
    """
    found = []
    for name in features:
        bins = _single_values(rows[rows["feature"] == name].sort_values("bin", ignore_index=True), name, sample)
        if not len(bins):
            continue
        halves = (bins["band_high"] - bins["band_low"]).to_numpy(dtype=float) / 2.0
        means = bins["mean_shap"].to_numpy(dtype=float)
        labels = [_words(row) for row in bins.to_dict("records")]
        lines = list(zip(labels, bins["n_rows"].astype(int), means, halves, strict=True))
        points = _points(bins, name, names, sample)
        found.append({"name": name, "bins": lines, "svg": _drawn(name, bins, points, unit)})
    return found


def _single_values(bins: pd.DataFrame, name: str, sample: Sample) -> pd.DataFrame:
    """Return bins of a number with few values as these values, where the sample shows that they are: a code, say."""
    numbered = np.flatnonzero(bins["low"].notna() | bins["high"].notna())
    if not len(numbered) or name not in sample.features or not pd.api.types.is_numeric_dtype(sample.features[name]):
        return bins
    ends = bins["high"].to_numpy(dtype=float)[numbered]
    own = sample.features[name].dropna().to_numpy(dtype=float)
    place = np.searchsorted(np.where(np.isnan(ends), np.inf, ends), own, side="left")
    inside = [np.unique(own[place == at]) for at in range(len(numbered))]
    single = all(
        len(one) <= 1 and (np.isnan(end) or end in one or not len(one)) for one, end in zip(inside, ends, strict=True)
    )
    if not single or not any(map(len, inside)) or (np.isnan(ends[-1]) and not len(inside[-1])):
        return bins
    values = [float(one[0]) if len(one) else float(end) for one, end in zip(inside, ends, strict=True)]
    labels = bins["label"].astype(object)
    labels.iloc[numbered] = [plain(value) for value in values]
    # The ends go: what is left are categories, in the numbers' order.
    return bins.assign(label=labels, low=np.nan, high=np.nan)


def _words(row: dict[str, Any]) -> str:
    """Return what is in a bin; of a number its ends, as numbers are written here."""
    low, high, label = row["low"], row["high"], str(row["label"])
    if pd.isna(low) and pd.isna(high):
        return clean(label)
    if _end(label) != f"{high:.12g}" and pd.notna(high):  # a time, which the label has as a date
        return clean(label)
    if pd.isna(low):
        return f"up to {plain(float(high))}"
    return f"above {plain(float(low))}" if pd.isna(high) else f"above {plain(float(low))} up to {plain(float(high))}"


def _end(label: str) -> str:
    return label.rpartition("up to ")[2]


def _points(bins: pd.DataFrame, name: str, names: list[str], sample: Sample) -> tuple[AnyArray, FloatArray]:
    """Return where the sampled applicants stand, in bins, and their values; none whose bin is not known."""
    values = sample.shap_values[:, names.index(name)] if len(sample.prediction) else np.empty(0)
    if not len(values) or name not in sample.features:
        return np.empty(0), np.empty(0)
    own = sample.features[name]
    numbered = bins["low"].notna() | bins["high"].notna()
    if numbered.any():
        if not pd.api.types.is_numeric_dtype(own):
            return np.empty(0), np.empty(0)
        ends = bins.loc[numbered, "high"].to_numpy(dtype=float)
        ends = np.where(np.isnan(ends), np.inf, ends)
        place = np.searchsorted(ends, own.to_numpy(dtype=float), side="left").astype(float)
        place[(place >= numbered.sum()) | own.isna().to_numpy()] = np.nan
    else:
        known = {str(label): at for at, label in enumerate(bins["label"])}
        other = known.get("other", np.nan)
        place = own.map(lambda value: known.get(str(value), known.get(plain(value), other))).to_numpy(dtype=float)
    missing = np.flatnonzero(bins["label"] == _MISSING)
    if len(missing):
        place = np.where(own.isna(), missing[-1], place)
    there = np.isfinite(place)
    jitter = 0.7 * (np.arange(int(there.sum())) * _GOLDEN % 1.0 - 0.5)
    return place[there] + jitter, values[there]


def _drawn(name: str, bins: pd.DataFrame, points: tuple[AnyArray, FloatArray], unit: str) -> str:
    place, means = np.arange(len(bins)), bins["mean_shap"].to_numpy(dtype=float)
    low, high = (bins[side].to_numpy(dtype=float) for side in ("band_low", "band_high"))
    numbered = (bins["low"].notna() | bins["high"].notna()).to_numpy()
    with drawing(235, width=330.0) as (figure, axes):
        axes.grid(axis="y")
        axes.grid(visible=False, axis="x")
        axes.scatter(*points, s=8, color=_POINT, alpha=0.5, linewidths=0, rasterized=True)
        axes.axhline(0.0, color=COLOURS["muted"], linewidth=1.0)
        if numbered.any():
            axes.fill_between(place[numbered], low[numbered], high[numbered], color=COLOURS["main"], alpha=0.3, lw=0)
            axes.plot(place[numbered], means[numbered], color=COLOURS["ink"], linewidth=1.4)
        bars = np.clip(np.stack([means - low, high - means]), 0.0, None)
        axes.errorbar(place, means, bars, fmt="o", color=COLOURS["ink"], markersize=4.5, capsize=3.0, linewidth=1.4)
        _name_bins(axes, bins, numbered)
        axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
        axes.set_ylabel(f"SHAP ({unit})")
    said = "; ".join(
        f"{_words(row)} {signed(row['mean_shap'])} ± {number((row['band_high'] - row['band_low']) / 2)}"
        for row in bins.to_dict("records")
    )
    return inline_svg(figure, f"SHAP value of {clean(name)} by its value, mean of all applicants in each bin: {said}.")


def _name_bins(axes: Any, bins: pd.DataFrame, numbered: AnyArray) -> None:
    """Write the ends of some bins where they meet, or the names of categories under them."""
    if not numbered.any():
        slanted(axes, [short(label, 14) for label in bins["label"]])
        return
    rows = bins[numbered]
    inner = np.flatnonzero(rows["high"].notna())
    step = max(1, -(-len(inner) // _TICKS))
    shown = inner[(step - 1) // 2 :: step]
    texts = [_words(row).rpartition("up to ")[2] for row in rows.iloc[shown].to_dict("records")]
    places = [at + 0.5 for at in shown]
    for at in np.flatnonzero(~numbered):
        places.append(float(at))
        texts.append(short(bins["label"].iloc[at], 10))
    axes.set_xticks(places, texts)
    axes.tick_params(axis="x", labelcolor=COLOURS["muted"], labelsize=10, length=3.0)
    axes.set_xlim(-0.6, len(bins) - 0.4)
