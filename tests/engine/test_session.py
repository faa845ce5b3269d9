"""Workers of a session of our own come from a process that has imported what they need."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

# Memory of the JVM outside of its heap that is still there once a file was read, in bytes.
KEPT = """
import sys
from spark_shap.engine.session import make_session
conf = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
spark = make_session("local[2]", conf, delta=False)
spark.read.parquet(sys.argv[1]).write.format("noop").mode("overwrite").save()
java = spark._jvm.java.lang
pools = java.Class.forName("java.lang.management.BufferPoolMXBean")
print(sum(pool.getMemoryUsed() for pool in java.management.ManagementFactory.getPlatformMXBeans(pools)))
spark.stop()
"""


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


@pytest.mark.slow  # a JVM of its own: the setting is of a whole session
def test_java_keeps_no_copy_of_the_files_it_reads(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=4_000_000)
    pq.write_table(pa.table({"x": numbers}), tmp_path / "large", row_group_size=len(numbers), use_dictionary=False)
    command = [sys.executable, "-c", KEPT, str(tmp_path / "large")]
    kept = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(kept) < 0.25 * numbers.nbytes
