"""Models that MLflow keeps, in a store of files: URIs, signatures, flavors."""

from __future__ import annotations

import logging
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from spark_shap import Explainer
from spark_shap.engine import shipping
from spark_shap.errors import InputError, ModelError
from spark_shap.models.adapters.mlflow import folder_digest
from spark_shap.models.conform import as_declared
from spark_shap.models.loading import load_model
from spark_shap.models.predictor import as_predictor

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]

RANDOM = np.random.default_rng(0)
X = pd.DataFrame({"debt": RANDOM.normal(size=200), "months": np.arange(200), "owner": RANDOM.random(200) < 0.5})
Y = (X["debt"] > 0).astype(int)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        found = import_module("mlflow")
        found.set_tracking_uri(tmp_path_factory.mktemp("store").as_uri())
        found.set_experiment("models")
        yield found


@pytest.fixture(scope="module")
def fitted():
    return LogisticRegression(max_iter=1000).fit(X, Y)


@pytest.fixture(scope="module")
def logged(mlflow, fitted):
    """The id of a run that logged a model, which is version 1 of "card"."""
    signature = import_module("mlflow.models").infer_signature(X, fitted.predict(X))
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(fitted, name="model", signature=signature, registered_model_name="card")
    mlflow.MlflowClient().set_registered_model_alias("card", "champion", "1")
    return run.info.run_id


def test_each_kind_of_uri_and_a_folder(mlflow, logged, fitted, tmp_path, caplog):
    folder = mlflow.artifacts.download_artifacts(artifact_uri="models:/card/1", dst_path=str(tmp_path))
    with caplog.at_level(logging.INFO, "spark_shap"):
        uris = ("models:/card/1", "models:/card@champion", f"runs:/{logged}/model")
        found = [*(load_model(uri=uri) for uri in uris), load_model(file=folder)]
    assert [one.kind.removesuffix(", flavor sklearn, with a signature of 3 columns") for one in found] == [
        "mlflow, card version 1",
        "mlflow, card version 1",
        "mlflow",
        "mlflow",
    ]
    for one in found:
        assert np.array_equal(one.model.coef_, fitted.coef_)
        assert one.feature_names == ("debt", "months", "owner")
        assert one.columns.dtypes == (np.float64, np.int64, np.bool_)
    assert len({one.fingerprint for one in found}) == 1  # one model, wherever it is named
    assert "model: models:/card@champion is mlflow, card version 1, flavor sklearn" in caplog.text


def test_the_checksum_of_a_folder_is_checked_first(mlflow, logged, tmp_path):
    folder = tmp_path / "kept"
    mlflow.artifacts.download_artifacts(artifact_uri="models:/card/1", dst_path=str(folder))
    digest = folder_digest(folder)
    assert load_model(file=folder, sha256=digest.upper()).fingerprint == digest
    (folder / "more.py").write_text("")
    with pytest.raises(ModelError, match=f"of its files is {folder_digest(folder)}, not {digest}; it was not loaded"):
        load_model(file=folder, sha256=digest)


def test_models_that_are_not_there(mlflow, logged):
    with pytest.raises(ModelError, match=r"model.uri: models:/card/7: MLflow does not give it"):
        load_model(uri="models:/card/7")
    with pytest.raises(ModelError, match=r"model.uri: runs:/nobody/model: MLflow does not give it"):
        load_model(uri="runs:/nobody/model")


def test_a_signature_gives_the_background_its_dtypes(logged):
    columns = load_model(uri="models:/card/1").columns
    wider = X.assign(months=X["months"].astype(np.float64), debt=X["debt"].astype(np.float32), more="kept")
    declared = as_declared(wider, columns)
    assert declared.dtypes[["debt", "months", "owner"]].tolist() == [np.float64, np.int64, np.bool_]
    assert declared["more"].eq("kept").all()
    assert declared["months"].tolist() == X["months"].tolist()
    with pytest.raises(InputError, match=r"1 of its 200 rows .* feature 'months': value 0.5 does not fit dtype int64"):
        as_declared(wider.assign(months=wider["months"].where(wider["months"] > 0, 0.5)), columns)


