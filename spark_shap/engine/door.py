"""Checking applicants at the door: how many there are, which keys are null or taken twice, what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_shap.engine.session import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

__all__ = ["Census", "census", "missing_rows", "reject_rows", "split_rows"]


@dataclass(frozen=True)
class Census:
    """The applicants, counted.

    Attributes
    ----------
    n_rows
        All rows.
    n_null_key
        Rows with a null in the key.
    n_duplicate
        Rows whose key another row has too.
    digest
        Sum of the rows' hashes: the same for the same rows in any order and any files.
    """

    n_rows: int
    n_null_key: int
    n_duplicate: int
    digest: str


def census(frame: DataFrame, key: Sequence[str]) -> Census:
    """Count the rows, their null and duplicate keys, and hash their content, in one job."""
    from pyspark.sql import functions as f

    hashed = f.xxhash64(*(column(frame, name) for name in frame.columns)).cast("decimal(38,0)")
    keys = [column(frame, name) for name in key]
    by_key = frame.groupBy(*keys).agg(f.count(f.lit(1)).alias("_n"), f.sum(hashed).alias("_hash"))
    null = _any_null(by_key, key)
    row = by_key.agg(
        f.sum("_n").alias("n"),
        f.sum(f.when(null, f.col("_n"))).alias("null"),
        f.sum(f.when(~null & (f.col("_n") > 1), f.col("_n"))).alias("duplicate"),
        f.sum("_hash").cast("string").alias("digest"),
    ).first()
    if row is None or row["n"] is None:
        return Census(0, 0, 0, "0")
    return Census(row["n"], row["null"] or 0, row["duplicate"] or 0, row["digest"])


def split_rows(frame: DataFrame, key: Sequence[str], found: Census) -> tuple[DataFrame, DataFrame | None]:
    """Return the rows with a key of their own, and those without, with the reason in column ``_reason``."""
    from pyspark.sql import functions as f

    if not found.n_null_key and not found.n_duplicate:
        return frame, None
    null = _any_null(frame, key)
    bad = frame.where(null).withColumn("_reason", f.lit("NullKey"))
    good = frame.where(~null)
    if found.n_duplicate:
        twice = good.groupBy(*(column(good, name) for name in key)).agg(f.count(f.lit(1)).alias("_n"))
        twice = twice.where("_n > 1").drop("_n")
        bad = bad.unionByName(good.join(twice, list(key), "left_semi").withColumn("_reason", f.lit("DuplicateKey")))
        good = good.join(twice, list(key), "left_anti")
    return good, bad


def reject_rows(bad: DataFrame, key: Sequence[str]) -> DataFrame:
    """Return rows for the table of rejects from rows with a ``_reason``."""
    from pyspark.sql import functions as f

    names = ", ".join(key)
    message = f.when(f.col("_reason") == "NullKey", f.lit(f"a part of the key ({names}) is null")).otherwise(
        f.lit(f"another row has the same key ({names}); none of them is explained")
    )
    whole = f.struct(*(column(bad, name) for name in bad.columns if name != "_reason"))
    return bad.select(
        *(column(bad, name) for name in key),
        f.lit("key").alias("stage"),
        f.col("_reason").alias("error_class"),
        message.alias("message"),
        f.to_json(whole).alias("row"),
    )


def missing_rows(frame: DataFrame, explained: DataFrame, key: Sequence[str]) -> DataFrame:
    """Return the rows of `frame` whose key is not in `explained`."""
    return frame.join(explained.select(*(column(explained, name) for name in key)), list(key), "left_anti")


def _any_null(frame: DataFrame, key: Sequence[str]) -> Column:
    null = column(frame, key[0]).isNull()
    for name in key[1:]:
        null = null | column(frame, name).isNull()
    return null
