"""Reading and checking what a run needs, before a row is explained."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import spark_shap
from spark_shap.config import Applicants, Reference, RunConfig, config_json
from spark_shap.dataframes import column
from spark_shap.engine.door import Census, census
from spark_shap.engine.explain import check_columns
from spark_shap.engine.session import parallelism
from spark_shap.engine.shipping import ship_module
from spark_shap.engine.worker import Columns
from spark_shap.errors import InputError
from spark_shap.io.references import collect_arrow, sample_by_hash, to_background
from spark_shap.io.sources import read_source, require_columns, require_weights, where_rows
from spark_shap.models.conform import frame_from_arrow
from spark_shap.models.frames import Background, background_rows
from spark_shap.models.loading import LoadedModel, load_model
from spark_shap.models.predictor import as_predictor
from spark_shap.models.scoring import refused_rows
from spark_shap.plan import Plan, make_plan
from spark_shap.prepare import Options, Prepared, block_rows, prepare
from spark_shap.probe import one_thread, probe_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Inputs", "read_inputs", "run_identifier"]

_log = logging.getLogger(__name__)
_PROBE_ROWS = 256
_NO_KEYS = frozenset({"float", "double", "binary", "array", "map", "struct", "variant"})


class Inputs(NamedTuple):
    """What a run reads, checked."""

    model: LoadedModel
    applicants: DataFrame
    columns: Columns
    census: Census
    prepared: Prepared
    reference_fingerprint: str
    reference_weight: float
    plan: Plan


def read_inputs(spark: SparkSession, config: RunConfig) -> Inputs:
    """Read the model, the applicants and the reference, prepare the method and plan the run.

    Raises
    ------
    InputError, ModelError, MethodError
        Naming what cannot be used.
    """
    loaded = load_model(object=config.model.object, file=config.model.file, sha256=config.model.sha256)
    if config.model.object is not None:
        ship_module(config.model.object.partition(":")[0])
    applicants = config.applicants
    frame = _read(spark, applicants)
    keep = _kept(config)
    require_columns(frame, [*applicants.key, *keep], what="applicants")
    reference = _reference(spark, config, frame)
    features = _features(config, loaded.model, frame, reference, keep)
    require_columns(frame, features, what="applicants")
    columns = Columns(applicants.key, keep)
    check_columns(frame.columns, columns, features)
    wanted = list(dict.fromkeys([*applicants.key, *keep, *features]))
    _check_names(wanted)
    _check_key_types(frame, applicants.key)
    frame = frame.select(*(column(frame, name) for name in wanted))
    if applicants.weight is not None:
        require_weights(frame, applicants.weight, what="applicants")
    # Three small jobs of Spark and the driver's own work, side by side.
    with ThreadPoolExecutor(2) as pool, one_thread():
        counting = pool.submit(census, frame, applicants.key)
        sampling = pool.submit(collect_arrow, frame.limit(_PROBE_ROWS))
        background, weights = to_background(reference, features, config.reference.weight)
        background, weights, prepared = _prepare(config, loaded.model, background, weights)
        probe = probe_rows(prepared, frame_from_arrow(sampling.result()))
        found = counting.result()
    plan = make_plan(
        prepared,
        probe,
        n_rows=found.n_rows,
        parallelism=parallelism(spark),
        partitions=config.explain.partitions,
    )
    fingerprint = _background_fingerprint(background, weights)
    total = float(len(background) if weights is None else np.sum(weights))
    return Inputs(loaded, frame, columns, found, prepared, fingerprint, total, plan)


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
    reference, key = config.reference, config.applicants.key
    if reference.path is None and reference.table is None:
        frame = applicants
        if reference.where is not None:
            frame = where_rows(applicants, reference.where, place="reference: the applicants")
    else:
        frame = _read(spark, reference)
    keyed = all(name in frame.columns for name in key)
    size = None if reference.size == "all" else reference.size
    return sample_by_hash(frame, key=key if keyed else None, size=size, seed=config.explain.seed)


def _read(spark: SparkSession, source: Applicants | Reference) -> DataFrame:
    return read_source(spark, path=source.path, table=source.table, format=source.resolved_format, where=source.where)


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


def _prepare(config: RunConfig, model: Any, background: Any, weights: Any) -> tuple[Any, Any, Prepared]:
    """Return the background as it is used, its weights, and the method."""
    explain, reference = config.explain, config.reference
    options = Options(explain.method, explain.n_evaluations, explain.seed, explain.memory_mb)
    predictor = as_predictor(model, explain.output_space, config.model.output_names)
    rows = background_rows(background)
    if reference.path is None and reference.table is None:
        # A sample of the applicants may hold some of those that will be rejected.
        refused = refused_rows(predictor, rows, block_rows(Background(rows), explain.memory_mb))
        if refused:
            first = refused[min(refused)]
            _log.warning("%d of %d sampled reference rows are left out: %s", len(refused), len(rows), first)
            kept = np.setdiff1d(np.arange(len(rows)), list(refused))
            background, weights = background.iloc[kept], None if weights is None else weights[kept]
            rows = background_rows(background)
    return background, weights, prepare(predictor, rows, weights, model=model, options=options)


def _background_fingerprint(background: Any, weights: Any) -> str:
    import pandas as pd

    digest = sha256(repr([(name, str(kind)) for name, kind in background.dtypes.items()]).encode())
    digest.update(pd.util.hash_pandas_object(background.astype(object), index=False).to_numpy().tobytes())
    if weights is not None:
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()


def run_identifier(config: RunConfig, inputs: Inputs) -> str:
    """Return a hash of all that determines the result: the same run again has the same id."""
    settings = json.loads(config_json(config))
    what = {
        "applicants": inputs.census.digest,
        "n_rows": inputs.census.n_rows,
        "key": inputs.columns.key,
        "keep": inputs.columns.keep,
        "model": inputs.model.fingerprint,
        "reference": inputs.reference_fingerprint,
        "features": inputs.prepared.feature_names,
        "outputs": inputs.prepared.output_names,
        "output_space": inputs.prepared.output_space,
        "explain": {name: settings["explain"][name] for name in ("method", "n_evaluations", "seed")},
        "summary": settings["summary"],
        "weight": settings["applicants"]["weight"],
        "layout": settings["output"]["layout"],
        "version": spark_shap.__version__,
    }
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
