"""A command and the Spark it runs on: what Spark does wrong becomes one line that names Spark's log.

A JVM that dies can tell nobody why: py4j only finds that nobody answers, and says so in several ways, one of them an
error of Python's sockets. The reason, such as a lack of memory, then stands in its log alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from spark_shap.dataframes import is_connect
from spark_shap.engine.console import new_log, quiet_pyspark, started_programs_log_to
from spark_shap.engine.session import make_session
from spark_shap.errors import RunError, TooManyRejectsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

__all__ = ["with_spark"]


def with_spark(
    command: Callable[[SparkSession], Any], master: str | None, conf: Mapping[str, Any], *, delta: bool
) -> Any:
    """Start Spark and run a command; return what it returns.

    Parameters
    ----------
    command
        What to do with the session.
    master, conf, delta
        As in `make_session`.

    Raises
    ------
    RunError
        The command's own, or an error of Spark's; both name Spark's log where there is something in it.
    """
    log = new_log()
    of_spark, keep_log, spark = _spark_errors(), False, None
    failed: tuple[type[Exception], ...] = (RunError, *of_spark)
    try:
        with started_programs_log_to(log):
            spark = make_session(master, conf, delta=delta)
        quiet_pyspark()
        return command(spark)
    except TooManyRejectsError:
        raise
    except failed as error:
        gone = isinstance(error.__cause__ or error, of_spark) and _is_gone(spark)
        if isinstance(error, ConnectionRefusedError) and not gone:
            raise
        keep_log = log.stat().st_size > 0
        reason = str(error) if isinstance(error, RunError) and not gone else f"Spark: {_reason(error, log, gone=gone)}"
        raise RunError(f"{_with_way_out(reason, log)}{_see(log)}") from error
    finally:
        if not keep_log:
            log.unlink()


def _spark_errors() -> tuple[type[Exception], ...]:
    """Return what Spark raises, and py4j's socket where no JVM listens any more."""
    try:
        from spark_shap.io.sources import SPARK_ERRORS
    except ImportError:  # no pyspark: making the session says so
        return ()
    return (*SPARK_ERRORS, ConnectionRefusedError)


def _is_gone(spark: SparkSession | None) -> bool:
    """Whether the JVM of a session has ended."""
    if spark is None or is_connect(spark):
        return False
    try:
        _ = spark.version  # that the JVM is asked for
    except _spark_errors():
        return True
    return False


def _reason(error: BaseException, log: Path, *, gone: bool) -> str:
    from spark_shap.io.sources import spark_reason

    text = log.read_text(errors="replace")
    if died := re.search(r'^Exception in thread "main" [\w.$]+: (.+)', text, re.MULTILINE):
        return died[1].strip()
    if gone:
        return "its JVM has died"
    if "JAVA_GATEWAY_EXITED" in str(error):  # the JVM has told its reason to nobody else
        told = [line for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
        return f"its JVM did not start: {told[0].strip() if told else 'it said nothing'}"
    return spark_reason(error)


def _with_way_out(reason: str, log: Path) -> str:
    """Return a reason with a way out that only the log of a JVM knows, which is gone by then."""
    from spark_shap.io.sources import spark_way_out

    way_out = spark_way_out(log.read_text(errors="replace"))
    return reason if way_out is None or way_out in reason else f"{reason}; {way_out}"


def _see(log: Path) -> str:
    return f" (Spark's log: {log})" if log.stat().st_size else ""