def test_a_pyfunc_travels_with_its_artifacts(mlflow, tmp_path):
    class Doubling(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            with open(context.artifacts["factor"]) as file:  # read at every call
                return model_input["debt"] * float(file.read())

    (tmp_path / "factor.txt").write_text("2.0")
    signature = import_module("mlflow.models").infer_signature(X[["debt"]], X["debt"])
    mlflow.pyfunc.save_model(
        str(tmp_path / "kept"),
        python_model=Doubling(),
        artifacts={"factor": str(tmp_path / "factor.txt")},
        signature=signature,
    )
    loaded = load_model(file=tmp_path / "kept")
    assert loaded.kind == "mlflow, flavor python_function, with a signature of 1 columns"
    explainer = Explainer(loaded.model, X[["debt"]][:50])
    (tmp_path / "kept").rename(tmp_path / "gone")
    shipping._cache.clear()
    sent = shipping.load(shipping._Inline("a pyfunc's", shipping.dumps(explainer.prepared)))
    assert sent.method.game.predict(X[["debt"]])[:, 0] == pytest.approx(2 * X["debt"])


@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm", "catboost", "pytorch", "onnx"])
def test_other_flavors_are_loaded_as_their_own_objects(mlflow, tmp_path, flavor):
    rows = X[["debt", "months"]]
    module = import_module(f"mlflow.{flavor}")
    if flavor == "xgboost":
        model = import_module("xgboost").XGBClassifier(n_estimators=5, n_jobs=1).fit(rows, Y)
    elif flavor == "lightgbm":
        model = import_module("lightgbm").LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(rows, Y)
    elif flavor == "catboost":
        model = import_module("catboost").CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
        model.fit(rows, Y)
    elif flavor == "pytorch":
        model = import_module("torch").nn.Linear(2, 1)
    else:
        types = import_module("skl2onnx.common.data_types")
        kinds = [("rows", types.FloatTensorType([None, 2]))]
        model = import_module("skl2onnx").to_onnx(LogisticRegression().fit(rows, Y), initial_types=kinds)
    how = {"serialization_format": "pickle"} if flavor == "pytorch" else {}  # the other one keeps a graph, no module
    module.save_model(model, str(tmp_path / "kept"), **how)
    loaded = load_model(file=tmp_path / "kept")
    assert loaded.kind == f"mlflow, flavor {flavor}, with no signature of columns"
    assert as_predictor(loaded.model)(rows) == pytest.approx(as_predictor(model)(rows), abs=1e-7)
    if flavor in ("xgboost", "lightgbm", "catboost"):
        assert Explainer(loaded.model, rows[:50], output_space="margin").method == "tree"


def test_a_registry_in_a_database(mlflow, fitted, tmp_path):
    """SQLite: as a server's, but for the wire."""
    before = mlflow.get_tracking_uri()
    signature = import_module("mlflow.models").infer_signature(X, fitted.predict(X))
    try:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("scores", (tmp_path / "artifacts").as_uri()))
        for _ in range(2):
            with mlflow.start_run() as run:
                mlflow.sklearn.log_model(fitted, name="model", signature=signature, registered_model_name="card")
        mlflow.MlflowClient().set_registered_model_alias("card", "champion", "2")
        found = [load_model(uri=uri) for uri in ("models:/card@champion", f"runs:/{run.info.run_id}/model")]
        assert found[0].kind == "mlflow, card version 2, flavor sklearn, with a signature of 3 columns"
        assert all(np.array_equal(one.model.coef_, fitted.coef_) for one in found)
        with pytest.raises(ModelError, match=r"model.uri: models:/card@challenger: MLflow does not give it"):
            load_model(uri="models:/card@challenger")
    finally:
        mlflow.set_tracking_uri(before)


def test_a_kept_model_of_spark_ml_is_named_by_its_own_folder(mlflow, tmp_path):
    flavors = "flavors:\n  python_function: {loader_module: mlflow.spark}\n  spark: {model_data: sparkml}\n"
    (tmp_path / "MLmodel").write_text(flavors)
    with pytest.raises(ModelError, match=r"kept a model of Spark ML; name its folder 'sparkml' as model.file"):
        load_model(file=tmp_path)
