"""Reports and comparisons of runs, from their tables: what the command line and the end of a run ask for."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from spark_shap.audit.comparison import Comparison, compare_runs
from spark_shap.errors import InputError, MissingDependencyError, SparkShapError, UsageError
from spark_shap.io.documents import write_text
from spark_shap.io.evidence import Explained, RunTables
from spark_shap.io.reading import LATEST, find_complete, location_of
from spark_shap.io.runs import RunRecord, read_runs
from spark_shap.io.sources import SPARK_ERRORS, spark_reason
from spark_shap.report.compared import record_against
from spark_shap.report.evidence import ApplicantEvidence, Evidence, Sample
from spark_shap.report.svg import require_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import pandas as pd
    from pyspark.sql import SparkSession

    from spark_shap.audit.drift import Limits
    from spark_shap.io.location import Location

__all__ = ["applicant_report", "compare", "report_after", "run_report", "runs_before", "write_report"]

_log = logging.getLogger(__name__)
_POINTS = 1000  # of a beeswarm, at most about


def compare(
    spark: SparkSession, location: Location, before: RunRecord, after: RunRecord, limits: Limits | None = None
) -> Comparison:
    """Return what changed from one finished run to another of the same location.

    Raises
    ------
    InputError
        A run's summary is not there.
    UsageError
        The runs cannot be compared.
    """
    old, new = ((one, RunTables(spark, location, one).summary()) for one in (before, after))
    return compare_runs(old, new, limits)


def run_report(spark: SparkSession, location: Location | str, run_id: str = LATEST) -> str:
    """Return the report of a run as HTML, with everything in it.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables are: a path, of Parquet or Delta tables, or a `Location`.
    run_id
        ``"latest"`` is the run that was finished last.

    Raises
    ------
    MissingDependencyError
        jinja2 or matplotlib is missing.
    InputError
        There is no such run.
    """
    require_extra()
    from spark_shap.report.html import run_page  # needs the extra

    location = location_of(spark, location)
    record = find_complete(spark, location, run_id)
    evidence = _evidence(spark, location, record)
    rejects, n_kinds = RunTables(spark, location, record).rejects()
    others = tuple(_evidence(spark, location, record_against(record, name)) for name in record.reference_names[1:])
    comparison = _against_last(spark, location, record, evidence.summary)
    evidence = replace(evidence, rejects=rejects, n_reject_kinds=n_kinds, comparison=comparison, others=others)
    return run_page(evidence)


def _evidence(spark: SparkSession, location: Location, record: RunRecord) -> Evidence:
    """Return what a report shows of a run against the reference that its record speaks of."""
    tables = RunTables(spark, location, record)
    drawn = tables.sample(min(tables.sample_size or _POINTS, _POINTS))
    reasons = tables.reasons()
    return Evidence(
        record=record,
        summary=tables.summary(),
        samples=_by_output(record, drawn, tables.features(drawn.rows)),
        reasons=None if reasons is None else reasons[0],
        swaps=None if reasons is None else reasons[1],
        curves=tables.curves(),
    )


def applicant_report(
    spark: SparkSession, location: Location | str, key: Mapping[str, str], run_id: str = LATEST
) -> str:
    """Return the report of one applicant as HTML; `key` gives each key column's value as text.

    The other parameters are those of `run_report`.

    Raises
    ------
    MissingDependencyError
        jinja2 or matplotlib is missing.
    InputError
        There is no such run, or the run explained no such row.
    """
    require_extra()
    from spark_shap.report.html import applicant_page  # needs the extra

    location = location_of(spark, location)
    record = find_complete(spark, location, run_id)
    every = [_applicant(spark, location, record_against(record, name), key) for name in record.reference_names[1:]]
    return applicant_page(replace(_applicant(spark, location, record, key), others=tuple(every)))


def _applicant(spark: SparkSession, location: Location, record: RunRecord, key: Mapping[str, str]) -> ApplicantEvidence:
    """Return one applicant against the reference that the run's record speaks of."""
    tables = RunTables(spark, location, record)
    found = tables.applicant(key)
    known = {*tables.key, "output", "prediction", "base_value", *record.feature_names}
    kept = {name: found.rows[name].iloc[0] for name in found.rows.columns if name not in known}
    rows = _by_output(record, found, tables.features(found.rows, key))
    return ApplicantEvidence(record, dict(key), rows, tables.reasons_of(key), kept)


