"""The command line: ``spark-shap run``, ``plan``, ``status``, ``report``, ``diff``, ``demo`` and ``class-archive``.

Exit codes: 0 done, 1 a run failed, 2 bad usage, configuration or input, 3 two runs differ (``diff``), 130 interrupted;
``status --run`` says by them what became of the run. What goes wrong is a line on standard error each, with
``--log-format json`` an object. Spark's own log goes to a file, which is kept, and named, when Spark fails.
"""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from spark_shap import __version__, inspect_commands, status_command
from spark_shap.errors import ConfigError, RunError, SparkShapError
from spark_shap.logs import details, start_logging
from spark_shap.redaction import redact_text
from spark_shap.with_spark import with_spark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Row, SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.pipeline import RunResult

__all__ = ["main", "task"]

_TOP_FEATURES = 10
_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
_log = logging.getLogger("spark_shap.cli")  # also where this module is the program


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = _parser().parse_args(argv)
    start_logging(logging.WARNING if arguments.quiet else logging.INFO, arguments.log_format)
    complain = partial(_complain, as_json=arguments.log_format == "json")
    try:
        return _called(arguments)
    except ConfigError as error:
        return complain([f"config: {problem}" for problem in error.problems], 2)
    except RunError as error:
        return complain([f"failed: {error}"], 1)
    except SparkShapError as error:
        return complain([f"error: {error}"], 2)
    except KeyboardInterrupt:
        text = "interrupted; start the same command again: a run that is not in the table of runs does not exist"
        return complain([text], _INTERRUPTED)


def task() -> None:
    """Run the command line; raise where it fails, for jobs that overlook what a function returns (Databricks' do)."""
    if code := main():
        raise SystemExit(code)


def _complain(texts: Sequence[str], code: int, *, as_json: bool) -> int:
    """Say what went wrong, and return the exit code."""
    for text in texts:
        line = " ".join(text.split("\n"))
        if as_json:
            _log.error("%s", line, extra=details(exit_code=code))
        else:
            print(redact_text(line), file=sys.stderr)
    return code


