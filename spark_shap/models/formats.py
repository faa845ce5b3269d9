"""What a model's file is, told by its content: no file is taken for what its name says."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from spark_shap.models.adapters.mlflow import MLMODEL

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMATS", "Found", "ModelFormat", "detect", "detect_folder"]

ModelFormat = Literal["pickle", "xgboost", "lightgbm", "catboost", "onnx", "torch", "keras", "mlflow", "spark_ml"]
FORMATS: tuple[str, ...] = get_args(ModelFormat)
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18")  # as joblib does
_HEAD = 4096


class Found(NamedTuple):
    """What a file is, why, and of which variety."""

    format: ModelFormat
    why: str
    form: str = ""


def detect_folder(path: Path) -> Found | None:
    """Return what a folder is: MLflow's, Spark ML's, or nothing known."""
    if (path / MLMODEL).is_file():
        return Found("mlflow", f"the folder has a file {MLMODEL}")
    for part in sorted((path / "metadata").glob("part-*")):
        try:
            meta = json.loads(part.read_text(encoding="utf-8").partition("\n")[0])
        except (OSError, ValueError):
            continue
        if isinstance(meta, dict) and {"class", "sparkVersion"} <= set(meta):
            inside = "metadata and stages" if (path / "stages").is_dir() else "metadata"
            return Found("spark_ml", f"the folder has the {inside} of Spark ML {meta['sparkVersion']}")
    return None


def detect(data: bytes) -> Found:
    """Return what a file's bytes are; a pickle where nothing tells of another library."""
    head = data[:_HEAD]
    if head.startswith(b"CBM1"):
        return Found("catboost", "it begins with CBM1")
    if head.startswith(b"tree\n"):
        return Found("lightgbm", "it begins with LightGBM's header")
    if head.startswith(b"{L") and b"learner" in head:
        return Found("xgboost", "it is XGBoost's UBJSON", "ubj")
    if head.startswith(b"{") and b"learner" in head[:64]:
        return Found("xgboost", "it is XGBoost's JSON", "json")
    if head.startswith(b"\x89HDF"):
        return Found("keras", "it is an HDF5 file", ".h5")
    if head.startswith(b"PK\x03\x04"):
        return _archive(data)
    # An ONNX graph is a protocol buffer: field 1, the version of the format, then the producer, graph or domain.
    if len(head) > 3 and head[0] == 0x08 and head[1] < 0x40 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42):
        return Found("onnx", "it begins as an ONNX graph does")
    if head.startswith(b"\x80"):
        return Found("pickle", "it is a pickle")
    if head.startswith(_COMPRESSED):
        return Found("pickle", "it is compressed, as joblib writes")
    return Found("pickle", "nothing in it tells of another library")


def _archive(data: bytes) -> Found:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return Found("pickle", "nothing in it tells of another library")
    if "model.weights.h5" in names:
        return Found("keras", "it is an archive with model.weights.h5", ".keras")
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Found("torch", "it is a TorchScript archive", "script")
    if "models/model.json" in inner or "serialized_exported_program.json" in names:
        return Found("torch", "it is an exported PyTorch program", "export")
    if "data.pkl" in inner:
        return Found("torch", "it is an archive of torch.save", "module")
    return Found("pickle", "it is an archive of no library that is known")
