"""Models in files: each is read by the library that its content, or the configuration, names."""

from __future__ import annotations

import importlib
import io
import pickle
from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any

from spark_shap.errors import ModelError, SparkShapError
from spark_shap.models.adapters.catboost import load_catboost
from spark_shap.models.adapters.keras import adapt_keras, load_keras
from spark_shap.models.adapters.lightgbm import load_lightgbm
from spark_shap.models.adapters.onnx import OnnxModel
from spark_shap.models.adapters.torch import load_torch
from spark_shap.models.adapters.xgboost import load_xgboost
from spark_shap.models.formats import Found, detect

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_sha256", "missing_package", "read_file"]

# Where the package to install is not called as the module.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "category_encoders": "category-encoders",
}


def check_sha256(path: Path, expected: str | None) -> tuple[bytes, str]:
    """Return a file's bytes and their SHA-256.

    Raises
    ------
    ModelError
        It cannot be read, or its checksum is not the expected one.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"model.file: {path}: no such file (looked from {path.cwd()})") from None
    except IsADirectoryError:
        raise ModelError(
            f"model.file: {path}: is a folder; name the model's file in it, or a folder that MLflow (with the file "
            "MLmodel) or Spark ML (with metadata) saved"
        ) from None
    except OSError as exc:
        raise ModelError(f"model.file: {path}: cannot be read: {exc.strerror}") from None
    actual = sha256_of(data).hexdigest()
    if expected is not None and actual != expected.lower():
        raise ModelError(
            f"model.file: {path}: its sha256 is {actual}, not {expected.lower()}; it was not loaded. "
            "Check where it comes from, or correct model.sha256"
        )
    return data, actual


def read_file(data: bytes, path: Path, asked: str = "auto") -> tuple[Any, str]:
    """Return the model in a file's bytes, and what it was found to be.

    Parameters
    ----------
    data
        The bytes.
    path
        Where they come from, for messages.
    asked
        A format, or ``"auto"`` for what the content tells.

    Raises
    ------
    ModelError
        They cannot be read as that.
    MissingDependencyError
        The library that reads them is not installed.
    """
    found = detect(data)
    if asked not in ("auto", found.format):
        if asked == "mlflow":
            raise ModelError(f"model.format: mlflow: {path} is a file; name the folder that holds MLmodel")
        if asked == "spark_ml":
            raise ModelError(f"model.format: spark_ml: {path} is a file; name the folder that Spark ML saved")
        found = Found(asked, "model.format says so", {"torch": "module", "keras": ".h5"}.get(asked, ""))  # type: ignore[arg-type]  # checked by the configuration
    elif asked != "auto":
        found = found._replace(why="model.format says so")
    if found.format == "pickle":
        model = _unpickle(data, path)
        return model, f"pickle ({found.why}) of a {type(model).__module__}.{type(model).__qualname__}"
    try:
        return _read_as(found, data), f"{found.format} ({found.why})"
    except ModuleNotFoundError as error:
        raise missing_package(f"model.file: {path}", error.name or str(error)) from error
    except ModelError as error:
        raise ModelError(f"model.file: {path}: {error}") from error
    except SparkShapError:
        raise
    except Exception as error:  # each library has errors of its own, and damage raises anything
        raise ModelError(
            f"model.file: {path}: cannot be read as {found.format} ({found.why}): {type(error).__name__}: {error}"
        ) from error


def _read_as(found: Found, data: bytes) -> Any:
    if found.format == "torch":
        return load_torch(data, found.form)
    if found.format == "keras":
        return adapt_keras(load_keras(data, found.form))
    if found.format == "onnx":
        model = OnnxModel(data)
        _ = model.session  # a damaged graph, or one that lacks its weights, says so now
        return model
    if found.format == "xgboost":
        return load_xgboost(data)
    return load_lightgbm(data) if found.format == "lightgbm" else load_catboost(data)


def _unpickle(data: bytes, path: Path) -> Any:
    try:
        joblib = importlib.import_module("joblib")
    except ModuleNotFoundError:
        joblib = None
    try:
        # joblib reads plain pickles as well; cloudpickle's are plain, and import it themselves.
        return joblib.load(io.BytesIO(data)) if joblib else pickle.loads(data)
    except ModuleNotFoundError as exc:
        raise missing_package(f"model.file: {path}", exc.name or str(exc)) from exc
    except AttributeError as exc:
        raise ModelError(
            f"model.file: {path}: {exc}; it was saved where that name exists (a script, a notebook, another "
            "version of the package): save it with cloudpickle, or with the class in an importable module"
        ) from exc
    except Exception as exc:  # model code and damage raise anything
        hint = "" if joblib else "; if joblib saved it: pip install joblib"
        raise ModelError(
            f"model.file: {path}: cannot be unpickled: {type(exc).__name__}: {exc}; it may be damaged, or be no "
            f"joblib, cloudpickle or pickle file{hint}"
        ) from exc


def missing_package(place: str, module: str) -> ModelError:
    """Return the error that names a missing package and the command that installs it."""
    top = module.partition(".")[0]
    return ModelError(f"{place}: needs the package {top!r}: pip install {_PACKAGES.get(top, top)}")
