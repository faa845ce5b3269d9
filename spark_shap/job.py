"""A run on its way: what its parts have in common."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from spark_shap import schema
from spark_shap.dataframes import column
from spark_shap.engine.explain import explain_frame
from spark_shap.engine.layout import to_long
from spark_shap.engine.worker import RejectLimit
from spark_shap.io.shards import STAGED, Shard, commit_shard, shard_name
from spark_shap.io.tables import tagged

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.intake import Inputs
    from spark_shap.io.claims import Holder
    from spark_shap.io.location import Location

__all__ = ["Job", "commit", "explain_rows", "new_shard"]

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
    def partitions(self) -> int:
        """Tasks of a shard."""
        return -(-self.inputs.plan.partitions // self.n_shards)

    @property
    def n_bad_keys(self) -> int:
        """Rows rejected for their keys."""
        return self.inputs.census.n_null_key + self.inputs.census.n_duplicate

    @property
    def n_good(self) -> int:
        """Rows with keys that can be used."""
        return self.inputs.census.n_rows - self.n_bad_keys


def explain_rows(rows: DataFrame, job: Job) -> DataFrame:
    """Return the attributions of those rows that can be explained, lazily."""
    inputs, output = job.inputs, job.config.output
    most = output.max_rejects
    found = explain_frame(
        rows,
        inputs.prepared,
        columns=inputs.columns,
        partitions=job.partitions,
        limit=RejectLimit(count=most) if isinstance(most, int) else RejectLimit(share=most),
        carrier=inputs.carrier,
    )
    explained = found.where(column(found, schema.ERROR).isNull()).drop(schema.ERROR)
    if output.layout == "long":
        explained = to_long(explained, inputs.columns, inputs.prepared.feature_names)
    return tagged(explained, job.run_id)


def new_shard(job: Job, part: int, n_rows: int, n_explained: int) -> Shard:
    """Return the line of a part that this attempt has written."""
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


def commit(spark: SparkSession, job: Job, shard: Shard) -> Shard:
    """Make a part visible, unless another program has taken the run over."""
    job.started.result()
    with _committing:
        job.holder.check()
        commit_shard(spark, job.location, job.run_id, shard)
    return shard
