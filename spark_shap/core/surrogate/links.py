r"""Links: a bounded answer as a function of margins that are closer to a sum.

A probability that saturates is far from any sum of functions of a few features, while its log-odds may be near
one. The fine surrogate is :math:`\sigma(m(x))` with m a sum of trees; it has no closed-form Shapley values and is
sampled itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray

__all__ = ["Link", "link_of"]

_FLOOR = 2e-3
"""Probabilities are kept away from 0 and 1 by so much: beyond it a margin's error does not matter."""


@dataclass(frozen=True)
class Link:
    """Margins to probabilities.

    Attributes
    ----------
    n_outputs
        K; with one output the link is logistic, with several it is the softmax.
    """

    n_outputs: int

    def margins(self, probabilities: FloatArray) -> FloatArray:
        """Return the margins (..., K) of probabilities (..., K)."""
        logs = np.log(np.maximum(probabilities, _FLOOR))
        if self.n_outputs == 1:
            return np.asarray(logs - np.log(np.maximum(1.0 - probabilities, _FLOOR)))
        return np.asarray(logs - logs.mean(axis=-1, keepdims=True))

    def probabilities(self, margins: FloatArray) -> FloatArray:
        """Return the probabilities (..., K) of margins (..., K)."""
        if self.n_outputs == 1:
            return np.asarray(1.0 / (1.0 + np.exp(-margins)))
        powers = np.exp(margins - margins.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def link_of(targets: FloatArray) -> Link | None:
    """Return the link for targets (N, K) that are probabilities, else None."""
    if targets.min(initial=0.0) < 0.0 or targets.max(initial=1.0) > 1.0:
        return None
    n_outputs = targets.shape[1]
    if n_outputs > 1 and np.abs(targets.sum(axis=1) - 1.0).max(initial=0.0) > 1e-6:
        return None
    return Link(n_outputs)
