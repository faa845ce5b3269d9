"""What a run keeps of what its applicants were: the features' values of a few, for the report, or of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_shap.io.samples import SampledRows, forget_sample, write_sample
from spark_shap.io.shards import STAGED
from spark_shap.io.staging import read_staged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.shards import Shard
    from spark_shap.job import Job

__all__ = ["keep_sample"]


def keep_sample(spark: SparkSession, job: Job, written: DataFrame, shards: Mapping[int, Shard]) -> None:
    """Write the sample of a run's explained applicants, or see that there is none.

    Parameters
    ----------
    spark, job
        The run.
    written
        Its attributions.
    shards
        Its committed parts.
    """
    inputs, size = job.inputs, job.config.output.sample
    if not size:
        forget_sample(spark, job.location, job.run_id)
        return
    applicants = None
    if STAGED in shards:  # of several shards: the input is not read once more
        copy = (job.run_id, shards[STAGED].shard)
        applicants = read_staged(spark, job.location, copy, None, inputs.applicants.columns)
    applicants = inputs.applicants if applicants is None else applicants
    # Of a group of features, which is no column, its members.
    features = [name for name in inputs.prepared.column_names if name in applicants.columns]
    if not features:
        forget_sample(spark, job.location, job.run_id)
        return
    rows = SampledRows(applicants, written, inputs.columns.key, features)
    n_rows = sum(one.n_explained for part, one in shards.items() if part >= 0)
    write_sample(rows, job.location, job.run_id, size=size, n_rows=n_rows)
