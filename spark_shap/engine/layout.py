"""Attributions as long rows, one an applicant, output and feature, and back to wide ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_shap.dataframes import column
from spark_shap.schema import (
    FEATURE,
    LONG_VALUE_COLUMNS,
    OUTPUT,
    RANKING,
    REFERENCE,
    SHAP_VALUE,
    SHAP_VALUES,
    STD_ERROR,
    STD_ERRORS,
    TOP4_AGREEMENT,
    WIDE_VALUE_COLUMNS,
    has_references,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_shap.engine.worker import Columns

__all__ = ["lines_per_row", "to_long", "to_wide"]


def lines_per_row(layout: str, n_outputs: int, n_features: int) -> int:
    """Return how many lines of the table an applicant has, from the outputs against all references."""
    return n_outputs * (n_features if layout == "long" else 1)


def to_long(rows: DataFrame, columns: Columns, features: Sequence[str]) -> DataFrame:
    """Return one row a feature from lazy wide rows without errors; they are evaluated once.

    Parameters
    ----------
    rows
        Wide attributions.
    columns
        Which columns are keys and which are kept.
    features
        Names of the features, in the order of the structs.
    """
    from pyspark.sql import functions as f

    values, errors = column(rows, SHAP_VALUES), column(rows, STD_ERRORS)
    cells = [
        f.struct(
            f.lit(name).alias(FEATURE),
            values.getField(name).alias(SHAP_VALUE),
            errors.getField(name).alias(STD_ERROR),
        )
        for name in features
    ]
    others = [name for name in rows.columns if name not in (SHAP_VALUES, STD_ERRORS)]
    exploded = rows.select(*(column(rows, name) for name in others), f.inline(f.array(*cells)))
    wanted = (*columns.key, *_reference(rows), *LONG_VALUE_COLUMNS, *_extra(rows), *columns.keep)
    return exploded.select(*(column(exploded, name) for name in wanted))


def to_wide(rows: DataFrame, columns: Columns, features: Sequence[str]) -> DataFrame:
    """Return wide rows from long ones of one run, which meet by key, reference and output.

    Parameters
    ----------
    rows
        Long attributions, as they were written; ``run_id`` first.
    columns
        Which columns are keys and which are kept.
    features
        Names of the features, in the order that the structs shall have.
    """
    from pyspark.sql import functions as f

    by = (rows.columns[0], *columns.key, *_reference(rows), OUTPUT)
    wanted = (*WIDE_VALUE_COLUMNS, *_extra(rows), *columns.keep)
    same = [name for name in wanted if name not in (OUTPUT, SHAP_VALUES, STD_ERRORS)]

    def gathered(name: str) -> Column:
        pairs = f.collect_list(f.struct(column(rows, FEATURE), column(rows, name)))
        return f.map_from_entries(pairs).alias(name)

    met = rows.groupBy(*(column(rows, name) for name in by)).agg(
        *(f.first(column(rows, name)).alias(name) for name in same), gathered(SHAP_VALUE), gathered(STD_ERROR)
    )

    def struct(name: str, alias: str) -> Column:
        return f.struct(*(column(met, name).getItem(feature).alias(feature) for feature in features)).alias(alias)

    made = {SHAP_VALUES: struct(SHAP_VALUE, SHAP_VALUES), STD_ERRORS: struct(STD_ERROR, STD_ERRORS)}
    return met.select(*(made[name] if name in made else column(met, name) for name in (*by[:-1], *wanted)))


def _reference(rows: DataFrame) -> list[str]:
    """Return the name of the column of references, where rows are compared with several."""
    return [REFERENCE] if has_references(rows.columns) else []


def _extra(rows: DataFrame) -> list[str]:
    """Return the names of columns that are there where they were asked for, the same in every row of an applicant."""
    ranking = [RANKING] if RANKING in rows.columns else []
    return [*ranking, TOP4_AGREEMENT] if has_references(rows.columns) else ranking
