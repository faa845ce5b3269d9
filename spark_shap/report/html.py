"""Pages from evidence: templates filled in by jinja2, everything in one file.

All text is escaped by the templates; what is marked as safe is figures, which `spark_shap.report.svg` escapes, and
the package's own style sheet. The page's policy forbids scripts and all that is not in the file.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spark_shap.report import words
from spark_shap.report.applicant import applicant_content
from spark_shap.report.portfolio import portfolio_content

if TYPE_CHECKING:
    from spark_shap.report.evidence import ApplicantEvidence, Evidence

__all__ = ["applicant_page", "run_page"]


def run_page(evidence: Evidence) -> str:
    """Return the report of a run."""
    return _render("portfolio.html.j2", portfolio_content(evidence))


def applicant_page(evidence: ApplicantEvidence) -> str:
    """Return the report of one applicant."""
    return _render("applicant.html.j2", applicant_content(evidence))


def _render(template: str, content: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("spark_shap.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "signed", "percent", "probability")}
    environment.filters["svg"] = Markup  # figures only
    style = (files("spark_shap.report") / "templates" / "style.css").read_text(encoding="utf-8")
    return str(environment.get_template(template).render(**content, style=Markup(style)))  # noqa: S704  # the package's own file


def _shown(value: Any) -> Any:
    """Return a value as it is put on a page; names from the data lose what cannot be shown."""
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
