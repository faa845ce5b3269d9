"""What a run will do and cost, from sizes and a timed probe; pure arithmetic.

`spark-shap plan` prints a plan and stops; a run follows one and reports predicted against actual time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.prepare import Prepared

__all__ = ["JOB_SECONDS", "WARM_JOB_SECONDS", "Plan", "Probe", "average_probe", "duration", "make_plan"]

_TASK_SECONDS = 20.0
_MAX_TASKS = 4096  # of a shard; each is a file; beyond it tasks get longer
_SHARD_SECONDS = 300.0
_MAX_SHARDS = 4096
# What Spark takes to read and spread the rows and to commit the files: Java loads and compiles code in a fresh session.
JOB_SECONDS, WARM_JOB_SECONDS = 2.2, 1.3
_ANSWER_BYTES = 8
_MEGABYTE = 2.0**20


@dataclass(frozen=True)
class Probe:
    """What explaining a few rows on the driver showed.

    Attributes
    ----------
    n_rows
        Rows explained.
    row_seconds
        Seconds a row on one core, model included.
    model_seconds
        Seconds of the model in one evaluation, in a block of the planned size.
    surrogate_seconds
        Seconds of the surrogate a row; 0 without one.
    n_evaluations
        Mean evaluations a row.
    std_error
        Median standard error of a value, in units of the output space.
    """

    n_rows: int
    row_seconds: float
    model_seconds: float
    surrogate_seconds: float
    n_evaluations: float
    std_error: float


def average_probe(probes: Sequence[Probe]) -> Probe:
    """Return what several workers found, the medians of their times."""
    found = {field.name: float(np.median([getattr(probe, field.name) for probe in probes])) for field in fields(Probe)}
    return replace(probes[0], **found)  # type: ignore[arg-type]  # all are numbers


@dataclass(frozen=True)
class Plan:
    """Sizes and predictions of a run.

    Attributes
    ----------
    method, method_reason
        How rows are explained, and why so.
    n_rows
        Rows to explain.
    n_evaluations
        Model evaluations a row.
    block_rows
        Model rows in one call, at most.
    portion_rows
        Rows that a worker holds at once.
    worker_megabytes
        Planned peak of a worker's own arrays.
    partitions
        Tasks of the run.
    parallelism
        Tasks at a time.
    shards
        Parts of the run that are committed one by one; a run that is killed loses at most one.
    seconds
        Predicted seconds of explaining and writing, all cores busy; without the start of session and workers,
        the checks and the aggregates.
    row_seconds
        Seconds a row on one core.
    model_share, surrogate_share
        Shares of it in which the model and the surrogate run; the rest draws, mixes and estimates.
    std_error
        Expected median standard error, in the output space.
    """

    method: str
    method_reason: str
    output_space: str
    n_rows: int
    n_evaluations: float
    block_rows: int
    portion_rows: int
    worker_megabytes: float
    partitions: int
    parallelism: int
    shards: int
    seconds: float
    row_seconds: float
    model_share: float
    surrogate_share: float
    std_error: float

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        return [
            f"method        {self.method}: {self.method_reason}",
            f"output        {self.output_space}",
            f"rows          {self.n_rows:,} in {self.partitions:,} tasks, {self.parallelism} at a time"
            + (f", committed in {self.shards:,} shards" if self.shards > 1 else ""),
            f"evaluations   {self.n_evaluations:,.0f} a row, {self.n_evaluations * self.n_rows:,.0f} in all",
            f"blocks        up to {self.block_rows:,} model rows a call, {self.portion_rows:,} rows held at a time",
            f"memory        about {self.worker_megabytes:,.0f} MB of arrays a worker",
            f"std error     about {self.std_error:.2g} a value (median, in the output space)",
            f"time          about {duration(self.seconds)}: {self.row_seconds * 1e6:,.0f} microseconds a row and core "
            f"({self.shares()})",
        ]

    def shares(self, of: float = 1.0) -> str:
        """Return which share of a row's time is whose, or of something of which the rows' time is a part."""
        rest = max(0.0, 1.0 - self.model_share - self.surrogate_share)
        surrogate = f", surrogate {of * self.surrogate_share:.0%}" if self.surrogate_share else ""
        return f"model {of * self.model_share:.0%}{surrogate}, sampling {of * rest:.0%}"

    def shares_of(self, seconds: float) -> str:
        """Return which share of a whole job's wall seconds is whose."""
        busy = self.row_seconds * self.n_rows / max(1, min(self.parallelism, self.partitions))
        share = min(1.0, busy / max(seconds, 1e-12))
        return f"{self.shares(share)}, Spark and what is done once {1.0 - share:.0%}"


def make_plan(
    prepared: Prepared,
    probe: Probe,
    *,
    n_rows: int,
    parallelism: int,
    partitions: int | None = None,
    shards: int | None = None,
    job_seconds: float = JOB_SECONDS,
) -> Plan:
    """Plan a run.

    Parameters
    ----------
    prepared
        The method.
    probe
        What a few rows showed.
    n_rows
        Rows to explain.
    parallelism
        Tasks that run at a time.
    partitions
        Number of tasks, where it is given.
    shards
        Number of shards, where it is given.
    job_seconds
        What Spark takes for the job around the rows; 0 in memory.

    Notes
    -----
    A task takes about 20 seconds, so that progress shows and a lost task costs little; there are never
    fewer tasks than cores, and never more than rows. A shard takes about five minutes.
    """
    core_seconds = probe.row_seconds * n_rows
    seconds = job_seconds + core_seconds / min(parallelism, partitions or parallelism)
    shards = shards or max(1, min(_MAX_SHARDS, n_rows, round(seconds / _SHARD_SECONDS)))
    at_once = parallelism * shards
    tasks = max(at_once, min(_MAX_TASKS * shards, int(np.ceil(core_seconds / _TASK_SECONDS))))
    tasks = -(-tasks // at_once) * at_once
    layout, method = prepared.layout, prepared.method
    width = sum(getattr(dtype, "itemsize", 16) for dtype in layout.dtypes)
    block_rows = method.game.block_rows
    portion = prepared.rows_in_memory
    arrays = 3 * block_rows * width + portion * probe.n_evaluations / 2 * 3 * _ANSWER_BYTES
    model_share = min(1.0, probe.model_seconds * probe.n_evaluations / max(probe.row_seconds, 1e-12))
    return Plan(
        prepared.method_name,
        prepared.method_reason,
        prepared.output_space,
        n_rows,
        probe.n_evaluations,
        block_rows,
        portion,
        arrays / _MEGABYTE,
        partitions or max(1, min(tasks, n_rows)),
        parallelism,
        shards,
        seconds,
        probe.row_seconds,
        model_share,
        min(1.0 - model_share, probe.surrogate_seconds / max(probe.row_seconds, 1e-12)),
        probe.std_error,
    )


def duration(seconds: float) -> str:
    """Return a time in words: seconds below two minutes, then minutes, then hours and minutes."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
