"""Making the parts of a run: each is explained, written and committed on its own, once.

A part that is committed stays; starting the run again makes those that are not. A part whose attributions are
written and whose commit is missing does not exist, and is made again.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from spark_shap import schema
from spark_shap.dataframes import column
from spark_shap.engine.door import missing_rows, reject_rows, sample_keys, split_rows, without_rows
from spark_shap.engine.explain import explain_frame
from spark_shap.engine.layout import to_long, to_wide
from spark_shap.engine.progress import Progress
from spark_shap.engine.quality import count_lines
from spark_shap.engine.worker import RejectLimit
from spark_shap.errors import RunError, TooManyRejectsError
from spark_shap.io.delta import refuse_new_fields
from spark_shap.io.shards import (
    KEYS,
    STAGED,
    Shard,
    check_total,
    commit_shard,
    read_committed,
    read_shards,
    shard_name,
)
from spark_shap.io.staging import read_staged, stage
from spark_shap.io.tables import read_table, replace_shard, tagged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.intake import Inputs
    from spark_shap.io.claims import Holder
    from spark_shap.io.location import Location
    from spark_shap.io.runs import RunRecord

__all__ = ["Job", "check_complete", "make_parts", "read_back"]

_log = logging.getLogger(__name__)
_committing = threading.Lock()  # two lines at once would make a Delta table twice


class Job(NamedTuple):
    """A run on its way."""

    config: RunConfig
    inputs: Inputs
    location: Location
    run_id: str
    n_shards: int
    attempt: str
    holder: Holder
    started: Future[None]  # its row in the table of runs, on the way
    bar: bool = False  # draw one of the progress, if that can be

    @property
    def share(self) -> float:
        """Share of the rows that is explained."""
        return 1.0 if self.inputs.audit is None else self.inputs.audit.share

    @property
    def n_bad_keys(self) -> int:
        """Rows rejected for their keys."""
        return self.inputs.census.n_null_key + self.inputs.census.n_duplicate

    @property
    def n_good(self) -> int:
        """Rows with keys that can be used."""
        return self.inputs.census.n_rows - self.n_bad_keys


def make_parts(spark: SparkSession, job: Job) -> dict[int, Shard]:
    """Make the parts of a run that are not committed; return all of them by number.

    Raises
    ------
    TooManyRejectsError
        More rows than `output.max_rejects` cannot be explained.
    RunError
        The counts do not add up, or another program has taken the run over.
    """
    _check_rejects(job.config, job.inputs, job.n_bad_keys, "their keys are null or not unique")
    if not job.config.output.evolve_schema:
        refuse_new_fields(_explained(job.inputs.applicants, job), job.location, schema.ATTRIBUTIONS)
    done = read_shards(spark, job.location, job.run_id)
    todo = [part for part in range(job.n_shards) if part not in done]
    if len(todo) < job.n_shards:
        _log.info("run %s: %d of %d shards are there already", job.run_id, job.n_shards - len(todo), job.n_shards)
    good, bad = split_rows(job.inputs.applicants, job.inputs.columns.key, job.inputs.census)
    if job.share < 1.0:
        good = sample_keys(good, job.inputs.columns.key, job.share, job.config.explain.seed)
    tasks = -(-job.inputs.plan.partitions // job.n_shards)
    progress = Progress(spark, job.run_id, n_shards=job.n_shards, n_tasks=tasks, bar=job.bar)
    with ThreadPoolExecutor(1) as pool, progress:  # a small job beside the first shard
        rejecting = None if KEYS in done else pool.submit(_reject_keys, spark, bad, job)
        if todo and job.n_shards > 1 and STAGED not in done:
            done[STAGED] = _stage(spark, good, job)
        _start(progress, job, done)
        for part in todo:
            name = shard_name(job.location, part, job.n_shards, job.attempt)
            rows = _rows_of(spark, good, job, part, done)
            with progress.shard():
                replace_shard(_explained(rows, job), job.location, schema.ATTRIBUTIONS, job.run_id, name)
            if rejecting is not None:  # two that make a Delta table at once are in each other's way
                done[KEYS], rejecting = rejecting.result(), None
            made = _checked(spark, rows, part, job, done)
            done[part] = _commit(spark, job, made.shard)
            progress.shard_done(
                n_rows=made.shard.n_rows, n_evaluations=made.n_evaluations, n_rejected=made.shard.n_rejected
            )
        if rejecting is not None:
            done[KEYS] = rejecting.result()
    if job.share == 1.0:
        check_total(done, job.n_good)
    return done


def read_back(spark: SparkSession, job: Job, shards: Mapping[int, Shard]) -> DataFrame:
    """Return what is committed of the run's attributions, as wide rows."""
    features = job.inputs.prepared.feature_names
    written = read_committed(spark, job.location, schema.ATTRIBUTIONS, job.run_id, shards, struct_fields=features)
    prepared = job.inputs.prepared
    for name, own in ((schema.SURROGATE_VALUES, prepared.keeps_surrogate_values), (schema.RANKING, prepared.rule)):
        if not own and name in written.columns:
            written = written.drop(name)  # another run's, in the same Delta table
    return written if job.config.output.layout == "wide" else to_wide(written, job.inputs.columns, features)


