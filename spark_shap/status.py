"""What became of the runs of a location, finished or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from spark_shap.errors import InputError
from spark_shap.io.claims import holder_of
from spark_shap.io.runs import COMPLETE, FAILED, read_runs
from spark_shap.io.shards import read_all_shards
from spark_shap.plan import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

    from spark_shap.io.claims import Claim
    from spark_shap.io.location import Location
    from spark_shap.io.runs import RunRecord
    from spark_shap.io.shards import Shard

__all__ = ["RunStatus", "State", "read_status"]

State = Literal["complete", "running", "claimed", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far a run is.

    Attributes
    ----------
    run_id
        Of the run.
    state
        ``"complete"``; ``"running"``, by a program of this machine that lives; ``"claimed"``, by a program of another
        machine, of which only time shows whether it lives; ``"interrupted"``: started, and nobody makes it now;
        ``"failed"``.
    attempts
        How many times it was started.
    shards_done, shards
        Committed ones, and all.
    rows_read, rows_explained, rows_rejected
        Rows of the input, and what became of those of committed shards.
    started_at, updated_at
        UTC; the latter is when it was finished, failed, or last committed a shard.
    seconds
        Between the two.
    made_by
        Who holds the claim to it, if anybody does.
    error
        Why the last attempt failed, if it did.
    """

    run_id: str
    state: State
    attempts: int
    shards_done: int
    shards: int
    rows_read: int
    rows_explained: int
    rows_rejected: int
    started_at: datetime
    updated_at: datetime
    seconds: float
    made_by: str | None = None
    error: str | None = None

    def lines(self) -> list[str]:
        """Return it as text: a line, and another one where something is to be said of it."""
        told = {
            "running": f"by {self.made_by}",
            "claimed": f"by {self.made_by}; look again in a minute: while that lives, the claim is renewed",
            "interrupted": "start the same command again: it goes on where it ended",
            "failed": f"{self.error}",
        }.get(self.state)
        line = (
            f"run {self.run_id}: {self.state}, attempt {self.attempts}, {self.shards_done:,} of {self.shards:,} "
            f"shards, {self.rows_explained:,} of {self.rows_read:,} rows explained, {self.rows_rejected:,} rejected, "
            f"started {self.started_at:%Y-%m-%d %H:%M:%S} UTC, last news after {duration(self.seconds)}"
        )
        return [line] if told is None else [line, f"  {told}"]

    def values(self) -> dict[str, Any]:
        """Return it as values for JSON, times in ISO 8601."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


def read_status(spark: SparkSession, location: Location, run_id: str | None = None) -> tuple[RunStatus, ...]:
    """Return the runs of a location, oldest first.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables are.
    run_id
        The only run of interest.

    Raises
    ------
    InputError
        There are no runs, or no such run.
    """
    records = read_runs(spark, location, status=None)
    wanted = [record for record in records if run_id in (None, record.run_id)]
    if not wanted:
        there = ", ".join(record.run_id for record in records[-5:])
        raise InputError(f"{location}: no run {run_id!r}; the newest there are: {there}")
    shards = read_all_shards(spark, location)
    return tuple(_status(spark, location, record, shards.get(record.run_id, {})) for record in wanted)


def _status(spark: SparkSession, location: Location, record: RunRecord, parts: Mapping[int, Shard]) -> RunStatus:
    held = None if record.status == COMPLETE else holder_of(spark, location, record.run_id)
    numbered = [one for part, one in parts.items() if part >= 0]
    updated = max([record.finished_at, *(one.committed_at for one in parts.values())])
    return RunStatus(
        run_id=record.run_id,
        state=_state(record, held),
        attempts=record.attempts,
        shards_done=len(numbered),
        shards=record.shards,
        rows_read=record.rows_read,
        rows_explained=sum(one.n_explained for one in numbered),
        rows_rejected=sum(one.n_rejected for one in parts.values()),
        started_at=record.started_at.astimezone(UTC),
        updated_at=updated,
        seconds=max(0.0, (updated - record.started_at).total_seconds()),
        made_by=None if held is None or held[1] is False else held[0].who,
        error=record.error,
    )


def _state(record: RunRecord, held: tuple[Claim, bool | None] | None) -> State:
    if record.status == COMPLETE:
        return "complete"
    if held is not None and held[1] is not False:
        return "running" if held[1] else "claimed"
    return "failed" if record.status == FAILED else "interrupted"
