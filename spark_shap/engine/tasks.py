"""Following the tasks of a job of Spark while this thread waits for it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from spark_shap.dataframes import is_connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyspark import SparkContext
    from pyspark.sql import SparkSession

__all__ = ["watching_tasks"]

_POLL_SECONDS = 0.5
_GROUP = "spark.jobGroup.id"
_SET_BESIDE = ("spark.job.description", "spark.job.interruptOnCancel")


@contextmanager
def watching_tasks(
    spark: SparkSession, name: str, n_tasks: int, told: Callable[[float], None] | None
) -> Iterator[None]:
    """Tell the finished share of the tasks of the jobs that this thread starts inside.

    Parameters
    ----------
    spark
        Classic session, whose job group the jobs get (unless the thread has one: a notebook cancels its cells by
        that); or Connect, from Spark 4.0 on, which reports by itself.
    name
        What Spark's pages call the jobs.
    n_tasks
        Tasks of the stage that counts; other stages are passed over.
    told
        Is given a number between 0 and 1, from another thread on classic sessions; None: nobody wants to know.
    """
    if is_connect(spark):
        with _reported(spark, n_tasks, told):
            yield
        return
    with _named(spark.sparkContext, name) as group, _polled(spark.sparkContext, group, n_tasks, told):
        yield


@contextmanager
def _named(context: SparkContext, name: str) -> Iterator[str]:
    """Give this thread a job group, if it has none; return the one that it has."""
    group = context.getLocalProperty(_GROUP)
    if group is not None:
        yield group
        return
    context.setJobGroup(name, name)
    try:
        yield name
    finally:
        for key in (_GROUP, *_SET_BESIDE):
            context.setLocalProperty(key, None)  # type: ignore[arg-type]  # takes the property away


@contextmanager
def _polled(context: SparkContext, group: str, n_tasks: int, told: Callable[[float], None] | None) -> Iterator[None]:
    if told is None:
        yield
        return
    tracker, done = context.statusTracker(), threading.Event()
    before = set(tracker.getJobIdsForGroup(group))

    def poll() -> None:
        while not done.wait(_POLL_SECONDS):
            with suppress(Exception):  # a session that ends; the job itself says what is wrong
                jobs = [tracker.getJobInfo(job) for job in sorted(set(tracker.getJobIdsForGroup(group)) - before)]
                stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
                counts = [(one.numTasks, one.numCompletedTasks) for one in stages if one is not None]
                if (share := _share(counts, n_tasks)) is not None:
                    told(share)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2 * _POLL_SECONDS)


@contextmanager
def _reported(spark: Any, n_tasks: int, told: Callable[[float], None] | None) -> Iterator[None]:
    if told is None or not hasattr(spark, "registerProgressHandler"):
        yield
        return
    me = threading.get_ident()

    # Spark calls it with all of its names, and in the thread that waits for the operation.
    def handler(*, stages: Iterable[Any] | None, done: bool, **_: object) -> None:
        if threading.get_ident() == me and not done:
            counts = [(one.num_tasks, one.num_completed_tasks) for one in stages or ()]
            if (share := _share(counts, n_tasks)) is not None:
                told(share)

    spark.registerProgressHandler(handler)
    try:
        yield
    finally:
        spark.removeProgressHandler(handler)


def _share(counts: Iterable[tuple[int, int]], n_tasks: int) -> float | None:
    """Return the finished share of the last stage that has so many tasks."""
    matching = [done / tasks for tasks, done in counts if tasks == n_tasks]
    return matching[-1] if matching else None
