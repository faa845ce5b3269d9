"""Figures of sampled applicants, a point each: the beeswarm, and how values depend on a feature.

Points are pixels inside the figure (thousands of shapes would be slow on a phone), in colours that can be seen on
white and on black alike; axes and text are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_shap.report.svg import COLOURS, drawing, inline_svg, name_lines
from spark_shap.report.words import clean, number, plain, short, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from spark_shap.core.arrays import AnyArray, FloatArray

__all__ = ["Trend", "beeswarm", "dependence", "slanted", "trend"]

_LOW, _MIDDLE, _HIGH, _GREY = "#2f7fe6", "#a35fd3", "#ec3f55", "#8d939c"
_BINS = 10
_CATEGORIES = 8
_OTHERS = "all others"
_MISSING = "missing"
_GOLDEN = 0.618034  # its multiples fill an interval evenly
_LANES = 90  # across a beeswarm; points in one lane stand above each other


def beeswarm(names: Sequence[str], values: FloatArray, features: pd.DataFrame | None, *, unit: str) -> str:
    """Return one row of points a feature.

    Parameters
    ----------
    names
        n features, the first at the top.
    values
        (n_rows, n) SHAP values.
    features
        The n features' own values, which give the colours; None draws all points alike.
    unit
        Of the axis.
    """
    with drawing(64 + 27 * len(names)) as (figure, axes):
        scale = figure.colorbar if features is not None else None
        for place, name in enumerate(names):
            column = values[:, place]
            colours = [_MIDDLE] * len(column) if features is None else _colours(features[name])
            y = place + _spread(column)
            axes.scatter(column, y, s=7, c=colours, alpha=0.75, linewidths=0, rasterized=True)
        axes.axvline(0.0, color=COLOURS["muted"], linewidth=1.0)
        name_lines(figure, axes, names)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"SHAP value ({unit})")
        if scale is not None:
            from matplotlib.cm import ScalarMappable

            bar = scale(ScalarMappable(cmap=_scale()), ax=axes, location="top", aspect=60, pad=0.02)
            bar.set_ticks([0, 1], labels=["low feature value", "high"])
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0)
            bar.ax.get_xticklabels()[0].set_horizontalalignment("left")
            bar.ax.get_xticklabels()[1].set_horizontalalignment("right")
    said = "; ".join(
        f"{clean(name)}: half of the values between {signed(low)} and {signed(high)}"
        for name, low, high in zip(names, *np.quantile(values, [0.25, 0.75], axis=0), strict=True)
    )
    return inline_svg(figure, f"Beeswarm of SHAP values of {len(values):,} applicants. {said}.")


@dataclass(frozen=True)
class Trend:
    """Mean SHAP by value of a feature.

    Attributes
    ----------
    labels
        n bins, as text.
    x
        (n,) means of a numeric feature, or places 0, 1, ... of categories.
    means, halves
        (n,) mean SHAP, and half the width of its 95 % interval; NaN where there are too few rows.
    counts
        (n,) rows.
    positions
        (n_rows,) where each row stands on the axis; NaN where the value is missing.
    """

    labels: tuple[str, ...]
    x: FloatArray
    means: FloatArray
    halves: FloatArray
    counts: AnyArray
    positions: FloatArray
    numeric: bool


def trend(column: pd.Series, values: FloatArray) -> Trend:
    """Return the mean SHAP, of sampled rows, by a feature's value: tenths of a number, or categories."""
    number_like = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    numeric = number_like and column.nunique() > _CATEGORIES
    if numeric:
        labels, codes, x = _tenths(column)
    else:
        labels, codes = _categories(column, in_order=number_like)
        x = codes.astype(float)
    groups = [np.flatnonzero(codes == code) for code in labels]
    means = np.array([values[rows].mean() if len(rows) else np.nan for rows in groups])
    halves = np.array([_half(values[rows]) for rows in groups])
    middles = np.array([x[rows].mean() if len(rows) else np.nan for rows in groups])
    counts = np.array([len(rows) for rows in groups])
    return Trend(tuple(labels.values()), middles, means, halves, counts, x, numeric)


