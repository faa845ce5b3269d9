"""Mixed data reach the model exactly as the background has them, from pandas and from Spark alike."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from games import credit_like, interacting
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spark_shap import Explainer
from spark_shap.data import german_credit_path
from spark_shap.engine.shipping import ship_module
from spark_shap.io.references import background_of, collect_columns

ship_module("games")  # what a model's own module imports has to be installed on the workers, or sent

GRADES = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)


class Strict:
    """A model that raises unless columns, order, dtypes and categories are those that it was made with."""

    def __init__(self, frame: pd.DataFrame):
        self.dtypes = frame.dtypes

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        if list(frame.columns) != list(self.dtypes.index):
            raise TypeError(f"columns {list(frame.columns)}")
        for name, dtype in self.dtypes.items():
            if frame[name].dtype != dtype:
                raise TypeError(f"{name}: {frame[name].dtype} is not {dtype}")
        for name in [name for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype) and dtype.hasobject]:
            kinds = {type(value) for value in frame[name]} - {type(None)}
            if not kinds <= {str, bool, dt.date, Decimal}:
                raise TypeError(f"{name}: {kinds}")
        # Every cell counts, missing ones too; numbers from hashes are the same in any batch.
        parts = [pd.util.hash_pandas_object(frame[name], index=False).to_numpy() % 1000 / 1000 for name in frame]
        return np.prod([1.0 + 0.1 * part for part in parts], axis=0) + sum(parts)


def mixed(n_rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)

    def gaps(values, share=0.2):
        return pd.Series(values, dtype=object).where(rng.random(n_rows) > share, None)

    days = [dt.date(2020, 1, 1) + dt.timedelta(int(day)) for day in rng.integers(0, 900, n_rows)]
    return pd.DataFrame(
        {
            "int": rng.integers(-5, 5, n_rows, dtype=np.int32),
            "bigint": rng.integers(-(2**60), 2**60, n_rows),
            "double": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows)),
            "bool": rng.random(n_rows) < 0.5,
            "text": gaps(rng.choice(["x", "y", "z"], n_rows)),
            "string": gaps(rng.choice(["x", "ü", ""], n_rows)).astype("string"),
            "grade": gaps(rng.choice(["low", "mid", "high"], n_rows)).astype(GRADES),
            "date": gaps(days),
            "stamp": pd.Series(pd.to_datetime(days) + pd.Timedelta("11:12:13.25")).astype("datetime64[ns]"),
            "amount": gaps([Decimal(int(cents)).scaleb(-2) for cents in rng.integers(100, 999, n_rows)]),
            "Int64": gaps(rng.integers(0, 9, n_rows)).astype("Int64"),
            "boolean": gaps(rng.random(n_rows) < 0.5).astype("boolean"),
        }
    )


TYPES = (
    "id string, int int, bigint bigint, double double, bool boolean, text string, string string, grade string, "
    "date date, stamp timestamp, amount decimal(9,2), Int64 bigint, boolean boolean"
)


def collect(explained) -> pd.DataFrame:
    """Explained rows by key, their values as arrays; no conversion of structs that depends on a version."""
    out = pd.DataFrame([row.asDict() for row in explained.collect()]).set_index(explained.columns[0])
    return out.assign(shap_values=[None if row is None else np.array(row) for row in out["shap_values"]])


def to_spark(spark, frame: pd.DataFrame):
    """Rows as Python objects: no conversion of pandas' own in between."""
    columns = ["id", *[name for name in frame.columns if name != "id"]]
    rows = frame[columns].astype(object).where(frame[columns].notna(), None)
    cells = [[one.to_pydatetime() if isinstance(one, pd.Timestamp) else one for one in row] for row in rows.to_numpy()]
    return spark.createDataFrame(cells, TYPES)


@pytest.fixture(scope="module")
def frames():
    return mixed(40), mixed(30, seed=1).assign(id=[f"A{row}" for row in range(30)])


def test_a_strict_model_never_sees_another_type(frames):
    background, rows = frames
    explainer = Explainer(Strict(background), background, n_evaluations=65)
    found = explainer(rows, key="id")
    assert found.predictions == pytest.approx(Strict(background)(rows[background.columns]), abs=0)
    assert np.abs(found.additivity_gap).max() < 1e-12
    # Rows as another program would deliver them give the same bits.
    loose = rows[rows.columns[::-1]].astype({"int": "int64", "grade": object, "string": object, "boolean": object})
    loose["Int64"] = loose["Int64"].astype("float64")
    loose["stamp"] = loose["stamp"].astype("datetime64[us]")
    assert np.array_equal(explainer(loose, key="id").values, found.values)


def test_spark_types_reach_the_model_as_the_backgrounds(spark, frames):
    background, rows = frames
    explainer = Explainer(Strict(background), background, n_evaluations=65)
    there = explainer(rows, key="id")
    out = collect(explainer.explain(to_spark(spark, rows), key="id")).loc[rows["id"]]
    assert out["error"].isna().all(), out["error"].dropna().iloc[0]
    values = np.stack(out["shap_values"])
    assert np.array_equal(values, there.values)
    assert np.array_equal(out["prediction"].to_numpy(), there.predictions)


