"""What an explainer is given to compare with: backgrounds and populations, in memory or on Spark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.dataframes import is_spark_frame
from spark_shap.errors import InputError, UsageError
from spark_shap.models.conform import as_declared, conform, frame_from_arrow
from spark_shap.models.frames import background_rows
from spark_shap.plan import Plan, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

    from spark_shap.closed_forms import BackgroundFold
    from spark_shap.models.adapters.mlflow import InputColumns
    from spark_shap.models.frames import Rows
    from spark_shap.prepare import Prepared

__all__ = ["SparkBackground", "given_background", "names_of", "plan_on_spark", "population_rows"]

_PROBE_ROWS = 256
_SAMPLE_ROWS = 1000


def names_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def given_background(
    background: Any, weights: Any, choice: tuple[str | Sequence[str] | None, int | str | None], seed: int
) -> tuple[Any, Any, SparkBackground | None]:
    """Return background rows in memory, their weights, and the whole where it is on Spark and asked for.

    Parameters
    ----------
    background, weights
        As a caller gives them.
    choice
        Key and size by which rows of a Spark background are chosen.
    seed
        Of that choice.
    """
    key, size = choice
    if is_spark_frame(background):
        return _from_spark(background, key, 1000 if size is None else size, weights, seed)
    if key is not None or size is not None:
        raise UsageError("background_size, background_key: they choose rows of a Spark background, and this is none")
    if isinstance(weights, str):
        return *_split_weights(background, weights), None
    return background, weights, None


def _from_spark(
    frame: DataFrame, key: str | Sequence[str] | None, size: int | str, weights: Any, seed: int
) -> tuple[Any, NDArray[np.float64] | None, SparkBackground | None]:
    """Return background rows of a Spark DataFrame in memory, their weights, and the whole where it is asked for."""
    keys = None if key is None else names_of(key)
    if size != "all" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise UsageError(f"background_size: {size!r} is neither a positive integer nor 'all'")
    if weights is not None and not isinstance(weights, str):
        raise UsageError("weights: for a Spark background name the column that holds them")
    left_out = {*(keys or ()), weights}
    features = tuple(name for name in frame.columns if name not in left_out)
    whole = SparkBackground(frame, keys, features, weights, seed)
    rows, row_weights = whole.rows(_SAMPLE_ROWS if size == "all" else int(size))
    return rows, row_weights, whole if size == "all" else None


def plan_on_spark(prepared: Prepared, frame: DataFrame) -> Plan:
    """Return the plan of explaining a Spark DataFrame."""
    from spark_shap.engine.probing import probe_on_workers
    from spark_shap.engine.session import parallelism
    from spark_shap.engine.shipping import dumps, ship
    from spark_shap.engine.spark_ml import check_pipeline, shippable
    from spark_shap.engine.spark_ml_model import pipeline_call
    from spark_shap.engine.spark_ml_probe import probe_pipeline
    from spark_shap.io.references import collect_columns

    spark, call = frame.sparkSession, pipeline_call(prepared)
    if call is not None:
        check_pipeline(prepared)
        probe = probe_pipeline(frame, prepared, call, ship(spark, dumps(shippable(prepared))))
        return make_plan(prepared, probe, n_rows=frame.count(), parallelism=parallelism(spark))
    drawn = frame_from_arrow(collect_columns(frame.limit(_PROBE_ROWS), prepared.column_names))
    probe = probe_on_workers(spark, ship(spark, dumps(prepared)), drawn)
    return make_plan(prepared, probe, n_rows=frame.count(), parallelism=parallelism(spark))


@dataclass(frozen=True)
class SparkBackground:
    """A background that stays where it is, as far as the method lets it.

    Attributes
    ----------
    frame
        Its rows.
    key
        Columns that name a row, for the order in which rows are drawn; None for all columns.
    features
        Names of the features.
    weight
        Column of weights, or None.
    seed
        Of that order.
    declared
        Columns as the model's signature has them, if it has one.
    """

    frame: DataFrame
    key: tuple[str, ...] | None
    features: tuple[str, ...]
    weight: str | None
    seed: int
    declared: InputColumns | None = None

    @cached_property
    def n_rows(self) -> int:
        """Its rows."""
        return self.frame.count()

    def fold(self, how: BackgroundFold) -> Any:
        """Return the state of all rows, made on the workers."""
        from spark_shap.engine.background import fold_background

        sample, _ = self.rows(_SAMPLE_ROWS)
        return fold_background(self.frame, how, background_rows(sample).layout, self.weight)

    def collect(self) -> tuple[Rows, NDArray[np.float64] | None]:
        """Return all rows, in the order of the hash of their keys, and their weights."""
        frame, weights = self.rows(None)
        return background_rows(frame), weights

    def rows(self, size: int | None) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
        """Return the first rows in that order, or all, and their weights."""
        from spark_shap.io.hash_samples import collect_sample
        from spark_shap.io.references import background_columns, background_of

        columns = background_columns(self.features, self.weight)
        rows = collect_sample(self.frame, columns, key=self.key, size=size, seed=self.seed).table
        frame, weights = background_of(rows, self.features, self.weight)
        return as_declared(frame, self.declared), weights


def _split_weights(background: Any, weights: str) -> tuple[Any, NDArray[np.float64]]:
    """Return a background without its column of weights, and the weights."""
    if weights not in getattr(background, "columns", ()):
        raise InputError(f"weights: the background has no column {weights!r}")
    return background.drop(columns=[weights]), background[weights].to_numpy()


def population_rows(frame: Any, background: Rows) -> Rows:
    """Return rows in the background's layout; those that do not fit are left out."""
    rows, problems = conform(frame, background.layout)
    usable = np.setdiff1d(np.arange(len(rows)), list(problems))
    if not len(usable):
        raise InputError(
            f"population: none of its {len(rows)} rows is like the background: {problems.get(0, 'no rows')}"
        )
    return rows.take(usable)
