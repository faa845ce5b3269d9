"""The command ``spark-shap status``: the runs of a location, finished or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from spark_shap.io.location import Location

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pyspark.sql import SparkSession

__all__ = ["add_command", "status"]

# Exit codes of a run that was asked for by its id.
_CODES = {"complete": 0, "failed": 1, "interrupted": 1, "running": 3, "claimed": 3}


class Said(NamedTuple):
    """What a command has to say, and its exit code."""

    lines: list[str]
    code: int = 0


def add_command(commands: Any) -> None:
    """Add the command to a parser's."""
    text = "show the runs of a location: how far they are, and why they failed"
    command = commands.add_parser(
        "status",
        help=text,
        description=text,
        epilog="Exit codes: 0; with --run: 0 complete, 1 failed or interrupted, 3 being made; 2 no such run.",
    )
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--location", metavar="PATH", help="folder or URL of the tables")
    place.add_argument("--schema", metavar="NAME", help="catalog schema of the tables")
    place.add_argument("--config", metavar="FILE", help="YAML file of a run: its output, and its Spark settings")
    command.add_argument("--format", choices=("parquet", "delta"), help="of the tables below PATH; default: as found")
    command.add_argument("--run", metavar="ID", help="this run only; the exit code says what became of it")
    command.add_argument("--json", action="store_true", help="print a JSON list")
    command.set_defaults(inspect=status, session=_session)


def _session(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a session for the command needs."""
    if arguments.config is not None:
        from spark_shap.config import load_config

        config = load_config(arguments.config)
        return {"master": config.spark.master, "conf": config.spark.conf, "delta": config.uses_delta}
    return {"master": None, "conf": {}, "delta": _location(arguments).format == "delta"}


def _location(arguments: argparse.Namespace) -> Location:
    if arguments.config is not None:
        from spark_shap.config import load_config

        output = load_config(arguments.config).output
        return Location(output.path, output.catalog_schema, output.format)
    if arguments.schema is not None:
        return Location(catalog_schema=arguments.schema, format="delta")
    found: Literal["parquet", "delta"] = "delta" if _is_delta(arguments.location) else "parquet"
    return Location(arguments.location, format=arguments.format or found)


def _is_delta(location: str) -> bool:
    return Path(location, "runs", "_delta_log").is_dir()


def status(spark: SparkSession, arguments: argparse.Namespace) -> Said:
    """Say how far the runs are."""
    from spark_shap.status import read_status

    found = read_status(spark, _location(arguments), arguments.run)
    if arguments.json:
        text = json.dumps([one.values() for one in found], indent=2, ensure_ascii=False)
        lines = text.splitlines()
    else:
        lines = [line for one in found for line in one.lines()]
    return Said(lines, 0 if arguments.run is None else _CODES[found[0].state])
