"""Whether the compiled kernels are used; numpy ones do the same work where they are not.

The compiled kernels need numba, an optional package. ``SPARK_SHAP_ACCELERATE=0`` switches them off.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np

__all__ = ["available", "load_kernels"]

_KERNELS = ("surrogate.growth", "surrogate.lookup", "trees.lookup")


@lru_cache(maxsize=1)
def available() -> bool:
    """Return True when numba is installed and not switched off."""
    return os.environ.get("SPARK_SHAP_ACCELERATE", "1") != "0" and find_spec("numba") is not None


def load_kernels() -> None:
    """Import the compiled kernels, which takes a core a second, before they are needed."""
    if not available():
        return
    for name in _KERNELS:
        import_module(f"spark_shap.core.{name}_compiled")
    # What numba loads at its first call takes as long as the imports, and serves all kernels.
    growth = import_module("spark_shap.core.surrogate.growth_compiled")
    growth.leaf_sums(np.zeros(1, np.uint8), np.zeros((1, 1), np.int32), 1)
