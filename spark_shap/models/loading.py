"""A model from ``module:attribute``, from a file, or from MLflow.

Loading runs code that the file names, as unpickling does. Load only files that you trust; with ``sha256`` the
bytes are checked before anything in them runs.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from spark_shap.errors import ModelError, UsageError
from spark_shap.models.adapters import adapt
from spark_shap.models.adapters.mlflow import folder_digest, load_kept, open_uri, registered_version
from spark_shap.models.boosters import feature_names
from spark_shap.models.files import check_sha256, missing_package, read_file
from spark_shap.models.fingerprint import fingerprint_bytes, serialized
from spark_shap.models.formats import detect_folder
from spark_shap.redaction import redact_text

if TYPE_CHECKING:
    from spark_shap.models.adapters.mlflow import InputColumns

__all__ = ["LoadedModel", "check_folder", "load_model"]

_log = logging.getLogger(__name__)


class LoadedModel(NamedTuple):
    """A model and where it came from.

    Attributes
    ----------
    model
        The object, not called.
    uri
        As given: ``module:attribute``, the file or folder, or MLflow's URI.
    fingerprint
        SHA-256: of the file's bytes, or of a folder's names and bytes; or of the object's pickle (of a network its
        structure and parameters) and its module's source, because a function is pickled by name alone and its code
        may change.
    kind
        What it was found to be, and by what, for people.
    columns
        Names and dtypes that an MLflow signature gives.
    """

    model: Any
    uri: str
    fingerprint: str
    kind: str = ""
    columns: InputColumns | None = None

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The features, as a signature or the model itself says; None where neither does."""
        return feature_names(self.model) if self.columns is None else self.columns.names


def load_model(
    *,
    object: str | None = None,
    file: str | Path | None = None,
    uri: str | None = None,
    format: str = "auto",
    sha256: str | None = None,
) -> LoadedModel:
    """Load a model, and log what it is.

    Parameters
    ----------
    object
        ``module:attribute``; modules of the current directory are found too. A function is the model: it is
        not called to make one.
    file
        Of joblib, cloudpickle or pickle, of XGBoost, LightGBM, CatBoost, ONNX, PyTorch or Keras; or a folder of
        MLflow's.
    uri
        ``models:/...`` or ``runs:/...``, as MLflow resolves it.
    format
        Of the file, one of `spark_shap.models.formats.FORMATS`; ``"auto"`` tells it by the content.
    sha256
        Of the file, or of the folder as `folder_digest` has it, 64 hexadecimal digits; checked before loading.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        It cannot be found, read or loaded, its checksum differs, or it needs a package that is not
        installed (named with the pip command).
    MissingDependencyError
        It needs an optional library, named with the pip command.
    """
    if sum(one is not None for one in (object, file, uri)) != 1:
        raise UsageError("model: give object, file or uri, one of them and not both")
    if object is not None:
        loaded = _load_object(object)
    elif uri is not None:
        with open_uri(uri) as folder:
            loaded = _load_folder(folder, "model.uri", uri, sha256)
    else:
        loaded = _load_path(Path(str(file)), format, sha256)
    _log.info("model: %s is %s", redact_text(loaded.uri), loaded.kind)
    return loaded


def _load_path(path: Path, format: str, sha256: str | None) -> LoadedModel:
    found = detect_folder(path) if path.is_dir() else None
    if found is not None and found.format == "mlflow" and format in ("auto", "mlflow"):
        return _load_folder(path, "model.file", str(path), sha256)
    data, actual = check_sha256(path, sha256)
    model, kind = read_file(data, path, format)
    return LoadedModel(model, str(path), actual, kind)


def check_folder(place: str, name: str, actual: str, expected: str | None) -> None:
    """Check a folder's digest, before anything in it runs.

    Raises
    ------
    ModelError
        It is not the expected one.
    """
    if expected is not None and actual != expected.lower():
        raise ModelError(
            f"{place}: {name}: the sha256 of its files is {actual}, not {expected.lower()}; it was not loaded. Check "
            "where it comes from, or correct model.sha256"
        )


def _load_folder(folder: Path, place: str, name: str, expected: str | None) -> LoadedModel:
    actual = folder_digest(folder)
    check_folder(place, name, actual, expected)
    try:
        kept = load_kept(folder)
    except ModuleNotFoundError as error:
        raise missing_package(f"{place}: {name}", error.name or str(error)) from error
    except ModelError as error:
        raise ModelError(f"{place}: {name}: {error}") from error
    signature = (
        "no signature of columns" if kept.columns is None else f"a signature of {len(kept.columns.names)} columns"
    )
    # A registry's alias names a version, which may be another one tomorrow.
    version = registered_version(folder) if name.startswith("models:/") else ""
    kind = f"mlflow{version}, flavor {kept.flavor}, with {signature}"
    return LoadedModel(adapt(kept.model) or kept.model, name, actual, kind, kept.columns)


def _load_object(spec: str) -> LoadedModel:
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ModelError(f"model.object: {spec!r}: write it as module:attribute, such as scoring.model:predict")
    module = _import(module_name, spec)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [name for name in dir(found) if not name.startswith("_")]
            near = difflib.get_close_matches(part, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names[:20])}"
            raise ModelError(f"model.object: {spec!r}: no {part!r} in {module_name}; {hint}") from None
    if isinstance(found, type):
        raise ModelError(f"model.object: {spec!r} is a class; name a fitted model or a function of rows")
    if found is None or isinstance(found, ModuleType):
        raise ModelError(f"model.object: {spec!r} is {found!r}; name a fitted model or a function of rows")
    source = inspect.getsourcefile(module)
    code = Path(source).read_bytes() if source and Path(source).is_file() else b""
    adapted = adapt(found)
    own = serialized(found) if adapted is None else adapted.fingerprint().encode()
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    return LoadedModel(adapted or found, spec, fingerprint_bytes(own, code), f"object, a {kind}")


def _import(name: str, spec: str) -> ModuleType:
    # Console scripts do not look into the current directory, where the module of a job usually is.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        missing = exc.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ModelError(
                f"model.object: {spec!r}: no module {missing!r} on the path; install it, or run from "
                f"the folder that holds it, not {here}"
            ) from None
        raise missing_package(f"model.object: {spec!r}", missing) from exc
    except Exception as exc:  # the module is the user's and may raise anything
        raise ModelError(f"model.object: {spec!r}: importing {name} raised {type(exc).__name__}: {exc}") from exc
