"""Keeping Spark's own voice off the terminal.

A JVM writes start-up chatter before any log setting counts (Java itself warns of the incubator module that
Spark's launcher asks for, the launcher tells the log level), and a failing job writes the same stack trace
several times. A JVM writes to the standard error that it was started with: that becomes a file, and a
failure names it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_log", "quiet_pyspark", "started_programs_log_to"]

_STDERR = 2


def new_log() -> Path:
    """Return a new, empty file for Spark's log."""
    descriptor, name = tempfile.mkstemp(prefix="spark-shap-", suffix=".log")
    os.close(descriptor)
    return Path(name)


@contextmanager
def started_programs_log_to(path: Path) -> Iterator[None]:
    """Give programs that are started inside a file as their standard error, for as long as they live.

    What this process itself writes to it inside goes to the file too.
    """
    terminal = os.dup(_STDERR)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), _STDERR)
        yield
    finally:
        os.dup2(terminal, _STDERR)
        os.close(terminal)


def quiet_pyspark() -> None:
    """Silence the loggers that write stack traces of errors that are raised as well.

    pyspark writes each Spark error as a line of JSON; py4j writes what an interrupted call to the JVM left behind.
    Its warning of pandas 3 on every call says nothing of what is used here, which is tested with pandas 3.
    """
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_not_of_py4j)
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:  # before Spark 4 there are none
        return
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # By pyspark's function: it calls them with arguments that a plain logger refuses.
        PySparkLogger.getLogger(name).disabled = True


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in Path(record.pathname).parts  # some of it goes to the root logger, hence not by name
