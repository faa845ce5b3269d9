"""Arrow types as Spark types: a worker's output is declared once, in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

__all__ = ["spark_schema", "spark_type"]


def spark_schema(schema: pa.Schema) -> StructType:
    """Return a Spark schema."""
    from pyspark.sql import types as t

    return t.StructType([t.StructField(field.name, spark_type(field.type)) for field in schema])


def spark_type(kind: pa.DataType) -> DataType:
    """Return the Spark type of what workers yield: plain numbers, texts, truth values, lists and structs."""
    from pyspark.sql import types as t

    if pa.types.is_list(kind):
        return t.ArrayType(spark_type(kind.value_type))
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return t.StructType([t.StructField(field.name, spark_type(field.type)) for field in fields])
    plain: dict[pa.DataType, DataType] = {
        pa.string(): t.StringType(),
        pa.bool_(): t.BooleanType(),
        pa.int8(): t.ByteType(),
        pa.int32(): t.IntegerType(),
        pa.int64(): t.LongType(),
        pa.float32(): t.FloatType(),
        pa.float64(): t.DoubleType(),
    }
    return plain[kind]
