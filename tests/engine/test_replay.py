"""Questions asked first and answered later: the same explanations, rows that the model fails on among them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_shap import Explainer
from spark_shap.engine.spark_ml import _Recorder, _Replay, _with
from spark_shap.engine.worker import Columns, explain_batches

RANDOM = np.random.default_rng(5)
TABLE = pd.DataFrame(RANDOM.normal(size=(60, 5)), columns=list("abcde")).assign(id=np.arange(60))


def model(rows):
    """NaN for its own row 3 and 17, whose a is far off."""
    return np.where(rows["a"] > 50, np.nan, np.tanh(rows["a"] * rows["b"]) + rows["c"] - rows["d"] * rows["e"])


def test_answers_in_the_order_of_the_questions_give_the_same_explanations():
    rows = TABLE.copy()
    rows.loc[[3, 17], "a"] = 99.0
    features = list("abcde")
    first, second = (
        Explainer(model, TABLE[features][part], n_evaluations=33, method="sampling", seed=4).prepared
        for part in (slice(0, 20), slice(20, 40))
    )
    prepared = replace(first, reference="one", others=(replace(second, reference="two"),))
    batch, columns = pa.RecordBatch.from_pandas(rows), Columns(("id",), ())
    recorder = _Recorder(1)
    list(explain_batches([batch], _with(prepared, recorder), columns=columns))
    answers = np.concatenate([np.asarray(model(one))[:, None] for one in recorder.asked])
    replay = _Replay(answers)
    found = pa.Table.from_batches(explain_batches([batch], _with(prepared, replay), columns=columns)).to_pandas()
    assert replay.given == len(answers)
    expected = pa.Table.from_batches(explain_batches([batch], prepared, columns=columns)).to_pandas()
    assert sorted(found.loc[found["error"].notna(), "id"]) == [3, 17]
    order = ["id", "reference"]
    found, expected = (one.sort_values(order, ignore_index=True) for one in (found, expected))
    assert found["shap_values"].tolist() == expected["shap_values"].tolist()
    assert found["prediction"].equals(expected["prediction"])
