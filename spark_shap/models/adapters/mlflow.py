"""Models that MLflow keeps: a registry's, a run's, or a folder with the file ``MLmodel``.

A model of a library that is known here is loaded as that library's own object, so that its probabilities and its
exact values are there; any other as MLflow's `pyfunc`, which enforces the signature itself.
"""

from __future__ import annotations

import io
import logging
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from spark_shap.errors import ModelError
from spark_shap.models.adapters.arrays import need
from spark_shap.models.fingerprint import fingerprint_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "MLMODEL",
    "InputColumns",
    "KeptModel",
    "PyfuncModel",
    "folder_digest",
    "load_kept",
    "open_uri",
    "registered_version",
]

MLMODEL = "MLmodel"
_WHAT = "a model kept by MLflow"
_NATIVE = ("sklearn", "xgboost", "lightgbm", "catboost", "pytorch", "onnx")
# Written by a registry beside the model: the same model has it under one URI and not under another.
_REGISTERED = "registered_model_meta"


class InputColumns(NamedTuple):
    """What a signature says of a model's input: names and numpy dtypes."""

    names: tuple[str, ...]
    dtypes: tuple[Any, ...]


class KeptModel(NamedTuple):
    """A model, the flavor that it was loaded by, and its signature's columns, if any."""

    model: Any
    flavor: str
    columns: InputColumns | None


@dataclass(frozen=True)
class PyfuncModel:
    """A `pyfunc` model as a function of rows.

    Attributes
    ----------
    payload
        Its folder as a zip archive.
    """

    payload: bytes

    @cached_property
    def model(self) -> Any:
        """The model; a process unpacks and loads it once."""
        pyfunc = need("mlflow.pyfunc", "mlflow", _WHAT)
        # Kept while the process lives: a model may read its artifacts whenever it likes.
        self.__dict__["_folder"] = folder = tempfile.TemporaryDirectory(prefix="spark-shap-model-")
        with zipfile.ZipFile(io.BytesIO(self.payload)) as archive:
            archive.extractall(folder.name)
        return pyfunc.load_model(folder.name)

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return what `predict` returns; of a frame its columns."""
        return np.asarray(self.model.predict(rows), dtype=np.float64)

    def limit_threads(self) -> None:
        """Leave it to ``OMP_NUM_THREADS``: what is inside is not known."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the folder as it was packed."""
        return fingerprint_bytes(self.payload)

    def __getstate__(self) -> dict[str, Any]:
        """Travel as bytes."""
        return {"payload": self.payload}


@contextmanager
def open_uri(uri: str) -> Iterator[Path]:
    """Yield the folder of a model of a registry (``models:/``) or a run (``runs:/``), fetched if need be.

    Raises
    ------
    ModelError
        MLflow does not find it, or cannot be asked.
    """
    artifacts = need("mlflow.artifacts", "mlflow", _WHAT)
    with tempfile.TemporaryDirectory(prefix="spark-shap-model-") as folder:
        try:
            found = artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
        except Exception as error:  # stores and their clients raise anything
            raise ModelError(
                f"model.uri: {uri}: MLflow does not give it: {error}; it asks the store in MLFLOW_TRACKING_URI "
                "(and MLFLOW_REGISTRY_URI)"
            ) from error
        yield Path(found)


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder: of the names and digests of its files, in order of their names."""
    digest = sha256()
    for name, data in _files(folder):
        digest.update(f"{sha256(data).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of a model's files in order of their names, without what a registry wrote beside it."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != _REGISTERED:
            yield name, file.read_bytes()


def registered_version(folder: Path) -> str:
    """Return the name and version that a registry wrote beside a model, for a sentence; empty where it did not."""
    try:
        meta = yaml.safe_load((folder / _REGISTERED).read_text(encoding="utf-8"))
        return f", {meta['model_name']} version {meta['model_version']}"
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return ""


def load_kept(folder: Path) -> KeptModel:
    """Return the model in a folder that MLflow wrote.

    Raises
    ------
    ModelError
        Its flavor cannot be loaded here.
    """
    models = need("mlflow.models", "mlflow", _WHAT)
    with _quiet():
        meta = models.Model.load(str(folder))
        if "spark" in meta.flavors:  # its pyfunc would start a session in every worker
            inside = meta.flavors["spark"].get("model_data", "sparkml")
            raise ModelError(
                f"MLflow kept a model of Spark ML; name its folder {inside!r} as model.file, a copy if need be"
            )
        flavor = next((name for name in _NATIVE if name in meta.flavors), "python_function")
        if flavor != "python_function":
            model = import_module(f"mlflow.{flavor}").load_model(str(folder))
        elif flavor in meta.flavors:
            model = PyfuncModel(_packed(folder))
        else:
            raise ModelError(
                f"MLflow kept it as {', '.join(meta.flavors)}, which cannot be called in a worker; log it with a "
                "python_function flavor"
            )
    return KeptModel(model, flavor, _columns(meta.signature))


def _columns(signature: Any) -> InputColumns | None:
    inputs = None if signature is None else signature.inputs
    if inputs is None or inputs.is_tensor_spec() or not inputs.has_input_names():
        return None
    dtypes = tuple(np.dtype("M8[ns]") if one.kind == "M" else one for one in map(np.dtype, inputs.pandas_types()))
    return InputColumns(tuple(map(str, inputs.input_names())), dtypes)


def _packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in _files(folder):
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time of its making
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's advice on environments out of the log; a library that is missing is named by our error."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
