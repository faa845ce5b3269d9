"""ONNX graphs, run by onnxruntime on the CPU.

A graph of one input is called with a matrix (n, M) of that input's type; a graph of several inputs, as skl2onnx
makes them of a frame, with one column for each, by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import MethodError, ModelError
from spark_shap.models.adapters.arrays import input_column, matrix, need
from spark_shap.models.fingerprint import fingerprint_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OnnxModel", "adapt_onnx"]

_WHAT = "an ONNX model"
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
_NUMBERS = ("tensor(float)", "tensor(double)", "tensor(float16)")


@dataclass(frozen=True)
class OnnxModel:
    """A graph as a function of rows.

    Attributes
    ----------
    payload
        The graph's bytes.
    """

    payload: bytes

    @cached_property
    def session(self) -> Any:
        """What runs the graph; a process makes it once, with one thread where that was said before."""
        runtime = need("onnxruntime", "onnx", _WHAT)
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        if self.__dict__.get("_one_thread"):
            options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            return runtime.InferenceSession(self.payload, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own errors have no common base
            raise ModelError(
                f"model: onnxruntime cannot load it: {error}; weights in a file beside it cannot travel: save "
                "the graph as one file"
            ) from error

    @property
    def feature_names_in_(self) -> tuple[str, ...] | None:
        """Names of the inputs where there are several, each a column."""
        inputs = self.session.get_inputs()
        return tuple(one.name for one in inputs) if len(inputs) > 1 else None

    @cached_property
    def output(self) -> tuple[str, bool]:
        """Name of the output that is explained, and whether it is a classifier's probabilities.

        Raises
        ------
        ModelError
            Several outputs could be meant.
        """
        numbers = [one for one in self.session.get_outputs() if one.type in _NUMBERS or one.type.startswith("seq(map(")]
        likely = [one for one in numbers if "prob" in one.name.lower() or one.type.startswith("seq(")]
        chosen = likely if len(numbers) > 1 else numbers
        if len(chosen) != 1:
            names = ", ".join(f"{one.name} ({one.type})" for one in self.session.get_outputs())
            raise ModelError(
                f"model: the ONNX graph's outputs are {names}, and one output of floats was expected; export the one "
                "to explain alone"
            )
        return chosen[0].name, bool(likely)

    def space(self, asked: str | None) -> str:
        """Return the output space.

        Raises
        ------
        MethodError
            The graph gives probabilities, and something else is asked for.
        """
        name, probability = self.output
        if probability and asked not in (None, "probability"):
            raise MethodError(
                f"output_space: the ONNX graph gives probabilities ({name}); leave output_space out, or export its "
                "raw scores"
            )
        return asked or ("probability" if probability else "prediction")

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return the output for (n, M) rows; of two classes' probabilities the second."""
        names, inputs = self.feature_names_in_, self.session.get_inputs()
        if names is None:
            return self.apply(self._one_input(rows, inputs[0]))
        return self.apply(*(_column(rows, one) for one in inputs))

    def apply(self, *arrays: NDArray[Any]) -> NDArray[np.float64]:
        """Return the output for arrays of any shape, each an input."""
        name, probability = self.output
        inputs = self.session.get_inputs()
        feed = {one.name: np.asarray(array, _dtype(one)) for one, array in zip(inputs, arrays, strict=True)}
        found = self.session.run([name], feed)[0]
        out = np.array([list(one.values()) for one in found]) if isinstance(found, list) else np.asarray(found)
        if probability and out.ndim == 2 and out.shape[1] == 2:
            out = out[:, 1]
        return out.astype(np.float64)

    def limit_threads(self) -> None:
        """Use one thread in a session that is made after this."""
        self.__dict__["_one_thread"] = True
        self.__dict__.pop("session", None)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the graph."""
        return fingerprint_bytes(self.payload)

    def __getstate__(self) -> dict[str, Any]:
        """Travel as bytes."""
        return {"payload": self.payload}

    def _one_input(self, rows: Any, one: Any) -> NDArray[Any]:
        width = one.shape[1] if len(one.shape) == 2 else None
        if isinstance(width, int) and width != rows.shape[1]:
            raise ModelError(
                f"model: the ONNX graph takes {width} features and the rows have {rows.shape[1]}; name the features"
            )
        return matrix(rows, _dtype(one))


def _dtype(one: Any) -> Any:
    if one.type not in _DTYPES:
        raise ModelError(f"model: the ONNX graph's input {one.name!r} is a {one.type}, which rows cannot give")
    return _DTYPES[one.type]


def _column(rows: Any, one: Any) -> NDArray[Any]:
    values = input_column(rows, one.name, _dtype(one), "an ONNX graph")
    return values[:, None] if len(one.shape) == 2 else values


def adapt_onnx(model: Any) -> OnnxModel | None:
    """Wrap an `onnx.ModelProto`, or an `onnxruntime.InferenceSession`, whose graph is read again.

    None for other objects of the libraries.
    """
    if hasattr(model, "SerializeToString"):
        return OnnxModel(model.SerializeToString())
    if not hasattr(model, "get_inputs"):
        return None
    data: bytes | None = getattr(model, "_model_bytes", None)
    path: str | None = getattr(model, "_model_path", None)
    if data is None and path is None:
        raise ModelError("model: this InferenceSession does not know its graph; pass the onnx.ModelProto instead")
    return OnnxModel(Path(str(path)).read_bytes() if data is None else data)
