"""The reference population, brought to the driver without loss.

Rows come through Arrow, the way they come to the model in a worker, so both sides have the same dtypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import functions as F

from spark_shap.dataframes import is_connect, quoted
from spark_shap.errors import InputError
from spark_shap.io.sources import require_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

__all__ = ["background_columns", "background_of", "collect_arrow", "collect_columns"]


def collect_columns(df: DataFrame, columns: Sequence[str], weight: str | None = None) -> pa.Table:
    """Return some columns of all rows as one Arrow table."""
    wanted = background_columns(columns, weight)
    require_columns(df, wanted, what="reference")
    return collect_arrow(df.select(*(F.col(quoted(name)) for name in wanted)))


def background_columns(columns: Sequence[str], weight: str | None = None) -> list[str]:
    """Return the columns that a background is made of, each once."""
    return list(dict.fromkeys([*columns, *([weight] if weight else [])]))


def background_of(
    table: pa.Table, columns: Sequence[str], weight: str | None = None
) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
    """Return the background and its weights from collected rows.

    Parameters
    ----------
    table
        The rows, with the columns that `background_columns` names.
    columns
        Features, in the order in which the model takes them.
    weight
        Column of row weights: finite, none below zero, not all zero.

    Returns
    -------
    background
        (n_background, n_features) frame.
    weights
        (n_background,) float64, or None.

    Raises
    ------
    InputError
        There are no rows, or the weights are no weights.
    """
    if table.num_rows == 0:
        raise InputError("reference: it has no rows; check its path and where")
    weights = _weights(table, weight) if weight else None
    # Local: conform needs pandas, and importing io must not load it.
    from spark_shap.models.conform import frame_from_arrow

    background = frame_from_arrow(table.select(list(columns)))
    for name in background.columns:
        if getattr(background[name].dtype, "tz", None) is not None:
            # By the session's clock and without a zone, as toPandas() gives the times that a model is trained on.
            background[name] = background[name].dt.tz_localize(None)
    return background, weights


def collect_arrow(df: DataFrame) -> pa.Table:
    """Return all rows as one Arrow table, the types as a worker gets them."""
    # toArrow: 4.0 and later, classic and Connect.
    table = df.toArrow() if hasattr(type(df), "toArrow") else _collect_arrow_35(df)
    return _in_session_zone(table, str(df.sparkSession.conf.get("spark.sql.session.timeZone")))


def _in_session_zone(table: pa.Table, zone: str) -> pa.Table:
    """Give timestamps the session's time zone, which workers see; toArrow says UTC. The instants stay."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp(field.type.unit, tz=zone))
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _collect_arrow_35(df: Any) -> pa.Table:
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    if is_connect(df):
        return df._session.client.to_table(df._plan.to_proto(df._session.client))[0]
    # Without names: Spark 3.5 refuses to collect duplicates, and an empty frame gives no batches at all.
    batches = df._collect_as_arrow()
    if not batches:
        return to_arrow_schema(df.schema).empty_table()
    return pa.Table.from_batches(batches).rename_columns(list(df.columns))


def _weights(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table.column(name)
    if column.null_count:
        raise InputError(f"reference: weight column {name!r} has {column.null_count} nulls; fill or filter them")
    try:
        weights = np.asarray(column.to_numpy(), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"reference: weight column {name!r} is {column.type}, not a number") from None
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        raise InputError(f"reference: weight column {name!r} has the value {weights[bad][0]}; weights are 0 or more")
    if not weights.any():
        raise InputError(f"reference: weight column {name!r} is 0 in every row; at least one weight must count")
    return weights
