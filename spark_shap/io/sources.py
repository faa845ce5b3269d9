"""Rows in: CSV, Parquet and Delta paths, and tables.

What Spark says when it cannot read is a stack trace; here it is one sentence with the path and the way out.
"""

from __future__ import annotations

import difflib
import importlib
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F

from spark_shap.dataframes import quoted
from spark_shap.errors import InputError
from spark_shap.io.location import absolute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "SPARK_ERRORS",
    "Format",
    "TableVersion",
    "read_source",
    "require_columns",
    "require_weights",
    "source_version",
    "spark_reason",
    "spark_way_out",
    "where_rows",
]

Format = Literal["csv", "parquet", "delta"]

_CSV_OPTIONS = {
    "header": "true",
    "inferSchema": "true",
    "escape": '"',  # a quote inside quotes is doubled, as spreadsheets and pandas write it
    "multiLine": "false",  # so that one file can be split over tasks
}
_REASON = re.compile(r"\[[A-Z_0-9.]+\] [^\n]*")
# In a Java error handed over as it is: who raised what, the last one innermost.
_CAUSE = re.compile(r"(?:^Caused by: |^: |: )(?:[a-z]\w*\.)+[A-Z][\w$]*(?:Exception|Error): ([^\n]+)", re.MULTILINE)
# In an error of a Python worker: what it raised, below the indented lines of its traceback.
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t]+[^\n]*\n)+(\w[^\n]*)", re.MULTILINE)
_NO_REASON = "[TASK_WRITE_FAILED]"  # says where, not why
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_OUT_OF_MEMORY = re.compile(r"OutOfMemoryError|Java heap space|Cannot reserve additional contiguous bytes")
_NO_PLACE = re.compile(r";? *SQLSTATE: \w+|; line \d+ pos \d+;?.*")


def _spark_errors() -> tuple[type[Exception], ...]:
    # Errors inside a job reach Python unconverted on classic sessions; a Connect-only client has no py4j.
    try:
        py4j = importlib.import_module("py4j.protocol")
    except ModuleNotFoundError:
        return (PySparkException,)
    return (PySparkException, py4j.Py4JError)


SPARK_ERRORS = _spark_errors()


def spark_reason(error: BaseException) -> str:
    """Return what a Spark error says in one line, without its class, state code and stack trace."""
    text = str(error)
    # The innermost reason is the one that helps: the first is often "Job aborted".
    found = _RAISED.findall(text) or _REASON.findall(text) or _CAUSE.findall(text)
    line = found[-1] if found else (text.strip() or type(error).__name__).splitlines()[0]
    line = _NO_PLACE.sub("", line).strip().rstrip(".")
    line = ": ".join([line, *_CAUSE.findall(text)[-1:]]) if line.startswith(_NO_REASON) else line
    way_out = spark_way_out(text)
    return f"{line}; {way_out}" if way_out else line


def spark_way_out(text: str) -> str | None:
    """Return what to do about the faults of a cluster that its error or its log tells of; None about others."""
    if missing := _MISSING.search(text):
        top = missing[1].partition(".")[0]
        return (
            f"Python workers cannot import {top!r}: install {top.replace('_', '-')} on every node, or send it along "
            "(--py-files takes a wheel renamed to .zip; with Spark Connect spark.addArtifacts(..., pyfile=True))"
        )
    if _OUT_OF_MEMORY.search(text):
        return (
            "Java ran out of memory: raise spark.driver.memory (local) or spark.executor.memory; for rows of long "
            "texts lower spark.sql.parquet.columnarReaderBatchSize (4096 rows at once), too"
        )
    return None


def require_columns(df: DataFrame, columns: Sequence[str], *, what: str) -> None:
    """Raise `InputError` that names the first missing column and the nearest there is.

    Parameters
    ----------
    df
        The frame that must have the columns.
    columns
        Names, spelt exactly.
    what
        The frame's name in the message, such as ``"applicants"``.
    """
    there = set(df.columns)
    missing = [name for name in columns if name not in there]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], df.columns, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(df.columns[:20])}"
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise InputError(f"{what}: no column {missing[0]!r}{more}; {hint}")


