"""The table of runs: one row says how all numbers of a run were made. It is written last.

A run without a ``complete`` row does not exist for readers.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.errors import MissingTableError, UsageError
from spark_shap.io.local_rows import local_rows
from spark_shap.io.references import collect_arrow
from spark_shap.io.tables import read_table, replace_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

    from spark_shap.io.location import Location

__all__ = [
    "COMPLETE",
    "FAILED",
    "RUNS_SCHEMA",
    "STARTED",
    "RunRecord",
    "find_run",
    "read_runs",
    "write_run",
]

COMPLETE, STARTED, FAILED = "complete", "started", "failed"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes
    ----------
    status
        ``"complete"``; ``"started"`` while it is being made, and when that was killed; ``"failed"``.
    started_at, finished_at
        With a time zone; kept in UTC, microseconds.
    config
        Canonical JSON without secrets, see `spark_shap.config.config_json`.
    model_kind
        What the model was found to be, and by what.
    model_fingerprint, reference_fingerprint
        SHA-256, hexadecimal.
    reference_predicate, reference_as_of
        SQL predicate and day of the population, if any.
    reference_rows, reference_weight
        Rows used, and the sum of their weights (the number of rows where unweighted).
    references
        All references, the first of which the columns above are of, as a JSON list: what was asked for, fingerprint,
        rows, sum of weights, base values and method of each, and how many rows were scored to find it.
    reference_agreement
        By ``"a & b"``: the mean share of a row's four largest values that two references have in common.
    output_space
        ``"probability"``, ``"margin"`` or ``"prediction"``.
    rows_read, rows_explained, rows_rejected, rows_left_out
        Applicants; read = explained + rejected + left out, the last by a run that explains a sample for its
        aggregates.
    model_evaluations
        Model rows spent on the explained applicants; the background's and the pilot's come on top.
    additivity_gap_max
        Largest ``|base_value + sum(shap_values) - prediction|``.
    std_error_median, std_error_p99
        Over all values, in the output space; None where nothing was sampled.
    reason_rows, reason_stable_share
        Rows that were to have reasons, and the share of them whose reasons are stable; None where none were asked for.
    reason_codes, reason_codes_fingerprint, reason_uncoded
        Version by code set, SHA-256 of their file, and ``set: feature`` of features without a code.
    reason_exclusions, reason_exclusion_share
        Features that may be no reason, each with the share of those rows in which it would have been one; and the
        share of rows with any such feature.
    versions
        Package to version.
    input_version
        What was read of the applicants: the version of their Delta table, if any, and a hash of the rows.
    attempts
        How many times the run was started until it was complete.
    shards
        Into how many shards its rows are cut.
    error
        Why the last attempt failed; None where it did not, or was killed.
    """

    run_id: str
    status: str = COMPLETE
    started_at: datetime
    finished_at: datetime
    config: str
    model_uri: str
    model_fingerprint: str
    reference_name: str
    reference_predicate: str | None = None
    reference_as_of: date | None = None
    reference_fingerprint: str
    reference_rows: int
    reference_weight: float
    references: str | None = None
    feature_names: tuple[str, ...]
    output_names: tuple[str, ...]
    output_space: str
    method: str
    method_reason: str
    seed: int
    rows_read: int
    rows_explained: int
    rows_rejected: int
    rows_left_out: int = 0
    model_evaluations: int
    additivity_gap_max: float | None = None
    std_error_median: float | None = None
    std_error_p99: float | None = None
    reference_agreement: Mapping[str, float] = field(default_factory=dict)
    reason_rows: int | None = None
    reason_stable_share: float | None = None
    reason_codes: Mapping[str, str] = field(default_factory=dict)
    reason_codes_fingerprint: str | None = None
    reason_uncoded: tuple[str, ...] = ()
    reason_exclusions: Mapping[str, float] = field(default_factory=dict)
    reason_exclusion_share: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    input_version: str | None = None
    model_kind: str | None = None
    attempts: int = 1
    shards: int = 1
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse times without a zone: they would be shifted by the session's."""
        for name in ("started_at", "finished_at"):
            if getattr(self, name).tzinfo is None:
                raise UsageError(f"{name}: needs a time zone; use datetime.now(timezone.utc)")

    @property
    def reference_names(self) -> tuple[str, ...]:
        """Names of all references, the first one first."""
        if self.references is None:
            return (self.reference_name,)
        return tuple(one["name"] for one in json.loads(self.references))

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups of features that are one player each, with their members."""
        found: dict[str, list[str]] = (json.loads(self.config).get("explain") or {}).get("groups") or {}
        return found

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the run fills, for people."""
        config = json.loads(self.config)
        curves = (schema.DEPENDENCE,) if (config.get("summary") or {}).get("dependence") is not None else ()
        reasons = () if self.reason_rows is None else (schema.REASONS, schema.REASON_RATES)
        sample = (schema.SAMPLE,) if (config.get("output") or {}).get("sample") else ()
        return (schema.RUNS, schema.ATTRIBUTIONS, schema.SUMMARY, *curves, *reasons, *sample, schema.REJECTS)


