"""A run, from its configuration to its committed tables.

Read and check the applicants, prepare the method, explain once, read back what was written, fold the
aggregates, commit. Rows that cannot be explained are rejected with a reason; the counts add up or the
run fails. The row in ``runs`` comes last: without it the run does not exist for readers.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_shap import schema
from spark_shap.dataframes import column
from spark_shap.engine.aggregate import summarize
from spark_shap.engine.door import REASON, missing_rows, reject_rows, sample_keys, split_rows
from spark_shap.engine.explain import explain_frame
from spark_shap.engine.layout import to_long, to_wide
from spark_shap.engine.quality import measure
from spark_shap.engine.worker import RejectLimit
from spark_shap.errors import InputError, RunError, SparkShapError, TooManyRejectsError
from spark_shap.identity import run_identifier
from spark_shap.intake import Inputs, read_inputs
from spark_shap.io.runs import RunRecord, check_location, withdraw_run, write_run
from spark_shap.io.sources import SPARK_ERRORS, spark_reason
from spark_shap.io.tables import Location, append_run, read_table, replace_run
from spark_shap.record import Counts, make_record

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.plan import Plan

__all__ = ["RunResult", "plan_run", "run"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes
    ----------
    record
        Its row in the table of runs.
    location
        Where its tables are.
    plan
        What was planned.
    seconds
        Wall seconds by stage.
    """

    record: RunRecord
    location: Location
    plan: Plan
    seconds: dict[str, float]


def plan_run(spark: SparkSession, config: RunConfig) -> Plan:
    """Return the plan of a run; reads and times, writes nothing."""
    return read_inputs(spark, config).plan


def run(spark: SparkSession, config: RunConfig) -> RunResult:
    """Explain the applicants of a configuration and write the tables.

    Parameters
    ----------
    spark
        Classic or Connect session.
    config
        The run.

    Raises
    ------
    InputError, ModelError, MethodError
        Something cannot be used, found before any row is explained.
    TooManyRejectsError
        More rows than `output.max_rejects` cannot be explained.
    RunError
        The run failed, or its counts do not add up.
    """
    clock, started = _Clock(), datetime.now(UTC)
    location = Location(config.output.path, config.output.catalog_schema, config.output.format)
    check_location(spark, location)
    try:
        inputs = read_inputs(spark, config)
        for line in inputs.plan.lines():
            _log.info("%s", line)
        job = _Job(config, inputs, location, run_identifier(config, inputs))
        clock.mark("prepare")
        record = _run(spark, job, clock, started)
    except SPARK_ERRORS as error:
        raise _own_error(error) from error
    _log.info("run %s: %s", job.run_id, ", ".join(f"{name} {value:.1f} s" for name, value in clock.seconds.items()))
    return RunResult(record, location, inputs.plan, clock.seconds)


class _Job(NamedTuple):
    """A run on its way."""

    config: RunConfig
    inputs: Inputs
    location: Location
    run_id: str

    @property
    def share(self) -> float:
        """Share of the rows that is explained."""
        return 1.0 if self.inputs.audit is None else self.inputs.audit.share

    @property
    def n_bad_keys(self) -> int:
        """Rows rejected for their keys."""
        return self.inputs.census.n_null_key + self.inputs.census.n_duplicate


def _run(spark: SparkSession, job: _Job, clock: _Clock, started: datetime) -> RunRecord:
    config, inputs, (location, run_id) = job.config, job.inputs, job[2:]
    good, bad = split_rows(inputs.applicants, inputs.columns.key, inputs.census)
    _check_rejects(job, job.n_bad_keys, "their keys are null or not unique")
    n_good = inputs.census.n_rows - job.n_bad_keys
    if job.share < 1.0:
        good = sample_keys(good, inputs.columns.key, job.share, config.explain.seed)
    n_wanted = n_good if job.share == 1.0 else good.count()
    withdraw_run(spark, location, run_id)
    _explain(good, job)
    clock.mark("explain")
    written = _read_back(spark, job)
    table = summarize(written, by=config.summary.by, weight=config.applicants.weight, sampled_share=n_wanted / n_good)
    with ThreadPoolExecutor(2) as pool:  # small jobs that do not depend on each other
        summing = pool.submit(replace_run, table, location, schema.SUMMARY, run_id)
        rejecting = pool.submit(_write_rejects, bad, job)
        quality = measure(written, output=inputs.prepared.output_names[0])
        summing.result()
        rejecting.result()
    n_missing = n_wanted - quality.n_rows
    if n_missing:
        _reject_missing(good, written, n_missing, job)
    clock.mark("aggregate")
    rejected, left_out = job.n_bad_keys + n_missing, n_good - n_wanted
    counts = Counts(quality.n_rows, rejected, left_out)
    record = make_record(config, inputs, run_id, quality, counts=counts, started=started)
    write_run(spark, location, record)
    clock.mark("commit")
    return record


