"""The row that says how a run was made."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_shap.config import RunConfig, config_json
from spark_shap.errors import RunError
from spark_shap.io.runs import COMPLETE, STARTED, RunRecord
from spark_shap.io.versions import package_versions
from spark_shap.redaction import redact_text, redact_texts

if TYPE_CHECKING:
    from spark_shap.audit.reasons import ReasonCounts
    from spark_shap.engine.quality import Quality
    from spark_shap.intake import Inputs

__all__ = ["Counts", "completed", "make_record"]


class Counts(NamedTuple):
    """What became of the applicants."""

    explained: int
    rejected: int
    left_out: int
    reasons: ReasonCounts | None = None


def make_record(config: RunConfig, inputs: Inputs, run_id: str, *, started: datetime) -> RunRecord:
    """Return the row of a run that is about to be made."""
    prepared, first = inputs.prepared, inputs.compared[0]
    reference = first.reference
    return RunRecord(
        run_id=run_id,
        status=STARTED,
        started_at=started,
        finished_at=datetime.now(UTC),
        config=config_json(config),
        model_uri=redact_text(inputs.model.uri),
        model_kind=redact_text(inputs.model.kind),
        model_fingerprint=inputs.model.fingerprint,
        reference_name=reference.name,
        reference_predicate=None if reference.where is None else redact_text(reference.where),
        reference_as_of=reference.as_of,
        reference_fingerprint=first.fingerprint,
        reference_rows=prepared.n_background,
        reference_weight=first.weight,
        references=_references(inputs),
        feature_names=prepared.feature_names,
        output_names=prepared.output_names,
        output_space=prepared.output_space,
        method=prepared.method_name,
        method_reason=prepared.method_reason,
        seed=config.explain.seed,
        rows_read=inputs.census.n_rows,
        rows_explained=0,
        rows_rejected=0,
        model_evaluations=0,
        versions=package_versions(inputs.applicants.sparkSession.version),
        input_version=_version(inputs),
        shards=inputs.plan.shards,
        **_of_codes(config, inputs),
    )


def _references(inputs: Inputs) -> str:
    """Return all references with their counts, as JSON."""
    found = []
    for one in inputs.compared:
        reference, prepared = one.reference, one.prepared
        asked = reference.model_dump(mode="json", exclude_none=True)
        used = {
            "fingerprint": one.fingerprint,
            "rows": prepared.n_background,
            "weight_sum": one.weight,
            "rows_scored": one.drawn.scored,
            "rows_found": one.drawn.found,
            "base_values": dict(zip(prepared.output_names, prepared.base_values.tolist(), strict=True)),
            "method": prepared.method_name,
            "method_reason": prepared.method_reason,
        }
        found.append({**asked, **{name: value for name, value in used.items() if value is not None}})
    return json.dumps(redact_texts(found), ensure_ascii=False)


def _version(inputs: Inputs) -> str:
    content = f"content:{inputs.census.digest}"
    return content if inputs.version is None else f"delta:{inputs.version} {content}"


def completed(record: RunRecord, quality: Quality, counts: Counts) -> RunRecord:
    """Return the row of a run that is made.

    Raises
    ------
    RunError
        Rows read are not those explained, rejected and left out.
    """
    if sum(counts[:3]) != record.rows_read:
        raise RunError(
            f"the counts do not add up: {record.rows_read:,} rows read, {counts.explained:,} explained, "
            f"{counts.rejected:,} rejected, {counts.left_out:,} left out of the sample"
        )
    return replace(
        record,
        status=COMPLETE,
        finished_at=datetime.now(UTC),
        rows_explained=counts.explained,
        rows_rejected=counts.rejected,
        rows_left_out=counts.left_out,
        model_evaluations=quality.n_evaluations,
        additivity_gap_max=quality.additivity_gap,
        std_error_median=quality.std_error_median,
        std_error_p99=quality.std_error_p99,
        **_of_reasons(counts.reasons),
    )


def _of_codes(config: RunConfig, inputs: Inputs) -> dict[str, Any]:
    codes = inputs.codes
    if config.reasons is None or codes is None:
        return {}
    may = [name for name in inputs.prepared.feature_names if name not in config.reasons.exclude]
    return {
        "reason_codes": {each.name: each.version for each in codes.sets},
        "reason_codes_fingerprint": codes.sha256,
        "reason_uncoded": tuple(f"{name}: {one}" for name, missing in codes.uncoded(may).items() for one in missing),
    }


def _of_reasons(counts: ReasonCounts | None) -> dict[str, Any]:
    if counts is None:
        return {}
    n_rows = max(1, counts.rows)
    shares = {name: count / n_rows for name, count in counts.excluded.items()}
    return {
        "reason_rows": counts.rows,
        "reason_stable_share": counts.stable / n_rows if counts.rows else None,
        "reason_exclusions": shares,
        "reason_exclusion_share": counts.touched / n_rows if shares else None,
    }
