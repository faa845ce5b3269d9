"""Where the tables are, as the commands that look at runs are told: a folder, a catalog schema, or a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spark_shap.io.location import Location

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pyspark.sql import SparkSession

__all__ = ["Said", "add_place", "place_of", "session_for"]


class Said(NamedTuple):
    """What a command has to say, and its exit code."""

    lines: list[str]
    code: int = 0


def add_place(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the tables are; sets ``session`` to what makes the session's settings."""
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--location", metavar="PATH", help="folder or URL of the tables")
    place.add_argument("--schema", metavar="NAME", help="catalog schema of the tables")
    place.add_argument("--config", metavar="FILE", help="YAML file of a run: its output, and its Spark settings")
    command.add_argument("--format", choices=("parquet", "delta"), help="of the tables below PATH; default: as found")
    command.set_defaults(session=session_for)


def session_for(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a session for the command needs."""
    if arguments.config is not None:
        from spark_shap.config import load_config

        config = load_config(arguments.config)
        return {"master": config.spark.master, "conf": config.spark.conf, "delta": config.uses_delta}
    return {"master": None, "conf": {}, "delta": _may_be_delta(arguments)}


def _may_be_delta(arguments: argparse.Namespace) -> bool:
    if arguments.schema is not None or arguments.format is not None:
        return arguments.schema is not None or arguments.format == "delta"
    return Path(arguments.location, "runs", "_delta_log").is_dir()


def place_of(spark: SparkSession, arguments: argparse.Namespace) -> Location:
    """Return where the tables are."""
    from spark_shap.io.reading import location_of

    if arguments.config is not None:
        from spark_shap.config import load_config

        output = load_config(arguments.config).output
        return Location(output.path, output.catalog_schema, output.format)
    if arguments.schema is not None:
        return Location(catalog_schema=arguments.schema, format="delta")
    if arguments.format is not None:
        return Location(arguments.location, format=arguments.format)
    return location_of(spark, arguments.location)
