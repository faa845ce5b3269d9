"""A standalone cluster of two workers that loses an executor, a Python worker or a node, or has a straggler.

Spark itself starts what was lost again: one attempt completes the run, to the same tables.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from clusters import Cluster, standalone
from faults.programs import (
    N_SHARDS,
    ROOT,
    Asked,
    Watched,
    Work,
    assert_same_tables,
    complete,
    evaluations,
    explaining,
    program,
    python_workers,
    run_row,
    started_by,
)
from portfolio import applicants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

CONF = {
    "spark.executor.memory": "600m",
    "spark.executorEnv.PYTHONPATH": str(ROOT),
    "spark.locality.wait": "0s",  # or small tasks wait for the worker that read the file
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # both workers or none
}
EXPLAIN = {"partitions": 4 * N_SHARDS}
SECOND_LOOKS = 65 * 2 * 4  # at rejected rows, for the reason


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("cluster")) as one:
        yield one


def make_work(folder: Path, model: Watched, cluster: Cluster, **conf: str) -> Work:
    data = applicants(320)
    data.loc[40:43, "age"] = 99
    work = Work(folder, model, data, conf={**CONF, **conf}, output={"max_rejects": 0.1}, explain=EXPLAIN)
    work.sections["spark"] = {"master": cluster.address}
    return work


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Work:
    folder = tmp_path_factory.mktemp("kills")
    return make_work(folder, Watched(folder / "calls", seconds=0.2, nan_at=99), cluster)


@pytest.fixture(scope="module")
def plain(work: Work) -> Path:
    complete(work, work.folder / "plain", spark={"master": "local[2]"})
    return work.folder / "plain"


def executors(cluster: Cluster) -> list[int]:
    return [pid for node in cluster.workers for pid in started_by(node, "CoarseGrainedExecutorBackend")]


@pytest.mark.parametrize("what", ["executor", "worker", "daemon"])
def test_killed(work: Work, plain: Path, cluster: Cluster, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    asked = Asked(work.log)
    with program(work, out) as one:
        one.wait_for(explaining(1))
        executor = executors(cluster)[-1]
        daemons = started_by(executor, "daemon pyspark.worker")
        shard, workers = Asked(work.log), list[int]()

        def busy(_: Path) -> bool:  # in a call that has just begun, and takes its time
            workers[:] = python_workers(executor)
            return shard.rows(by=workers) > 0

        one.wait_for(busy)
        victims = {"executor": [executor], "worker": workers, "daemon": daemons}[what]
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        lost = 0 if what == "daemon" else shard.last(by=workers)  # workers outlive their daemon
        assert one.wait() == 0, one.said
    assert_same_tables(out, plain)
    row = run_row(out)
    assert (row["attempts"], row["shards"], row["rows_rejected"]) == (1, N_SHARDS, 4)
    assert evaluations(out, 1) == row["model_evaluations"]
    # What the victim was asked last is asked again, and at most what was on its way in one executor.
    assert row["model_evaluations"] + lost <= asked.rows()
    assert asked.rows() < row["model_evaluations"] * (1 + 1 / N_SHARDS) + SECOND_LOOKS


def test_speculation_with_a_straggler(
    cluster: Cluster, plain: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """One of two workers is a thousand times as slow; copies of its tasks on the other finish first."""
    folder = tmp_path_factory.mktemp("straggler")
    conf = {
        "spark.speculation": "true",
        "spark.speculation.interval": "100ms",
        "spark.speculation.quantile": "0.3",
        "spark.speculation.multiplier": "1.1",
        "spark.speculation.minTaskRuntime": "100ms",
    }
    model = Watched(folder / "calls", seconds=0.2, nan_at=99, slow_at="/work1/")
    work = make_work(folder, model, cluster, **conf)
    asked = Asked(work.log)
    start = time.monotonic()
    complete(work, tmp_path / "out")
    assert_same_tables(tmp_path / "out", plain)
    row = run_row(tmp_path / "out")
    assert row["attempts"] == 1
    assert asked.rows() > row["model_evaluations"] + SECOND_LOOKS, "tasks were explained twice"
    assert time.monotonic() - start < 200 * N_SHARDS, "without waiting for the straggler"


def test_lost_node(work: Work, plain: Path, cluster: Cluster, tmp_path: Path) -> None:
    """Last in this file: the cluster has one worker less from here on."""
    out = tmp_path / "out"
    with program(work, out) as one:
        one.wait_for(explaining(1))
        for pid in [cluster.workers[1], *started_by(cluster.workers[1])]:
            os.kill(pid, signal.SIGKILL)
        assert one.wait() == 0, one.said
    assert_same_tables(out, plain)
    assert run_row(out)["attempts"] == 1
