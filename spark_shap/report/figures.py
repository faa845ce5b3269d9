"""Figures of aggregates: what matters most, segments, reasons, changes; and the waterfall of one applicant.

Every function returns an ``svg`` element (see `spark_shap.report.svg`) whose alternative text says its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_shap.report.svg import COLOURS, drawing, inline_svg, name_lines
from spark_shap.report.words import clean, number, percent, short, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from spark_shap.core.arrays import AnyArray, FloatArray

__all__ = ["bars", "beside", "changes", "frequencies", "histogram", "segment", "waterfall"]

_LINE = 21.0  # points a bar takes


def bars(names: Sequence[str], values: FloatArray, halves: FloatArray, *, what: str) -> str:
    """Return bars with error bars, the first name at the top.

    Parameters
    ----------
    names
        n features.
    values, halves
        (n,) what is drawn, and half the width of its interval; NaN draws none.
    what
        Of the axis.
    """
    with drawing(38 + _LINE * len(names)) as (figure, axes):
        places = np.arange(len(names))
        axes.barh(places, values, height=0.66, color=COLOURS["main"])
        _intervals(axes, values, places, halves)
        for place, value, half in zip(places, values, np.nan_to_num(halves), strict=True):
            _beside(axes, number(value, 2), float(max(value + half, 0.0)), int(place))
        name_lines(figure, axes, names)
        axes.set_xlim(min(0.0, float(values.min(initial=0.0))), 1.17 * _top(values + np.nan_to_num(halves)))
        axes.set_xlabel(what)
    said = "; ".join(
        f"{clean(name)} {number(value)} ± {number(half)}"
        for name, value, half in zip(names, values, halves, strict=True)
    )
    return inline_svg(figure, f"Bar chart of {what}. {said}.")


def beside(names: Sequence[str], values: FloatArray, kinds: Sequence[str], *, what: str) -> str:
    """Return a line a name with a mark for each kind, (n, n_kinds) values; at most four kinds."""
    looks = list(zip(("main", "second", "ink", "up"), ("o", "D", "s", "^"), strict=True))[: len(kinds)]
    with drawing(66 + _LINE * len(names)) as (figure, axes):
        places = np.arange(len(names))
        axes.hlines(places, values.min(axis=1), values.max(axis=1), colors=COLOURS["grid"], linewidths=2.4)
        for place, (kind, (colour, mark)) in enumerate(zip(kinds, looks, strict=True)):
            axes.scatter(
                values[:, place], places, s=42, marker=mark, color=COLOURS[colour], label=short(kind, 18), zorder=3
            )
        name_lines(figure, axes, names)
        axes.set_xlim(0.0, 1.05 * _top(values))
        axes.set_xlabel(what)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handletextpad=0.2, columnspacing=1.0)
    said = "; ".join(
        f"{clean(name)} " + ", ".join(f"{clean(kind)} {number(one)}" for kind, one in zip(kinds, line, strict=True))
        for name, line in zip(names, values, strict=True)
    )
    return inline_svg(figure, f"{what} by feature against each reference. {said}.")


def segment(
    title: str, names: Sequence[str], values: FloatArray, halves: FloatArray, *, overall: FloatArray, limit: float
) -> str:
    """Return the bars of one segment, with a mark where all applicants are; `limit` ends the axis of all segments."""
    with drawing(30 + 18 * len(names), width=250.0) as (figure, axes):
        places = np.arange(len(names))
        axes.barh(places, values, height=0.62, color=COLOURS["main"])
        _intervals(axes, values, places, halves)
        for colour, width in ((COLOURS["paper"], 5.0), (COLOURS["second"], 2.4)):
            axes.scatter(overall, places, marker="|", s=190, linewidths=width, color=colour, zorder=4)
        name_lines(figure, axes, names, limit=20)
        axes.set_xlim(0.0, limit)
        axes.locator_params(axis="x", nbins=3)
    said = "; ".join(
        f"{clean(name)} {number(value)} ± {number(half)}, all applicants {number(whole)}"
        for name, value, half, whole in zip(names, values, halves, overall, strict=True)
    )
    return inline_svg(figure, f"Bar chart of mean absolute SHAP in segment {title}. {said}.")


def frequencies(names: Sequence[str], shares: FloatArray, *, ranks: Sequence[int]) -> str:
    """Return stacked bars: how often each reason stood at each rank.

    Parameters
    ----------
    names
        n reasons.
    shares
        (n, n_ranks) of applicants.
    ranks
        (n_ranks,) from 1.
    """
    with drawing(62 + _LINE * len(names)) as (figure, axes):
        places, left = np.arange(len(names)), np.zeros(len(names))
        for column, rank in enumerate(ranks):
            depth = 1.0 - 0.7 * column / max(1, len(ranks) - 1)
            part = shares[:, column]
            axes.barh(places, part, left=left, height=0.66, color=COLOURS["main"], alpha=depth, label=f"rank {rank}")
            left = left + part
        for place, total in zip(places, left, strict=True):
            _beside(axes, percent(total), float(total), int(place))
        name_lines(figure, axes, names, limit=32)
        axes.set_xlim(0.0, 1.3 * _top(left))
        axes.xaxis.set_major_formatter(lambda value, _: percent(value) if value <= 1 else "")
        figure.legend(loc="outside upper left", ncols=len(ranks), frameon=False, handlelength=1.0, columnspacing=1.2)
    said = "; ".join(f"{clean(name)} {percent(total, 1)}" for name, total in zip(names, left, strict=True))
    return inline_svg(figure, f"Stacked bar chart: share of applicants who have each reason. {said}.")


def histogram(edges: FloatArray, shares: FloatArray, *, what: str, alternative: str) -> str:
    """Return columns between edges, (n + 1,), with heights (n,) that are shares."""
    with drawing(190) as (figure, axes):
        axes.bar(edges[:-1], shares, np.diff(edges), align="edge", color=COLOURS["main"], edgecolor=COLOURS["paper"])
        axes.grid(visible=False, axis="x")
        axes.grid(axis="y")
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
        axes.tick_params(axis="x", pad=8.0)  # clear of the lowest label at the side
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(what)
    return inline_svg(figure, alternative)


def changes(
    names: Sequence[str],
    before: FloatArray,
    after: FloatArray,
    halves: FloatArray,
    *,
    marked: Sequence[bool],
    what: str,
) -> str:
    """Return a line from the old to the new value of each feature, those marked in another colour."""
    with drawing(66 + _LINE * len(names)) as (figure, axes):
        places = np.arange(len(names))
        colours = [COLOURS["up"] if one else COLOURS["muted"] for one in marked]
        axes.hlines(places, before, after, colors=colours, linewidths=3.0)
        _intervals(axes, after, places, halves)
        old = axes.scatter(before, places, s=40, facecolors=COLOURS["paper"], edgecolors=COLOURS["ink"], zorder=5)
        new = axes.scatter(after, places, s=40, color=COLOURS["ink"], zorder=6)
        name_lines(figure, axes, names)
        axes.set_xlabel(what)
        labels = ["earlier run", "this run, with the 95 % interval of the change"]
        figure.legend([old, new], labels, loc="outside upper left", ncols=2, frameon=False, handletextpad=0.2)
    said = "; ".join(
        f"{clean(name)} from {number(a)} to {number(b)}{', changed' if mark else ''}"
        for name, a, b, mark in zip(names, before, after, marked, strict=True)
    )
    return inline_svg(figure, f"{what} in the earlier run and in this one. {said}.")


def waterfall(
    names: Sequence[str], values: FloatArray, halves: FloatArray, *, base: float, prediction: float, what: str
) -> str:
    """Return how the values of one applicant, largest first, lead from the base value to the prediction."""
    with drawing(74 + 24 * (len(names) + 2), width=440.0) as (figure, axes):
        ends = base + np.cumsum(values)
        starts = np.concatenate([[base], ends[:-1]])
        places = np.arange(1, len(names) + 1)
        colours = [COLOURS["up"] if value > 0 else COLOURS["down"] for value in values]
        axes.barh(places, values, left=starts, height=0.66, color=colours)
        _intervals(axes, ends, places, halves)
        level = np.concatenate([[base], ends])
        axes.vlines(level, np.arange(len(level)) - 0.3, np.arange(len(level)) + 1.3, colors=COLOURS["muted"], lw=0.8)
        axes.scatter([base, prediction], [0, len(names) + 1], s=46, color=COLOURS["ink"], zorder=3)
        right = float(np.max(np.maximum(starts, ends) + np.nan_to_num(halves), initial=max(base, prediction)))
        left = float(np.min(np.minimum(starts, ends) - np.nan_to_num(halves), initial=min(base, prediction)))
        room = max(right - left, 1e-12)
        for place, value, start, end, half in zip(places, values, starts, ends, np.nan_to_num(halves), strict=True):
            _beside(axes, signed(value), float(max(start, end + half)), int(place))
        _beside(axes, number(base, 4), base, 0, space=7)
        _beside(axes, number(prediction, 4), prediction, len(names) + 1, space=7)
        name_lines(figure, axes, ["average of the reference", *names, "this applicant"], limit=30)
        axes.set_xlim(left - 0.04 * room, right + 0.2 * room)
        axes.set_xlabel(clean(what))
    said = "; ".join(f"{clean(name)} {signed(value)}" for name, value in zip(names, values, strict=True))
    return inline_svg(
        figure, f"Waterfall of the {clean(what)}, from {number(base, 4)} to {number(prediction, 4)}: {said}."
    )


def _intervals(axes: Axes, middles: FloatArray, places: AnyArray, halves: FloatArray) -> None:
    """Draw intervals with a rim of the paper's colour: they lie on bars whose colour is near theirs, light or dark."""
    there = np.nan_to_num(halves) > 0.0
    for colour, width, cap in ((COLOURS["paper"], 3.0, 3.4), (COLOURS["ink"], 1.3, 2.6)):
        style = {"ecolor": colour, "elinewidth": width, "capthick": width, "capsize": cap, "zorder": 3}
        axes.errorbar(middles[there], places[there], xerr=halves[there], fmt="none", **style)


def _beside(axes: Axes, text: str, x: float, place: int, *, space: float = 5.0) -> None:
    note = axes.annotate(text, (x, place), (space, 0), textcoords="offset points", va="center", color=COLOURS["muted"])
    note.set_in_layout(False)  # the axes have room for it


def _top(values: FloatArray) -> float:
    top = float(np.nanmax(values, initial=0.0))
    return top if top > 0 else 1.0
