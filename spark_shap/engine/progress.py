"""How far a run is: a line in the log for each shard, and a bar where somebody looks on.

Both say rows and evaluations a second and the time that is left. The bar moves within a shard as well, by the
tasks that Spark has finished. It is drawn by tqdm, on standard error; without tqdm, where that is not a
terminal, or where Spark draws a bar of its own, the lines must do.
"""

from __future__ import annotations

import importlib
import logging
import sys
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from spark_shap.dataframes import is_connect
from spark_shap.engine.tasks import watching_tasks
from spark_shap.logs import details
from spark_shap.plan import duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pyspark.sql import SparkSession

__all__ = ["Progress"]

_log = logging.getLogger(__name__)
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Progress:
    """Progress of explaining rows; a context manager.

    Parameters
    ----------
    spark
        Classic or Connect session.
    run_id
        Of the run.
    n_shards
        Parts of the run.
    n_tasks
        Tasks of a shard.
    bar
        Draw a bar, if one can be drawn.
    """

    def __init__(self, spark: SparkSession, run_id: str, *, n_shards: int, n_tasks: int, bar: bool = False) -> None:
        self._spark, self._run_id, self._n_shards, self._n_tasks = spark, run_id, n_shards, n_tasks
        self._wants_bar = bar and _may_draw(spark)
        self._bar: Any = None
        self._open = ExitStack()
        self._n_rows = self._n_before = self._n_done = self._n_shards_done = 0
        self._row_evaluations = 0.0
        self._begun = self._shard_begun = perf_counter()

    def __enter__(self) -> Progress:
        """Return itself; the bar appears with `started`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away: the lines stay."""
        self._open.close()

    def started(self, *, n_rows: int, n_done: int, n_shards_done: int, row_evaluations: float) -> None:
        """Say what there is to do.

        Parameters
        ----------
        n_rows
            Rows of the run.
        n_done, n_shards_done
            Those rows and shards that are committed already.
        row_evaluations
            Model evaluations a row that are expected.
        """
        self._n_rows, self._n_before, self._n_done = n_rows, n_done, n_done
        self._n_shards_done, self._row_evaluations = n_shards_done, row_evaluations
        self._begun = perf_counter()
        if self._wants_bar:
            tqdm = importlib.import_module("tqdm")
            redirect = importlib.import_module("tqdm.contrib.logging").logging_redirect_tqdm
            self._bar = self._open.enter_context(
                tqdm.tqdm(
                    total=n_rows,
                    initial=n_done,
                    desc="explaining",
                    unit=" rows",
                    unit_scale=True,
                    file=sys.stderr,
                    bar_format=_BAR,
                    leave=False,
                    dynamic_ncols=True,
                )
            )
            self._open.enter_context(redirect())

    @contextmanager
    def shard(self) -> Iterator[None]:
        """Watch the next shard while it is explained."""
        self._shard_begun = perf_counter()
        name = f"spark-shap run {self._run_id}, shard {self._n_shards_done + 1} of {self._n_shards}"
        with watching_tasks(self._spark, name, self._n_tasks, self._move if self._bar is not None else None):
            yield

    def shard_done(self, *, n_rows: int, n_evaluations: int, n_rejected: int) -> None:
        """Say that a shard is committed.

        Parameters
        ----------
        n_rows
            Rows of the shard.
        n_evaluations
            Model evaluations spent on them.
        n_rejected
            Rows that could not be explained.
        """
        now = perf_counter()
        self._n_done += n_rows
        self._n_shards_done += 1
        self._row_evaluations = n_evaluations / max(1, n_rows)
        seconds = max(now - self._shard_begun, 1e-9)
        made = self._n_done - self._n_before
        # Rows of this attempt tell the pace; those that were there cost nothing.
        left = max(0, self._n_rows - self._n_done) * (now - self._begun) / max(1, made)
        _log.info(
            "shard %d of %d: %s rows, %s rejected, %.1f s, %s rows/s, %s evaluations/s, %s left",
            self._n_shards_done,
            self._n_shards,
            f"{n_rows:,}",
            f"{n_rejected:,}",
            seconds,
            f"{n_rows / seconds:,.0f}",
            f"{n_evaluations / seconds:,.0f}",
            duration(left),
            extra=details(
                run_id=self._run_id,
                shard=self._n_shards_done,
                shards=self._n_shards,
                rows=n_rows,
                rejected=n_rejected,
                seconds=round(seconds, 3),
                rows_per_second=round(n_rows / seconds, 1),
                evaluations_per_second=round(n_evaluations / seconds, 1),
                seconds_left=round(left, 1),
            ),
        )
        self._move(0.0)

    def _move(self, share: float) -> None:
        """Draw the rows that are committed and a share of the shard that is being made."""
        if self._bar is None:
            return
        shard = max(0, self._n_rows - self._n_done) / max(1, self._n_shards - self._n_shards_done)
        self._bar.n = min(self._n_rows, self._n_done + round(share * shard))
        rate = (self._bar.n - self._n_before) / max(perf_counter() - self._begun, 1e-9)
        self._bar.set_postfix_str(f"{rate * self._row_evaluations:,.0f} evaluations/s", refresh=False)
        self._bar.refresh()


def _may_draw(spark: SparkSession) -> bool:
    """Whether there is a terminal that is free for a bar, and something to draw it with."""
    if not sys.stderr.isatty():
        return False
    if not is_connect(spark):
        settings = spark.sparkContext.getConf()
        if settings.get("spark.ui.showConsoleProgress", "false") == "true":  # two bars would overwrite each other
            return False
    try:
        importlib.import_module("tqdm.contrib.logging")
    except ImportError:
        _log.info("no progress bar: it needs tqdm: pip install 'spark-shap[local]'")
        return False
    return True
