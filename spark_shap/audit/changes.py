"""What is not the same in two runs: their model, reference, applicants, method and settings, as recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_shap.errors import UsageError

if TYPE_CHECKING:
    from spark_shap.io.runs import RunRecord

__all__ = ["Change", "check_comparable", "recorded_changes", "same_applicants"]

# What they hold is told by fingerprints.
_TOLD = ("applicants", "reference", "model", "output")


class Change(NamedTuple):
    """One thing that differs."""

    what: str
    before: str
    after: str


def check_comparable(before: RunRecord, after: RunRecord) -> None:
    """Raise unless the values of two runs have the same unit and at least one output in common.

    Raises
    ------
    UsageError
        Naming what differs.
    """
    if before.output_space != after.output_space:
        raise UsageError(
            f"run {before.run_id} explains the {before.output_space} and run {after.run_id} the {after.output_space}: "
            "their values have different units; compare runs of one output_space"
        )
    if not set(before.output_names) & set(after.output_names):
        raise UsageError(
            f"run {before.run_id} explains {', '.join(before.output_names)} and run {after.run_id} "
            f"{', '.join(after.output_names)}: no output in common; name them alike by model.output_names"
        )


def same_applicants(before: RunRecord, after: RunRecord) -> bool:
    """Whether both runs explained all of the very same rows, so that no draw of applicants is in their difference."""
    contents = [record.input_version and record.input_version.split("content:")[-1] for record in (before, after)]
    same = contents[0] is not None and contents[0] == contents[1]
    all_of_them = not (before.rows_left_out or after.rows_left_out)
    return same and all_of_them and before.rows_explained == after.rows_explained


def recorded_changes(before: RunRecord, after: RunRecord) -> tuple[Change, ...]:
    """Return what differs between the rows of two runs in the table of runs."""
    pairs = [
        ("model", before.model_uri, after.model_uri),
        ("model's content", before.model_fingerprint[:12], after.model_fingerprint[:12]),
        ("reference", _reference(before), _reference(after)),
        ("reference's content", before.reference_fingerprint[:12], after.reference_fingerprint[:12]),
        ("applicants' content", before.input_version, after.input_version),
        ("rows explained", f"{before.rows_explained:,}", f"{after.rows_explained:,}"),
        ("rows rejected", f"{before.rows_rejected:,}", f"{after.rows_rejected:,}"),
        ("features added", "", _new(before.feature_names, after.feature_names)),
        ("features removed", _new(after.feature_names, before.feature_names), ""),
        ("outputs", ", ".join(before.output_names), ", ".join(after.output_names)),
        ("method", before.method, after.method),
        *_settings(before, after),
        *_versions(before, after),
    ]
    return tuple(Change(what, _text(a), _text(b)) for what, a, b in pairs if _text(a) != _text(b))


def _reference(record: RunRecord) -> str:
    text = record.reference_name
    if record.reference_predicate:
        text += f" where {record.reference_predicate}"
    if record.reference_as_of:
        text += f", as of {record.reference_as_of}"
    return f"{text}, {record.reference_rows:,} rows"


def _new(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    return ", ".join(name for name in new if name not in old)


def _settings(before: RunRecord, after: RunRecord) -> list[tuple[str, Any, Any]]:
    a, b = (_flat(json.loads(record.config)) for record in (before, after))
    names = sorted({name for name in {**a, **b} if name.partition(".")[0] not in _TOLD})
    return [(name, a.get(name), b.get(name)) for name in names]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {name: one for key, part in value.items() for name, one in _flat(part, f"{path}.{key}".lstrip(".")).items()}


def _versions(before: RunRecord, after: RunRecord) -> list[tuple[str, Any, Any]]:
    names = sorted({*before.versions, *after.versions})
    return [(f"version of {name}", before.versions.get(name), after.versions.get(name)) for name in names]


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
