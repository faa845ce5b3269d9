"""The tables that are made of written attributions: summary, dependence, reasons and how often they are given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import functions as F

from spark_shap import schema
from spark_shap.audit.reasons import reason_spec
from spark_shap.engine.aggregate import summarize
from spark_shap.engine.curves import dependence_frame, reason_rate_frame
from spark_shap.engine.quality import measure, reference_agreement
from spark_shap.engine.reasons import reason_counts, reason_frame
from spark_shap.io.tables import replace_run, tagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from spark_shap.audit.reasons import ReasonCounts
    from spark_shap.engine.quality import Quality
    from spark_shap.job import Job

__all__ = ["Folded", "beside", "write_aggregates", "write_reasons"]


@contextmanager
def beside(*tasks: Callable[[], object]) -> Iterator[None]:
    """Run small jobs that do not depend on each other beside the body; an error of theirs is raised after it."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        running = [pool.submit(task) for task in tasks]
        yield
        for one in running:
            one.result()


class Folded(NamedTuple):
    """What the row of the run says of its attributions: their quality, and how far references agree."""

    quality: Quality
    agreement: dict[str, float]


def write_aggregates(written: DataFrame, job: Job, share: float) -> Folded:
    """Write the summary and the curves of explained rows, a share of the portfolio, and measure their quality."""
    config, prepared = job.config, job.inputs.prepared
    draws, names = prepared.draws, prepared.reference_names
    weight = config.applicants.weight
    folded = written if draws else written.drop(schema.STD_ERRORS)  # all 0, and half of what is read
    tables = {schema.SUMMARY: summarize(folded, by=config.summary.by, weight=weight, sampled_share=share)}
    if prepared.bins is not None:
        tables[schema.DEPENDENCE] = dependence_frame(folded, prepared.bins, weight=weight)
    with beside(*(partial(replace_run, table, job.location, name, job.run_id) for name, table in tables.items())):
        first = names[0] if names else None
        quality = measure(written, output=prepared.output_names[0], sampled=draws, reference=first)
        agreement = reference_agreement(written, names) if names else {}
    return Folded(quality, agreement)


def write_reasons(written: DataFrame, job: Job) -> ReasonCounts | None:
    """Write the reasons of explained rows, where they are asked for, and how often each is given; count them."""
    config, inputs = job.config.reasons, job.inputs
    spec = reason_spec(inputs.prepared, inputs.codes)
    if config is None or spec is None:
        return None
    rows = written if config.where is None else written.where(config.where)
    names = inputs.prepared.reference_names
    key = (*inputs.columns.key, schema.REFERENCE) if names else inputs.columns.key
    table = tagged(reason_frame(rows, spec, key=key), job.run_id)
    rates = reason_rate_frame(rows, spec.rule.top, by=job.config.summary.by, weight=job.config.applicants.weight)
    frames = ((schema.REASONS, table), (schema.REASON_RATES, rates))
    with beside(*(partial(replace_run, frame, job.location, name, job.run_id) for name, frame in frames)):
        return reason_counts(rows.where(F.col(schema.REFERENCE) == names[0]) if names else rows, spec)
