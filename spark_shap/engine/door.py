"""Checking applicants at the door: how many there are, which keys are null or taken twice, what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_shap.dataframes import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

__all__ = ["REASON", "Census", "census", "missing_rows", "reject_rows", "sample_keys", "split_rows", "without_rows"]

# Columns beside the user's own, hence the unlikely names.
REASON = "__spark_shap_reason"
_HASHES = 1 << 40
_SHIFTS = (0, 22, 44)
_PIECE = 1 << 22
_N, _HASH = "__spark_shap_n", "__spark_shap_hash"


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

    values = [_hashable(frame, name) for name in frame.columns]
    # A hash of several columns skips nulls: without the flags (1, null) and (null, 1) would be the same.
    hashed = f.xxhash64(*values, *(value.isNull() for value in values))
    # In pieces, whose sums fit 64 bits: summing decimals took as long as all the rest.
    pieces = [f.shiftright(hashed, shift).bitwiseAND(f.lit(_PIECE - 1)) for shift in _SHIFTS[:-1]]
    pieces.append(f.shiftright(hashed, _SHIFTS[-1]))
    keys = [column(frame, name) for name in key]
    names = [f"{_HASH}{shift}" for shift in _SHIFTS]
    sums = [f.sum(piece).alias(name) for piece, name in zip(pieces, names, strict=True)]
    by_key = frame.groupBy(*keys).agg(f.count(f.lit(1)).alias(_N), *sums)
    null = _any_null(by_key, key)
    row = by_key.agg(
        f.sum(_N).alias("n"),
        f.sum(f.when(null, f.col(_N))).alias("null"),
        f.sum(f.when(~null & (f.col(_N) > 1), f.col(_N))).alias("duplicate"),
        *(f.sum(name).alias(name) for name in names),
    ).first()
    if row is None or row["n"] is None:
        return Census(0, 0, 0, "0")
    digest = sum(int(row[name]) << shift for name, shift in zip(names, _SHIFTS, strict=True))
    return Census(row["n"], row["null"] or 0, row["duplicate"] or 0, str(digest))


def split_rows(frame: DataFrame, key: Sequence[str], found: Census) -> tuple[DataFrame, DataFrame | None]:
    """Return the rows with a key of their own, and those without, with the reason in column `REASON`."""
    from pyspark.sql import functions as f

    if not found.n_null_key and not found.n_duplicate:
        return frame, None
    null = _any_null(frame, key)
    bad = frame.where(null).withColumn(REASON, f.lit("NullKey"))
    good = frame.where(~null)
    if found.n_duplicate:
        twice = good.groupBy(*(column(good, name) for name in key)).agg(f.count(f.lit(1)).alias(_N))
        twice = twice.where(f.col(_N) > 1).drop(_N)
        bad = bad.unionByName(good.join(twice, list(key), "left_semi").withColumn(REASON, f.lit("DuplicateKey")))
        good = good.join(twice, list(key), "left_anti")
    return good, bad


def without_rows(frame: DataFrame) -> DataFrame:
    """Return the frame of rejected rows where there are none."""
    from pyspark.sql import functions as f

    return frame.limit(0).withColumn(REASON, f.lit(None).cast("string"))


def sample_keys(frame: DataFrame, key: Sequence[str], share: float, seed: int) -> DataFrame:
    """Return the rows whose key's hash falls into a share of all hashes: the same ones however they lie."""
    from pyspark.sql import functions as f

    hashed = f.xxhash64(f.lit(f"audit {seed}"), *(_hashable(frame, name) for name in key))
    return frame.where(f.pmod(hashed, f.lit(_HASHES)) < f.lit(round(share * _HASHES)))


def reject_rows(bad: DataFrame, key: Sequence[str]) -> DataFrame:
    """Return rows for the table of rejects from rows with a `REASON`."""
    from pyspark.sql import functions as f

    names = ", ".join(key)
    message = f.when(f.col(REASON) == "NullKey", f.lit(f"a part of the key ({names}) is null")).otherwise(
        f.lit(f"another row has the same key ({names}); none of them is explained")
    )
    whole = f.struct(*(column(bad, name) for name in bad.columns if name != REASON))
    return bad.select(
        *(column(bad, name) for name in key),
        f.lit("key").alias("stage"),
        f.col(REASON).alias("error_class"),
        message.alias("message"),
        f.to_json(whole).alias("row"),
    )


def missing_rows(frame: DataFrame, explained: DataFrame, key: Sequence[str]) -> DataFrame:
    """Return the rows of `frame` whose key is not in `explained`."""
    return frame.join(explained.select(*(column(explained, name) for name in key)), list(key), "left_anti")


def _hashable(frame: DataFrame, name: str) -> Column:
    from pyspark.sql import functions as f

    value = column(frame, name)
    return f.to_json(value) if dict(frame.dtypes)[name].startswith("map<") else value  # maps have no hash


def _any_null(frame: DataFrame, key: Sequence[str]) -> Column:
    null = column(frame, key[0]).isNull()
    for name in key[1:]:
        null = null | column(frame, name).isNull()
    return null
