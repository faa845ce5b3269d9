"""Models of libraries whose objects are no scikit-learn style estimators: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from spark_shap.models.adapters.keras import KerasModel, adapt_keras
from spark_shap.models.adapters.onnx import OnnxModel, adapt_onnx
from spark_shap.models.adapters.torch import TorchModel, adapt_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Adapted", "Network", "adapt", "adapt_network"]


class Adapted(Protocol):
    """A model as a function of rows."""

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return the output for (n, M) rows."""
        ...

    def limit_threads(self) -> None:
        """Use one thread in this process."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 that is the same in every process."""
        ...


class Network(Adapted, Protocol):
    """A model that also takes arrays of any shape."""

    def apply(self, *arrays: NDArray[Any]) -> NDArray[np.float64]:
        """Return the output for arrays, each an argument of the network."""
        ...


_ADAPTERS: dict[str, Callable[[Any], Network | None]] = {
    "torch": adapt_torch,
    "keras": adapt_keras,
    "onnx": adapt_onnx,
    "onnxruntime": adapt_onnx,
}


def adapt_network(model: Any) -> Network | None:
    """Return a network of PyTorch, Keras or ONNX as a function of rows, None for all else."""
    if isinstance(model, (TorchModel, KerasModel, OnnxModel)):
        return model
    # No estimator that holds a network (skorch's, say) is one.
    if hasattr(model, "predict_proba"):
        return None
    tops = [base.__module__.partition(".")[0] for base in type(model).__mro__]
    found = next((_ADAPTERS[top] for top in tops if top in _ADAPTERS), None)
    return None if found is None else found(model)


def adapt(model: Any) -> Adapted | None:
    """Return a model as a function of rows that can travel, None where it is an estimator or a plain function."""
    if all(hasattr(model, name) for name in ("limit_threads", "fingerprint")):
        return model  # type: ignore[no-any-return]  # one of ours
    return adapt_network(model)