_TYPES: dict[str, T.DataType] = {
    "str": T.StringType(),
    "str | None": T.StringType(),
    "datetime": T.TimestampType(),
    "date | None": T.DateType(),
    "int": T.LongType(),
    "int | None": T.LongType(),
    "float": T.DoubleType(),
    "float | None": T.DoubleType(),
    "tuple[str, ...]": T.ArrayType(T.StringType()),
    "Mapping[str, str]": T.MapType(T.StringType(), T.StringType()),
    "Mapping[str, float]": T.MapType(T.StringType(), T.DoubleType()),
}
_MAPS = [item.name for item in fields(RunRecord) if str(item.type).startswith("Mapping")]
RUNS_SCHEMA = T.StructType([T.StructField(item.name, _TYPES[str(item.type)]) for item in fields(RunRecord)])


def write_run(spark: SparkSession, location: Location, record: RunRecord) -> None:
    """Write a run's row, in place of an earlier one of the same ``run_id``."""
    row = tuple(_to_spark(value) for value in astuple(record))
    replace_row(local_rows(spark, [row], RUNS_SCHEMA), location, schema.RUNS, record.run_id)


def find_run(spark: SparkSession, location: Location, run_id: str) -> RunRecord | None:
    """Return a run's row, complete or not; None when it was never started."""
    try:
        found = [record for record in read_runs(spark, location, status=None) if record.run_id == run_id]
    except MissingTableError:  # no runs yet
        return None
    return found[-1] if found else None


def read_runs(spark: SparkSession, location: Location, *, status: str | None = COMPLETE) -> tuple[RunRecord, ...]:
    """Return the runs of a location, oldest first.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables are.
    status
        Of the runs to return; None returns all.

    Returns
    -------
    tuple of RunRecord

    Raises
    ------
    MissingTableError
        There is no table of runs.
    InputError
        It cannot be read.
    """
    df = read_table(spark, location, schema.RUNS)
    df = df.select(*(name for name in RUNS_SCHEMA.names if name in df.columns))  # what is newer than the table is not
    rows = collect_arrow(df).to_pylist()
    values = [{name: _from_arrow(value) for name, value in row.items()} for row in rows]
    records = [RunRecord(**{**row, **{name: dict(row.get(name) or {}) for name in _MAPS}}) for row in values]
    # Where a program was killed while it wrote a row anew, both are there: see `replace_row`.
    newest = {record.run_id: record for record in sorted(records, key=lambda one: (one.attempts, one.finished_at))}
    wanted = (record for record in newest.values() if status in (None, record.status))
    return tuple(sorted(wanted, key=lambda record: (record.started_at, record.run_id)))


def _to_spark(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_arrow(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return tuple(value) if isinstance(value, list) else value
