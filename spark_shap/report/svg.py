"""Figures as SVG inside a page: the page's fonts, its colours by CSS variables, an alternative text.

Drawn in placeholder colours, each of which becomes a variable that the page's style sheet gives a value to, light,
dark and in print. Nothing is drawn through pyplot: a report must not touch the state of a notebook.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from spark_shap.errors import MissingDependencyError
from spark_shap.report.words import clean, n_wide, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "WIDTH", "drawing", "inline_svg", "name_lines", "require_extra"]

WIDTH = 400.0  # points: at this width the text can be read on a phone and is not huge beside another figure
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
# Name of the CSS variable to the colour that stands for it while matplotlib draws.
COLOURS = {
    "ink": "#010101",
    "muted": "#010102",
    "grid": "#010103",
    "paper": "#010104",
    "up": "#010105",
    "down": "#010106",
    "main": "#010107",
    "second": "#010108",
    "faint": "#010109",
}
_PLACEHOLDER = re.compile("|".join(COLOURS.values()))
_VARIABLES = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
_SETTINGS = {
    "svg.fonttype": "none",  # text stays text: searchable, and in fonts that have the letters
    "svg.hashsalt": "spark-shap",  # the same tables, the same bytes
    "text.parse_math": False,  # a feature may be called $a$
    "font.family": "sans-serif",
    "font.size": 11.5,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 1.0,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.color": COLOURS["grid"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
}


def require_extra() -> None:
    """Raise unless the libraries of reports are there.

    Raises
    ------
    MissingDependencyError
        With the command that installs them.
    """
    try:
        import jinja2
        import matplotlib

        del jinja2, matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            f"a report needs jinja2 and matplotlib ({error}): pip install 'spark-shap[report]'"
        ) from error


@contextmanager
def drawing(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """Give an empty figure of so many points, with axes that have a grid along x and no frame; draw in the block."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as NewFigure

    with mpl.rc_context(_SETTINGS):
        figure = NewFigure(figsize=(width / 72.0, height / 72.0), layout="constrained", facecolor="none")
        figure.get_layout_engine().set(w_pad=2 / 72, h_pad=2 / 72)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        yield figure, axes


def name_lines(figure: Figure, axes: Axes, names: Sequence[str], limit: int = 24) -> None:
    """Write names, cut to so many letters, beside lines 0, 1, ... from the top; tables have all of them."""
    labels = [short(name, limit) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    # Letters that matplotlib's font lacks are wider in the browser's than the boxes that it measures.
    room = 6.0 * max(map(n_wide, labels), default=0) / (72.0 * figure.get_figwidth())
    figure.get_layout_engine().set(rect=(room, 0.0, 1.0 - room, 1.0))


def inline_svg(figure: Figure, alternative: str) -> str:
    """Return a drawn figure as an ``svg`` element for HTML, with the text that is read where it cannot be seen."""
    import matplotlib as mpl

    buffer = BytesIO()
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Letters that matplotlib's font lacks are drawn by the browser, in a font that has them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="svg", dpi=200, transparent=True, metadata={"Date": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314  # written by matplotlib just now
    _strip(root)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": clean(alternative)}
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: Any) -> None:
    """Take out what a page has no use for (metadata, a style sheet, unused names), and give it the page's colours."""
    used = set(re.findall(r"#([\w-]+)", " ".join(text for item in root.iter() for text in item.attrib.values())))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    for item in root.iter():
        if item.get("id") not in used:
            item.attrib.pop("id", None)
        for name, value in item.attrib.items():  # not in texts: a feature may have a colour for a name
            item.set(name, _PLACEHOLDER.sub(lambda found: _VARIABLES[found[0]], value))
