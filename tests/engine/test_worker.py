"""The worker without Spark: Arrow batches cut anyhow in, every row out exactly once."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_shap import Explainer, InputError
from spark_shap.engine.shipping import _Inline, dumps, load
from spark_shap.engine.worker import Columns, RejectLimit, explain_batches, output_schema
from spark_shap.errors import TooManyRejectsError

KEY = Columns(("id",), ())


def score(frame: pd.DataFrame) -> np.ndarray:
    """A model of mixed columns, the same number for a row in any batch."""
    grade = frame["grade"].cat.codes.to_numpy(dtype=float)
    income = frame["income"].fillna(-1.0).to_numpy()
    return frame["age"].to_numpy() * 0.01 + grade * income + (frame["city"] == "Ulm") * 0.3


def applicants(n_rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, n_rows),
            "income": np.where(rng.random(n_rows) < 0.1, np.nan, rng.lognormal(size=n_rows)),
            "grade": pd.Categorical(rng.choice(["a", "b", "c"], n_rows), categories=["c", "b", "a"], ordered=True),
            "city": rng.choice(np.array(["Ulm", "Köln"], dtype=object), n_rows),
            "id": [f"A{row}" for row in range(n_rows)],
        }
    )


@pytest.fixture(scope="module")
def explainer():
    return Explainer(score, applicants(40).drop(columns="id"), n_evaluations=17, method="sampling")


def arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame.assign(grade=frame["grade"].astype(object)), preserve_index=False)


def explained(prepared, batches, columns=KEY, limit=None) -> pa.Table:
    found = list(explain_batches(batches, prepared, columns=columns, limit=limit))
    return pa.Table.from_batches(found) if found else None


def ordered(table: pa.Table) -> list:
    return table.sort_by([("id", "ascending"), ("output", "ascending")]).to_pylist()


def test_batches_cut_anyhow_give_the_same_bits(explainer):
    table = arrow(applicants(300, seed=1))
    empty = table.slice(0, 0).to_batches()[:1] or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    whole = ordered(explained(explainer.prepared, table.to_batches()))
    cuts = {
        "single rows": table.to_batches(max_chunksize=1),
        "uneven, with empty ones": [*empty, *table.to_batches(max_chunksize=7), *empty],
        "backwards": [one for start in range(280, -1, -20) for one in table.slice(start, 20).to_batches()],
    }
    assert len(whole) == 300
    for name, batches in cuts.items():
        assert ordered(explained(explainer.prepared, batches)) == whole, name
    assert explained(explainer.prepared, []) is None
    assert explained(explainer.prepared, empty * 3) is None


def test_the_same_as_the_call_on_a_frame(explainer):
    frame = applicants(50, seed=1)
    found = explained(explainer.prepared, arrow(frame).to_batches(max_chunksize=9))
    there = explainer(frame, key="id")
    values = np.array([list(row.values()) for row in found["shap_values"].to_pylist()])
    assert np.array_equal(values, there.values)
    assert np.array_equal(found["prediction"].to_numpy(), there.predictions)
    assert np.array_equal(found["base_value"].to_numpy(), there.base_values)
    errors = np.array([list(row.values()) for row in found["std_errors"].to_pylist()])
    assert np.array_equal(errors, there.std_errors.astype(np.float32))
    assert found["n_evaluations"].to_pylist() == there.n_evaluations.tolist()
    gap = found["prediction"].to_numpy() - found["base_value"].to_numpy() - values.sum(axis=1)
    assert np.abs(gap).max() < 1e-12
    assert found["additivity_gap"].to_pylist() == pytest.approx(gap, abs=1e-15)


def test_portions_have_the_planned_size_whatever_the_batches(explainer):
    calls = []

    def watched(frame):
        calls.append(len(frame))
        return score(frame)

    prepared = Explainer(watched, applicants(40).drop(columns="id"), n_evaluations=17, method="sampling").prepared
    table = arrow(applicants(9000, seed=1))
    calls.clear()
    assert explained(prepared, table.to_batches(max_chunksize=100)).num_rows == 9000
    assert sum(calls) == 9000 * 17
    assert max(calls) <= 8192
    # The first portions are small, so that a bad partition shows early; then a portion is whole blocks, and
    # only what is left over at the end makes a smaller call.
    assert calls[0] == 256 * 17
    assert min(calls[4:-1]) > 7500


def test_every_kind_of_bad_row_is_rejected_alone(explainer):
    frame = applicants(60, seed=1)
    clean = {row["id"]: row for row in explained(explainer.prepared, arrow(frame).to_batches()).to_pylist()}

    def fails(rows):
        if (rows["age"] == 999).any():
            raise KeyError("rate class 9")
        out = score(rows)
        return np.where(rows["age"] == 998, np.nan, out)

    prepared = Explainer(fails, applicants(40).drop(columns="id"), n_evaluations=17, method="sampling").prepared
    ages = frame["age"].astype(object)
    ages[3], ages[7], ages[8] = None, 999, 998
    dirty = arrow(frame).to_pydict() | {"age": ages.tolist()}
    dirty["id"][20], dirty["grade"][31] = None, "z"
    table = pa.table(dirty)
    rows = explained(prepared, table.to_batches(max_chunksize=11)).to_pylist()
    assert len(rows) == 60
    errors = {row["id"]: row["error"] for row in rows if row["error"] is not None}
    assert {key: (one["stage"], one["error_class"]) for key, one in errors.items()} == {
        None: ("key", "NullKey"),
        "A3": ("input", "ValueDoesNotFit"),
        "A7": ("model", "KeyError"),
        "A8": ("model", "NonFinitePrediction"),
        "A31": ("input", "ValueDoesNotFit"),
    }
    assert "'age'" in errors["A3"]["message"]
    assert "'rate class 9'" in errors["A7"]["message"]
    assert "value 'z' does not fit dtype category" in errors["A31"]["message"]
    assert json.loads(errors["A7"]["row"]) == table.slice(7, 1).to_pylist()[0]
    bad = [row for row in rows if row["error"] is not None]
    assert all(row[name] is None for row in bad for name in ("output", "prediction", "shap_values", "n_evaluations"))
    # The blocks with a bad row were halved down to it; all others keep their bits.
    good = {row["id"]: row for row in rows if row["error"] is None}
    assert good == {key: clean[key] for key in good}
    assert len(good) == 55


def test_a_closed_form_rejects_null_keys_and_hashes_none(monkeypatch):
    frame = applicants(30)[["age", "income"]].fillna(0.0)
    prepared = Explainer(LinearRegression().fit(frame, np.arange(30)), frame).prepared
    monkeypatch.delattr("spark_shap.engine.worker.hash_columns")
    table = pa.table({**frame, "id": [f"A{row}" if row != 4 else None for row in range(30)]})
    rows = explained(prepared, table.to_batches(max_chunksize=7)).to_pylist()
    assert [row["error"]["error_class"] for row in rows if row["error"]] == ["NullKey"]
    assert len({row["id"] for row in rows}) == len(rows) == 30


def test_catboost_in_a_pipeline_takes_one_thread():
    """Its own setting does not count when it predicts, and on the driver it is left as it is."""
    catboost = pytest.importorskip("catboost")
    x = np.random.default_rng(0).normal(size=(60, 3))
    given = {"iterations": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    model = make_pipeline(StandardScaler(), catboost.CatBoostClassifier(**given)).fit(x, x[:, 0] > 0)
    prepared = Explainer(model, x, n_evaluations=5, method="sampling", surrogate_evaluations=0).prepared
    there = load(_Inline("of this test", dumps(prepared)))
    predictor = there.method.game.predict
    assert predictor.function.model[-1].predict_proba.keywords == {"thread_count": 1}
    np.testing.assert_array_equal(predictor(x)[:, 0], model.predict_proba(x)[:, 1])
    assert not hasattr(model[-1].predict_proba, "keywords")


def test_a_rejected_row_is_json_that_anyone_reads():
    def model(rows):
        if np.isinf(rows["a"]).any():
            raise ValueError("infinite")
        return rows["a"].fillna(0.0) + rows["b"]

    background = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [1.0, 2.0, 3.0]})
    prepared = Explainer(model, background, n_evaluations=9).prepared
    table = pa.table({"id": [dt.date(2020, 1, 1)], "a": [np.inf], "b": [np.nan]})
    text = explained(prepared, table.to_batches())["error"].to_pylist()[0]["row"]

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {"id": "2020-01-01", "a": "inf", "b": "nan"}


def test_large_integers_do_not_depend_on_a_null_in_their_company():
    background = pd.DataFrame({"n": [1, 2, 2**60], "f": [1.0, 2.0, 3.0]})
    prepared = Explainer(lambda rows: rows["n"] % 7 + rows["f"], background, n_evaluations=9).prepared
    table = pa.table({"id": ["a", "b"], "n": pa.array([2**60 + 3, None]), "f": [1.5, 2.5]})
    together = explained(prepared, table.to_batches()).to_pylist()
    assert [row["error"] is None for row in together] == [True, False]
    assert explained(prepared, table.slice(0, 1).to_batches()).to_pylist() == together[:1]


def test_the_limit_by_count_and_by_share(explainer):
    table = arrow(applicants(1000, seed=1))
    grades = np.array(table["grade"].to_pylist(), dtype=object)
    grades[::10] = "z"
    table = table.set_column(table.schema.get_field_index("grade"), "grade", pa.array(grades))

    def run(**limit):
        return explained(explainer.prepared, table.to_batches(), limit=RejectLimit(**limit)).num_rows

    assert run(count=100) == run(share=0.1) == run() == 1000
    with pytest.raises(TooManyRejectsError, match=r"100 of the first 1000 rows .* \(99 rows\)\. First.*'z' does"):
        run(count=99)
    with pytest.raises(TooManyRejectsError, match=r"max_rejects allows \(0.04 of the rows\)"):
        run(share=0.04)


def test_the_limit_by_share_waits_until_there_is_no_doubt():
    RejectLimit(share=0.0).check(199, 199, ["x"])
    RejectLimit(share=0.01).check(1000, 20, ["x"])
    with pytest.raises(TooManyRejectsError, match="25 of the first 1000"):
        RejectLimit(share=0.01).check(1000, 25, ["x"])


def test_several_outputs_are_lines_of_their_own(explainer):
    def model(rows):
        one = score(rows)
        return np.stack([one, 2.0 * one], axis=1)

    background = applicants(40).drop(columns="id")
    names = ["single", "double"]
    prepared = Explainer(model, background, n_evaluations=17, output_names=names, method="sampling").prepared
    table = arrow(applicants(30, seed=1))
    single = explained(explainer.prepared, table.to_batches()).to_pylist()
    rows = explained(prepared, table.to_batches(max_chunksize=4)).to_pylist()
    assert [(row["id"], row["output"]) for row in rows[:4]] == [
        ("A0", "single"), ("A0", "double"), ("A1", "single"), ("A1", "double"),
    ]  # fmt: skip
    assert len(rows) == 60
    for one, two, alone in zip(rows[::2], rows[1::2], single, strict=True):
        assert two["prediction"] == 2 * one["prediction"] == 2 * alone["prediction"]
        # The control variate is rounded, so that two outputs in proportion are so within their errors only.
        gap = two["shap_values"]["age"] - 2 * one["shap_values"]["age"]
        assert abs(gap) < 0.1 * two["std_errors"]["age"]
        assert one["base_value"] == pytest.approx(alone["base_value"])


def test_keys_and_kept_columns_of_every_type_travel_unchanged(explainer):
    frame = applicants(20, seed=1)
    table = arrow(frame).append_column("day", pa.array([dt.date(2020, 1, 1 + row) for row in range(20)]))
    columns = Columns(("id", "day", "age"), ("city", "income"))  # a key and two kept columns are features too
    found = explained(explainer.prepared, table.to_batches(max_chunksize=3), columns=columns)
    assert found.schema == output_schema(explainer.prepared, columns, table.schema)
    for name in (*columns.key, *columns.keep):
        assert found[name].to_pylist() == table[name].to_pylist()
    assert found.column_names == [
        "id", "day", "age", "output", "prediction", "base_value", "shap_values", "std_errors", "n_evaluations",
        "converged", "additivity_gap", "city", "income", "error",
    ]  # fmt: skip
    other = explained(explainer.prepared, table.to_batches())
    assert found["shap_values"] != other["shap_values"]  # the key is what seeds a row


def test_float_keys_are_refused(explainer):
    table = arrow(applicants(3).assign(id=[1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="key column 'id' has type double, which is no safe key"):
        explained(explainer.prepared, table.to_batches())


def test_nothing_is_thresholded_and_the_method_is_recorded(explainer):
    """What is small stays: a feature of almost no weight has its value."""
    background = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 6)), columns=list("abcdef"))
    slopes = np.array([1e-3, 1e-6, 1e-9, 1e-12])

    def model(rows):
        x = rows.to_numpy()
        return np.sin(x[:, 0] * x[:, 1]) + (x[:, 2:] * slopes).sum(axis=1)

    exact = Explainer(model, background, method="exact")
    assert exact.method_reason == "method='exact' was asked for"
    assert explainer.method_reason.startswith("method='sampling' was asked for; ")
    assert "enumeration would take 3.10e+3" in Explainer(model, background).method_reason
    table = pa.Table.from_pandas(background.assign(id=range(50)), preserve_index=False)
    found = explained(exact.prepared, table.to_batches()).to_pylist()
    values = np.array([list(row["shap_values"].values()) for row in found])[:, 2:]
    effects = (background - background.mean()).to_numpy()[:, 2:] * slopes
    assert np.abs(values - effects).max() < 1e-14
    assert {row["n_evaluations"] for row in found} == {2 * 31 * 50 + 1}
