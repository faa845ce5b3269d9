"""The commands that look at runs that are there: ``spark-shap report`` and ``spark-shap diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_shap.command_place import Said, add_place, place_of
from spark_shap.errors import UsageError
from spark_shap.report.words import segment_title

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pyspark.sql import SparkSession

    from spark_shap.audit.comparison import Comparison

__all__ = ["CHANGED", "add_commands", "diff", "report"]

CHANGED = 3  # exit code: beyond the threshold
PREVIOUS = "previous"
_LINES = 20


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's; each sets ``inspect`` to its function."""
    text = "write the report of a run, or of one applicant of it, as one HTML file"
    command = commands.add_parser("report", help=text, description=text)
    add_place(command)
    command.add_argument("--run", default="latest", metavar="ID", help="which run; default: the one finished last")
    command.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="the applicant, for a page of one; repeated where several columns are the key",
    )
    command.add_argument(
        "--output", metavar="FILE", help="the file, or a folder with a / at its end; default: beside the tables"
    )
    command.set_defaults(inspect=report)
    text = f"say what changed from one run to another; exit code {CHANGED} where something did"
    command = commands.add_parser("diff", help=text, description=text)
    text = f'"{PREVIOUS}" is the run finished before RUN_B, of the same portfolio; without one nothing changed'
    command.add_argument("before", metavar="RUN_A", help=text)
    command.add_argument("after", metavar="RUN_B", help='"latest" is the run finished last')
    add_place(command)
    command.add_argument(
        "--threshold",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="of a segment's total mean |SHAP| that a difference must exceed to be a change; default 0.02",
    )
    command.add_argument(
        "--alpha",
        type=float,
        default=0.05,
        metavar="P",
        help="chance that two audits between which nothing changed are told apart; default 0.05",
    )
    command.set_defaults(inspect=diff)


def report(spark: SparkSession, arguments: argparse.Namespace) -> Said:
    """Write a report; say where it is."""
    from spark_shap.io.reading import find_complete
    from spark_shap.reporting import applicant_report, run_report, write_report

    location = place_of(spark, arguments)
    run_id = find_complete(spark, location, arguments.run).run_id
    key = dict(_named(text) for text in arguments.key)
    page = applicant_report(spark, location, key, run_id) if key else run_report(spark, location, run_id)
    # An applicant's key is no part of a file's name: it may hold anything, and names are seen by many.
    name = f"applicant-of-{run_id}.html" if key else f"report-{run_id}.html"
    return Said([f"report in {write_report(spark, location, page, arguments.output, name)}"])


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--key {text}: give the key column and the applicant's value, such as --key id=17")
    return name, value


def diff(spark: SparkSession, arguments: argparse.Namespace) -> Said:
    """Say what changed between two runs; the code is 3 where something did."""
    from spark_shap.audit.drift import Limits
    from spark_shap.io.reading import find_complete
    from spark_shap.reporting import compare, runs_before

    limits = Limits(arguments.alpha, arguments.threshold)
    location = place_of(spark, arguments)
    after = find_complete(spark, location, arguments.after)
    if arguments.before == PREVIOUS:
        before = next(runs_before(spark, location, after), None)
    else:
        before = find_complete(spark, location, arguments.before)
    if before is None:
        return Said([f"{location} has no finished run before {after.run_id} to compare it with"])
    found = compare(spark, location, before, after, limits)
    return Said(_lines(found), CHANGED if len(found.changed) else 0)


def _lines(found: Comparison) -> list[str]:
    sides = [
        f"{name}  {run.run_id}  {run.finished_at:%Y-%m-%d %H:%M}  {run.rows_explained:,} applicants  {run.model_uri}"
        for name, run in (("A", found.before), ("B", found.after))
    ]
    width = max((len(change.what) for change in found.made), default=0)
    made = [f"  {change.what:<{width}}  {change.before or '-'} -> {change.after or '-'}" for change in found.made]
    made = ["", "made differently:", *made] if made else ["", "made alike"]
    changed = found.changed
    verdict = f"{len(changed)} of {found.n_tested} comparisons changed {found.test}"
    return [*sides, *made, *(_table(changed.head(_LINES)) if len(changed) else []), "", verdict]


def _table(rows: Any) -> list[str]:
    places = [_place(row.segment_by, row.segment) for row in rows.itertuples()]
    features, where = (max(len(name) for name in names) for names in (rows["feature"], [*places, "where"]))
    features = max(features, len("feature"))
    head = (
        f"{'feature':<{features}}  {'where':<{where}}  {'measure':<13}  {'A':>10}  {'B':>10}  {'± 95 %':>9}  adjusted p"
    )
    lines = [
        f"{row.feature:<{features}}  {place:<{where}}  {row.measure:<13}  {row.before:>+10.5f}  {row.after:>+10.5f}  "
        f"{1.96 * row.std_error:>9.5f}  {row.p_adjusted:>10.2g}"
        for place, row in zip(places, rows.itertuples(), strict=True)
    ]
    return ["", head, *lines]


def _place(by: str, segment: Any) -> str:
    return segment_title(segment, by) if by else "all"