def _rows_of(spark: SparkSession, good: DataFrame, job: Job, part: int, done: dict[int, Shard]) -> DataFrame:
    if job.n_shards == 1:
        return good
    rows = read_staged(spark, job.location, (job.run_id, done[STAGED].shard), part, good.columns)
    if rows is None:  # removed by somebody: the copy says nothing that the input does not
        done[STAGED] = _stage(spark, good, job)
        rows = read_staged(spark, job.location, (job.run_id, done[STAGED].shard), part, good.columns)
    if rows is None:
        raise RunError(f"{job.location}: the run's copy of its input cannot be read; start the same command again")
    return rows


def _stage(spark: SparkSession, good: DataFrame, job: Job) -> Shard:
    """Copy the rows to explain, cut into shards, and commit the copy."""
    job.started.result()  # before anything that takes long: an attempt that ends there counts
    start, key = perf_counter(), job.inputs.columns.key
    files = -(-job.inputs.plan.partitions // job.n_shards)
    copy = (job.run_id, shard_name(job.location, STAGED, job.n_shards, job.attempt))
    n_rows = stage(good, job.location, copy, key=key, n_shards=job.n_shards, files=files)
    if job.share == 1.0 and n_rows != job.n_good:
        raise RunError(
            f"the counts do not add up: {job.n_good:,} rows were counted and {n_rows:,} read; the input changes while "
            "it is read; start the same command again, on a table that does not change or a fixed version of it"
        )
    _log.info("input copied, cut into %d shards: %.1f s", job.n_shards, perf_counter() - start)
    return _commit(spark, job, _shard(job, STAGED, n_rows, 0))


def _start(progress: Progress, job: Job, done: Mapping[int, Shard]) -> None:
    there = [one for part, one in done.items() if part >= 0]
    progress.started(
        n_rows=done[STAGED].n_rows if STAGED in done else round(job.n_good * job.share),
        n_done=sum(one.n_rows for one in there),
        n_shards_done=len(there),
        row_evaluations=job.inputs.plan.n_evaluations,
    )


class _Made(NamedTuple):
    shard: Shard
    n_evaluations: int


def _checked(spark: SparkSession, rows: DataFrame, part: int, job: Job, done: Mapping[int, Shard]) -> _Made:
    """Return a shard whose attributions are written, once its rejects are, too."""
    prepared, location = job.inputs.prepared, job.location
    name = shard_name(location, part, job.n_shards, job.attempt)
    written = read_table(
        spark, location, schema.ATTRIBUTIONS, job.run_id, shards=[name], struct_fields=prepared.feature_names
    )
    lines = len(prepared.output_names) * (1 if job.config.output.layout == "wide" else len(prepared.feature_names))
    n_explained, n_evaluations = (total // lines for total in count_lines(written))
    n_rows = job.n_good if job.n_shards == 1 and job.share == 1.0 else rows.count()
    if n_rows != n_explained:
        _reject_missing(rows, written, n_rows - n_explained, name, job)
        n_rejected = n_rows - n_explained + sum(one.n_rejected for one in done.values())
        why = _messages(read_table(spark, location, schema.REJECTS, job.run_id, shards=[name]))
        _check_rejects(job.config, job.inputs, n_rejected, why)
    return _Made(_shard(job, part, n_rows, n_explained), n_evaluations)


def _shard(job: Job, part: int, n_rows: int, n_explained: int) -> Shard:
    return Shard(
        part=part,
        n_parts=job.n_shards,
        shard=shard_name(job.location, part, job.n_shards, job.attempt),
        n_rows=n_rows,
        n_explained=n_explained,
        n_rejected=0 if part == STAGED else n_rows - n_explained,
        attempt=job.attempt,
        committed_at=datetime.now(UTC),
    )


def _commit(spark: SparkSession, job: Job, shard: Shard) -> Shard:
    job.started.result()
    with _committing:
        job.holder.check()
        commit_shard(spark, job.location, job.run_id, shard)
    return shard


def _explained(rows: DataFrame, job: Job) -> DataFrame:
    """Return the attributions of those rows that can be explained, lazily."""
    inputs, output = job.inputs, job.config.output
    most = output.max_rejects
    found = explain_frame(
        rows,
        inputs.prepared,
        columns=inputs.columns,
        partitions=-(-inputs.plan.partitions // job.n_shards),
        limit=RejectLimit(count=most) if isinstance(most, int) else RejectLimit(share=most),
        carrier=inputs.carrier,
    )
    explained = found.where(column(found, schema.ERROR).isNull()).drop(schema.ERROR)
    if output.layout == "long":
        explained = to_long(explained, inputs.columns, inputs.prepared.feature_names)
    return tagged(explained, job.run_id)


def _reject_keys(spark: SparkSession, bad: DataFrame | None, job: Job) -> Shard:
    """Write the rows rejected at the door; a table of rejects without rows says that there were none."""
    rejected = reject_rows(without_rows(job.inputs.applicants) if bad is None else bad, job.inputs.columns.key)
    name = shard_name(job.location, KEYS, job.n_shards, job.attempt)
    replace_shard(tagged(rejected, job.run_id), job.location, schema.REJECTS, job.run_id, name)
    return _commit(spark, job, _shard(job, KEYS, job.n_bad_keys, 0))


def _reject_missing(rows: DataFrame, written: DataFrame, n_missing: int, name: str, job: Job) -> None:
    """Explain the rows that are not in the table once more, for the reasons, and write those."""
    inputs, location, run_id = job.inputs, job.location, job.run_id
    missing = missing_rows(rows, written, inputs.columns.key)
    found = explain_frame(missing, inputs.prepared, columns=inputs.columns, carrier=inputs.carrier)
    fields = [column(found, schema.ERROR).getField(name).alias(name) for name in schema.REJECT_COLUMNS]
    failed = found.where(column(found, schema.ERROR).isNotNull())
    rejected = failed.select(*(column(failed, name) for name in inputs.columns.key), *fields)
    replace_shard(tagged(rejected, run_id), location, schema.REJECTS, run_id, name)
    n_rejected = read_table(rows.sparkSession, location, schema.REJECTS, run_id, shards=[name]).count()
    if n_rejected != n_missing:
        raise RunError(
            f"the counts do not add up: of {inputs.census.n_rows:,} rows read {n_missing:,} of this shard could not be "
            f"explained, and {n_rejected:,} when they were looked at again; the model or the input changes between two "
            "looks at the same row"
        )


def check_complete(spark: SparkSession, config: RunConfig, inputs: Inputs, location: Location, run: RunRecord) -> None:
    """Raise `TooManyRejectsError` when a complete run has more rejects than are allowed now."""
    if run.rows_rejected > config.output.reject_limit(run.rows_read):
        shards = read_shards(spark, location, run.run_id)
        why = _messages(read_committed(spark, location, schema.REJECTS, run.run_id, shards))
        _check_rejects(config, inputs, run.rows_rejected, why)


def _messages(rejects: DataFrame) -> str:
    return "; ".join(row["message"] for row in rejects.select("message").distinct().limit(3).collect())


def _check_rejects(config: RunConfig, inputs: Inputs, n_rejected: int, why: str) -> None:
    n_rows = inputs.census.n_rows
    if n_rejected > config.output.reject_limit(n_rows):
        raise TooManyRejectsError(
            f"{n_rejected:,} of {n_rows:,} rows cannot be explained, more than output.max_rejects="
            f"{config.output.max_rejects} allows; mend the input, or allow more. First messages: {why}"
        )