def _called(arguments: argparse.Namespace) -> int:
    """Run the command that was given and return its exit code."""
    if hasattr(arguments, "without_spark"):
        arguments.without_spark()
        return 0
    if hasattr(arguments, "inspect"):
        said = with_spark(partial(arguments.inspect, arguments=arguments), **arguments.session(arguments))
        print("\n".join(said.lines))
        return int(said.code)
    config = arguments.configure(arguments)
    bar = not arguments.quiet and arguments.log_format == "text"
    command = partial(arguments.command, config=config, bar=bar)
    with_spark(command, config.spark.master, config.spark.conf, delta=config.uses_delta)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spark-shap",
        description="SHAP values with standard errors for every row of a Spark table, and their aggregates.",
    )
    parser.add_argument("--version", action="version", version=f"spark-shap {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "explain the applicants of a configuration and write the tables"),
        ("plan", _plan, "say what a run would do and cost; writes nothing"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", required=True, metavar="FILE", help="YAML file, see conf/")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="a.b=c",
            dest="overrides",
            help="override one key of the configuration; may be repeated",
        )
        if name == "run":
            command.add_argument(
                "--max-rejects", metavar="N", help="share below 1, or number of rows, that may be rejected"
            )
        command.set_defaults(command=function, configure=_configure)
    text = "explain the German credit applications on this machine"
    demo = commands.add_parser("demo", help=text, description=text)
    demo.add_argument("--output", default="spark-shap-demo", metavar="FOLDER", help="where the tables go")
    demo.set_defaults(command=_demo, configure=_configure_demo)
    inspect_commands.add_commands(commands)
    status_command.add_command(commands)
    text = "keep Spark's classes in a file of some 200 MB in the cache folder, so that local sessions start sooner"
    archive = commands.add_parser("class-archive", help=text, description=text)
    archive.set_defaults(without_spark=_class_archive)
    for command in commands.choices.values():
        command.add_argument("--quiet", action="store_true", help="print results and errors only, no progress")
        command.add_argument(
            "--log-format", choices=("text", "json"), default="text", help="json: an object a line, on standard error"
        )
    return parser


def _configure(arguments: argparse.Namespace) -> RunConfig:
    from spark_shap.config import load_config

    overrides = list(arguments.overrides)
    if getattr(arguments, "max_rejects", None) is not None:
        overrides.append(f"output.max_rejects={arguments.max_rejects}")
    return load_config(arguments.config, overrides)


def _configure_demo(arguments: argparse.Namespace) -> RunConfig:
    from spark_shap.demo import demo_config

    return demo_config(arguments.output)


def _run(spark: SparkSession, config: RunConfig, *, bar: bool) -> None:
    from spark_shap.pipeline import run

    _print_result(spark, run(spark, config, bar=bar))


def _plan(spark: SparkSession, config: RunConfig, **_: object) -> None:
    from spark_shap.pipeline import plan_run

    print("\n".join(plan_run(spark, config).lines()))


def _class_archive() -> None:
    from spark_shap.class_archive import make_archive

    path = make_archive()
    print(f"{path}: {path.stat().st_size / 2**20:,.0f} MB; local sessions start with it from now on")


def _demo(spark: SparkSession, config: RunConfig, *, bar: bool) -> None:
    from spark_shap.pipeline import run

    result = run(spark, config, bar=bar)
    _print_result(spark, result)
    print("\nEvery application's own values, with pandas:")
    print(f"  pandas.read_parquet({result.location.path('attributions')!r})")


def _print_result(spark: SparkSession, result: RunResult) -> None:
    from spark_shap.io.tables import read_table

    record = result.record
    print(
        f"run {record.run_id}: {record.rows_explained:,} of {record.rows_read:,} rows explained, "
        f"{record.rows_rejected:,} rejected"
    )
    print(f"explained: {record.output_space} of {', '.join(record.output_names)}, method {record.method}")
    if record.std_error_median:
        print(f"standard error of a value: median {record.std_error_median:.2g}, 99 % below {record.std_error_p99:.2g}")
    if record.reason_rows is not None:
        stable = "" if record.reason_stable_share is None else f", stable in {record.reason_stable_share:.1%} of them"
        print(f"reasons: of {record.reason_rows:,} rows{stable}")
    _print_prediction(result)
    summary = read_table(spark, result.location, "summary", record.run_id)
    top = summary.where(f"segment_by = '' and rank <= {_TOP_FEATURES}").orderBy("output", "rank").collect()
    if len(record.reference_names) > 1:
        print(f"below: compared with {record.reference_name}, the first of {len(record.reference_names)} references")
        top = [row for row in top if row["reference"] == record.reference_name]
    for name in record.output_names:
        _print_top([row for row in top if row["output"] == name], name if len(record.output_names) > 1 else "")
    print(f"\ntables in {result.location}: {', '.join(record.tables)}")
    if result.report is not None:
        print(f"report in {result.report}")


def _print_prediction(result: RunResult) -> None:
    """Print what was planned beside what it took."""
    record, plan = result.record, result.plan
    if "explain" not in result.seconds:
        print(f"complete since {record.finished_at:%Y-%m-%d %H:%M:%S %Z}; nothing was explained again")
        return
    if record.attempts > 1:
        print(f"complete at attempt {record.attempts}; what earlier attempts had committed was kept")
    else:
        print(
            f"predicted and actual: {plan.seconds:.1f} and {result.seconds['explain']:.1f} s of explaining, "
            f"{plan.n_evaluations:,.0f} and {record.model_evaluations / max(1, record.rows_explained):,.0f} "
            "evaluations a row"
            + (f", median standard error {plan.std_error:.2g} and {record.std_error_median:.2g}" * bool(plan.std_error))
        )
    total = sum(result.seconds.values())
    print(f"whole job: {total:.1f} s, of which {plan.shares_of(total)}")
    print(f"a row takes {plan.row_seconds * 1e6:,.0f} microseconds of a core ({plan.shares()})")


def _print_top(rows: Sequence[Row], title: str) -> None:
    """Print the features that matter most for one output."""
    width = max(24, *(len(row["feature"]) for row in rows)) if rows else 24
    heading = f"output {title}" if title else "what matters most"
    print(f"\n{heading:<{width + 5}}  {'mean |SHAP|':>11}  {'± 95 %':>8}  {'mean SHAP':>10}  {'in top 4':>8}")
    for row in rows:
        half = 1.96 * float((row["sampling_error"] or 0.0) ** 2 + (row["monte_carlo_error"] or 0.0) ** 2) ** 0.5
        print(
            f"{row['rank']:>4} {row['feature']:<{width}}  {row['mean_abs_shap']:>11.5f}  {half:>8.5f}  "
            f"{row['mean_shap']:>+10.5f}  {row['top4_share']:>8.1%}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
