"""Masking keeps values, dtypes and the single block of all-numeric rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from spark_shap import InputError
from spark_shap.models.frames import Background, background_rows


def mixed() -> pd.DataFrame:
    """Three rows of every dtype a table may have, with missing values where the dtype can hold them."""
    grades = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    return pd.DataFrame(
        {
            "int8": np.array([1, -2, 3], dtype="int8"),
            "int64": np.array([2**60, -5, 7]),
            "uint16": np.array([65535, 0, 9], dtype="uint16"),
            "float32": np.array([0.1, np.nan, -0.0], dtype="float32"),
            "float64": [0.1, np.nan, np.inf],
            "bool": [True, False, True],
            "object": pd.Series(["x", None, "z"], dtype=object),
            "string": pd.array(["x", None, "z"], dtype="string"),
            "category": pd.Categorical(["low", None, "high"], dtype=grades),
            "date": pd.Series([dt.date(2020, 2, 29), None, dt.date(9999, 12, 31)], dtype=object),
            "datetime": np.array(["2020-02-29T10:11:12.123456789", "NaT", "1900-01-01"], dtype="datetime64[ns]"),
            "zoned": pd.to_datetime(["2020-02-29", None, "1900-01-01"]).tz_localize("Europe/Berlin"),
            "duration": pd.to_timedelta(["1 days", None, "3 s"]),
            "Int64": pd.array([2**60 + 1, None, 3], dtype="Int64"),
            "Float64": pd.array([0.5, None, 3.5], dtype="Float64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
        }
    )


def hybrid(x: pd.DataFrame, z: pd.DataFrame, members: np.ndarray) -> pd.DataFrame:
    """The oracle: column by column, the value of x where a member, else that of z."""
    parts = [x[[name]] if on else z[[name]] for name, on in zip(x.columns, members, strict=True)]
    return pd.concat([part.reset_index(drop=True) for part in parts], axis=1)


def test_hybrids_take_each_value_from_the_right_row_whatever_the_dtype():
    frame = mixed()
    rows = background_rows(frame)
    rng = np.random.default_rng(0)
    members = rng.random((3, frame.shape[1], 4)) < 0.5
    index = rng.integers(0, 3, (3, 4))
    out = Background(rows).mix(rows, index, members)
    pd.testing.assert_series_equal(out.dtypes, frame.dtypes)
    for row in range(3):
        for pair in range(4):
            x, z = frame.iloc[[row]], frame.iloc[[index[row, pair]]]
            on = members[row, :, pair]
            place = row * 4 + pair
            expected = hybrid(x, z, on), hybrid(z, x, on), x.reset_index(drop=True)
            for at, one in zip((place, 12 + place, 24 + row), expected, strict=True):
                pd.testing.assert_frame_equal(out.iloc[[at]].reset_index(drop=True), one)


def test_numeric_rows_are_one_block_that_pandas_wraps_without_a_copy():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    rows = background_rows(frame)
    out = Background(rows).mix(rows, np.zeros((4, 2), dtype=np.intp), np.ones((4, 3, 2), dtype=bool))
    values = out.to_numpy(copy=False)
    assert np.shares_memory(values, out["a"].to_numpy(copy=False))
    assert np.shares_memory(values, out["c"].to_numpy(copy=False))
    assert values.flags.f_contiguous  # columns lie one after the other, as pandas stores them
    whole = rows.to_input()
    assert np.shares_memory(whole.to_numpy(copy=False), whole["b"].to_numpy(copy=False))


def test_arrays_stay_arrays_of_their_dtype_in_c_order():
    array = np.arange(12, dtype=np.int32).reshape(4, 3)
    rows = background_rows(array)
    out = Background(rows).mix(rows, np.ones((4, 2), dtype=np.intp), np.zeros((4, 3, 2), dtype=bool))
    assert (type(out), out.dtype, out.flags.c_contiguous) == (np.ndarray, np.int32, True)
    assert np.array_equal(out[:8], np.repeat(array[[1]], 8, axis=0))
    assert np.array_equal(out[16:], array)


def test_labels_that_are_no_strings_survive():
    frame = pd.DataFrame({7: [1.0, 2.0], "x": ["a", "b"], 3: [1, 2]})
    rows = background_rows(frame)
    assert list(rows.to_input().columns) == [7, "x", 3]
    assert rows.layout.names == ("7", "x", "3")
    numeric = background_rows(pd.DataFrame(np.ones((2, 3))))
    assert list(numeric.to_input().columns) == [0, 1, 2]
    with pytest.raises(InputError, match="column name '1' occurs more than once"):
        background_rows(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_a_missing_value_equals_a_missing_value_and_nothing_else():
    frame = mixed()
    rows = background_rows(frame)
    for row in range(3):
        same = rows.equal_to(rows.take(np.array([row])))
        assert same[row].all()
        other = [place for place in range(3) if place != row]
        # All columns differ from row to row, but for booleans that can only be two things.
        assert not same[other][:, [name != "bool" for name in frame.columns]].any()


def test_constant_features_are_inert_with_missing_values_too():
    frame = mixed().iloc[[1, 1, 1]]
    background = Background(background_rows(frame))
    assert background.constant.all()
    inert = background.inert(background_rows(mixed()))
    assert inert[1].all()
    assert not inert[0].any()
