"""Reading and checking what a run needs, before a row is explained."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_shap.audit.code_file import with_codes
from spark_shap.audit.lightening import lighten
from spark_shap.backgrounds import SparkBackground, population_rows
from spark_shap.choice import choose
from spark_shap.core.accelerate import load_kernels
from spark_shap.core.audit_plan import AuditPlan, AuditTargets
from spark_shap.dataframes import column
from spark_shap.engine.door import Census, census
from spark_shap.engine.explain import check_columns, spark_schema
from spark_shap.engine.probing import probe_on_workers, start_workers, warm_workers
from spark_shap.engine.reasons import check_reasons
from spark_shap.engine.session import parallelism
from spark_shap.engine.shipping import Carrier, dumps, ship, ship_module
from spark_shap.engine.worker import Columns
from spark_shap.errors import InputError
from spark_shap.identity import background_identity
from spark_shap.io.references import background_of, collect_columns, sample_by_hash
from spark_shap.io.sources import read_source, require_columns, require_weights, source_version, where_rows
from spark_shap.models.conform import frame_from_arrow
from spark_shap.models.frames import Background, background_rows
from spark_shap.models.loading import LoadedModel, load_model
from spark_shap.models.predictor import as_predictor
from spark_shap.models.scoring import refused_rows
from spark_shap.options import Options
from spark_shap.plan import Plan, make_plan
from spark_shap.prepare import Prepared, block_rows, prepare
from spark_shap.probe import one_thread
from spark_shap.reasons import Reasons
from spark_shap.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.audit.codes import CodeMap
    from spark_shap.config import Applicants, Reference, RunConfig

__all__ = ["Inputs", "read_inputs"]

_log = logging.getLogger(__name__)
_PROBE_ROWS = 256
_BACKGROUND_ROWS = 1000
_POPULATION_ROWS = 5000  # applicants that a surrogate is fitted on
_NO_KEYS = frozenset({"float", "double", "binary", "array", "map", "struct", "variant"})


class Inputs(NamedTuple):
    """What a run reads, checked."""

    model: LoadedModel
    applicants: DataFrame
    columns: Columns
    census: Census
    prepared: Prepared
    carrier: Carrier
    audit: AuditPlan | None
    codes: CodeMap | None
    reference_fingerprint: str
    reference_weight: float
    plan: Plan
    version: int | None = None  # of the applicants' Delta table


def read_inputs(spark: SparkSession, config: RunConfig) -> Inputs:
    """Read the model, the applicants and the reference, prepare the method and plan the run.

    Raises
    ------
    InputError, ModelError, MethodError
        Naming what cannot be used.
    """
    # Small jobs of Spark and the driver's own work, side by side.
    with ThreadPoolExecutor(6) as pool, one_thread():
        starting = pool.submit(start_workers, spark)
        loaded = load_model(object=config.model.object, file=config.model.file, sha256=config.model.sha256)
        pool.submit(load_kernels)
        if config.model.object is not None:
            ship_module(config.model.object.partition(":")[0])
        source = _source(spark, config, loaded.model)
        starting.result()
        return _checked(spark, config, loaded, source, pool)


class _Source(NamedTuple):
    """The rows to explain and those to compare with, and which columns are what."""

    frame: DataFrame
    reference: DataFrame
    features: list[str]
    columns: Columns
    version: int | None


def _source(spark: SparkSession, config: RunConfig, model: Any) -> _Source:
    """Open the applicants and the reference, and check their columns."""
    applicants = config.applicants
    version = source_version(spark, path=applicants.path, table=applicants.table, format=applicants.resolved_format)
    frame = _read(spark, applicants, version)
    keep = _kept(config)
    require_columns(frame, [*applicants.key, *keep], what="applicants")
    reference = _reference(spark, config, frame)
    features = _features(config, model, frame, reference, keep)
    require_columns(frame, features, what="applicants")
    columns = Columns(applicants.key, keep)
    check_columns(frame.columns, columns, features)
    wanted = list(dict.fromkeys([*applicants.key, *keep, *features]))
    _check_names(wanted)
    _check_key_types(frame, applicants.key)
    frame = frame.select(*(column(frame, name) for name in wanted))
    if applicants.weight is not None:
        require_weights(frame, applicants.weight, what="applicants")
    return _Source(frame, reference, features, columns, version)


def _checked(
    spark: SparkSession, config: RunConfig, loaded: LoadedModel, source: _Source, pool: ThreadPoolExecutor
) -> Inputs:
    """Count the rows, prepare the method and plan the run."""
    frame, reference, features, columns, version = source
    counting = pool.submit(census, frame, columns.key)
    table, alike = _collect(pool, config, frame, reference, features)
    background, weights = background_of(table, features, config.reference.weight)
    found = counting.result()
    drawn = frame_from_arrow(alike)
    whole = _whole(config, reference, features)
    given = _Given(background, weights, drawn, found.n_rows, whole)
    warming = pool.submit(warm_workers, spark, loaded.model)  # while only the driver works
    background, weights, prepared = _prepare(config, loaded.model, given)
    audit = None
    if config.explain.audit == "aggregates":
        target = config.explain.target_error
        alike_rows = population_rows(drawn, prepared.sample)
        prepared, audit = lighten(prepared, alike_rows, n_rows=found.n_rows, targets=AuditTargets(target, target))
    prepared, codes = with_codes(prepared)
    if config.reasons is not None:
        check_reasons(spark, spark_schema(frame, prepared, columns), columns.key, config.reasons.where)
    carrier = ship(spark, dumps(prepared))
    warming.result()
    probe = probe_on_workers(spark, carrier, drawn.head(_PROBE_ROWS))
    plan = make_plan(
        prepared,
        probe,
        n_rows=found.n_rows if audit is None else audit.n_rows,
        parallelism=parallelism(spark),
        partitions=config.explain.partitions,
        shards=config.explain.shards,
    )
    fingerprint, total = background_identity(whole, prepared, background, weights)
    return Inputs(loaded, frame, columns, found, prepared, carrier, audit, codes, fingerprint, total, plan, version)


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that differ only in case: Spark takes them for one column."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(f"applicants: the columns {other!r} and {name!r} differ only in case; rename one of them")


def _check_key_types(frame: DataFrame, key: Sequence[str]) -> None:
    types = dict(frame.dtypes)
    for name in key:
        if types[name].split("<")[0] in _NO_KEYS:
            raise InputError(
                f"applicants: key column {name!r} has type {types[name]}, which is no safe key; use integers, strings, "
                "booleans, dates, timestamps or decimals"
            )


def _kept(config: RunConfig) -> tuple[str, ...]:
    """Return columns to carry along: those asked for, the segments, the weight."""
    segments = [name for group in config.summary.by for name in group]
    weight = [config.applicants.weight] if config.applicants.weight else []
    key = set(config.applicants.key)
    return tuple(name for name in dict.fromkeys([*config.applicants.keep, *segments, *weight]) if name not in key)


def _reference(spark: SparkSession, config: RunConfig, applicants: DataFrame) -> DataFrame:
    reference = config.reference
    if reference.path is None and reference.table is None:
        frame = applicants
        if reference.where is not None:
            frame = where_rows(applicants, reference.where, place="reference: the applicants")
    else:
        frame = _read(spark, reference)
    return frame


def _collect(
    pool: ThreadPoolExecutor, config: RunConfig, applicants: DataFrame, reference: DataFrame, features: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Return the rows of the reference, and applicants drawn by the hash of their keys."""
    key, size, seed = config.applicants.key, config.reference.size, config.explain.seed
    own = config.reference.path is None and config.reference.table is None and config.reference.where is None
    if own and size != "all" and config.reference.weight is None:
        # A larger sample begins with the rows of a smaller one.
        both = sample_by_hash(applicants, key=key, size=max(size, _POPULATION_ROWS), seed=seed)
        table = collect_columns(both, features)
        return table.slice(0, size), table.slice(0, _POPULATION_ROWS)
    drawn = sample_by_hash(applicants, key=key, size=_POPULATION_ROWS, seed=seed)
    drawing = pool.submit(collect_columns, drawn, features)
    keyed = all(name in reference.columns for name in key)
    # All of it is folded where it is, or brought here later: a sample shows its types.
    size = _BACKGROUND_ROWS if size == "all" else size
    taken = sample_by_hash(reference, key=key if keyed else None, size=size, seed=seed)
    return collect_columns(taken, features, config.reference.weight), drawing.result()


