"""The populations that explanations compare with, as a configuration names them.

A reference is a source of rows (the applicants, where none is given), a predicate on it, a side or a band of the
model's own scores, or a single row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spark_shap.fields import Day, Name, Size, Values  # noqa: TC001 - pydantic reads them
from spark_shap.sections import Source

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Reference", "reference_problems"]

Population = Literal["all_applicants", "approved", "near_cutoff"]
_SCORED = ("approved", "near_cutoff")
_OF_SCORES = ("cutoff", "harm", "output")


class Reference(Source):
    """One population; without path and table it is taken from the applicants."""

    size: Size = 1000
    weight: Name | None = None
    name: Name = "all_applicants"
    as_of: Day | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # of the sample; explain.seed where it is not given
    population: Population = "all_applicants"  # of the source, by the model's own scores
    cutoff: float | None = None  # this and the next two as in the section reasons, and from there where not given
    harm: Literal["high", "low"] | None = None
    output: Name | None = None
    band: Annotated[float, Field(gt=0)] | None = None  # how far beyond the cutoff is near it, in units of the output
    row: Values | None = None  # a single row: feature to value

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        if "path" in data and "table" in data:
            problems.append(("table", "cannot be given together with path; keep one"))
        if "format" in data and not {"path", "table"} & set(data):
            problems.append(("format", "is for a path, and none is given; remove it"))
        of_rows = ("path", "table", "where", "population", "weight", "size", "seed")
        given = [key for key in of_rows if key in data and data[key] != cls.model_fields[key].default]
        if "row" in data and given:
            problems.append(("row", f"is all of the reference: it cannot be given together with {given[0]}; keep one"))
        population = data.get("population")
        if population in _SCORED and data.get("size") == "all":
            problems.append(("size", f"{population} is found among rows that the model scores here; give a number"))
        if population == "near_cutoff" and "band" not in data:
            problems.append(("band", "is required: how far beyond the cutoff is near it, in units of the output"))
        if population != "near_cutoff" and "band" in data:
            problems.append(("band", "is for population: near_cutoff; remove it, or set that"))
        if population not in _SCORED and (unused := [key for key in _OF_SCORES if key in data]):
            problems.append((unused[0], "is for population: approved or near_cutoff; remove it, or set one"))
        return problems

    @property
    def is_scored(self) -> bool:
        """Whether the model's scores say which rows belong to it."""
        return self.population in _SCORED

    @property
    def is_of_applicants(self) -> bool:
        """Whether its rows are applicants."""
        return self.path is None and self.table is None and self.row is None

    def completed(self, name: str, reasons: Any) -> Self:
        """Return it under its name, with what the section of reasons says of scores where it says nothing itself."""
        found: dict[str, Any] = {"name": name}
        if self.is_scored and reasons is not None:
            found |= {key: getattr(reasons, key) for key in _OF_SCORES if getattr(self, key) is None}
        return self.model_copy(update=found)


def reference_problems(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong between references and other sections, as (key, message), from values not validated yet."""
    one, several, reasons = (data.get(key) for key in ("reference", "references", "reasons"))
    problems = []
    if several is not None and one is not None:
        problems.append(("reference", "cannot be given together with references; move it there under its name"))
    if several == {}:
        problems.append(("references", "must not be empty; without it and reference applicants are compared with all"))
    known = {key for key, value in reasons.items() if value is not None} if isinstance(reasons, dict) else set()
    named = several if isinstance(several, dict) else {}
    for name, reference in named.items():
        if isinstance(reference, dict) and reference.get("name") not in (None, name):
            problems.append(("references", f"{name}: its name is {name!r} already; remove name: {reference['name']}"))
    for place, reference in {"reference": one, **{f"references.{name}": each for name, each in named.items()}}.items():
        if not isinstance(reference, dict) or reference.get("population") not in _SCORED:
            continue
        missing = [key for key in ("cutoff", "harm") if reference.get(key) is None and key not in known]
        if missing:
            needs = f"{place}: population: {reference['population']} needs {' and '.join(missing)}"
            what = "the output at which an applicant is turned down, and the side that harms (high or low)"
            problems.append((place.partition(".")[0], f"{needs}: {what}; give them here or in reasons"))
    return problems
