"""Progress: what the lines say, when the bar moves and when there is none."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import pytest

from spark_shap.engine import progress as module
from spark_shap.engine.progress import Progress
from spark_shap.engine.tasks import watching_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa
    from pyspark.sql import SparkSession

GROUP = "spark.jobGroup.id"


class Clock:
    """Seconds that go by as they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "perf_counter", lambda: self.now)
        monkeypatch.setattr(module, "watching_tasks", lambda *_: nullcontext())

    def shard(
        self, progress: Progress, seconds: float, *, n_rows: int, n_evaluations: int, n_rejected: int = 0
    ) -> None:
        with progress.shard():
            self.now += seconds
        progress.shard_done(n_rows=n_rows, n_evaluations=n_evaluations, n_rejected=n_rejected)


def test_one_line_a_shard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock(monkeypatch)
    with Progress(None, "r1", n_shards=3, n_tasks=4) as progress:
        progress.started(n_rows=3500, n_done=0, n_shards_done=0, row_evaluations=65.0)
        clock.shard(progress, 10.0, n_rows=1000, n_evaluations=65_000, n_rejected=2)
        clock.shard(progress, 20.0, n_rows=1500, n_evaluations=30_000)
        clock.shard(progress, 5.0, n_rows=1000, n_evaluations=65_000)
    assert caplog.messages == [
        "shard 1 of 3: 1,000 rows, 2 rejected, 10.0 s, 100 rows/s, 6,500 evaluations/s, 25.0 s left",
        "shard 2 of 3: 1,500 rows, 0 rejected, 20.0 s, 75 rows/s, 1,500 evaluations/s, 12.0 s left",
        "shard 3 of 3: 1,000 rows, 0 rejected, 5.0 s, 200 rows/s, 13,000 evaluations/s, 0.0 s left",
    ]
    assert caplog.records[1].spark_shap_details == {  # type: ignore[attr-defined]
        "run_id": "r1",
        "shard": 2,
        "shards": 3,
        "rows": 1500,
        "rejected": 0,
        "seconds": 20.0,
        "rows_per_second": 75.0,
        "evaluations_per_second": 1500.0,
        "seconds_left": 12.0,
    }


def test_rows_of_earlier_attempts_do_not_hasten_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock(monkeypatch)
    with Progress(None, "r1", n_shards=10, n_tasks=4) as progress:
        progress.started(n_rows=1000, n_done=800, n_shards_done=8, row_evaluations=65.0)
        clock.shard(progress, 3600.0, n_rows=100, n_evaluations=100)
    assert caplog.messages[0].startswith("shard 9 of 10: 100 rows")
    assert caplog.messages[0].endswith(", 1 h 00 min left")


def slowly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    time.sleep(0.6)
    yield from batches


def job(spark: SparkSession, tasks: int) -> None:
    # Read from one partition, so that two stages have other numbers of tasks.
    spark.range(100, numPartitions=1).repartition(tasks, "id").mapInArrow(slowly, "id long").write.format("noop").mode(
        "overwrite"
    ).save()


def test_the_share_of_tasks_of_this_thread(spark: SparkSession) -> None:
    shares: list[float] = []
    other = threading.Thread(target=job, args=(spark, 6))
    with watching_tasks(spark, "watched", 6, shares.append):
        job(spark, 6)
        during = list(shares)
        other.start()  # a job of somebody else's, with as many tasks
        other.join()
    assert {share for share in during if 0 < share < 1}, during
    assert during == sorted(during)
    assert min(shares[len(during) :], default=1.0) >= during[-1]
    assert spark.sparkContext.getLocalProperty(GROUP) is None


def test_stages_with_other_tasks_do_not_count(spark: SparkSession) -> None:
    shares: list[float] = []
    with watching_tasks(spark, "watched", 5, shares.append):
        job(spark, 6)
    assert shares == []


