"""Figures of a benchmark's records: error against evaluations and against seconds, one panel a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_OURS = {"spark-shap surrogate": "#c1272d", "spark-shap default": "#e8853b", "spark-shap pilot": "#e0b040"}
_PEERS = ("#1f4e79", "#3a7d44", "#6a4c93", "#808080", "#2a9d8f", "#8d6e63", "#5c6bc0", "#9e9d24", "#455a64")
_TOP = 5.0  # an error of five times the values' variance is no estimate
_AXES = {"evaluations": "model evaluations a row", "seconds": "seconds a row, one core"}


def draw(tasks: list[dict[str, Any]], records: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write one PNG and one SVG an axis; return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    paths = []
    methods = list(dict.fromkeys(one["method"] for one in records))
    methods.sort(key=lambda name: (list(_OURS).index(name) if name in _OURS else len(_OURS), name))
    peers = [name for name in methods if name not in _OURS]
    colours = {**_OURS, **{name: _PEERS[place % len(_PEERS)] for place, name in enumerate(peers)}}
    for axis, label in _AXES.items():
        figure = _figure(tasks, records, axis, label, methods, colours)
        for ending in ("png", "svg"):
            paths.append(folder / f"nmse-{axis}.{ending}")
            figure.savefig(paths[-1], dpi=110)
    return paths


def _figure(
    tasks: list[dict[str, Any]],
    records: list[dict[str, Any]],
    axis: str,
    label: str,
    methods: list[str],
    colours: dict[str, str],
) -> Any:
    from matplotlib import pyplot

    columns = min(4, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, panels = pyplot.subplots(lines, columns, figsize=(4.2 * columns, 3.4 * lines + 1), squeeze=False)
    for panel, task in zip(panels.flat, tasks, strict=False):
        for method in methods:
            points = sorted(
                (one[axis], one["nmse"])
                for one in records
                if one["task"] == task["name"] and one["method"] == method and 0 < one["nmse"] < _TOP
            )
            if points:
                style = {"lw": 2.2, "marker": "o", "zorder": 3} if method in _OURS else {"lw": 1.1, "marker": "."}
                panel.plot(*zip(*points, strict=True), color=colours[method], label=method, **style)
        panel.set(xscale="log", yscale="log", title=task["title"], xlabel=label, ylabel="nMSE")
        panel.title.set_size(10)
        panel.grid(True, which="major", alpha=0.3)
    for panel in panels.flat[len(tasks) :]:
        panel.axis("off")
    named = {name: line for panel in panels.flat for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    shown = [name for name in methods if name in named]
    figure.legend([named[name] for name in shown], shown, loc="lower center", ncols=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.08 if lines > 1 else 0.2, 1, 1))
    return figure
