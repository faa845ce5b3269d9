"""What a run will do and cost, from sizes and a timed probe; pure arithmetic.

`spark-shap plan` prints a plan and stops; a run follows one and reports predicted against actual time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.prepare import Prepared

__all__ = ["Plan", "Probe", "make_plan"]

_TASK_SECONDS = 20.0
_MAX_TASKS = 4096  # each is a file; beyond it tasks get longer
_START_SECONDS = 3.0  # Python workers start and import pandas and the model's library
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
    n_evaluations
        Mean evaluations a row.
    std_error
        Median standard error of a value, in units of the output space.
    """

    n_rows: int
    row_seconds: float
    model_seconds: float
    n_evaluations: float
    std_error: float


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
    seconds
        Predicted seconds of explaining, all cores busy, with the workers' start; without the session's, and
        without the checks and the aggregates.
    model_share
        Share in which the model runs, of a worker's time once it has started.
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
    seconds: float
    model_share: float
    std_error: float

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        return [
            f"method        {self.method}: {self.method_reason}",
            f"output        {self.output_space}",
            f"rows          {self.n_rows:,} in {self.partitions:,} tasks, {self.parallelism} at a time",
            f"evaluations   {self.n_evaluations:,.0f} a row, {self.n_evaluations * self.n_rows:,.0f} in all",
            f"blocks        up to {self.block_rows:,} model rows a call, {self.portion_rows:,} rows held at a time",
            f"memory        about {self.worker_megabytes:,.0f} MB of arrays a worker",
            f"std error     about {self.std_error:.2g} a value (median, in the output space)",
            f"time          about {_duration(self.seconds)}, of which the model {self.model_share:.0%}",
        ]


def make_plan(
    prepared: Prepared, probe: Probe, *, n_rows: int, parallelism: int, partitions: int | None = None
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

    Notes
    -----
    A task takes about 20 seconds, so that progress shows and a lost task costs little; there are never
    fewer tasks than cores, and never more than rows.
    """
    core_seconds = probe.row_seconds * n_rows
    tasks = max(parallelism, min(_MAX_TASKS, int(np.ceil(core_seconds / _TASK_SECONDS))))
    tasks = -(-tasks // parallelism) * parallelism
    layout, method = prepared.background.layout, prepared.method
    width = sum(getattr(dtype, "itemsize", 16) for dtype in layout.dtypes)
    block_rows = method.game.block_rows
    portion = prepared.rows_in_memory
    arrays = 3 * block_rows * width + portion * probe.n_evaluations / 2 * 3 * _ANSWER_BYTES
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
        _START_SECONDS + core_seconds / parallelism,
        min(1.0, probe.model_seconds * probe.n_evaluations / max(probe.row_seconds, 1e-12)),
        probe.std_error,
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
