"""Reading finished runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from spark_shap import schema
from spark_shap.dataframes import is_connect
from spark_shap.errors import InputError
from spark_shap.io.delta import delta_exists
from spark_shap.io.files import folder_names
from spark_shap.io.location import Location
from spark_shap.io.runs import COMPLETE, read_runs
from spark_shap.io.shards import optional_columns, read_committed, read_shards
from spark_shap.io.sources import SPARK_ERRORS
from spark_shap.io.tables import read_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.runs import RunRecord

__all__ = ["find_complete", "location_of", "read_run"]

LATEST = "latest"


def read_run(
    spark: SparkSession, location: Location | str, run_id: str = LATEST, *, table: str = schema.ATTRIBUTIONS
) -> DataFrame:
    """Return a table of a finished run; never one of a run that is being made, or was not finished.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        A path, of Parquet or Delta tables; or a `Location`, for tables of a catalog schema.
    run_id
        ``"latest"`` is the run that was finished last.
    table
        ``"attributions"``, ``"reasons"``, ``"summary"``, ``"rejects"`` or ``"runs"``.

    Returns
    -------
    DataFrame
        ``run_id`` first; structs have the run's own features, in their order.

    Raises
    ------
    InputError
        There is no such run, it is not finished, or it has no such table.
    """
    if table not in schema.TABLES:
        raise InputError(f"table {table!r}: a run has {', '.join(schema.TABLES)}")
    place = location_of(spark, location)
    record = find_complete(spark, place, run_id)
    if table not in (schema.ATTRIBUTIONS, schema.REJECTS):
        return read_table(spark, place, table, record.run_id)
    shards = read_shards(spark, place, record.run_id)
    config = json.loads(record.config)
    own = optional_columns(
        surrogate_values=config.get("explain", {}).get("audit") == "aggregates",
        ranking=record.reason_rows is not None,
        references=len(record.reference_names) > 1,
        bins=config.get("summary", {}).get("dependence") is not None,
    )
    return read_committed(spark, place, table, record.run_id, shards, struct_fields=record.feature_names, optional=own)


def location_of(spark: SparkSession, location: Location | str) -> Location:
    """Return a path with the format of the tables that are there."""
    if isinstance(location, Location):
        return location
    delta = Location(location, format="delta")
    if not is_connect(spark):  # a session without Delta must not take its files for a table
        return delta if "_delta_log" in folder_names(spark, delta.path(schema.RUNS)) else Location(location)
    try:
        return delta if delta_exists(spark, delta, schema.RUNS) else Location(location)
    except SPARK_ERRORS:  # no Delta there
        return Location(location)


def find_complete(spark: SparkSession, location: Location, run_id: str = LATEST) -> RunRecord:
    """Return the row of a finished run.

    Raises
    ------
    InputError
        There is none, or it is not finished.
    """
    records = read_runs(spark, location, status=None)
    complete = [record for record in records if record.status == COMPLETE]
    if run_id == LATEST and complete:
        return max(complete, key=lambda record: (record.finished_at, record.run_id))
    for record in records:
        if record.run_id == run_id and record.status == COMPLETE:
            return record
        if record.run_id == run_id:
            why = f" ({record.error})" if record.error else ""
            raise InputError(
                f"{location}: run {run_id} is not finished: {record.status}{why}; start the same command again, it "
                "goes on where it ended"
            )
    there = ", ".join(record.run_id for record in complete[-5:]) or "none"
    raise InputError(f"{location}: no finished run {run_id!r}; the newest there are: {there}")
