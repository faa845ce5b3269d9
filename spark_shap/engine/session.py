"""Spark sessions: what one is, and how the command line makes one."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from spark_shap.dataframes import is_connect
from spark_shap.engine.java import java_options, java_program
from spark_shap.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

__all__ = ["is_warm", "make_session", "note_warm", "parallelism", "set_worker_python"]

_log = logging.getLogger(__name__)
_CONNECT_PARALLELISM = 16
# Parquet then asks a local disk for a whole row group at once, and Java keeps a copy, as large, outside of its heap
# with each thread that read one: 460 MB with two tasks, once row groups have their full size. Without it, reading a
# local disk is no slower.
_VECTORED = "spark.hadoop.parquet.hadoop.vectored.io.enabled"
_warm: WeakSet[SparkSession] = WeakSet()


def set_worker_python() -> None:
    """Make Python workers of a local session use this interpreter.

    pyspark takes whatever ``python3`` is first on the path, which often lacks pandas and pyarrow.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)


def note_warm(spark: SparkSession) -> None:
    """Note that this program has made a run in a session: the next one finds Java's code loaded and compiled."""
    _warm.add(spark)


def is_warm(spark: SparkSession) -> bool:
    """Whether this program has made a run in a session."""
    return spark in _warm


def parallelism(spark: SparkSession) -> int:
    """Return how many tasks run at a time, as far as the session tells."""
    if not is_connect(spark):
        return max(1, spark.sparkContext.defaultParallelism)
    # A Connect client cannot see the cluster; more tasks than cores only cost a little time each.
    return int(cast("str", spark.conf.get("spark.default.parallelism", str(_CONNECT_PARALLELISM))))


def make_session(master: str | None, conf: Mapping[str, Any], *, delta: bool) -> SparkSession:
    """Return the active session, or make one.

    Under spark-submit and on platforms that bring a session, that session is used as it is. Otherwise a
    local one is started, quiet, with Python workers of this interpreter.

    Parameters
    ----------
    master
        Spark master; ``local[*]`` when nothing else says.
    conf
        Spark settings.
    delta
        Whether Delta tables will be used: a session made here then loads Delta's jars.

    Raises
    ------
    MissingDependencyError
        pyspark, Java or delta-spark is missing.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError(
            "pyspark is not installed; on your own machine: pip install 'spark-shap[local]'"
        ) from error
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    builder = SparkSession.builder.appName("spark-shap")
    for name, value in conf.items():
        builder = builder.config(name, str(value).lower() if isinstance(value, bool) else value)
    # Settings of the builder would override those of spark-submit, whose master must win.
    if "PYSPARK_GATEWAY_PORT" in os.environ or "spark.remote" in conf or "SPARK_REMOTE" in os.environ:
        return builder.getOrCreate()
    master = master or "local[*]"
    builder = builder.master(master)
    java_program()  # says what is missing before pyspark says less
    set_worker_python()
    # On a cluster the package may come to the workers only with a job's files.
    if master.startswith("local") and "spark.python.daemon.module" not in conf:
        builder = builder.config("spark.python.daemon.module", "spark_shap.engine.daemon")
    if master.startswith("local") and _VECTORED not in conf:
        builder = builder.config(_VECTORED, "false")
    builder = _quiet(builder, conf)
    if delta and "spark.jars.packages" not in conf and "spark.jars" not in conf:
        builder = _with_delta(builder)
    return builder.getOrCreate()


def _quiet(builder: SparkSession.Builder, conf: Mapping[str, Any]) -> SparkSession.Builder:
    """Keep Spark's start-up chatter off the terminal; errors still show."""
    defaults: dict[str, Any] = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    defaults["spark.sql.shuffle.partitions"] = "8"  # 200 tiny tasks are most of a small local job's time
    defaults["spark.driver.extraJavaOptions"] = java_options()
    for name, value in defaults.items():
        if name not in conf:
            builder = builder.config(name, value)
    return builder


def _with_delta(builder: SparkSession.Builder) -> SparkSession.Builder:
    """Add Delta's jar, of the installed delta-spark's version, and its two settings."""
    try:
        from delta import configure_spark_with_delta_pip
    except ImportError as error:
        raise MissingDependencyError(
            "Delta tables on your own Spark need delta-spark: pip install 'spark-shap[local]', or output.format=parquet"
        ) from error
    _log.info("Delta %s: its jars come from Maven at the first use", importlib.metadata.version("delta-spark"))
    extension, catalog = "io.delta.sql.DeltaSparkSessionExtension", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
    builder = builder.config("spark.sql.extensions", extension).config("spark.sql.catalog.spark_catalog", catalog)
    return configure_spark_with_delta_pip(builder)
