"""Rows whose columns are steps in time, for models of sequences.

A table has a column for each month and measure (``bill_1 .. bill_6``, ``paid_1 .. paid_6``); a recurrent or
convolutional network takes arrays (n, months, measures). `SequenceModel` lies between them, so that each column is
still a feature with a value of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.errors import UsageError
from spark_shap.models.adapters import Network, adapt_network
from spark_shap.models.adapters.arrays import matrix
from spark_shap.models.fingerprint import fingerprint_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SequenceModel", "sequence_model"]


@dataclass(frozen=True)
class SequenceModel:
    """A network of sequences as a function of plain rows.

    Attributes
    ----------
    network
        Takes (n, T, C) float, and (n, S) where there are static columns.
    channels
        C tuples of T column names in order of time.
    static
        S columns without a time.
    feature_names_in_
        All columns: channel by channel, then the static ones.
    """

    network: Network
    channels: tuple[tuple[str, ...], ...]
    static: tuple[str, ...] = ()
    feature_names_in_: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check that channels are of one length and columns stand once."""
        names = (*(name for channel in self.channels for name in channel), *self.static)
        object.__setattr__(self, "feature_names_in_", names)
        lengths = {len(channel) for channel in self.channels}
        if len(lengths) != 1 or 0 in lengths:
            raise UsageError(f"channels: of {sorted(lengths)} steps; every channel needs a column for every step")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"channels, static: {twice[0]!r} stands twice; a column is one feature")

    @property
    def model(self) -> Any:
        """The network, whose module travels along."""
        return getattr(self.network, "model", self.network)

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return the network's output for (n, T C + S) rows; an array's columns are in order of the names."""
        values = matrix(rows, np.float64, self.feature_names_in_)
        n_channels, n_steps = len(self.channels), len(self.channels[0])
        steps = values[:, : n_channels * n_steps].reshape(len(values), n_channels, n_steps).transpose(0, 2, 1)
        arrays = (steps, values[:, n_channels * n_steps :]) if self.static else (steps,)
        return self.network.apply(*arrays)

    def limit_threads(self) -> None:
        """Use one thread in this process."""
        self.network.limit_threads()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the network and the columns' order."""
        return fingerprint_bytes(self.network.fingerprint().encode(), repr((self.channels, self.static)).encode())


def sequence_model(network: Any, channels: Any, static: Any = ()) -> SequenceModel:
    """Return a network of sequences as a model of plain rows.

    Parameters
    ----------
    network
        A PyTorch module, a Keras model or an ONNX graph that takes (n, T, C) float32, and (n, S) beside it where
        there are static columns.
    channels
        C lists of T column names in order of time, or a mapping of names to them.
    static
        S names of columns without a time.

    Raises
    ------
    UsageError
        Lists of different lengths, a column twice, or no network.
    """
    found = adapt_network(network)
    if found is None:
        raise UsageError(f"network: a {type(network).__name__} is no PyTorch module, Keras model or ONNX graph")
    lists = channels.values() if hasattr(channels, "values") else channels
    return SequenceModel(found, tuple(tuple(map(str, one)) for one in lists), tuple(map(str, static)))
