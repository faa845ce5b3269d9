"""Workers of a session of our own come from a process that has imported what they need."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


def test_workers_start_with_what_they_need(spark: SparkSession) -> None:
    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        # Not what this function needs: it is the daemon that imported the sampler.
        there = [
            sys.modules["__main__"].__spec__.name,
            *(name for name in sys.modules if name.startswith("spark_shap")),
        ]
        yield pa.RecordBatch.from_pydict({"name": there})

    found = {row["name"] for row in spark.range(1).mapInArrow(look, "name string").collect()}
    assert {"spark_shap.engine.daemon", "spark_shap.prepare", "spark_shap.core.sampling"} <= found
