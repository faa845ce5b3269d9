"""The command ``spark-shap status``: the runs of a location, finished or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from spark_shap.command_place import Said, add_place, place_of

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pyspark.sql import SparkSession

__all__ = ["add_command", "status"]

# Exit codes of a run that was asked for by its id.
_CODES = {"complete": 0, "failed": 1, "interrupted": 1, "running": 3, "claimed": 3}


def add_command(commands: Any) -> None:
    """Add the command to a parser's."""
    text = "show the runs of a location: how far they are, and why they failed"
    command = commands.add_parser(
        "status",
        help=text,
        description=text,
        epilog="Exit codes: 0; with --run: 0 complete, 1 failed or interrupted, 3 being made; 2 no such run.",
    )
    add_place(command)
    command.add_argument("--run", metavar="ID", help="this run only; the exit code says what became of it")
    command.add_argument("--json", action="store_true", help="print a JSON list")
    command.set_defaults(inspect=status)


def status(spark: SparkSession, arguments: argparse.Namespace) -> Said:
    """Say how far the runs are."""
    from spark_shap.status import read_status

    found = read_status(spark, place_of(spark, arguments), arguments.run)
    if arguments.json:
        text = json.dumps([one.values() for one in found], indent=2, ensure_ascii=False)
        lines = text.splitlines()
    else:
        lines = [line for one in found for line in one.lines()]
    return Said(lines, 0 if arguments.run is None else _CODES[found[0].state])
