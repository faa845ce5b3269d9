"""Code sets: what a lender's forms, a regulator or a bureau call a reason.

Plain values, which travel to workers without what reads and checks their file (`spark_shap.audit.code_file`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PLACEHOLDERS", "CodeMap", "CodeSet", "Coded", "filled", "placeholders", "value_text"]

PLACEHOLDERS = ("value", "feature")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Coded:
    """A code and its text, which may hold ``{value}`` and ``{feature}``."""

    code: str
    text: str


@dataclass(frozen=True)
class CodeSet:
    """One set of codes.

    Attributes
    ----------
    name, version
        Which it is.
    entries
        Feature or group to its code.
    """

    name: str
    version: str
    entries: Mapping[str, Coded]


@dataclass(frozen=True)
class CodeMap:
    """All sets of a file.

    Attributes
    ----------
    version
        Of the file, as its authors count.
    sha256
        Of its bytes.
    sets
        In the file's order.
    """

    version: str
    sha256: str
    sets: tuple[CodeSet, ...] = field(default_factory=tuple)

    @property
    def uses_values(self) -> bool:
        """Whether a text says the applicant's own value."""
        return any("value" in placeholders(one.text) for each in self.sets for one in each.entries.values())

    def uncoded(self, features: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the features that a set has no code for, by set; sets that have all are left out."""
        found = {each.name: tuple(name for name in features if name not in each.entries) for each in self.sets}
        return {name: missing for name, missing in found.items() if missing}


def placeholders(text: str) -> list[str]:
    """Return the names in braces."""
    return _PLACEHOLDER.findall(text)


def filled(text: str, feature: str, value: str | None) -> str:
    """Return a text with its placeholders filled in; what is filled in is not looked at again."""
    known = {"value": "missing" if value is None else value, "feature": feature}
    return _PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), text)


def value_text(value: Any) -> str | None:
    """Return a feature's value as a person reads it; None where it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return str(value)
