"""Making the parts of a run: each is explained, written and committed on its own, once.

A part that is committed stays; starting the run again makes those that are not. A part whose attributions are
written and whose commit is missing does not exist, and is made again.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from spark_shap import schema
from spark_shap.engine.door import sample_keys, split_rows
from spark_shap.engine.layout import lines_per_row, to_wide
from spark_shap.engine.progress import Progress
from spark_shap.engine.quality import count_lines
from spark_shap.errors import RunError
from spark_shap.io.delta import refuse_new_fields
from spark_shap.io.shards import (
    KEYS,
    STAGED,
    Shard,
    check_total,
    optional_columns,
    read_committed,
    shard_name,
)
from spark_shap.io.staging import read_staged, stage
from spark_shap.io.tables import read_table, replace_shard
from spark_shap.job import commit, explain_rows, new_shard
from spark_shap.rejects import check_rejects, messages_of, reject_keys, reject_missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.job import Job

__all__ = ["make_parts", "read_back"]

_log = logging.getLogger(__name__)


def make_parts(spark: SparkSession, job: Job, there: Mapping[int, Shard]) -> dict[int, Shard]:
    """Make the parts of a run that are not committed; return all of them by number.

    Parameters
    ----------
    spark, job
        The run.
    there
        The parts that are committed.

    Raises
    ------
    TooManyRejectsError
        More rows than `output.max_rejects` cannot be explained.
    RunError
        The counts do not add up, or another program has taken the run over.
    """
    check_rejects(job.config, job.inputs, job.n_bad_keys, "their keys are null or not unique")
    if job.location.format == "delta" and not job.config.output.evolve_schema:
        refuse_new_fields(explain_rows(job.inputs.applicants, job), job.location, schema.ATTRIBUTIONS)
    done = dict(there)
    todo = [part for part in range(job.n_shards) if part not in done]
    if len(todo) < job.n_shards:
        _log.info("run %s: %d of %d shards are there already", job.run_id, job.n_shards - len(todo), job.n_shards)
    good, bad = split_rows(job.inputs.applicants, job.inputs.columns.key, job.inputs.census)
    if job.share < 1.0:
        good = sample_keys(good, job.inputs.columns.key, job.share, job.config.explain.seed)
    progress = Progress(spark, job.run_id, n_shards=job.n_shards, n_tasks=job.partitions, bar=job.bar)
    with ThreadPoolExecutor(2) as pool, progress:  # small jobs beside the first shard
        keeping = pool.submit(job.inputs.kept.write, job.run_id) if len(todo) > 1 else None
        rejecting = None if KEYS in done else pool.submit(reject_keys, spark, bad, job)
        if todo and job.n_shards > 1 and STAGED not in done:
            done[STAGED] = _stage(spark, good, job)
        _start(progress, job, done)
        for part in todo:
            name = shard_name(job.location, part, job.n_shards, job.attempt)
            rows = _rows_of(spark, good, job, part, done)
            with progress.shard():
                replace_shard(explain_rows(rows, job), job.location, schema.ATTRIBUTIONS, job.run_id, name)
            if rejecting is not None:  # two that make a Delta table at once are in each other's way
                done[KEYS], rejecting = rejecting.result(), None
            made = _checked(spark, rows, part, job, done)
            done[part] = commit(spark, job, made.shard)
            progress.shard_done(
                n_rows=made.shard.n_rows, n_evaluations=made.n_evaluations, n_rejected=made.shard.n_rejected
            )
        if rejecting is not None:
            done[KEYS] = rejecting.result()
        if keeping is not None:
            keeping.result()
    if job.share == 1.0:
        check_total(done, job.n_good)
    return done


def read_back(spark: SparkSession, job: Job, shards: Mapping[int, Shard]) -> DataFrame:
    """Return what is committed of the run's attributions, as wide rows."""
    prepared, features = job.inputs.prepared, job.inputs.prepared.feature_names
    own = optional_columns(
        surrogate_values=prepared.keeps_surrogate_values,
        ranking=prepared.rule is not None,
        references=bool(prepared.others),
        bins=prepared.bins is not None,
    )
    written = read_committed(
        spark, job.location, schema.ATTRIBUTIONS, job.run_id, shards, struct_fields=features, optional=own
    )
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
    copy = (job.run_id, shard_name(job.location, STAGED, job.n_shards, job.attempt))
    n_rows = stage(good, job.location, copy, key=key, n_shards=job.n_shards, files=job.partitions)
    if job.share == 1.0 and n_rows != job.n_good:
        raise RunError(
            f"the counts do not add up: {job.n_good:,} rows were counted and {n_rows:,} read; the input changes while "
            "it is read; start the same command again, on a table that does not change or a fixed version of it"
        )
    _log.info("input copied, cut into %d shards: %.1f s", job.n_shards, perf_counter() - start)
    return commit(spark, job, new_shard(job, STAGED, n_rows, 0))


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
    lines = lines_per_row(job.config.output.layout, prepared.lines_a_row, len(prepared.feature_names))
    n_lines, n_evaluations = count_lines(written)
    n_explained, n_evaluations = n_lines // lines, n_evaluations * len(prepared.references) // lines
    n_rows = job.n_good if job.n_shards == 1 and job.share == 1.0 else rows.count()
    if n_rows != n_explained:
        reject_missing(rows, written, n_rows - n_explained, name, job)
        n_rejected = n_rows - n_explained + sum(one.n_rejected for one in done.values())
        why = messages_of(read_table(spark, location, schema.REJECTS, job.run_id, shards=[name]))
        check_rejects(job.config, job.inputs, n_rejected, why)
    return _Made(new_shard(job, part, n_rows, n_explained), n_evaluations)
