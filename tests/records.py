"""The row of a run, with something in every field that is hard to bring back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

from spark_shap.io.runs import RunRecord

RECORD = RunRecord(
    run_id="0012",
    started_at=datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=UTC),
    finished_at=datetime(2026, 3, 29, 4, 30, tzinfo=timezone(timedelta(hours=2))),
    config='{"explain":{"seed":7}}',
    model_uri="scoring:predict",
    model_fingerprint="ab" * 32,
    reference_name="accepted",
    reference_predicate="bad = 0",
    reference_as_of=date(2026, 1, 31),
    reference_fingerprint="cd" * 32,
    reference_rows=1000,
    reference_weight=1234.5,
    feature_names=("a b", "c.d"),
    output_names=("bad",),
    output_space="probability",
    method="sampling",
    method_reason="23 features, a budget of 512",
    seed=2**62 + 1,
    rows_read=10**10,
    rows_explained=10**10 - 1,
    rows_rejected=1,
    model_evaluations=2**53 + 1,
    additivity_gap_max=1e-12,
    std_error_median=0.001,
    versions={"numpy": "2.4.6"},
)
