"""A run, from its configuration to its committed tables.

Read and check the applicants, prepare the method, explain shard by shard, read back what was written, fold
the aggregates, commit. Rows that cannot be explained are rejected with a reason; the counts add up or the run
fails. The row in ``runs`` says ``complete`` last: without it the run does not exist for readers. A run that
ended anywhere before is simply started again: shards that are committed are not explained again.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from spark_shap import schema
from spark_shap.aggregates import beside, write_aggregates, write_reasons
from spark_shap.engine.layout import lines_per_row
from spark_shap.engine.session import note_warm
from spark_shap.errors import InputError, MissingTableError, RunError, SparkShapError, TooManyRejectsError
from spark_shap.identity import run_identifier, what_changed
from spark_shap.intake import read_inputs
from spark_shap.io.claims import claimed
from spark_shap.io.location import Location
from spark_shap.io.places import check_location
from spark_shap.io.runs import COMPLETE, FAILED, RunRecord, find_run, read_runs, write_run
from spark_shap.io.samples import forget_sample
from spark_shap.io.shards import (
    attempt_name,
    attempts_of,
    forget_shards,
    read_committed,
    read_shards,
    remove_others,
)
from spark_shap.io.sources import SPARK_ERRORS, spark_reason
from spark_shap.io.staging import remove_staged
from spark_shap.job import Job
from spark_shap.kept_sample import keep_sample
from spark_shap.logs import RUN_ID
from spark_shap.parts import make_parts, read_back
from spark_shap.record import Counts, completed, make_record
from spark_shap.redaction import redact_text
from spark_shap.rejects import check_complete
from spark_shap.reporting import report_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.io.shards import Shard
    from spark_shap.plan import Plan

__all__ = ["RunResult", "plan_run", "run"]

_log = logging.getLogger(__name__)
_ERROR_TEXT = 2000
_UNREADABLE: tuple[type[Exception], ...] = (InputError, *SPARK_ERRORS)


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
        Wall seconds by stage; without ``"explain"`` where the run was complete before.
    report
        Where the report is; None where there is none.
    """

    record: RunRecord
    location: Location
    plan: Plan
    seconds: dict[str, float]
    report: str | None = None


def plan_run(spark: SparkSession, config: RunConfig) -> Plan:
    """Return the plan of a run; reads and times, writes nothing."""
    return read_inputs(spark, config, _location(config)).plan


def run(spark: SparkSession, config: RunConfig, *, bar: bool = False) -> RunResult:
    """Explain the applicants of a configuration and write the tables; go on where an earlier attempt ended.

    Parameters
    ----------
    spark
        Classic or Connect session.
    config
        The run.
    bar
        Draw a bar of the progress on standard error, where that is a terminal and tqdm is there.

    Raises
    ------
    InputError, ModelError, MethodError
        Something cannot be used, found before any row is explained.
    TooManyRejectsError
        More rows than `output.max_rejects` cannot be explained.
    RunError
        The run failed, its counts do not add up, or another program makes the same run.
    """
    clock, started = _Clock(), datetime.now(UTC)
    location = _location(config)
    check_location(spark, location)
    try:
        inputs = read_inputs(spark, config, location)
        run_id = run_identifier(config, inputs)
        RUN_ID.set(run_id)
        clock.mark("prepare")
        with claimed(spark, location, run_id) as holder, ThreadPoolExecutor(1) as pool:
            earlier, there = find_run(spark, location, run_id), read_shards(spark, location, run_id)
            if earlier is not None and earlier.status == COMPLETE:
                if _is_whole(spark, location, earlier, there, config.output.layout):
                    check_complete(spark, config, inputs, location, earlier, there)
                    if not config.output.sample:
                        forget_sample(spark, location, run_id)
                    _log.info("run %s is complete since %s: nothing to do", run_id, _time(earlier.finished_at))
                    return RunResult(earlier, location, inputs.plan, clock.seconds)
                _log.warning("run %s is complete, but some of its rows are gone: it is made again", run_id)
                forget_shards(spark, location, run_id)
                there = {}
            for line in inputs.plan.lines():
                _log.info("%s", line)
            record = _begun(spark, location, make_record(config, inputs, run_id, started=started), earlier, there)
            writing = pool.submit(write_run, spark, location, record)
            attempt = attempt_name(record.attempts, holder.attempt)
            job = Job(config, inputs, location, run_id, record.shards, attempt, holder, writing, bar)
            with _noting_failure(spark, job, record):
                record = _make(spark, job, record, there, clock)
                note_warm(spark)
    except SPARK_ERRORS as error:
        raise _own_error(error) from error
    report = report_after(spark, location, run_id, config.output.report)
    clock.mark("report")
    _log.info("run %s: %s", run_id, ", ".join(f"{name} {value:.1f} s" for name, value in clock.seconds.items()))
    return RunResult(record, location, inputs.plan, clock.seconds, report)


