"""The command line: ``spark-shap run``, ``plan`` and ``demo``.

Exit codes: 0 done, 1 a run failed, 2 bad usage or configuration.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from spark_shap import __version__
from spark_shap.errors import ConfigError, MissingDependencyError, RunError, SparkShapError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from spark_shap.config import RunConfig
    from spark_shap.pipeline import RunResult

__all__ = ["main"]

_TOP_FEATURES = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = _parser().parse_args(argv)
    level = logging.WARNING if arguments.quiet else logging.INFO
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spark_shap").setLevel(level)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        for problem in error.problems:
            print(f"config: {problem}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except (MissingDependencyError, SparkShapError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


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
        command.set_defaults(command=function)
        command.add_argument("--quiet", action="store_true", help="print results and errors only")
    demo = commands.add_parser("demo", help="explain the German credit applications on this machine")
    demo.add_argument("--output", default="spark-shap-demo", metavar="FOLDER", help="where the tables go")
    demo.add_argument("--quiet", action="store_true", help="print results and errors only")
    demo.set_defaults(command=_demo)
    return parser


def _load(arguments: argparse.Namespace) -> RunConfig:
    from spark_shap.config import load_config

    overrides = list(arguments.overrides)
    if getattr(arguments, "max_rejects", None) is not None:
        overrides.append(f"output.max_rejects={arguments.max_rejects}")
    return load_config(arguments.config, overrides)


def _session(config: RunConfig) -> SparkSession:
    from spark_shap.engine.session import make_session

    return make_session(config.spark.master, config.spark.conf, delta=_uses_delta(config))


def _uses_delta(config: RunConfig) -> bool:
    formats = (config.output.format, config.applicants.resolved_format, config.reference.resolved_format)
    return "delta" in formats


def _run(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    spark = _session(config)
    from spark_shap.pipeline import run

    result = run(spark, config)
    _print_result(spark, result)
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    spark = _session(config)
    from spark_shap.pipeline import plan_run

    print("\n".join(plan_run(spark, config).lines()))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from spark_shap.demo import run_demo

    spark, result = run_demo(arguments.output)
    _print_result(spark, result)
    print("\nRead the tables with pandas or Spark, for example:")
    print(f"  pandas.read_parquet({str(result.location.path('attributions'))!r})")
    return 0


def _print_result(spark: SparkSession, result: RunResult) -> None:
    from spark_shap.io.tables import read_table

    record = result.record
    print(
        f"run {record.run_id}: {record.rows_explained:,} of {record.rows_read:,} rows explained, "
        f"{record.rows_rejected:,} rejected"
    )
    print(f"method {record.method}, output {record.output_space} ({', '.join(record.output_names)})")
    if record.std_error_median:
        print(f"standard error of a value: median {record.std_error_median:.2g}, 99 % below {record.std_error_p99:.2g}")
    print(f"tables in {result.location}: runs, attributions, summary, rejects")
    summary = read_table(spark, result.location, "summary", record.run_id)
    top = summary.where(f"segment_by = '' and rank <= {_TOP_FEATURES}").orderBy("output", "rank").collect()
    width = max((len(row["feature"]) for row in top), default=7)
    print(f"\n{'':>4} {'feature':<{width}}  {'mean |SHAP|':>11}  {'± 95 %':>8}  {'mean SHAP':>10}  {'in top 4':>8}")
    for row in top:
        half = 1.96 * float((row["sampling_error"] or 0.0) ** 2 + (row["monte_carlo_error"] or 0.0) ** 2) ** 0.5
        print(
            f"{row['rank']:>4} {row['feature']:<{width}}  {row['mean_abs_shap']:>11.5f}  {half:>8.5f}  "
            f"{row['mean_shap']:>+10.5f}  {row['top4_share']:>8.1%}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
