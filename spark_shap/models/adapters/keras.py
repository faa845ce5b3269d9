"""Keras 3 models, on whichever backend they were loaded.

A model travels as the bytes of a ``.keras`` archive; the backend's name goes along, because Keras reads it once,
from the environment, when it is imported. A model of one input is called with a matrix (n, M); a model of
several with one column for each, by name.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import ModelError
from spark_shap.models.adapters.arrays import input_column, matrix, need
from spark_shap.models.fingerprint import fingerprint_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KerasModel", "adapt_keras", "load_keras"]

_WHAT = "a Keras model"


@dataclass(frozen=True)
class KerasModel:
    """A model as a function of rows.

    Attributes
    ----------
    payload
        A ``.keras`` archive.
    backend
        ``"torch"``, ``"tensorflow"`` or ``"jax"``.
    """

    payload: bytes
    backend: str

    @cached_property
    def model(self) -> Any:
        """The model; a process loads it once."""
        return load_keras(self.payload, ".keras", self.backend)

    @property
    def feature_names_in_(self) -> tuple[str, ...] | None:
        """Names of the inputs where there are several, each a column."""
        inputs = self.model.inputs
        return tuple(str(one.name) for one in inputs) if len(inputs) > 1 else None

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return the model's output for (n, M) rows."""
        names = self.feature_names_in_
        if names is None:
            return self.apply(matrix(rows, np.float32))
        return self.apply(*(_column(rows, name, one) for name, one in zip(names, self.model.inputs, strict=True)))

    def apply(self, *arrays: NDArray[Any]) -> NDArray[np.float64]:
        """Return the model's output for arrays of any shape, each an input."""
        # Not predict, which draws a bar and makes a pipeline of batches for every call.
        found = self.model.predict_on_batch(arrays[0] if len(arrays) == 1 else list(arrays))
        if isinstance(found, (list, tuple, dict)):
            raise ModelError(f"model: {self.model.name} has {len(found)} outputs; make a Model of the one to explain")
        return np.asarray(found, dtype=np.float64)

    def limit_threads(self) -> None:
        """Use one thread in this process; before a backend has started its own."""
        if self.backend == "torch":
            need("torch", "torch", _WHAT).set_num_threads(1)
        elif self.backend == "tensorflow":
            threading = need("tensorflow", "keras", _WHAT).config.threading
            threading.set_intra_op_parallelism_threads(1)
            threading.set_inter_op_parallelism_threads(1)
        elif self.backend == "jax":
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = (
                f"{flags} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1".strip()
            )

    def fingerprint(self) -> str:
        """Return the SHA-256 of the model's structure and weights: an archive holds the time of its making."""
        structure = json.dumps(self.model.get_config(), sort_keys=True, default=str).encode()
        return fingerprint_bytes(structure, *(np.ascontiguousarray(one).tobytes() for one in self.model.get_weights()))

    def __getstate__(self) -> dict[str, Any]:
        """Travel as bytes."""
        return {"payload": self.payload, "backend": self.backend}


def _column(rows: Any, name: str, tensor: Any) -> NDArray[Any]:
    return input_column(rows, name, object if tensor.dtype == "string" else tensor.dtype, "a Keras model")[:, None]


def adapt_keras(model: Any) -> KerasModel | None:
    """Wrap a model of the backend that runs here; None for other objects of the library."""
    keras = need("keras", "keras", _WHAT)
    if not isinstance(model, keras.Model):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        keras.saving.save_model(model, path)
        return KerasModel(path.read_bytes(), keras.backend.backend())


def load_keras(data: bytes, suffix: str, backend: str | None = None) -> Any:
    """Return the model in a file's bytes.

    Parameters
    ----------
    data
        A ``.keras`` archive or an HDF5 file.
    suffix
        ``".keras"`` or ``".h5"``.
    backend
        To be used where Keras is not imported yet.

    Raises
    ------
    ModelError
        Keras runs on another backend already.
    """
    if backend is not None and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    keras = need("keras", "keras", _WHAT)
    if backend not in (None, keras.backend.backend()):
        raise ModelError(
            f"model: it was loaded with Keras on {backend}, and this process runs Keras on {keras.backend.backend()}; "
            f"set KERAS_BACKEND={backend} for the workers"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        path.write_bytes(data)
        return keras.saving.load_model(path, compile=False)
