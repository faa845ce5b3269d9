"""Whether the compiled kernels are used; numpy ones do the same work where they are not.

The compiled kernels need numba, an optional package. ``SPARK_SHAP_ACCELERATE=0`` switches them off.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

__all__ = ["available", "load_kernels"]

_KERNELS = ("surrogate.growth", "surrogate.lookup", "trees.lookup")


@lru_cache(maxsize=1)
def available() -> bool:
    """Return True when numba is installed and not switched off."""
    return os.environ.get("SPARK_SHAP_ACCELERATE", "1") != "0" and find_spec("numba") is not None


def load_kernels() -> None:
    """Import the compiled kernels, which takes a core a second, before they are needed."""
    for name in _KERNELS if available() else ():
        import_module(f"spark_shap.core.{name}_compiled")
