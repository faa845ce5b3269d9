"""The table of shards: which parts of a run are committed.

A shard's attributions and rejects lie in several files and two tables; its one line here makes them visible,
together and at once. The line is written by one commit of one file, after everything else of the shard. On
Parquet every attempt at a shard writes to a folder of its own, named by its line, and so does the line: two
programs that explain the same shard at the same time disturb nobody and both write the same rows. Of two lines
every reader takes that of the later attempt. A program that was taken for dead may still add a line for a
shard that its successor made anew, and that line must not win: the successor removes what the lines that it
counts do not name.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.errors import InputError, MissingTableError, RunError
from spark_shap.io.local_rows import local_rows
from spark_shap.io.references import collect_arrow
from spark_shap.io.tables import read_table, remove_shards, replace_shard, tagged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = [
    "KEYS",
    "STAGED",
    "Shard",
    "attempt_name",
    "attempts_of",
    "check_total",
    "commit_shard",
    "forget_shards",
    "optional_columns",
    "read_all_shards",
    "read_committed",
    "read_shards",
    "remove_others",
    "shard_name",
]

# Parts of a run beside its numbered shards: rows rejected for their keys, and the copy of the input.
KEYS, STAGED = -1, -2


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A committed part of a run.

    Attributes
    ----------
    part
        Number of the shard, from 0; or `KEYS`, or `STAGED`.
    n_parts
        How many numbered shards the run has.
    shard
        Partition of the tables that holds its rows.
    n_rows, n_explained, n_rejected
        Applicants of the shard, and what became of them.
    attempt
        Of the program that committed it, see `attempt_name`.
    committed_at
        In UTC.
    """

    part: int
    n_parts: int
    shard: str
    n_rows: int
    n_explained: int
    n_rejected: int
    attempt: str
    committed_at: datetime


_OPTIONAL = frozenset({schema.SURROGATE_VALUES, schema.RANKING, schema.FEATURE_BINS})
_OF_REFERENCES = frozenset({schema.REFERENCE, schema.TOP4_AGREEMENT})
_TYPES: dict[str, T.DataType] = {"int": T.LongType(), "str": T.StringType(), "datetime": T.TimestampType()}
_SCHEMA = T.StructType([T.StructField(item.name, _TYPES[str(item.type)]) for item in fields(Shard)])


def attempt_name(number: int, program: str) -> str:
    """Return the name of a program's attempt at a run; later ones sort after earlier ones."""
    return f"{number:05d}{program}"


def attempts_of(shards: Mapping[int, Shard]) -> int:
    """Return the number of the last attempt that committed anything; 0 where none did."""
    return max((int(one.attempt[:5]) for one in shards.values()), default=0)


def shard_name(location: Location, part: int, n_parts: int, attempt: str) -> str:
    """Return the partition of a shard: on Delta the same for every attempt, which replaces what is there."""
    name = f"{part:05d}of{n_parts:05d}" if part >= 0 else {KEYS: "keys", STAGED: "staged"}[part]
    return name if location.format == "delta" else f"{name}-{attempt}"


def commit_shard(spark: SparkSession, location: Location, run_id: str, shard: Shard) -> None:
    """Make a shard visible, all of whose rows are written."""
    row = local_rows(spark, [astuple(shard)], _SCHEMA)
    replace_shard(tagged(row, run_id), location, schema.SHARDS, run_id, shard.shard)


def read_shards(spark: SparkSession, location: Location, run_id: str) -> dict[int, Shard]:
    """Return the committed parts of a run by number; none when there is no such run."""
    try:
        df = read_table(spark, location, schema.SHARDS, run_id).select(*_SCHEMA.names)
    except MissingTableError:
        return {}
    return _by_part(collect_arrow(df).to_pylist())


def read_all_shards(spark: SparkSession, location: Location) -> dict[str, dict[int, Shard]]:
    """Return the committed parts of all runs by run and number."""
    try:
        df = read_table(spark, location, schema.SHARDS).select(schema.RUN_ID, *_SCHEMA.names)
    except MissingTableError:
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in collect_arrow(df).to_pylist():
        found.setdefault(row.pop(schema.RUN_ID), []).append(row)
    return {run_id: _by_part(rows) for run_id, rows in found.items()}


def _by_part(rows: Iterable[Mapping[str, Any]]) -> dict[int, Shard]:
    """Return parts by number; of several lines of one part every reader takes the same."""
    found: dict[int, Shard] = {}
    for row in rows:
        one = Shard(**{**row, "committed_at": row["committed_at"].astimezone(UTC)})
        there = found.setdefault(one.part, one)
        found[one.part] = max(there, one, key=lambda shard: shard.attempt)
    return found


def forget_shards(spark: SparkSession, location: Location, run_id: str) -> None:
    """Take all commits of a run back; what was written stays until it is written anew."""
    remove_shards(spark, location, schema.SHARDS, run_id, keep=())


def read_committed(
    spark: SparkSession,
    location: Location,
    table: str,
    run_id: str,
    shards: Mapping[int, Shard],
    *,
    struct_fields: Sequence[str] | None = None,
    optional: Iterable[str] = (),
) -> DataFrame:
    """Return the committed rows of a run in a table that is filled shard by shard.

    Parameters
    ----------
    spark, location, run_id
        As in `spark_shap.io.tables.read_table`.
    table
        ``"attributions"`` or ``"rejects"``.
    shards
        The committed parts.
    struct_fields
        As in `read_table`.
    optional
        Which optional columns the run has filled, see `optional_columns`; others are left out: a Delta table has
        those of all its runs.

    Raises
    ------
    InputError
        Nothing of the run is committed to this table.
    """
    if table == schema.REJECTS:
        wanted = [one.shard for one in shards.values() if one.n_rejected or one.part == KEYS]
    else:
        wanted = [one.shard for part, one in shards.items() if part >= 0]
    if not wanted:
        raise InputError(f"{location}: no shard of run {run_id!r} is committed to table {table!r}; run the job")
    rows = read_table(spark, location, table, run_id, shards=sorted(wanted), struct_fields=struct_fields)
    known = _OPTIONAL | _OF_REFERENCES if schema.has_references(rows.columns) else _OPTIONAL
    return rows.drop(*(known - set(optional)))


def optional_columns(
    *, surrogate_values: bool, ranking: bool, references: bool = False, bins: bool = False
) -> tuple[str, ...]:
    """Return the names of a run's optional columns of attributions.

    They are an audit's exact part, reasons' ranking, what several references add, and bins for dependence curves.
    """
    found = [schema.SURROGATE_VALUES] if surrogate_values else []
    found += [schema.RANKING] if ranking else []
    found += [schema.FEATURE_BINS] if bins else []
    return (*found, *sorted(_OF_REFERENCES)) if references else tuple(found)


def remove_others(spark: SparkSession, location: Location, run_id: str, shards: Mapping[int, Shard]) -> None:
    """Remove what attempts at a run wrote and did not commit; nothing outside the run's own parts of tables."""
    for table in (schema.ATTRIBUTIONS, schema.REJECTS):
        remove_shards(spark, location, table, run_id, keep={one.shard for one in shards.values()})


def check_total(shards: Mapping[int, Shard], n_rows: int) -> None:
    """Raise unless the numbered shards hold as many rows as were read."""
    total = sum(one.n_rows for part, one in shards.items() if part >= 0)
    if total != n_rows:
        raise RunError(
            f"the counts do not add up: {n_rows:,} rows were read and the shards hold {total:,}; the input changes "
            "while it is read; explain a table that does not, or a fixed version of it"
        )
