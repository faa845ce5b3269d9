from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pyspark
import pytest
from pyspark.sql import types as T

from spark_shap.io.local_rows import local_rows

KIND = T.StructType(
    [
        T.StructField("text", T.StringType()),
        T.StructField("whole", T.LongType()),
        T.StructField("real", T.DoubleType()),
        T.StructField("day", T.DateType()),
        T.StructField("time", T.TimestampType()),
        T.StructField("list", T.ArrayType(T.StringType())),
        T.StructField("map", T.MapType(T.StringType(), T.DoubleType())),
    ]
)
TIME = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-7)))


def test_values_stay_what_they_are(spark):
    row = ("ä'\n", -(2**62), 0.1, date(1883, 11, 18), TIME, ["a", ""], {"x": 0.5})
    nulls, empty = (None,) * 7, ("", 0, 0.0, date(2000, 2, 29), TIME, [], {})
    df = local_rows(spark, [row, nulls, empty], KIND)
    assert df.schema == KIND
    found = df.toArrow().to_pylist() if hasattr(df, "toArrow") else [r.asDict() for r in df.collect()]
    found = [tuple(dict(v) if k == "map" and v is not None else v for k, v in one.items()) for one in found]
    for one in found:
        assert one[4] is None or one[4].astimezone(UTC) == TIME
    without_time = [one[:4] + one[5:] for one in (row, nulls, empty)]
    assert [one[:4] + one[5:] for one in found] == without_time


@pytest.mark.skipif(pyspark.__version__.startswith("3."), reason="sessions take Arrow tables from Spark 4 on")
def test_no_python_worker_is_asked(spark):
    row = ("a", 1, 1.0, date(2000, 1, 1), TIME, [], {})
    for rows in ([row], []):
        df = local_rows(spark, rows, KIND)
        assert (df.schema, df.count()) == (KIND, len(rows))
        assert "PythonRDD" not in df._jdf.queryExecution().toRdd().toDebugString()