def _read(spark: SparkSession, source: Applicants | Reference, version: int | None = None) -> DataFrame:
    return read_source(
        spark,
        path=source.path,
        table=source.table,
        format=source.resolved_format,
        where=source.where,
        version=version,
    )


def _features(
    config: RunConfig, model: Any, applicants: DataFrame, reference: DataFrame, keep: Sequence[str]
) -> list[str]:
    """Return the features: as configured, else as the model says, else all columns with no other role."""
    if config.applicants.features is not None:
        return list(config.applicants.features)
    known = getattr(model, "feature_names_in_", None)
    if known is not None:
        return [str(name) for name in known]
    roles = {*config.applicants.key, *keep, config.reference.weight}
    return [name for name in reference.columns if name in applicants.columns and name not in roles]


class _Given(NamedTuple):
    """What a method is prepared from."""

    background: Any
    weights: Any
    drawn: Any
    n_rows: int
    whole: SparkBackground | None


def _whole(config: RunConfig, reference: DataFrame, features: Sequence[str]) -> SparkBackground | None:
    """Return the reference as it is on Spark, where all of it is asked for."""
    if config.reference.size != "all":
        return None
    key = config.applicants.key
    keyed = key if all(name in reference.columns for name in key) else None
    return SparkBackground(reference, keyed, tuple(features), config.reference.weight, config.explain.seed)


def _prepare(config: RunConfig, model: Any, given: _Given) -> tuple[Any, Any, Prepared]:
    """Return the background as it is used, its weights, and the method."""
    background, weights, whole = given.background, given.weights, given.whole
    explain, reference = config.explain, config.reference
    options = Options(
        explain.method,
        explain.n_evaluations,
        explain.seed,
        explain.memory_mb,
        explain.tolerance,
        explain.surrogate_evaluations,
        explain.surrogate_pairs,
        explain.audit,
        None if config.reasons is None else Reasons(**config.reasons.model_dump(exclude={"where"})),
    )
    predictor = as_predictor(model, explain.output_space, config.model.output_names)
    rows = background_rows(background)
    if whole is not None and choose(model, predictor, rows.layout, whole.n_rows, options).reading is None:
        background, weights = whole.rows(None)
        rows, whole = background_rows(background), None
    if reference.path is None and reference.table is None:
        # A sample of the applicants may hold some of those that will be rejected.
        refused = refused_rows(predictor, rows, block_rows(Background(rows), explain.memory_mb))
        if refused:
            first = refused[min(refused)]
            _log.warning(
                "%d of %d sampled reference rows are left out: %s", len(refused), len(rows), redact_text(str(first))
            )
            kept = np.setdiff1d(np.arange(len(rows)), list(refused))
            background, weights = background.iloc[kept], None if weights is None else weights[kept]
            rows = background_rows(background)
    prepared = prepare(
        predictor,
        rows,
        weights,
        model=model,
        options=options,
        population=population_rows(given.drawn, rows),
        n_rows=given.n_rows,
        whole=whole,
    )
    return background, weights, prepared
