"""SHA-256 of models, so that a table says which model made its numbers."""

from __future__ import annotations

import importlib
import pickle
from hashlib import sha256
from typing import Any

from spark_shap.errors import ModelError

__all__ = ["fingerprint_bytes", "fingerprint_object", "serialized"]


def fingerprint_bytes(*parts: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hexadecimal digits; of several parts, each with its length."""
    if len(parts) == 1:
        return sha256(parts[0]).hexdigest()
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def fingerprint_object(model: object) -> str:
    """Return the SHA-256 of a model's pickle.

    The same fitted estimator gives the same digest again; a pickle that holds sets, or code of another Python
    version, may not. A function of an importable module is pickled by name: see `LoadedModel.fingerprint`.

    Raises
    ------
    ModelError
        The model cannot be pickled.
    """
    return fingerprint_bytes(serialized(model))


def serialized(model: object) -> bytes:
    """Return a model's pickle, by cloudpickle where there is one.

    Raises
    ------
    ModelError
        The model cannot be pickled.
    """
    try:
        dumped: bytes = _pickler().dumps(model, protocol=5)
    except Exception as exc:  # a model's own __reduce__ may raise anything
        raise ModelError(
            f"model {type(model).__name__}: cannot be pickled: {type(exc).__name__}: {exc}; "
            "hold no locks, files or sessions in it"
        ) from exc
    return dumped


def _pickler() -> Any:
    # By name: models must not depend on pyspark, yet a cluster's pyspark may bring the only cloudpickle.
    for name in ("cloudpickle", "pyspark.cloudpickle"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return pickle
