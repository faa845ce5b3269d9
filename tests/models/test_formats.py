"""Files that libraries save themselves: told by their content, and read back to the same predictions."""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
import zipfile
from typing import get_args

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from spark_shap import Explainer
from spark_shap.config import ModelFormat as ConfigFormat
from spark_shap.config import RunConfig
from spark_shap.errors import MissingDependencyError, ModelError
from spark_shap.models.formats import FORMATS, detect
from spark_shap.models.loading import load_model
from spark_shap.models.predictor import as_predictor
from spark_shap.overrides import problem_lines

X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 4)), columns=["income", "debt", "age", "term"])
Y = (X["income"] - X["debt"] > 0).astype(int)


def saved(folder, name):
    """Train and save a model of a library, as XGBoost's and LightGBM's sklearn API and Boosters and CatBoost do."""
    path = folder / name
    if name.endswith(("json", "ubj")):
        xgboost = pytest.importorskip("xgboost")
        model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(X, Y)
        model.save_model(path)
    elif name.endswith("txt"):
        lightgbm = pytest.importorskip("lightgbm")
        model = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=7, n_jobs=1, verbose=-1).fit(X, Y)
        model.booster_.save_model(path)
    else:
        catboost = pytest.importorskip("catboost")
        model = catboost.CatBoostClassifier(iterations=8, depth=3, verbose=0, allow_writing_files=False).fit(X, Y)
        model.save_model(path)
    return model, path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.json", "xgboost (it is XGBoost's JSON)"),
        ("m.ubj", "xgboost (it is XGBoost's UBJSON)"),
        ("m.txt", "lightgbm (it begins with LightGBM's header)"),
        ("m.cbm", "catboost (it begins with CBM1)"),
    ],
)
def test_a_boosters_own_file(tmp_path, caplog, name, kind):
    model, path = saved(tmp_path, name)
    path = path.rename(tmp_path / "model.bin")  # its name says nothing
    with caplog.at_level(logging.INFO, "spark_shap"):
        loaded = load_model(file=path)
    assert loaded.kind == kind
    assert f"model: {path} is {kind}" in caplog.text
    assert loaded.feature_names == tuple(X.columns)
    predictor = as_predictor(loaded.model)
    assert predictor.output_space == "probability"
    assert predictor(X)[:, 0] == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-7)
    assert load_model(file=path, format=kind.split()[0]).kind.endswith("(model.format says so)")
    margin = Explainer(loaded.model, X[:100], output_space="margin")
    assert margin.method == "tree"  # exact, as for the estimator


def test_columns_without_names_are_no_features(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(X.to_numpy(), Y), 2)
    booster.save_model(tmp_path / "m.txt")
    assert load_model(file=tmp_path / "m.txt").feature_names is None


def test_pickles_are_told_from_the_rest(tmp_path):
    fitted = LogisticRegression().fit(X, Y)
    for name, compress in (("plain", 0), ("small", 3)):
        joblib.dump(fitted, tmp_path / name, compress=compress)
        loaded = load_model(file=tmp_path / name)
        assert loaded.kind.startswith("pickle (it is ")
        assert loaded.kind.endswith("of a sklearn.linear_model._logistic.LogisticRegression")
        assert loaded.feature_names == tuple(X.columns)
    assert detect(pickle.dumps(1, protocol=0)).format == "pickle"


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (archive("metadata.json", "config.json", "model.weights.h5"), ("keras", ".keras")),
        (archive("m/data.pkl", "m/version", "m/data/0"), ("torch", "module")),
        (archive("m/data.pkl", "m/code/a.py", "m/constants.pkl"), ("torch", "script")),
        (archive("m/models/model.json", "m/archive_format"), ("torch", "export")),
        (archive("a", "b"), ("pickle", "")),
        (b"PK\x03\x04 damaged", ("pickle", "")),
        (b"\x89HDF\r\n\x1a\n", ("keras", ".h5")),
        (b"\x08\x0a\x12\x07pytorch", ("onnx", "")),
        (b"\x08\x0a", ("pickle", "")),
        (b"", ("pickle", "")),
        (b'{"other": 1}', ("pickle", "")),
    ],
)
def test_archives_and_graphs(data, expected):
    found = detect(data)
    assert (found.format, found.form) == expected


def test_a_library_that_is_missing_is_named_with_its_command(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    (tmp_path / "m.pt").write_bytes(archive("m/data.pkl"))
    (tmp_path / "m.keras").write_bytes(archive("model.weights.h5"))
    (tmp_path / "m.txt").write_bytes(b"tree\nversion=v4\n")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "MLmodel").write_text("flavors: {}")
    for name, module, extra in (
        ("m.onnx", "onnxruntime", "onnx"),
        ("m.pt", "torch", "torch"),
        ("m.keras", "keras", "keras"),
        ("m.txt", "lightgbm", "boosters"),
        ("kept", "mlflow", "mlflow"),
    ):
        for known in [each for each in sys.modules if each.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, known)
        monkeypatch.setitem(sys.modules, module, None)  # as if not installed
        with pytest.raises(MissingDependencyError, match=rf"needs the package '{module}[.\w]*': pip install") as caught:
            load_model(file=tmp_path / name)
        assert f"'spark-shap[{extra}]'" in str(caught.value)
    with pytest.raises(MissingDependencyError, match="mlflow"):
        load_model(uri="models:/card/1")


def test_files_of_another_kind_than_said(tmp_path):
    (tmp_path / "m.txt").write_bytes(b"tree\nversion=v4\n")
    with pytest.raises(ModelError, match=r"m.txt: cannot be read as catboost \(model.format says so\)"):
        load_model(file=tmp_path / "m.txt", format="catboost")
    with pytest.raises(ModelError, match="is a file; name the folder that holds MLmodel"):
        load_model(file=tmp_path / "m.txt", format="mlflow")
    with pytest.raises(ModelError, match="name the model's file in it, or a folder that MLflow"):
        load_model(file=tmp_path)


def problems(**model):
    try:
        RunConfig.model_validate({"applicants": {"path": "a.csv", "key": "k"}, "output": {"path": "o"}, "model": model})
    except ValueError as error:
        return problem_lines(error.errors(include_url=False), RunConfig)
    return []


def test_the_configuration_names_one_model():
    assert set(get_args(ConfigFormat)) == {"auto", *FORMATS}
    assert problems(uri="models:/card@champion", sha256="0" * 64) == []
    assert problems(file="model.onnx", format="onnx") == []
    assert "cannot be given together with file" in problems(file="m", uri="models:/c/1")[0]
    assert "uri" in problems(uri="s3://m")[0]
    assert "that of model.file" in problems(uri="models:/c/1", format="onnx")[0]
    assert "format" in problems(file="m", format="jpg")[0]


def test_no_heavy_library_is_imported_before_it_is_needed():
    code = (
        "import sys, spark_shap\n"
        "from spark_shap.models.loading import load_model\n"
        "from spark_shap.models.predictor import as_predictor\n"
        "as_predictor(lambda rows: rows)\n"
        "assert not {'torch', 'keras', 'mlflow', 'onnxruntime', 'xgboost', 'lightgbm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