def _location(config: RunConfig) -> Location:
    return Location(config.output.path, config.output.catalog_schema, config.output.format)


def _begun(
    spark: SparkSession, location: Location, record: RunRecord, earlier: RunRecord | None, there: Mapping[int, Shard]
) -> RunRecord:
    """Return the row of a run that begins, or goes on."""
    if earlier is None and not there:
        for other in reversed(_complete_runs(spark, location)):
            if other.config == record.config:
                changed = " and ".join(what_changed(other, record)) or "the version of spark-shap"
                _log.info("a new run: since run %s of %s %s changed", other.run_id, _time(other.finished_at), changed)
                break
        return record
    # Killed while its row was written anew through Spark Connect, a run may have lost it: the shards know, too.
    before = earlier or replace(record, attempts=0, started_at=min(one.committed_at for one in there.values()))
    attempts = max(before.attempts, attempts_of(there)) + 1
    shards = next((one.n_parts for one in there.values()), before.shards)
    _log.info("run %s was started before: attempt %d", record.run_id, attempts)
    return replace(record, started_at=before.started_at, attempts=attempts, shards=shards)


def _complete_runs(spark: SparkSession, location: Location) -> tuple[RunRecord, ...]:
    try:
        return read_runs(spark, location)
    except MissingTableError:  # no runs yet
        return ()


def _is_whole(
    spark: SparkSession, location: Location, record: RunRecord, shards: Mapping[int, Shard], layout: str
) -> bool:
    """Whether the attributions of a complete run are all there."""
    if any(part not in shards for part in range(record.shards)):
        return False
    try:
        there = read_committed(
            spark, location, schema.ATTRIBUTIONS, record.run_id, shards, struct_fields=record.feature_names
        )
        n_lines = len(record.output_names) * len(record.reference_names)
        lines = lines_per_row(layout, n_lines, len(record.feature_names))
        return there.count() == record.rows_explained * lines
    except _UNREADABLE:
        return False


@contextmanager
def _noting_failure(spark: SparkSession, job: Job, record: RunRecord) -> Iterator[None]:
    """Write why a run failed into its row, as well as that can be done; not into the row of a successor."""
    try:
        yield
    except BaseException as error:
        own = _own_error(error) if isinstance(error, SPARK_ERRORS) else error
        text = redact_text(f"{type(own).__name__}: {own}".removesuffix(": "))[:_ERROR_TEXT]
        with suppress(Exception):
            wait([job.started])  # or the two writers of one row meet
            job.holder.check()
            write_run(spark, job.location, replace(record, status=FAILED, finished_at=datetime.now(UTC), error=text))
        raise


def _make(spark: SparkSession, job: Job, record: RunRecord, there: Mapping[int, Shard], clock: _Clock) -> RunRecord:
    location, run_id = job.location, job.run_id
    shards = make_parts(spark, job, there)
    clock.mark("explain")
    written = read_back(spark, job, shards)
    parts = {part: one for part, one in shards.items() if part >= 0}
    n_wanted = sum(one.n_rows for one in parts.values())
    share = n_wanted / job.n_good if job.n_good else 1.0
    with beside(partial(keep_sample, spark, job, written, shards)):
        folded = write_aggregates(written, job, share)
    clock.mark("aggregate")
    reasons = write_reasons(written, job)
    if reasons is not None:
        clock.mark("reasons")
    rejected = job.n_bad_keys + sum(one.n_rejected for one in parts.values())
    counts = Counts(folded.quality.n_rows, rejected, job.n_good - n_wanted, reasons)
    record = replace(completed(record, folded.quality, counts), reference_agreement=folded.agreement)
    job.holder.check()
    remove_others(spark, location, run_id, shards)
    if job.n_shards > 1:
        remove_staged(spark, location, run_id)
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


def _time(moment: datetime) -> str:
    return moment.isoformat(" ", "seconds")


def _own_error(error: BaseException) -> SparkShapError:
    """Return the error that a worker raised, out of the traceback in which Spark hands it over."""
    text = str(error)
    for kind in (TooManyRejectsError, InputError):
        mark = f"spark_shap.errors.{kind.__name__}: "
        if mark in text:
            message = text.split(mark, 1)[1].split("\n\n", 1)[0].split("\n\tat ", 1)[0]
            return kind(message.strip())
    return RunError(f"Spark: {spark_reason(error)}")
