"""What is said when Spark's JVM dies: why, and what helps, stands in its log alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from spark_shap import with_spark
from spark_shap.errors import RunError
from spark_shap.io.sources import SPARK_ERRORS

START = """WARNING: Using incubator modules: jdk.incubator.vector
Setting default log level to "WARN".
"""
# Of a JVM of 512 MB that read a Parquet file with a page of 400 MB.
OUT_OF_MEMORY = """22:20:35 ERROR Executor: Exception in task 0.0 in stage 4.0 (TID 5)
java.lang.OutOfMemoryError: Java heap space
\tat org.apache.parquet.bytes.BytesInput$StreamBytesInput.toByteArray(BytesInput.java:398)
\tat org.apache.parquet.bytes.BytesInput.toByteBuffer(BytesInput.java:250)
22:20:35 ERROR SparkUncaughtExceptionHandler: Uncaught exception in thread Thread[Executor task launch worker,5,main]
java.lang.OutOfMemoryError: Java heap space
\tat org.apache.parquet.bytes.BytesInput$StreamBytesInput.toByteArray(BytesInput.java:398)
"""
LOST = SPARK_ERRORS[-1]("Answer from Java side is empty")  # py4j's


class Session:
    """A session of a JVM that has written its log and has died, or lives."""

    def __init__(self, log: str, *, lives: bool = False) -> None:
        self.log, self.lives = log, lives

    def __call__(self, *_: Any, **__: Any) -> Session:
        subprocess.run(["cat"], input=self.log, text=True, stdout=2, check=True)
        return self

    @property
    def version(self) -> str:
        if not self.lives:
            raise ConnectionRefusedError(111, "Connection refused")
        return "4.2.0"


def said(session: Session, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> str:
    def command(_: Any) -> None:
        raise error

    monkeypatch.setattr(with_spark, "make_session", session)
    with pytest.raises(RunError) as caught:
        with_spark.with_spark(command, None, {}, delta=False)
    line, log = re.fullmatch(r"(.+) \(Spark's log: (.+\.log)\)", str(caught.value)).groups()  # type: ignore[union-attr]
    assert Path(log).read_text() == session.log
    Path(log).unlink()
    return line


@pytest.mark.parametrize("error", [LOST, ConnectionRefusedError(111, "Connection refused")])
def test_a_jvm_that_died_of_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    line = said(Session(START + OUT_OF_MEMORY), error, monkeypatch)
    assert line.startswith("Spark: its JVM has died; Java ran out of memory: raise spark.driver.memory (local) or ")


def test_a_jvm_that_died_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RunError("Spark: Answer from Java side is empty")
    error.__cause__ = LOST
    assert said(Session(START), error, monkeypatch) == "Spark: its JVM has died"


def test_errors_of_a_jvm_that_lives_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    line = said(Session(START, lives=True), LOST, monkeypatch)
    assert line == "Spark: Answer from Java side is empty"
    line = said(Session(START), RunError("3 rows are missing"), monkeypatch)
    assert line == "3 rows are missing"


def test_what_another_server_refuses_is_no_error_of_sparks(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    with pytest.raises(ConnectionRefusedError):
        said(Session(START, lives=True), refused, monkeypatch)
