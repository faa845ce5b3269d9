"""One Spark session for all tests of a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import SparkSession

from spark_shap.engine.java import java_options

if TYPE_CHECKING:
    from collections.abc import Iterator

# Workers would start whatever python3 is on the path.
os.environ["PYSPARK_PYTHON"] = sys.executable
# A JVM takes no jars later, so Delta tests run in a process of their own.
WITH_DELTA = os.environ.get("SPARK_SHAP_TEST_DELTA") == "1"
DELTA_CONF = {
    "spark.jars.packages": "io.delta:delta-spark_4.2_2.13:4.4.0",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Made for tables of millions of files, 50 tasks to read a log of three lines.
    "spark.databricks.delta.snapshotPartitions": "1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="set SPARK_SHAP_TEST_DELTA=1: Delta's jar must be there when the JVM starts")
    for item in items:
        if item.get_closest_marker("delta") and not WITH_DELTA:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with two cores."""
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.showConsoleProgress": "false",
        # As the command line makes its session: short jobs are mostly the JVM compiling and workers importing.
        "spark.driver.extraJavaOptions": java_options(),
        "spark.python.daemon.module": "spark_shap.engine.daemon",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        **(DELTA_CONF if WITH_DELTA else {}),
    }
    builder = SparkSession.builder.master("local[2]").appName("tests")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def spark_connect() -> Iterator[SparkSession]:
    """A Spark Connect session with a server of its own; a process has either this or `spark`."""
    pytest.importorskip("grpc")
    # The server's workers import the package from the environment or from here, not from this process's path.
    places = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    builder = SparkSession.builder.remote("local[2]")
    for key, value in {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "4"}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
