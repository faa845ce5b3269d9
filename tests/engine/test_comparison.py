"""Several references on one worker: one prediction a row, failures once, agreement of what matters most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from games import credit_like, interacting

from spark_shap import Explainer
from spark_shap.core.agreement import shared_top
from spark_shap.engine.worker import Columns, explain_batches

NAMES = [f"f{index}" for index in range(6)]
DATA = pd.DataFrame(credit_like(90, 6), columns=NAMES)
COLUMNS = Columns(("id",), ())


class Counting:
    def __init__(self):
        self.rows = 0

    def __call__(self, rows):
        self.rows += len(rows)
        if (rows["f0"] > 1e6).any():
            raise ValueError("too much")
        return interacting(rows.to_numpy())


@pytest.fixture
def model():
    return Counting()


def several(model, **options):
    made = [Explainer(model, part, seed=4, **options).prepared for part in (DATA[:30], DATA[30:50])]
    first, second = (replace(one, reference=name) for one, name in zip(made, ("first", "second"), strict=True))
    return replace(first, others=(second,)), second


def lines(prepared, rows):
    table = pa.table({"id": np.arange(len(rows)), **{name: rows[name].to_numpy() for name in NAMES}})
    found = pa.Table.from_batches(list(explain_batches(table.to_batches(), prepared, columns=COLUMNS)))
    return found.to_pandas()


@pytest.mark.parametrize(
    "options",
    [
        {"method": "sampling", "n_evaluations": 33, "surrogate_evaluations": 0},
        {"method": "sampling", "n_evaluations": 33, "tolerance": 0.02, "surrogate_evaluations": 0},
        {"method": "exact"},
    ],
)
def test_the_second_reference_asks_for_no_prediction_and_finds_the_same(model, options):
    both, second = several(model, **options)
    rows = DATA[50:80]
    model.rows = 0
    found = lines(both, rows)
    asked = model.rows
    assert found["n_evaluations"].sum() == asked
    alone = lines(replace(second, others=()), rows)
    mine = found[found["reference"] == "second"].reset_index(drop=True)
    assert mine["shap_values"].tolist() == alone["shap_values"].tolist()
    assert (mine["n_evaluations"] < alone["n_evaluations"]).all()
    assert np.abs(found["additivity_gap"]).max() < 1e-12


def test_a_row_that_the_model_refuses_is_one_line(model):
    both, _ = several(model, method="sampling", n_evaluations=17, surrogate_evaluations=0)
    rows = DATA[50:60].copy()
    rows.iloc[3, 0] = 1e9
    found = lines(both, rows)
    bad = found[found["error"].notna()]
    assert bad["id"].tolist() == [3]
    assert "too much" in bad["error"].iloc[0]["message"]
    good = found[found["error"].isna()]
    assert sorted(good["id"]) == sorted(2 * [0, 1, 2, 4, 5, 6, 7, 8, 9])


def test_agreement_is_symmetric_and_of_the_four_largest(model):
    both, _ = several(model, method="exact")
    found = lines(both, DATA[50:90]).pivot(index="id", columns="reference", values="top4_agreement")
    forward = found["first"].map(lambda one: one["second"])
    assert forward.equals(found["second"].map(lambda one: one["first"]))
    assert found["first"].map(lambda one: one["first"]).eq(1.0).all()
    assert 0.5 <= forward.mean() < 1.0


def test_zeros_are_not_among_the_largest():
    values = np.array([[3.0, -2.0, 1.0, 0.5, 0.1], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5])[:, :, None]
    others = np.array([[3.0, -2.0, 1.0, 0.1, 0.5], [0.0, 1.0, 1.0, 0.0, 0.0], [0.0] * 5])[:, :, None]
    assert shared_top(values, others)[:, 0].tolist() == [0.75, 0.0, 1.0]
