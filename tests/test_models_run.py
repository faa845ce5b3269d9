"""Whole runs of models from files, on Spark's own workers: names and dtypes, what `runs` says."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_shap.config import RunConfig
from spark_shap.io.tables import read_table
from spark_shap.pipeline import run

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]

NAMES = ["income", "debt", "months"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Months as floats, although a signature will say that they are integers."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"income": random.normal(size=60), "debt": random.normal(size=60), "months": np.arange(60.0)})
    frame.insert(0, "id", np.arange(60))
    path = tmp_path_factory.mktemp("table") / "applicants.parquet"
    frame.to_parquet(path, index=False)
    return path, frame[NAMES].astype({"months": "int64"})


def explained(spark, table, folder, **model):
    config = {
        "applicants": {"path": str(table[0]), "key": "id", "features": NAMES},
        "reference": {"size": 20},
        "model": model,
        "explain": {"n_evaluations": 65, "surrogate_evaluations": 0},
        "output": {"path": str(folder / "out")},
    }
    if "uri" in model or "format" in model:
        del config["applicants"]["features"]
    result = run(spark, RunConfig.model_validate(config))
    found = read_table(spark, result.location, "attributions", result.record.run_id).toPandas().sort_values("id")
    assert np.abs(found["additivity_gap"]).max() < 1e-9
    return result.record, found["prediction"].to_numpy()


def targets(rows):
    return (rows["income"] > rows["debt"]).astype(int)


def test_a_module(spark, table, tmp_path):
    torch = import_module("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1), torch.nn.Sigmoid())
    torch.save(model, tmp_path / "model.pt")
    record, found = explained(spark, table, tmp_path, file=str(tmp_path / "model.pt"))
    assert record.model_kind == "torch (it is an archive of torch.save)"
    with torch.no_grad():
        plain = model(torch.tensor(table[1].to_numpy(), dtype=torch.float32)).numpy()[:, 0]
    assert found == pytest.approx(plain, abs=1e-6)


def test_a_keras_model(spark, table, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = import_module("keras")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "model.keras")
    record, found = explained(spark, table, tmp_path, file=str(tmp_path / "model.keras"))
    assert record.model_kind == "keras (it is an archive with model.weights.h5)"
    assert found == pytest.approx(model.predict(table[1].to_numpy(), verbose=0)[:, 0], abs=1e-6)


def test_a_graph(spark, table, tmp_path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[1].to_numpy(float), targets(table[1]))
    kinds = [("rows", import_module("skl2onnx.common.data_types").FloatTensorType([None, 3]))]
    (tmp_path / "m.onnx").write_bytes(import_module("skl2onnx").to_onnx(model, initial_types=kinds).SerializeToString())
    record, found = explained(spark, table, tmp_path, file=str(tmp_path / "m.onnx"))
    assert (record.model_kind, record.output_space) == ("onnx (it begins as an ONNX graph does)", "probability")
    assert found == pytest.approx(model.predict_proba(table[1].to_numpy(float))[:, 1], abs=1e-5)


def test_a_registered_model_and_a_pyfunc_with_signatures(spark, table, tmp_path, monkeypatch):
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    mlflow = import_module("mlflow")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    signature = import_module("mlflow.models").infer_signature(table[1], np.zeros(2))
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[1], targets(table[1]))
    mlflow.set_experiment("models")
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            fitted, name="m", signature=signature, registered_model_name="card", serialization_format="cloudpickle"
        )
    record, found = explained(spark, table, tmp_path, uri="models:/card/1")
    assert (record.model_uri, record.feature_names) == ("models:/card/1", tuple(NAMES))
    assert record.model_kind == "mlflow, card version 1, flavor sklearn, with a signature of 3 columns"
    assert found == pytest.approx(fitted.predict_proba(table[1])[:, 1], abs=1e-9)

    class Strict(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            assert model_input["months"].dtype == np.int64  # the table has floats: the signature decided
            return model_input["income"] * model_input["months"]

    mlflow.pyfunc.save_model(str(tmp_path / "kept"), python_model=Strict(), signature=signature)
    record, found = explained(spark, table, tmp_path, file=str(tmp_path / "kept"), format="mlflow")
    assert record.feature_names == tuple(NAMES)
    assert found == pytest.approx((table[1]["income"] * table[1]["months"]).to_numpy())