def test_a_background_from_spark_has_the_types_of_the_rows_from_spark(spark, frames):
    rows = to_spark(spark, frames[1])
    background, _ = background_of(collect_columns(rows, frames[0].columns), frames[0].columns)
    assert background.dtypes.astype(str)[["int", "bool", "date"]].tolist() == ["int32", "bool", "object"]
    explainer = Explainer(Strict(background), rows, background_key="id", n_evaluations=33)
    assert explainer.feature_names == tuple(frames[0].columns)
    out = collect(explainer.explain(rows, key="id"))
    assert out["error"].isna().all(), out["error"].dropna().iloc[0]


def test_missing_values_survive_masking(frames):
    background, rows = frames
    count = []

    def model(frame):
        missing = frame.isna().to_numpy()
        count.append(missing.sum(axis=0))
        return missing @ np.arange(1.0, frame.shape[1] + 1)

    found = Explainer(model, background, method="sampling", n_evaluations=1025)(rows, key="id")
    # An additive model: each value is the feature's own effect against the background's mean.
    effect = (rows[background.columns].isna().to_numpy() - background.isna().mean().to_numpy()) * np.arange(1.0, 13.0)
    assert (np.abs(found.values - effect) <= 5 * found.std_errors + 1e-12).all()
    assert (np.sum(count, axis=0)[[2, 4, 5, 6, 7, 9, 10, 11]] > 0).all()


def test_all_numeric_rows_reach_the_model_as_one_block():
    names = list("abcdef")
    background = pd.DataFrame(credit_like(30, 6), columns=names)
    shared = []

    def model(frame):
        columns = [frame[name].to_numpy(copy=False) for name in names]
        values = frame.to_numpy(copy=False)
        shared.append(all(np.shares_memory(values, column) for column in columns))
        return interacting(values)

    Explainer(model, background, n_evaluations=33)(background)
    assert len(shared) > 2
    assert all(shared)


def test_columns_named_by_numbers_keep_their_names(spark):
    background = pd.DataFrame(credit_like(30, 5))

    def model(frame):
        if list(frame.columns) != [0, 1, 2, 3, 4] or frame.columns.dtype != np.int64:
            raise KeyError(f"{frame.columns!r}")
        return interacting(frame.to_numpy())

    explainer = Explainer(model, background, n_evaluations=33)
    assert explainer.feature_names == ("0", "1", "2", "3", "4")
    there = explainer(background.assign(id=range(30)), key="id")
    table = spark.createDataFrame(background.set_axis(list("01234"), axis=1).assign(id=range(30)))
    out = collect(explainer.explain(table, key="id")).sort_index()
    assert np.array_equal(np.stack(out["shap_values"]), there.values)


@pytest.fixture(scope="module")
def german():
    data = pd.read_csv(german_credit_path())
    return data, data.drop(columns=["application_id", "bad"])


def one_hot(features: pd.DataFrame, model, rest="passthrough"):
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    encoder = OneHotEncoder(handle_unknown="error", sparse_output=False)
    return make_pipeline(ColumnTransformer([("text", encoder, text)], remainder=rest), model)


@pytest.mark.parametrize("kind", ["trees", "logistic"])
def test_german_credit_through_a_pipeline_with_one_hot_encoding(spark, german, kind):
    data, features = german
    if kind == "trees":
        model = one_hot(features, HistGradientBoostingClassifier(max_iter=20, random_state=0))
    else:
        model = one_hot(features, LogisticRegression(max_iter=2000), StandardScaler())
    model.fit(features, data["bad"])
    explainer = Explainer(model, features.iloc[200:400], n_evaluations=65)
    assert (explainer.method, explainer.prepared.output_space, explainer.output_names) == (
        "sampling",
        "probability",
        ("1",),
    )
    rows = data.iloc[:60]
    there = explainer(rows, key="application_id")
    assert there.predictions == pytest.approx(model.predict_proba(features.iloc[:60])[:, 1], abs=1e-12)
    table = spark.read.csv(str(german_credit_path()), header=True, inferSchema=True).where("application_id < 'G0061'")
    out = collect(explainer.explain(table, key="application_id", keep="bad")).loc[rows["application_id"]]
    assert out["error"].isna().all()
    values = np.stack(out["shap_values"])
    tolerance = 0.0 if kind == "trees" else 1e-9  # trees: the same bits in any batch
    assert np.abs(values - there.values).max() <= tolerance
    assert np.abs(out["prediction"] - out["base_value"] - values.sum(axis=1)).max() < 1e-6
    # The column of a borrower's checking account matters most, as every study of these data finds.
    assert explainer.feature_names[np.abs(values).mean(axis=0).argmax()] == "checking_status"


def test_a_category_that_the_encoder_never_saw_is_reported_with_its_row(spark, german):
    data, features = german
    model = one_hot(features, LogisticRegression(max_iter=200), StandardScaler()).fit(features, data["bad"])
    explainer = Explainer(model, features.iloc[200:260], n_evaluations=33)
    rows = data.iloc[:20].copy()
    rows.loc[4, "purpose"] = "A4711"
    out = collect(explainer.explain(spark.createDataFrame(rows), key="application_id"))
    assert out["error"].notna().sum() == 1
    assert (out.loc["G0005", "error"]["stage"], "A4711" in out.loc["G0005", "error"]["message"]) == ("model", True)
