"""Rows take the background's dtypes value by value: exactly, or marked."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark_shap import InputError
from spark_shap.models.conform import conform, frame_from_arrow
from spark_shap.models.encoding import fit_encoder
from spark_shap.models.frames import background_rows


def fit(background: pd.Series, rows: pd.Series) -> tuple[pd.Series, list[int]]:
    layout = background_rows(pd.DataFrame({"a": background})).layout
    found, problems = conform(pd.DataFrame({"a": rows}), layout)
    return pd.Series(found.columns[0], dtype=found.columns[0].dtype), sorted(problems)


def series(values, dtype=None) -> pd.Series:
    return pd.Series(values, dtype=dtype)


DAYS = [dt.date(2020, 2, 29), dt.date(9999, 12, 31), None]
GRADES = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
BERLIN = "datetime64[ns, Europe/Berlin]"


@pytest.mark.parametrize(
    ("background", "rows", "expected", "bad"),
    [
        # Into integers: whole numbers of any type that fit; the rest is marked.
        (series([1], "int8"), series([127, 128, -129], "int64"), [127, 0, 0], [1, 2]),
        (series([1], "int64"), series([1.0, np.nan, 1.5, 2.0**60]), [1, 0, 0, 0], [1, 2, 3]),
        (series([1], "int64"), series([2**60 + 1, None], "Int64"), [2**60 + 1, 0], [1]),
        (series([1], "int64"), series([2**60 + 1, None], object), [2**60 + 1, 0], [1]),
        (series([1], "int64"), series([Decimal(3), None, Decimal("0.5")], object), [3, 0, 0], [1, 2]),
        (series([1], "uint8"), series([-1, 255], "int64"), [0, 255], [0]),
        (series([1], "uint64"), series([2**64 - 1, 1], "uint64"), [2**64 - 1, 1], []),
        # Into floats: what a float holds exactly.
        (series([1.0]), series([2**53, 2**53 + 1], "int64"), [2.0**53, None], [1]),
        (series([1.0]), series([Decimal("0.1"), None], object), [0.1, np.nan], []),
        (series([1.0]), series([1, None], "Int64"), [1.0, np.nan], []),
        (series([1.0]), series([None, None], object), [np.nan, np.nan], []),
        (series([1.0], "float32"), series([0.5, 1e300, np.inf, np.nan]), [0.5, None, np.inf, np.nan], [1]),
        # Into booleans.
        (series([True]), series([True, None, False], object), [True, None, False], [1]),
        (series([True]), series([True, None], "boolean"), [True, None], [1]),
        # Into nullable dtypes: missing fits.
        (series([1], "Int64"), series([1.0, np.nan, 1.5]), [1, pd.NA, None], [2]),
        (series([1], "Int8"), series([2**60 + 1, None, 3], "Int64"), [None, pd.NA, 3], [0]),
        (series([1], "Float64"), series([1.5, np.nan]), [1.5, pd.NA], []),
        (series([True], "boolean"), series([True, None, False], object), [True, pd.NA, False], []),
        # Into text.
        (series(["x"], object), series(["a", None], "string"), ["a", np.nan], []),
        (series(["x"], "string"), series(["a", None], object), ["a", pd.NA], []),
        # Into categories: those of the background only.
        (series(["low"], GRADES), series(["mid", None, "none"], object), ["mid", np.nan, None], [2]),
        (series(["low"], GRADES), series(["high", "low"], "category"), ["high", "low"], []),
        (series([1], pd.CategoricalDtype([3, 1])), series([1.0, np.nan, 2.0]), [1, np.nan, None], [2]),
        # Into times: dates become midnights; what nanoseconds cannot hold is marked, not wrapped.
        (series(["2020-01-01"], "datetime64[ns]"), series(DAYS, object), [pd.Timestamp(DAYS[0]), None, pd.NaT], [1]),
        (series(["2020-01-01"], "datetime64[s]"), series(DAYS, object), [pd.Timestamp(day) for day in DAYS], []),
        (
            series(["2020-01-01"], "datetime64[s]"),
            series(["2020-01-01 10:00:00", "2020-01-01 10:00:00.5"], "datetime64[us]"),
            [pd.Timestamp("2020-01-01 10:00:00"), None],
            [1],
        ),
        # Spark's timestamps have the session's zone; toPandas, and so the background, has its clock.
        (series(["2020-01-01"], "datetime64[ns]"), series(["2020-07-01"], BERLIN), [pd.Timestamp("2020-07-01")], []),
        (
            series(["2020-01-01"], "datetime64[ns, UTC]"),
            series(["2020-07-01", None], BERLIN),
            [pd.Timestamp("2020-06-30 22:00", tz="UTC"), pd.NaT],
            [],
        ),
        (series(["1 days"], "timedelta64[ns]"), series([dt.timedelta(2)], object), [pd.Timedelta(days=2)], []),
    ],
)
def test_values_fit_exactly_or_are_marked(background, rows, expected, bad):
    found, problems = fit(background, rows)
    assert found.dtype == background.dtype
    assert problems == bad
    for row, value in enumerate(expected):
        if row not in bad:
            missing = value is None or pd.isna(value)
            assert pd.isna(found[row]) if missing else found[row] == value
    # A row fares alone as in company.
    for row in range(len(rows)):
        alone, problem = fit(background, rows.iloc[[row]])
        assert bool(problem) == (row in bad)
        assert problem or pd.isna(alone[0]) == pd.isna(found[row])
        assert problem or pd.isna(alone[0]) or alone[0] == found[row]


@pytest.mark.parametrize(
    ("background", "rows"),
    [
        (series([1]), series(["1"], object)),
        (series([1]), series([True])),
        (series([1.0]), series([dt.date(2020, 1, 1)], object)),
        (series([True]), series([1])),
        (series([True], "boolean"), series([1.0])),
        (series([1], "Int64"), series([True])),
        (series([1], "Int64"), series(["1"], object)),
        (series(["x"], object), series([1])),
        (series(["x"], object), series(["2020-01-01"], "datetime64[ns]")),
        (series(["x"], "string"), series([1], object)),
        (series(["2020-01-01"], "datetime64[ns]"), series(["2020-01-01"], object)),
        (series(["2020-01-01"], "datetime64[ns]"), series([1])),
        (series(["2020-01-01"], BERLIN), series(["2020-01-01"], "datetime64[ns]")),
    ],
)
def test_a_column_of_another_kind_is_refused(background, rows):
    with pytest.raises(InputError, match=r"feature 'a': the rows have dtype .* the background has .*convert"):
        fit(background, rows)


def test_columns_are_found_by_name_in_any_order_and_extra_ones_ignored():
    layout = background_rows(pd.DataFrame({"a": [1], 2: ["x"]})).layout
    rows, _ = conform(pd.DataFrame({"z": [0], "2": ["y"], "a": [5]}), layout)
    assert rows.to_input().equals(pd.DataFrame({"a": [5], 2: ["y"]}))
    with pytest.raises(InputError, match=r"feature '2' is missing \(1 of 2 features: 2\)"):
        conform(pd.DataFrame({"a": [1]}), layout)
    with pytest.raises(InputError, match=r"an array of shape \(1, 3\) where the background has 2 features"):
        conform(np.ones((1, 3)), layout)


def test_missing_texts_get_the_backgrounds_marker_wherever_they_come_from():
    layout = background_rows(pd.DataFrame({"a": pd.Series(["x", None], dtype=object)})).layout
    for missing in (None, np.nan, pd.NA):
        rows, problems = conform(pd.DataFrame({"a": pd.Series(["y", missing], dtype=object)}), layout)
        assert rows.columns[0][1] is None
        assert not problems


def test_arrow_integers_next_to_nulls_keep_all_digits():
    table = pa.table({"a": pa.array([2**60 + 1, None]), "b": pa.array([1, 2])})
    assert frame_from_arrow(table)["a"].dtype == np.float64
    frame = frame_from_arrow(table, whole_integers=True)
    assert frame["a"].tolist() == [2**60 + 1, pd.NA]
    assert frame["b"].dtype == np.int64


def test_encoding_takes_every_dtype_and_orders_categories_by_score():
    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, np.inf, 4.0],
            "text": ["b", "a", "b", None],
            "constant": [1, 1, 1, 1],
            "Int64": pd.array([1, None, 3, 4], dtype="Int64"),
            "time": pd.to_datetime(["2020", None, "2021", "2022"]),
        }
    )
    rows = background_rows(frame)
    out = fit_encoder(rows, np.array([0.9, 0.1, 0.7, 0.2]))(rows)
    assert out.shape == (4, 5)
    missing = [[0, 0, 0, 0, 0], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert (np.isnan(out) == np.array(missing, dtype=bool)).all(), "missing and infinite values"
    assert out[0, 1] == out[2, 1] > out[1, 1], "b scores higher than a"


def test_integer_categories_with_a_missing_value():
    kind = pd.CategoricalDtype([30, 10, 20])
    background = pd.DataFrame({"a": pd.Categorical([10, 20, 30], dtype=kind)})
    given = pd.DataFrame({"a": pd.Categorical([10, None, 20, 40], categories=[10, 20, 30, 40])})
    rows, problems = conform(given, background_rows(background).layout)
    assert list(rows.columns[0].codes) == [1, -1, 2, -1]
    assert list(problems) == [3], "40 is no category of the background"


def test_a_long_value_is_shown_in_part() -> None:
    layout = background_rows(pd.DataFrame({"a": pd.Series(["low"], dtype=GRADES)})).layout
    _, problems = conform(pd.DataFrame({"a": ["x" * 100_000]}), layout)
    assert problems[0].startswith("feature 'a': value 'xxx")
    assert len(problems[0]) < 300
