"""Rows that cannot be explained: written with their reasons, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_shap import schema
from spark_shap.dataframes import column
from spark_shap.engine.door import missing_rows, reject_rows, without_rows
from spark_shap.engine.explain import explain_frame
from spark_shap.errors import RunError, TooManyRejectsError
from spark_shap.io.shards import KEYS, Shard, read_committed, shard_name
from spark_shap.io.tables import read_table, replace_shard, tagged
from spark_shap.job import Job, commit, new_shard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.intake import Inputs
    from spark_shap.io.location import Location
    from spark_shap.io.runs import RunRecord

__all__ = ["check_complete", "check_rejects", "messages_of", "reject_keys", "reject_missing"]


def reject_keys(spark: SparkSession, bad: DataFrame | None, job: Job) -> Shard:
    """Write the rows rejected at the door; a table of rejects without rows says that there were none."""
    rejected = reject_rows(without_rows(job.inputs.applicants) if bad is None else bad, job.inputs.columns.key)
    name = shard_name(job.location, KEYS, job.n_shards, job.attempt)
    replace_shard(tagged(rejected, job.run_id), job.location, schema.REJECTS, job.run_id, name)
    return commit(spark, job, new_shard(job, KEYS, job.n_bad_keys, 0))


def reject_missing(rows: DataFrame, written: DataFrame, n_missing: int, name: str, job: Job) -> None:
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


def check_complete(
    spark: SparkSession,
    config: RunConfig,
    inputs: Inputs,
    location: Location,
    run: RunRecord,
    shards: Mapping[int, Shard],
) -> None:
    """Raise `TooManyRejectsError` when a complete run has more rejects than are allowed now."""
    if run.rows_rejected > config.output.reject_limit(run.rows_read):
        why = messages_of(read_committed(spark, location, schema.REJECTS, run.run_id, shards))
        check_rejects(config, inputs, run.rows_rejected, why)


def check_rejects(config: RunConfig, inputs: Inputs, n_rejected: int, why: str) -> None:
    """Raise `TooManyRejectsError` when more rows are rejected than the configuration allows."""
    n_rows = inputs.census.n_rows
    if n_rejected > config.output.reject_limit(n_rows):
        raise TooManyRejectsError(
            f"{n_rejected:,} of {n_rows:,} rows cannot be explained, more than output.max_rejects="
            f"{config.output.max_rejects} allows; mend the input, or allow more. First messages: {why}"
        )


def messages_of(rejects: DataFrame) -> str:
    """Return some of the reasons, for an error's text."""
    return "; ".join(row["message"] for row in rejects.select("message").distinct().limit(3).collect())