def dependence(name: str, found: Trend, values: FloatArray, *, unit: str) -> str:
    """Return the points of a feature against its value, with the mean of every bin and its 95 % interval."""
    with drawing(235, width=330.0) as (figure, axes):
        axes.grid(axis="y")
        axes.grid(visible=False, axis="x")
        x = found.positions
        jitter = np.zeros(len(x)) if found.numeric else 0.5 * (np.arange(len(x)) * _GOLDEN % 1.0 - 0.5)
        axes.scatter(x + jitter, values, s=8, color=_MIDDLE, alpha=0.7, linewidths=0, rasterized=True)
        axes.axhline(0.0, color=COLOURS["muted"], linewidth=1.0)
        style = "-" if found.numeric else ""
        there = np.isfinite(found.means)
        axes.errorbar(
            found.x[there],
            found.means[there],
            yerr=np.nan_to_num(found.halves[there]),
            fmt=f"o{style}",
            color=COLOURS["ink"],
            markersize=4.5,
            capsize=3.0,
            linewidth=1.4,
        )
        if not found.numeric:
            slanted(axes, [short(label, 14) for label in found.labels])
        else:
            axes.locator_params(axis="x", nbins=5)
            axes.xaxis.set_major_formatter(lambda value, _: plain(value))
            axes.tick_params(axis="x", labelcolor=COLOURS["muted"], pad=8.0)  # clear of the lowest label at the side
        axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
        axes.set_ylabel(f"SHAP ({unit})")
    said = "; ".join(
        f"{clean(label)} {signed(mean)} ± {number(half)}"
        for label, mean, half in zip(found.labels, found.means, found.halves, strict=True)
    )
    return inline_svg(figure, f"SHAP value of {clean(name)} by its value, mean of each bin: {said}.")


def slanted(axes: Axes, labels: Sequence[str]) -> None:
    """Write labels under places 0, 1, ..., side by side where they fit and at an angle where they do not."""
    long = max(map(len, labels)) > 46 / len(labels)  # letters that fit side by side
    axes.set_xticks(range(len(labels)), labels, rotation=32 if long else 0, ha="right" if long else "center")
    axes.tick_params(axis="x", labelcolor=COLOURS["ink"], labelsize=10)
    axes.set_xlim(-0.6, len(labels) - 0.4)


def _tenths(column: pd.Series) -> tuple[dict[int, str], AnyArray, FloatArray]:
    """Return labels by code and the rows' codes and numbers: bins of about a tenth of the rows, missing ones last."""
    x = column.to_numpy(dtype=float, na_value=np.nan)
    x = np.where(np.isfinite(x), x, np.nan)
    codes = pd.qcut(pd.Series(x), _BINS, labels=False, duplicates="drop").fillna(-1).to_numpy(dtype=int)
    bins = [int(code) for code in np.unique(codes) if code >= 0]
    labels = {
        code: f"{plain(float(x[codes == code].min()))} to {plain(float(x[codes == code].max()))}" for code in bins
    }
    if (codes < 0).any():
        labels[_BINS] = _MISSING
        codes[codes < 0] = _BINS
    return labels, codes, x


def _categories(column: pd.Series, *, in_order: bool) -> tuple[dict[int, str], AnyArray]:
    """Return labels by code and the rows' codes: the most frequent values, all others, and missing ones last."""
    counts = column.value_counts()
    kept = list(counts.index[:_CATEGORIES]) if len(counts) <= _CATEGORIES else list(counts.index[: _CATEGORIES - 1])
    kept = sorted(kept) if in_order else sorted(kept, key=str)
    codes = pd.Categorical(column, categories=kept).codes.astype(int)
    labels = {code: plain(value) if in_order else clean(value) for code, value in enumerate(kept)}
    missing = column.isna().to_numpy()
    if (others := (codes < 0) & ~missing).any():
        labels[len(kept)] = _OTHERS
        codes[others] = len(kept)
    if missing.any():
        codes[missing] = len(labels)
        labels[len(labels)] = _MISSING
    return labels, codes


def _half(values: FloatArray) -> float:
    """Return half the width of the 95 % interval of a mean; what was sampled is in the spread of the values."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _colours(column: pd.Series) -> list[str]:
    """Return a colour a row: by rank for numbers, so that outliers do not take all of the scale; else grey."""
    from matplotlib.colors import to_hex

    if not pd.api.types.is_numeric_dtype(column):
        return [_GREY] * len(column)
    rank = column.rank(pct=True).to_numpy(dtype=float)
    scale = _scale()
    return [_GREY if np.isnan(one) else to_hex(scale(one)) for one in rank]


def _scale() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("values", [_LOW, _MIDDLE, _HIGH])


def _spread(column: FloatArray) -> FloatArray:
    """Return heights in -0.4 .. 0.4 that keep points of about the same value apart, as many as there are there."""
    width = float(np.ptp(column)) or 1.0
    lanes = np.floor((column - column.min()) / width * (_LANES - 1)).astype(int)
    order = np.argsort(lanes, kind="stable")
    firsts = np.searchsorted(lanes[order], lanes[order])
    nth = np.empty(len(column))
    nth[order] = np.arange(len(column)) - firsts
    counts = np.bincount(lanes)[lanes]
    # Above and below by turns, so that a lane is as high as it is full.
    step = np.where(nth % 2 == 0, nth, -nth - 1) / 2.0
    return np.asarray(step / max(1, counts.max()) * 0.8)