class _Clock:
    """Wall seconds between marks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def mark(self, name: str) -> None:
        now = perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _tagged(frame: DataFrame, run_id: str) -> DataFrame:
    from pyspark.sql import functions as f

    return frame.select(f.lit(run_id).alias(schema.RUN_ID), "*")


def _check_rejects(job: _Job, n_rejected: int, why: str) -> None:
    output, n_rows = job.config.output, job.inputs.census.n_rows
    if n_rejected > output.reject_limit(n_rows):
        raise TooManyRejectsError(
            f"{n_rejected:,} of {n_rows:,} rows cannot be explained, more than output.max_rejects="
            f"{output.max_rejects} allows; mend the input, or allow more. First messages: {why}"
        )


def _explain(good: DataFrame, job: _Job) -> None:
    """Explain the rows and write those that can be explained, in one evaluation."""
    inputs, output = job.inputs, job.config.output
    most = output.max_rejects
    limit = RejectLimit(count=most) if isinstance(most, int) else RejectLimit(share=most)
    found = explain_frame(
        good,
        inputs.prepared,
        columns=inputs.columns,
        partitions=inputs.plan.partitions,
        limit=limit,
        carrier=inputs.carrier,
    )
    explained = found.where(column(found, schema.ERROR).isNull()).drop(schema.ERROR)
    if output.layout == "long":
        explained = to_long(explained, inputs.columns, inputs.prepared.feature_names)
    replace_run(_tagged(explained, job.run_id), job.location, schema.ATTRIBUTIONS, job.run_id)


def _read_back(spark: SparkSession, job: _Job) -> DataFrame:
    """Return what was written of the run, as wide rows."""
    features = job.inputs.prepared.feature_names
    written = read_table(spark, job.location, schema.ATTRIBUTIONS, job.run_id, struct_fields=features)
    if not job.inputs.prepared.keeps_surrogate_values and schema.SURROGATE_VALUES in written.columns:
        written = written.drop(schema.SURROGATE_VALUES)  # another run's, in the same Delta table
    return written if job.config.output.layout == "wide" else to_wide(written, job.inputs.columns, features)


def _own_error(error: Exception) -> SparkShapError:
    """Return the error that a worker raised, out of the traceback in which Spark hands it over."""
    text = str(error)
    for kind in (TooManyRejectsError, InputError):
        mark = f"spark_shap.errors.{kind.__name__}: "
        if mark in text:
            message = text.split(mark, 1)[1].split("\n\n", 1)[0].split("\n\tat ", 1)[0]
            return kind(message.strip())
    return RunError(f"Spark: {spark_reason(error)}")


def _write_rejects(bad: DataFrame | None, job: _Job) -> None:
    """Write the rows rejected at the door; an empty table of rejects says that there were none."""
    if bad is None:
        bad = job.inputs.applicants.limit(0).withColumn(REASON, _null_text())
    rejected = reject_rows(bad, job.inputs.columns.key)
    replace_run(_tagged(rejected, job.run_id), job.location, schema.REJECTS, job.run_id)


def _null_text() -> Any:
    from pyspark.sql import functions as f

    return f.lit(None).cast("string")


def _reject_missing(good: DataFrame, written: DataFrame, n_missing: int, job: _Job) -> None:
    """Explain the rows that are not in the table once more, for the reasons, and write those."""
    inputs, location, run_id = job.inputs, job.location, job.run_id
    missing = missing_rows(good, written, inputs.columns.key)
    found = explain_frame(missing, inputs.prepared, columns=inputs.columns, carrier=inputs.carrier)
    fields = [column(found, schema.ERROR).getField(name).alias(name) for name in schema.REJECT_COLUMNS]
    failed = found.where(column(found, schema.ERROR).isNotNull())
    rejected = failed.select(*(column(failed, name) for name in inputs.columns.key), *fields)
    append_run(_tagged(rejected, run_id), location, schema.REJECTS, run_id)
    table = read_table(good.sparkSession, location, schema.REJECTS, run_id)
    n_read, n_rejected = inputs.census.n_rows, table.count()
    n_explained = written.count() // len(inputs.prepared.output_names)
    if n_rejected != n_missing + job.n_bad_keys:
        raise RunError(
            f"the counts do not add up: {n_read:,} rows read, {n_explained:,} explained, "
            f"{n_rejected:,} rejected; the model or the input changes between two looks at the same row"
        )
    first = [row["message"] for row in table.select("message").distinct().limit(3).collect()]
    _check_rejects(job, n_rejected, "; ".join(first))
