"""A key is the same key in pandas, Arrow and Spark."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark_shap import InputError
from spark_shap.engine.keys import hash_columns, null_keys


def hashed(*columns):
    names = [f"k{index}" for index in range(len(columns))]
    return hash_columns([pa.chunked_array([one]) for one in columns], names)[0].tolist()


STAMP = dt.datetime(2020, 7, 1, 10, 0, 0, 500_000)


@pytest.mark.parametrize(
    "forms",
    [
        [pa.array([17, -3], pa.int8()), pa.array([17, -3], pa.int64()), pa.array(["17", "-3"])],
        [pa.array(["ü", ""]), pa.array(["ü", ""], pa.large_string()), pa.array(["ü", ""]).dictionary_encode()],
        [pa.array([True, False]), pa.array(["true", "false"])],
        [pa.array([dt.date(2020, 2, 29)]), pa.array([dt.date(2020, 2, 29)], pa.date64()).cast(pa.date32())],
        [pa.array([Decimal("1.50")]), pa.array([Decimal("1.50")], pa.decimal128(20, 2))],
        [
            # One instant: Spark shows it in the session's zone, pandas without one, in any unit.
            pa.array([STAMP], pa.timestamp("us", "UTC")),
            pa.array([STAMP], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "America/New_York")),
            pa.array([STAMP], pa.timestamp("ms")),
            pa.array(pd.Series([STAMP]).astype("datetime64[ns]")),
        ],
    ],
)
def test_one_key_in_every_form_of_its_type(forms):
    assert len({tuple(hashed(form)) for form in forms}) == 1


def test_the_hash_is_pinned():
    # Another hash would change every sampled value of every earlier run.
    assert hashed(pa.array(["A1"])) == [16426274000747161350]
    assert hashed(pa.array(["A1"]), pa.array([2])) == [8850648767671734313]


def test_nanoseconds_tell_keys_apart_and_do_not_touch_their_company():
    times = pd.Series(np.array(["2020-01-01T00:00:00.000000001", "2020-01-01"], dtype="datetime64[ns]"))
    both = hashed(pa.array(times))
    assert both[0] != both[1]
    assert both[1] == hashed(pa.array(times[1:]))[0]


def test_parts_are_kept_apart():
    one, other = hashed(pa.array(["a", "ab"]), pa.array(["bc", "c"]))
    assert one != other
    assert hashed(pa.array(["a"]), pa.array(["b"])) != hashed(pa.array(["b"]), pa.array(["a"]))


def test_nulls_are_found_in_any_part():
    _, null = hash_columns([pa.array(["a", None, "c"]), pa.array([1, 2, None])], ["k", "l"])
    assert null.tolist() == [False, True, True]
    chunks = pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["c"]).dictionary_encode()])
    assert null_keys([chunks, pa.array([1, 2, None])], ["k", "l"]).tolist() == [False, True, True]
    assert hash_columns([pa.array([], pa.string())], ["k"])[0].shape == (0,)


@pytest.mark.parametrize("column", [pa.array([1.0]), pa.array([[1]]), pa.array([b"x"]), pa.array([{"a": 1}])])
def test_types_without_one_text_are_refused(column):
    with pytest.raises(InputError, match=rf"key column 'k' has type {column.type}, which is no safe key"):
        hash_columns([column], ["k"])
    with pytest.raises(InputError, match=rf"key column 'k' has type {column.type}, which is no safe key"):
        null_keys([column], ["k"])
