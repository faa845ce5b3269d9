"""Timing a prepared method on the workers that will run it.

Every core explains the same few rows for a moment, all at the same time: cores that share a machine slow
each other, and a driver may be another machine than its workers. Workers have then started, imported the
model's library and loaded the method, so that the run itself begins warm.
"""

from __future__ import annotations

import importlib
import pickle
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_shap.core.accelerate import load_kernels
from spark_shap.engine.session import parallelism
from spark_shap.engine.shipping import Carrier, load
from spark_shap.errors import SparkShapError
from spark_shap.plan import Probe, average_probe
from spark_shap.probe import probe_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd
    from pyspark.sql import SparkSession

__all__ = ["probe_on_workers", "start_workers", "warm_workers"]

_MOST_TASKS = 64
_COLUMN = "found"


@dataclass(frozen=True)
class _ProbePartition:
    """The function that Spark runs."""

    carrier: Carrier
    frame: pd.DataFrame

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Time the rows once, whatever comes in; an error travels back as it is."""
        if not sum(batch.num_rows for batch in batches):
            return
        found: Probe | SparkShapError
        try:
            found = probe_rows(load(self.carrier), self.frame)
        except SparkShapError as error:
            found = error
        yield pa.RecordBatch.from_arrays([pa.array([pickle.dumps(found)], pa.binary())], names=[_COLUMN])


@dataclass(frozen=True)
class _WarmPartition:
    """The function that Spark runs."""

    modules: tuple[str, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Import what explaining will need; what is not there says so when it is needed."""
        for name in (*self.modules, "spark_shap.prepare"):
            with suppress(Exception):
                importlib.import_module(name)
        with suppress(Exception):
            load_kernels()
        for _ in batches:  # Spark ends a worker that leaves input unread
            pass
        yield from ()


def warm_workers(spark: SparkSession, model: Any) -> None:
    """Start a worker on every core and let it import what it will need, while the driver does other things."""
    tasks = min(parallelism(spark), _MOST_TASKS)
    numbers = spark.range(0, tasks, 1, tasks)
    numbers.mapInArrow(_WarmPartition((type(model).__module__,)), f"{_COLUMN} binary").collect()


def start_workers(spark: SparkSession) -> None:
    """Start one worker, and with it the process that all workers of a machine are forked from."""
    spark.range(0, 1, 1, 1).mapInArrow(_WarmPartition(()), f"{_COLUMN} binary").collect()


def probe_on_workers(spark: SparkSession, carrier: Carrier, frame: pd.DataFrame) -> Probe:
    """Explain a few rows on every core and return the median times.

    Parameters
    ----------
    spark
        Classic or Connect session.
    carrier
        The shipped method.
    frame
        Some applicants, with at least the features.

    Raises
    ------
    InputError, ModelError
        None of the rows can be explained.
    """
    tasks = min(parallelism(spark), _MOST_TASKS)
    numbers = spark.range(0, tasks, 1, tasks)
    rows = numbers.mapInArrow(_ProbePartition(carrier, frame), f"{_COLUMN} binary").collect()
    found = [pickle.loads(bytes(row[_COLUMN])) for row in rows]  # our own workers' bytes
    for one in found:
        if isinstance(one, SparkShapError):
            raise one
    return average_probe(found)