def write_report(spark: SparkSession, location: Location, text: str, output: str | None, name: str) -> str:
    """Write a report to a file; return where it is.

    Parameters
    ----------
    spark
        Session that reaches the place.
    location
        Where the run's tables are.
    text
        The page.
    output
        A file, or a folder with a ``/`` at its end; None is the folder of the tables.
    name
        Of the file in a folder.

    Raises
    ------
    UsageError
        The tables are in a catalog, which has no place for a file, and none is named.
    InputError
        The file cannot be written.
    """
    if output is None and location.root is None:
        raise UsageError(f"{location} is a catalog schema: name a file for the report (output.report, --output)")
    if output is None or output.endswith("/"):
        output = f"{(output or str(location.root)).rstrip('/')}/{name}"
    write_text(spark, output, text)
    return output


def report_after(spark: SparkSession, location: Location, run_id: str, wanted: bool | str) -> str | None:
    """Write the report of a run that has just been committed; return where it is.

    The run is complete by then: what stops its report is said in one line and raised no further.
    """
    if wanted is False:
        return None
    try:
        page = run_report(spark, location, run_id)
        return write_report(spark, location, page, None if wanted is True else wanted, f"report-{run_id}.html")
    except MissingDependencyError as error:
        _log.warning("no report: %s, or output.report=false", error)
    except SparkShapError as error:
        _log.warning("no report: %s; make it later: spark-shap report --run %s", error, run_id)
    except SPARK_ERRORS as error:
        _log.warning("no report: Spark: %s; make it later: spark-shap report --run %s", spark_reason(error), run_id)
    except Exception as error:  # noqa: BLE001  # whatever it is, hours of work are committed, and must not look failed
        _log.warning("no report: %s: %s; spark-shap report --run %s shows where", type(error).__name__, error, run_id)
    return None


def runs_before(spark: SparkSession, location: Location, record: RunRecord) -> Iterator[RunRecord]:
    """Give the runs of a place that were finished before another, the last first.

    Those with fewer than half of its features are of another portfolio, and left out.
    """
    for earlier in sorted(read_runs(spark, location), key=_finished, reverse=True):
        common = set(earlier.feature_names) & set(record.feature_names)
        if _finished(earlier) < _finished(record) and 2 * len(common) >= len(record.feature_names):
            yield earlier


def _finished(record: RunRecord) -> tuple[datetime, str]:
    return record.finished_at, record.run_id


def _by_output(record: RunRecord, found: Explained, features: pd.DataFrame) -> dict[str, Sample]:
    rows = found.rows
    samples = {}
    for name in record.output_names:
        at = (rows["output"] == name).to_numpy().nonzero()[0]
        prediction, base = (rows[column].to_numpy(dtype=float)[at] for column in ("prediction", "base_value"))
        own = features.iloc[at].reset_index(drop=True)
        samples[name] = Sample(prediction, base, found.values[at], found.errors[at], own)
    return samples


def _against_last(
    spark: SparkSession, location: Location, record: RunRecord, summary: pd.DataFrame
) -> Comparison | None:
    """Return the comparison with the newest earlier run that can be compared; None where there is none."""
    for earlier in runs_before(spark, location, record):
        try:
            return compare_runs((earlier, RunTables(spark, location, earlier).summary()), (record, summary))
        except (InputError, UsageError) as error:
            _log.info("not compared with run %s: %s", earlier.run_id, error)
    return None
