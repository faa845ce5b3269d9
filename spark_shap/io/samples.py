"""A bounded sample of the applicants with their features' values, for people to look at.

Attributions do not hold what the features were. Which rows are in the sample is decided by the hash of their keys
alone, so that the same rows can be found in every table of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import functions as F

from spark_shap import schema
from spark_shap.dataframes import quoted
from spark_shap.errors import InputError
from spark_shap.io.tables import read_table, replace_run, tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.io.location import Location

__all__ = ["SampledRows", "forget_sample", "sampled_rows", "write_sample"]

_HASHES = 1 << 40


def sampled_rows(df: DataFrame, *, key: Sequence[str], size: int, n_rows: int) -> DataFrame:
    """Return about `size` of `n_rows` rows, all where there are no more: those whose key's hash falls into that share.

    The number of rows is within a few times its square root of `size`, whatever `n_rows` is.
    """
    if n_rows <= size:
        return df
    hashed = F.xxhash64(F.lit("report"), *(F.col(quoted(name)) for name in key))
    return df.where(F.pmod(hashed, F.lit(_HASHES)) < F.lit(_HASHES * size // n_rows))


class SampledRows(NamedTuple):
    """What a sample is taken from.

    Attributes
    ----------
    applicants
        Rows with key and features.
    explained
        The run's attributions, in one or several outputs.
    key
        Columns that name a row.
    features
        Whose values are kept.
    """

    applicants: DataFrame
    explained: DataFrame
    key: Sequence[str]
    features: Sequence[str]


def write_sample(rows: SampledRows, location: Location, run_id: str, *, size: int, n_rows: int) -> None:
    """Write the table of samples of a run: about `size` of its `n_rows` explained applicants.

    Their features' values are JSON, since runs of different models may stand in one table.
    """
    keys = [F.col(quoted(name)) for name in rows.key]
    found = sampled_rows(rows.explained, key=rows.key, size=size, n_rows=n_rows).select(*keys)
    there = rows.applicants.join(F.broadcast(found), list(rows.key), "left_semi")
    values = F.to_json(F.struct(*(F.col(quoted(name)) for name in rows.features))).alias(schema.ROW)
    replace_run(tagged(there.select(*keys, values).coalesce(1), run_id), location, schema.SAMPLE, run_id)


def forget_sample(spark: SparkSession, location: Location, run_id: str) -> None:
    """Remove what the table of samples has of a run, if anything: an earlier attempt may have been asked to keep it."""
    try:
        there = read_table(spark, location, schema.SAMPLE, run_id)
    except InputError:
        return
    replace_run(there.limit(0), location, schema.SAMPLE, run_id)