def test_a_job_group_that_is_there_is_kept(spark: SparkSession) -> None:
    context, shares = spark.sparkContext, list[float]()
    context.setJobGroup("cell 7", "of a notebook")
    try:
        job(spark, 4)
        with watching_tasks(spark, "watched", 4, shares.append):
            time.sleep(0.7)
            assert shares == []  # the job before this one is none of ours
            job(spark, 4)
            assert context.getLocalProperty(GROUP) == "cell 7"
        assert shares
        assert context.getLocalProperty(GROUP) == "cell 7"
    finally:
        context.setLocalProperty(GROUP, None)


class Terminal(NamedTuple):
    stream: TextIO
    read: Callable[[], str]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))  # rows and columns
    seen: list[bytes] = []

    def drain() -> None:
        while True:
            try:
                seen.append(os.read(leader, 65536))
            except OSError:  # closed
                return

    thread = threading.Thread(target=drain)
    thread.start()
    stream = os.fdopen(follower, "w")

    def read() -> str:
        stream.close()
        thread.join(10)
        return b"".join(seen).decode()

    yield Terminal(stream, read)
    stream.close()
    thread.join(10)
    os.close(leader)


def explain(
    spark: SparkSession, stream: TextIO, monkeypatch: pytest.MonkeyPatch, *, bar: bool = True, tasks: int = 0
) -> None:
    """Explain two shards, with a stream as standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)
    module._log.setLevel(logging.INFO)
    try:
        with Progress(spark, "r1", n_shards=2, n_tasks=6, bar=bar) as progress:
            progress.started(n_rows=200, n_done=0, n_shards_done=0, row_evaluations=65.0)
            for _ in range(2):
                with progress.shard():
                    if tasks:
                        job(spark, tasks)
                progress.shard_done(n_rows=100, n_evaluations=6500, n_rejected=0)
    finally:
        module._log.setLevel(logging.NOTSET)
        logging.root.removeHandler(handler)


def test_bar(
    spark: SparkSession, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    explain(spark, terminal.stream, monkeypatch, tasks=6)
    text = terminal.read()
    drawn = [int(part.split("%|")[0]) for part in text.split("explaining:")[1:]]
    assert {0, 50, 100} <= set(drawn)
    assert set(drawn) - {0, 50, 100}, drawn  # moves within a shard
    assert drawn == sorted(drawn)
    assert re.search(r" 100/200 rows \[00:0\d<00:0\d, ", text), "the time it has taken, and the time left"
    assert "rows/s, " in text
    assert "evaluations/s]" in text
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.startswith("shard ")]
    assert [line.split(":")[0] for line in lines] == ["shard 1 of 2", "shard 2 of 2"]  # on lines of their own
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("why", ["not wanted", "no tqdm", "Spark's own"])
def test_no_bar(spark: SparkSession, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "no tqdm":
        monkeypatch.setitem(sys.modules, "tqdm.contrib.logging", None)
    if why == "Spark's own":
        settings = spark.sparkContext.getConf().set("spark.ui.showConsoleProgress", "true")
        monkeypatch.setattr(spark.sparkContext, "getConf", lambda: settings)
    explain(spark, terminal.stream, monkeypatch, bar=why != "not wanted")
    text = terminal.read()
    assert "explaining" not in text
    assert "%|" not in text
    assert text.count("rows/s") == 2
    assert ("pip install 'spark-shap[local]'" in text) == (why == "no tqdm")


def test_no_bar_into_a_file(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        explain(spark, file, monkeypatch)
    text = (tmp_path / "log").read_text()
    assert "\r" not in text
    assert len(text.splitlines()) == 2


@pytest.mark.connect
def test_connect_tells_of_tasks(spark_connect: Any) -> None:
    shares: list[float] = []
    with watching_tasks(spark_connect, "watched", 8, shares.append):
        spark_connect.range(100, numPartitions=1).repartition(8, "id").mapInArrow(very_slowly, "id long").count()
    assert [share for share in shares if 0 < share < 1], shares
    handlers = spark_connect.client._progress_handlers
    assert handlers == []


def very_slowly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    time.sleep(2)
    yield from batches
