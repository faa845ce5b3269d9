"""Reading and checking what a run needs, before a row is explained."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from spark_shap.audit.code_file import with_codes
from spark_shap.audit.lightening import lighten
from spark_shap.backgrounds import population_rows
from spark_shap.compared import Alike, Compared, Given, compare_with
from spark_shap.core.accelerate import load_kernels
from spark_shap.core.audit_plan import AuditPlan, AuditTargets
from spark_shap.dataframes import column
from spark_shap.engine.door import Census, census
from spark_shap.engine.explain import check_columns, spark_schema
from spark_shap.engine.probing import probe_on_workers, start_workers, warm_workers
from spark_shap.engine.reasons import check_reasons
from spark_shap.engine.session import is_warm, parallelism
from spark_shap.engine.shipping import Carrier, dumps, ship, ship_module
from spark_shap.engine.spark_ml import check_pipeline, shippable
from spark_shap.engine.spark_ml_model import accepted_values, load_any, pipeline_call, pipeline_inputs, predictor_of
from spark_shap.engine.spark_ml_probe import probe_pipeline
from spark_shap.engine.worker import Columns
from spark_shap.errors import ConfigError, InputError
from spark_shap.groups import group_problems
from spark_shap.io.hash_samples import HashSample, collect_sample
from spark_shap.io.kept_work import KeptWork
from spark_shap.io.source_identity import source_identity
from spark_shap.io.sources import read_source, require_columns, require_weights, source_version
from spark_shap.known_input import Known, KnownInput
from spark_shap.models.accepted import refused_values
from spark_shap.models.bins import fit_bins
from spark_shap.models.conform import frame_from_arrow
from spark_shap.models.frames import background_rows
from spark_shap.plan import JOB_SECONDS, WARM_JOB_SECONDS, Plan, Probe, make_plan
from spark_shap.populations import POPULATION_ROWS, Drawing, Drawn, Scorer, draw, open_reference
from spark_shap.probe import one_thread
from spark_shap.roles import check_key_types, check_names, features_of, kept_columns
from spark_shap.schema import REFERENCE, TOP4_AGREEMENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.audit.codes import CodeMap
    from spark_shap.config import RunConfig
    from spark_shap.io.location import Location
    from spark_shap.models.loading import LoadedModel
    from spark_shap.prepare import Prepared
    from spark_shap.references import Reference

__all__ = ["Inputs", "read_inputs"]

_log = logging.getLogger(__name__)
_PROBE_ROWS = 256
_POPULATION_BYTES = 2**26  # of the applicants that methods are prepared with


class Inputs(NamedTuple):
    """What a run reads, checked."""

    model: LoadedModel
    applicants: DataFrame
    columns: Columns
    census: Census
    prepared: Prepared  # with the other references' in it
    carrier: Carrier
    audit: AuditPlan | None
    codes: CodeMap | None
    compared: tuple[Compared, ...]
    plan: Plan
    kept: KeptWork
    version: int | None = None  # of the applicants' Delta table


def read_inputs(spark: SparkSession, config: RunConfig, location: Location) -> Inputs:
    """Read the model, the applicants and the reference, prepare the method and plan the run; write nothing.

    What an earlier attempt has left at `location`, where the run's tables are, saves fitting a surrogate.

    Raises
    ------
    InputError, ModelError, MethodError
        Naming what cannot be used.
    """
    # Small jobs of Spark and the driver's own work, side by side.
    with ThreadPoolExecutor(6) as pool, one_thread():
        starting = None if is_warm(spark) else pool.submit(start_workers, spark)
        kept = KeptWork(spark, location)
        opening, looking = pool.submit(_open, spark, config), pool.submit(kept.look)
        loaded = load_any(**config.model.model_dump(exclude={"output_names"}))
        pool.submit(load_kernels)
        if config.model.object is not None:
            ship_module(config.model.object.partition(":")[0])
        source = _source(config, opening.result(), loaded.feature_names or pipeline_inputs(loaded.model))
        looking.result()
        found = _checked(spark, config, loaded, source, pool, kept)
        if starting is not None:
            starting.result()
        return found


class _Opened(NamedTuple):
    """The rows to explain, of the version of their Delta table if they are one, and those to compare with."""

    frame: DataFrame
    references: list[DataFrame]
    version: int | None
    identity: str | None  # of the rows to explain


def _open(spark: SparkSession, config: RunConfig) -> _Opened:
    """Open the applicants and the references."""
    applicants = config.applicants
    place = {"path": applicants.path, "table": applicants.table}
    version = source_version(spark, **place, format=applicants.resolved_format)
    # Before a row is read: what is changed in the meantime must not pass for what was read.
    identity = source_identity(spark, **place, where=applicants.where, version=version)
    number = None if version is None else version.number
    kind = applicants.resolved_format
    frame = read_source(spark, **place, format=kind, where=applicants.where, version=number)
    require_columns(frame, [*applicants.key, *kept_columns(config)], what="applicants")
    return _Opened(frame, [open_reference(spark, one, frame) for one in config.populations], number, identity)


class _Source(NamedTuple):
    """The rows to explain and those to compare with, and which columns are what."""

    frame: DataFrame
    references: list[DataFrame]
    features: list[str]
    columns: Columns
    version: int | None
    identity: str | None


def _source(config: RunConfig, opened: _Opened, known: Sequence[str] | None) -> _Source:
    """Check the columns of the applicants and the references."""
    applicants, keep = config.applicants, kept_columns(config)
    frame, references, version, identity = opened
    features = features_of(config, known, [frame, *references], keep)
    require_columns(frame, features, what="applicants")
    problems = group_problems(config.explain.groups or {}, features)
    if problems:
        raise ConfigError([f"explain.groups.{problem}" for problem in problems])
    columns = Columns(applicants.key, keep)
    check_columns(frame.columns, columns, features)
    taken = [name for name in (*applicants.key, *keep) if name.casefold() in (REFERENCE, TOP4_AGREEMENT)]
    if taken and len(references) > 1:
        raise InputError(f"key, keep: {taken[0]!r} is a column of the output where references are several; rename it")
    wanted = list(dict.fromkeys([*applicants.key, *keep, *features]))
    check_names(wanted)
    check_key_types(frame, applicants.key)
    frame = frame.select(*(column(frame, name) for name in wanted))
    if applicants.weight is not None:
        require_weights(frame, applicants.weight, what="applicants")
    return _Source(frame, references, features, columns, version, identity)


def _checked(
    spark: SparkSession,
    config: RunConfig,
    loaded: LoadedModel,
    source: _Source,
    pool: ThreadPoolExecutor,
    kept: KeptWork,
) -> Inputs:
    """Count the rows, prepare the methods and plan the run."""
    frame, columns = source.frame, source.columns
    known, counting, drawing = _look(config, source, kept, pool)
    predictor = predictor_of(loaded.model, config.explain.output_space, config.model.output_names)
    references, alike = _draw(config, source, Scorer(predictor, config.explain.memory_mb, loaded.columns), drawing)
    if accepted := accepted_values(loaded.model):
        refused = list(refused_values(background_rows(alike.rows), accepted))
        alike = alike._replace(rows=alike.rows.drop(index=alike.rows.index[refused]))
    found = counting.result()
    warming = pool.submit(warm_workers, spark, loaded.model)  # while only the driver works
    given = Given(loaded, predictor, alike, found.n_rows, accepted, kept)
    compared = [compare_with(config, *one, given) for one in references]
    prepared, audit = compared[0].prepared, None
    check_pipeline(prepared)
    if config.explain.audit == "aggregates":
        target = config.explain.target_error
        alike_rows = population_rows(alike.rows, prepared.sample)
        prepared, audit = lighten(prepared, alike_rows, n_rows=found.n_rows, targets=AuditTargets(target, target))
    prepared, codes = with_codes(prepared)
    if len(compared) > 1:
        others = (replace(one.prepared, shows_values=prepared.shows_values) for one in compared[1:])
        prepared = replace(prepared, others=tuple(others))
    if config.summary.dependence is not None:
        values = population_rows(alike.rows, prepared.sample)
        prepared = replace(prepared, bins=fit_bins(values, prepared.own_columns, config.summary.dependence))
    if config.reasons is not None:
        check_reasons(spark, spark_schema(frame, prepared, columns), columns.key, config.reasons.where)
    carrier = ship(spark, dumps(shippable(prepared)))
    warming.result()
    probe = _probe(spark, prepared, carrier, (frame, alike.rows))
    plan = make_plan(
        prepared,
        probe,
        n_rows=found.n_rows if audit is None else audit.n_rows,
        parallelism=parallelism(spark),
        partitions=config.explain.partitions,
        shards=config.explain.shards,
        job_seconds=WARM_JOB_SECONDS if is_warm(spark) else JOB_SECONDS,
    )
    if kept.used:
        _log.info("an attempt that did not end has prepared this run: what it kept is used again")
    known.keep(Known(found, drawing.result()))
    return Inputs(
        loaded, frame, columns, found, prepared, carrier, audit, codes, tuple(compared), plan, kept, source.version
    )


def _probe(spark: SparkSession, prepared: Prepared, carrier: Carrier, rows: tuple[DataFrame, pd.DataFrame]) -> Probe:
    """Time the method where it will run, on some applicants: on Spark, or in memory."""
    call = pipeline_call(prepared)
    if call is None:
        return probe_on_workers(spark, carrier, rows[1].head(_PROBE_ROWS))
    return probe_pipeline(rows[0], prepared, call, carrier)


class _Looking(NamedTuple):
    """Where to keep what is known of the applicants; their count and a sample of them, on the way."""

    known: KnownInput
    counting: Future[Census]
    drawing: Future[HashSample]


def _look(config: RunConfig, source: _Source, kept: KeptWork, pool: ThreadPoolExecutor) -> _Looking:
    """Begin to count the applicants and to draw some by the hash of their keys, unless both is known."""
    frame, key, seed = source.frame, config.applicants.key, config.explain.seed
    sampled = (key, source.features, seed, POPULATION_ROWS, _POPULATION_BYTES)
    known = KnownInput(kept, frame, source.identity, sampled)
    there = known.find()
    if there is not None:
        return _Looking(known, pool.submit(lambda: there.census), pool.submit(lambda: there.alike))
    counting = pool.submit(census, frame, key)
    how_many = {"size": POPULATION_ROWS, "most_bytes": _POPULATION_BYTES}
    collect = partial(collect_sample, frame, source.features, key=key, seed=seed, **how_many)
    return _Looking(known, counting, pool.submit(collect))


def _draw(
    config: RunConfig, source: _Source, scorer: Scorer, drawing: Future[HashSample]
) -> tuple[list[tuple[Reference, Drawn]], Alike]:
    """Return the references with their rows, and applicants drawn by the hash of their keys."""
    key, seed = config.applicants.key, config.explain.seed
    how = Drawing(key, tuple(source.features), seed, scorer, drawing.result, config.references is not None)
    found = [(one, draw(one, frame, how)) for one, frame in zip(config.populations, source.references, strict=True)]
    alike, n_left_out = drawing.result()
    note = ""
    if n_left_out:
        note = f"prepared with {alike.num_rows:,} applicants, which hold {_POPULATION_BYTES // 2**20} MB"
        _log.warning("%s, instead of %s", note, f"{alike.num_rows + n_left_out:,}")
    return found, Alike(frame_from_arrow(alike), note)
