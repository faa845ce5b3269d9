"""The file of code sets: YAML, read by a safe loader, every problem reported at once.

::

    version: 2026-11-1
    sets:
      reg_b:                                     # any name; several sets at once
        version: Regulation B, 2026 sample form
        codes:
          "07": {text: "Length of employment: {value}", features: [employment_since]}

A feature or group has one code in a set, or none; features that share a code are named in its list. Keys and
versions are texts: an unquoted 07 would be the number 7.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spark_shap.audit.codes import PLACEHOLDERS, Coded, CodeMap, CodeSet, placeholders
from spark_shap.errors import ConfigError
from spark_shap.fields import Name, Names  # noqa: TC001 - pydantic reads them
from spark_shap.overrides import problem_lines, read_yaml

if TYPE_CHECKING:
    from collections.abc import Collection

    from spark_shap.prepare import Prepared

__all__ = ["load_codes", "with_codes"]

_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _Code(_Strict):
    """One code."""

    text: Name
    features: Annotated[Names, Field(min_length=1)]


class _Set(_Strict):
    """One set."""

    version: Name
    codes: Annotated[dict[Name, _Code], Field(min_length=1)]


class _File(_Strict):
    """All of it."""

    version: Name
    sets: Annotated[dict[Name, _Set], Field(min_length=1)]


def load_codes(path: str | Path, features: Collection[str], groups: Collection[str] = ()) -> CodeMap:
    """Return the code sets of a file.

    Parameters
    ----------
    path
        The YAML file.
    features
        Names of the features and groups that have values.
    groups
        Those that are groups: a text of theirs has no value to say.

    Raises
    ------
    ConfigError
        One line for each problem: what the file may not hold, a name that is no feature, a feature with two codes
        in one set, a placeholder that means nothing.
    """
    raw = read_yaml(path)
    problems, found = _problems(raw, features, groups), None
    try:
        found = _File.model_validate(raw)
    except ValidationError as error:
        problems = problem_lines(error.errors(include_url=False), _File) + problems
    if problems or found is None:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    sets = tuple(
        CodeSet(
            name,
            one.version,
            {feature: Coded(code, each.text) for code, each in one.codes.items() for feature in each.features},
        )
        for name, one in found.sets.items()
    )
    return CodeMap(found.version, sha256(Path(path).read_bytes()).hexdigest(), sets)


def with_codes(prepared: Prepared) -> tuple[Prepared, CodeMap | None]:
    """Return a method whose rows carry what its reasons' codes say, and the code sets, if any are asked for.

    Features without a code are reported: their reasons will have neither code nor text.
    """
    reasons = prepared.options.reasons
    if reasons is None or reasons.codes is None:
        return prepared, None
    codes = load_codes(reasons.codes, prepared.feature_names, prepared.options.groups or ())
    may = [name for name in prepared.feature_names if name not in reasons.exclude]
    for name, missing in codes.uncoded(may).items():
        _log.warning("code set %s has no code for %d features: %s", name, len(missing), ", ".join(missing))
    return replace(prepared, shows_values=codes.uses_values), codes


def _problems(raw: dict[str, Any], features: Collection[str], groups: Collection[str]) -> list[str]:
    """Return what is wrong between the parts, as far as they have the right shape."""
    out = []
    for name, one in _items(raw.get("sets")):
        seen: dict[str, Any] = {}
        for code, each in _items(one.get("codes") if isinstance(one, dict) else None):
            where = f"sets.{name}.codes.{code}"
            text, named = (each.get("text"), each.get("features")) if isinstance(each, dict) else (None, None)
            words = placeholders(text) if isinstance(text, str) else []
            for word in words:
                if word not in PLACEHOLDERS:
                    known = " and ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                    out.append(f"{where}.text: {{{word}}} means nothing here; {known} do")
            for feature in [named] if isinstance(named, str) else named if isinstance(named, list) else []:
                if isinstance(feature, str) and feature not in features:
                    out.append(f"{where}.features: {feature!r} is no feature; they are {', '.join(sorted(features))}")
                elif feature in seen:
                    out.append(
                        f"{where}.features: {feature!r} has code {seen[feature]!r} in this set already; keep one"
                    )
                else:
                    seen[feature] = code
                if isinstance(feature, str) and feature in groups and "value" in words:
                    out.append(f"{where}.text: {{value}} means nothing for the group {feature!r}; leave it out")
    return out


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