def read_source(
    spark: SparkSession,
    *,
    path: str | None = None,
    table: str | None = None,
    format: Format | None = None,
    where: str | None = None,
    version: int | None = None,
) -> DataFrame:
    """Return the rows of a path or table, at least one.

    Parameters
    ----------
    spark
        Classic or Connect session.
    path, table
        Exactly one: a path that Spark reads (file, folder, URL), or a table's name.
    format
        Of the path. CSV has a header line, and column types are inferred from all rows.
    where
        SQL predicate of the rows to keep.
    version
        Of a Delta table; None takes the newest, which may be another one at every look.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        The source cannot be read, the predicate is not valid, or no row is left.
    """
    if (path is None) == (table is None):
        raise InputError("a source needs a path or a table, and not both")
    if path is not None and format is None:
        raise InputError(f"{path}: its format is not known; give csv, parquet or delta")
    place = path if path is not None else f"table {table}"
    try:
        df = _open(spark, path, table, format, version)
    except SPARK_ERRORS as exc:
        raise InputError(f"{place}: cannot be read: {spark_reason(exc)}; {_way_out(exc, format)}") from None
    if where is not None:
        return where_rows(df, where, place=place)
    try:
        empty = df.isEmpty()
    except SPARK_ERRORS as exc:
        raise InputError(f"{place}: cannot be read: {spark_reason(exc)}; {_way_out(exc, format)}") from None
    if empty:
        raise InputError(f"{place}: it has no rows; at least one is needed")
    return df


def where_rows(df: DataFrame, where: str, *, place: str) -> DataFrame:
    """Return the rows that satisfy a SQL predicate, at least one.

    Parameters
    ----------
    df
        Rows.
    where
        The predicate.
    place
        Where the rows come from, for messages.

    Raises
    ------
    InputError
        The predicate is not valid, no row satisfies it, or the rows cannot be read.
    """
    try:
        found = df.where(where)
        empty = found.isEmpty()  # Connect looks at the predicate only here
    except AnalysisException as exc:
        columns = ", ".join(df.columns[:20])
        raise InputError(f"{place}: where: {where}: {spark_reason(exc)}; its columns are {columns}") from None
    except SPARK_ERRORS as exc:
        raise InputError(f"{place}: cannot be read: {spark_reason(exc)}") from None
    if empty:
        raise InputError(f"{place}: no row satisfies where: {where}; at least one is needed")
    return found


def require_weights(df: DataFrame, name: str, *, what: str) -> None:
    """Raise `InputError` unless a column holds weights: finite numbers, none below 0, not all 0.

    Parameters
    ----------
    df
        The frame that has the column.
    name
        Of the column.
    what
        The frame's name in the message.
    """
    kind = dict(df.dtypes)[name]
    if not kind.startswith(("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")):
        raise InputError(f"{what}: weight column {name!r} is {kind}, not a number")
    value = F.col(quoted(name)).cast("double")
    usable = value.isNotNull() & ~F.isnan(value) & (value >= 0) & (value < float("inf"))
    row = df.agg(F.first(F.when(~usable, F.coalesce(value.cast("string"), F.lit("null"))), True), F.max(value)).first()
    if row is not None and row[0] is not None:
        raise InputError(f"{what}: weight column {name!r} has the value {row[0]}; weights are finite, 0 or more")
    if row is None or not row[1]:
        raise InputError(f"{what}: weight column {name!r} is 0 in every row; at least one weight must count")


class TableVersion(NamedTuple):
    """A version of a Delta table, and when it was committed: a table made anew counts from 0 again."""

    number: int
    moment: str


def source_version(
    spark: SparkSession, *, path: str | None, table: str | None, format: Format | None
) -> TableVersion | None:
    """Return the version that a Delta table has now; None where the source is none, or does not tell."""
    if path is not None and format != "delta":
        return None
    # A path in Delta's SQL is absolute.
    name = f"delta.{quoted(absolute(path))}" if path is not None else ".".join(map(quoted, str(table).split(".")))
    try:
        row = spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").first()
    except SPARK_ERRORS:  # a view, a Parquet table, history that may not be read
        return None
    return None if row is None else TableVersion(int(row["version"]), str(row["timestamp"]))


def _open(
    spark: SparkSession, path: str | None, table: str | None, format: Format | None, version: int | None
) -> DataFrame:
    reader = spark.read if version is None else spark.read.option("versionAsOf", version)
    if table is not None:
        df = reader.table(table)
    else:
        reader = reader.options(**_CSV_OPTIONS) if format == "csv" else reader
        df = reader.format(str(format)).load(path)
    # Connect resolves lazily: ask now, so that a missing path is not blamed on the predicate.
    if not df.columns:
        raise InputError(f"{path or table}: it has no columns; at least the key and one feature are needed")
    return df


def _way_out(error: BaseException, format: Format | None) -> str:
    text = str(error)
    if "DATA_SOURCE_NOT_FOUND" in text and format == "delta":
        return "start the session with the delta-spark package (spark.jars.packages), or use another format"
    if "PATH_NOT_FOUND" in text:
        return "check the path; a relative one is taken from the current directory of the Spark driver"
    if "TABLE_OR_VIEW_NOT_FOUND" in text or "NAMESPACE" in text:
        return "check the table's name: catalog.schema.table"
    return f"check that it holds {format} data and may be read" if format else "check that it may be read"
