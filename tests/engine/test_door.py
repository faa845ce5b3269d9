"""Counting applicants and hashing their content."""

from __future__ import annotations

from pyspark.sql import functions as f

from spark_shap.engine.door import census


def test_the_digest_is_the_sum_of_the_rows_hashes(spark):
    rows = spark.createDataFrame(
        [(1, "a", 0.5), (2, None, 1.5), (2, "b", None), (None, "c", 2.5)], "id long, b string, c double"
    )
    found = census(rows, ["id"])
    hashed = rows.select(f.xxhash64("id", "b", "c", *(f.col(name).isNull() for name in rows.columns)).alias("hash"))
    assert found.digest == str(sum(row["hash"] for row in hashed.collect()))
    assert (found.n_rows, found.n_null_key, found.n_duplicate) == (4, 1, 2)
    assert census(rows.repartition(3), ["id"]) == found
    assert census(rows.limit(0), ["id"]).digest == "0"
