"""PyTorch modules: eager ones, TorchScript and exported programs.

A module is called with one float tensor (n, M), in evaluation mode, on the CPU, without gradients; what it
returns is explained as it is. Modules of another signature are explained through a function or a
`SequenceModel`.
"""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spark_shap.errors import ModelError
from spark_shap.models.adapters.arrays import matrix, need
from spark_shap.models.fingerprint import fingerprint_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TorchModel", "adapt_torch", "load_torch"]

_WHAT = "a PyTorch model"
_Form = Literal["script", "export"]


@dataclass(frozen=True)
class TorchModel:
    """A module as a function of rows.

    Attributes
    ----------
    model
        In evaluation mode, on the CPU.
    payload, form
        The bytes it was read from, for TorchScript and exported programs, which cannot be pickled.
    """

    model: Any
    payload: bytes | None = None
    form: _Form | None = None

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return the module's output for (n, M) rows of numbers."""
        return self.apply(matrix(rows, np.float64))

    def apply(self, *arrays: NDArray[Any]) -> NDArray[np.float64]:
        """Return the module's output for arrays of any shape, each an argument, of the parameters' precision."""
        torch = _torch()
        floats = (one.dtype for one in self.model.parameters() if one.is_floating_point())
        dtype = next(floats, torch.float32)
        with torch.inference_mode():
            found = self.model(*(torch.from_numpy(np.ascontiguousarray(one)).to(dtype) for one in arrays))
        if not isinstance(found, torch.Tensor):
            raise ModelError(
                f"model: the module {type(self.model).__name__} returned a {type(found).__name__}, not a tensor; wrap "
                "it in a module that returns the one tensor to explain"
            )
        return np.asarray(found.to(torch.float64).numpy())

    def limit_threads(self) -> None:
        """Use one thread in this process."""
        _torch().set_num_threads(1)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the module's structure and its parameters: its pickle holds addresses."""
        parts = [repr(self.model).encode()]
        for name, value in sorted(self.model.state_dict().items()):
            plain = value.detach().cpu().contiguous().flatten().view(_torch().uint8).numpy()
            parts += [f"{name} {value.dtype} {tuple(value.shape)}".encode(), plain.tobytes()]
        return fingerprint_bytes(*parts)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Travel as bytes where there are some."""
        if self.form is None:
            return TorchModel, (self.model,)
        return load_torch, (self.payload, self.form)


def _torch() -> Any:
    return need("torch", "torch", _WHAT)


def adapt_torch(model: Any) -> TorchModel | None:
    """Wrap a module (a copy, so that the user's own keeps its mode and its device) or an exported program.

    None for other objects of the library.
    """
    torch, buffer = _torch(), io.BytesIO()
    if isinstance(model, torch.jit.ScriptModule):
        torch.jit.save(model, buffer)
        return _read(buffer.getvalue(), "script")
    if isinstance(model, torch.export.ExportedProgram):
        torch.export.save(model, buffer)
        return _read(buffer.getvalue(), "export")
    return TorchModel(copy.deepcopy(model).cpu().eval()) if isinstance(model, torch.nn.Module) else None


def load_torch(data: bytes, form: str) -> TorchModel:
    """Return the module in a file's bytes.

    Parameters
    ----------
    data
        Of `torch.save`, `torch.jit.save` or `torch.export.save`.
    form
        ``"module"``, ``"script"`` or ``"export"``, as above.

    Raises
    ------
    ModelError
        The file holds no module, but its parameters alone.
    """
    if form in ("script", "export"):
        return _read(data, form)  # type: ignore[arg-type]  # narrowed by the membership test
    torch = _torch()
    # A whole module is a pickle: see the package's word on trust.
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    if isinstance(found, torch.nn.Module):
        return TorchModel(found.eval())
    raise ModelError(
        f"it holds a {type(found).__name__}, not a module: parameters without their network, it seems; save the whole "
        "module (torch.save(module, file)), or name a module:attribute that builds the network and loads them"
    )


def _read(data: bytes, form: _Form) -> TorchModel:
    torch, buffer = _torch(), io.BytesIO(data)
    if form == "script":
        return TorchModel(torch.jit.load(buffer, map_location="cpu").eval(), data, form)
    return TorchModel(torch.export.load(buffer).module(), data, form)  # exported in its mode for good
