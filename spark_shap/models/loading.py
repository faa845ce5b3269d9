"""A model from ``module:attribute`` or from a pickled file.

Unpickling runs code that the file names. Load only files that you trust; with ``sha256`` the bytes are
checked before anything in them runs.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import os
import pickle
import sys
from hashlib import sha256 as sha256_of
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from spark_shap.errors import ModelError, UsageError
from spark_shap.models.fingerprint import fingerprint_bytes, serialized

__all__ = ["LoadedModel", "load_model"]

# Where the package to install is not called as the module.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "category_encoders": "category-encoders",
}


class LoadedModel(NamedTuple):
    """A model and where it came from.

    Attributes
    ----------
    model
        The object, not called.
    uri
        As given: ``module:attribute`` or the file.
    fingerprint
        SHA-256: of the file's bytes; or of the object's pickle and its module's source, because a function is
        pickled by name alone and its code may change.
    """

    model: Any
    uri: str
    fingerprint: str


def load_model(*, object: str | None = None, file: str | Path | None = None, sha256: str | None = None) -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    object
        ``module:attribute``; modules of the current directory are found too. A function is the model: it is
        not called to make one.
    file
        Of joblib, cloudpickle or pickle.
    sha256
        Of the file, 64 hexadecimal digits; checked before unpickling.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        It cannot be found, read or unpickled, its checksum differs, or it needs a package that is not
        installed (named with the pip command).
    """
    if (object is None) == (file is None):
        raise UsageError("model: give object or file, and not both")
    if object is not None:
        return _load_object(object)
    return _load_file(Path(str(file)), sha256)


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
    return LoadedModel(found, spec, fingerprint_bytes(serialized(found), code))


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
        raise _missing_package(f"model.object: {spec!r}", missing) from exc
    except Exception as exc:  # the module is the user's and may raise anything
        raise ModelError(f"model.object: {spec!r}: importing {name} raised {type(exc).__name__}: {exc}") from exc


def _load_file(path: Path, expected: str | None) -> LoadedModel:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"model.file: {path}: no such file (looked from {Path.cwd()})") from None
    except IsADirectoryError:
        raise ModelError(f"model.file: {path}: is a folder; name the joblib or pickle file in it") from None
    except OSError as exc:
        raise ModelError(f"model.file: {path}: cannot be read: {exc.strerror}") from None
    actual = sha256_of(data).hexdigest()
    if expected is not None and actual != expected.lower():
        raise ModelError(
            f"model.file: {path}: its sha256 is {actual}, not {expected.lower()}; it was not loaded. "
            "Check where it comes from, or correct model.sha256"
        )
    return LoadedModel(_unpickle(data, path), str(path), actual)


def _unpickle(data: bytes, path: Path) -> Any:
    try:
        joblib = importlib.import_module("joblib")
    except ModuleNotFoundError:
        joblib = None
    try:
        # joblib reads plain pickles as well; cloudpickle's are plain, and import it themselves.
        return joblib.load(io.BytesIO(data)) if joblib else pickle.loads(data)
    except ModuleNotFoundError as exc:
        raise _missing_package(f"model.file: {path}", exc.name or str(exc)) from exc
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


def _missing_package(place: str, module: str) -> ModelError:
    top = module.partition(".")[0]
    return ModelError(f"{place}: needs the package {top!r}: pip install {_PACKAGES.get(top, top)}")
