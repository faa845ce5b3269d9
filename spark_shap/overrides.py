"""The configuration as plain values: a YAML file and ``--set a.b=c`` in, problems out.

The file is read once, by a loader as safe as `yaml.safe_load` that also refuses a key given twice and says
on which line a value cannot be read. `problem_lines` puts what validation finds into words. The
value of a setting whose name looks like a secret's is not among them.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic_core import PydanticCustomError

from spark_shap.errors import ConfigError
from spark_shap.redaction import is_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import InitErrorDetails

__all__ = ["apply_overrides", "custom_error", "problem_lines", "raised_again", "read_yaml"]

# Below this path keys hold dots themselves: spark.conf.spark.executor.memory is one key of spark.conf.
_DOTTED_KEYS = ("spark", "conf")
_OWN_KINDS = {"as_of", "size", "limit", "report", "scalars", "values", "together", "tolerance"}


class _Loader(yaml.SafeLoader):
    """The safe loader, with duplicate keys and unreadable scalars reported at their line."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[int, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            # A merge (<<) is no key, and what it brings in may be overridden: that is what it is for.
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                self.duplicates.append((key_node.start_mark.line + 1, key_node.value))
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as exc:  # such as the date 2026-02-30
            raise yaml.constructor.ConstructorError(None, None, str(exc), node.start_mark) from exc


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Parameters
    ----------
    path
        The file, relative to the current directory.

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        The file cannot be read, is not YAML, is not a mapping, or has a key twice; with file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file (looked from {Path.cwd()}); check --config"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a folder; name the YAML file in it"]) from None
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{path}: not UTF-8 text (byte {exc.start}); save it as UTF-8"]) from None
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from None
    value, duplicates = _parse(text, str(path))
    problems = [f"{path}, line {line}: key {key!r} is given twice; keep one" for line, key in duplicates]
    if value is None and not problems:
        problems = [f"{path}: is empty; it needs at least applicants, model and output"]
    elif not isinstance(value, dict):
        problems.append(f"{path}, line 1: must be a mapping of sections (applicants: ...), got {_kind(value)}")
    else:
        wrong = [key for key in value if not isinstance(key, str)]
        problems += [f"{path}: key {key!r} must be text; put it in quotes" for key in wrong]
    if problems:
        raise ConfigError(problems)
    return dict(value)


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a mapping with ``a.b=c`` settings put in, the last one winning.

    Parameters
    ----------
    raw
        The mapping of the file; not changed.
    overrides
        Each ``section.key=value``, the value a YAML scalar or list; empty or ``null`` unsets it.

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        One line for each setting that cannot be read. Unknown keys are found later, by validation.
    """
    out: dict[str, Any] = dict(raw)
    problems: list[str] = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = _split(path.strip())
        if not equals or not all(keys):
            shown = f"{_name(override)} ***" if is_secret(override) else override
            problems.append(f"--set {shown}: write it as section.key=value")
            continue
        try:
            value, duplicates = _parse(text, f"--set {path}")
        except ConfigError:
            shown = "the value" if is_secret(path) else repr(text)
            problems.append(f"{path}: {shown} is not a YAML value; put it in quotes (inside the shell's)")
            continue
        if duplicates:
            problems.append(f"{path}: key {duplicates[0][1]!r} is given twice; keep one")
            continue
        problem = _put(out, keys, value)
        if problem:
            problems.append(problem)
    if problems:
        raise ConfigError(problems)
    return out


def _parse(text: str, name: str) -> tuple[Any, list[tuple[int, str]]]:
    """Return the value of a YAML text and its duplicate keys with their lines."""
    try:
        loader = _Loader(text)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError([f"{name}{line}: not valid YAML: {exc.problem or exc.context}"]) from None
    except (yaml.YAMLError, RecursionError) as exc:
        reason = str(exc).splitlines()[0]
        raise ConfigError([f"{name}: not valid YAML: {reason}"]) from None
    return value, loader.duplicates


def _name(override: str) -> str:
    """Return what can only be the name of a key, at the start of a text."""
    return override[: len(override) - len(override.lstrip("abcdefghijklmnopqrstuvwxyz_."))]


def _split(path: str) -> list[str]:
    keys = path.split(".")
    depth = len(_DOTTED_KEYS)
    if tuple(keys[:depth]) == _DOTTED_KEYS and len(keys) > depth:
        return [*_DOTTED_KEYS, ".".join(keys[depth:])]
    return keys


def _put(out: dict[str, Any], keys: list[str], value: Any) -> str | None:
    """Set one key, copying the mappings on the way; return what is wrong with the path."""
    for depth, key in enumerate(keys[:-1]):
        inner = out.get(key)
        if inner is not None and not isinstance(inner, dict):
            where = ".".join(keys[: depth + 1])
            return f"{'.'.join(keys)}: {where} is {_kind(inner)}, not a section, so nothing can be set in it"
        out[key] = dict(inner or {})
        out = out[key]
    out[keys[-1]] = value
    return None


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{value!r}"


def custom_error(kind: Any, message: Any, loc: tuple[str | int, ...]) -> InitErrorDetails:
    """Return an error in our own words; they may hold braces, which pydantic would read as a template."""
    return {"type": PydanticCustomError(kind, "{message}", {"message": message}), "loc": loc, "input": None}


def raised_again(error: Any) -> InitErrorDetails:
    """Return an error that was raised before, to be raised with others."""
    if error["type"] in _OWN_KINDS:
        return custom_error(error["type"], error["msg"], error["loc"])
    return {"type": error["type"], "loc": error["loc"], "input": error["input"], "ctx": error.get("ctx", {})}


def problem_lines(errors: Sequence[Any], root: Any) -> list[str]:
    """Return one line for each validation error: dotted path, what is wrong, the way out.

    Parameters
    ----------
    errors
        As `pydantic.ValidationError.errors` gives them.
    root
        The pydantic model that was validated; its fields are what is suggested for an unknown key.

    Returns
    -------
    list of str
        In the order of the errors, without repeats.
    """
    lines = [f"{_dotted(error['loc'])}: {_message(error, root)}" for error in errors]
    return list(dict.fromkeys(lines))


def _dotted(loc: Sequence[str | int]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return path.removeprefix(".") or "config"


_WORDS = {
    "missing": "is required",
    "model_type": "must be a section of keys, got {got}",
    # YAML 1.1 reads no, on, 12:30 and 007 as something else than text.
    "string_type": "must be text, got {got}; if that is the text, put it in quotes",
    "tuple_type": "must be a list of names, got {got}",
    "int_type": "must be a whole number, got {got}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "greater_than_equal": "must be at least {ge}, got {got}",
    "less_than_equal": "must be at most {le}, got {got}",
    "less_than": "must be less than {lt}, got {got}",
    "literal_error": "must be {expected}, got {got}{near}",
}
_PATTERNS = {
    "object": "must be module:attribute, such as scoring.model:predict, got {got}",
    "sha256": "must be 64 hexadecimal digits (sha256sum model.joblib prints them), got {got}",
}


def _message(error: Any, root: Any) -> str:
    kind, context, loc = error["type"], error.get("ctx") or {}, error["loc"]
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), _known_keys(root, loc[:-1]))
    template = _PATTERNS.get(str(loc[-1])) if kind == "string_pattern_mismatch" else _WORDS.get(kind)
    if template is None:  # our own, worded where they are found
        return str(error["msg"])
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    near = _nearest(str(error["input"]), choices)
    return template.format(got=_kind(error["input"]), near=near, **context)


def _unknown(key: str, known: Sequence[str]) -> str:
    if key.casefold() in {"link", "transform", "link_function"}:
        return "unknown key; explain.output_space (probability, margin, prediction) is the only choice"
    near = _nearest(key, known)
    return f"unknown key{near or '; known here: ' + ', '.join(known)}"


def _nearest(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word.casefold(), known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _known_keys(model: Any, loc: Sequence[str | int]) -> list[str]:
    for part in loc:
        if get_origin(model) is dict:  # any key will do
            model = get_args(model)[1]
            continue
        model = next(item for name, item in model.model_fields.items() if part in (name, item.alias)).annotation
        model = get_args(model)[0] if isinstance(model, UnionType) else model  # a section that may be left out
    return [field.alias or name for name, field in model.model_fields.items()]
