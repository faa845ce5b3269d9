"""Array types, named once with their shapes.

n rows, M features, P pairs, K outputs, B background rows.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.intp]
BoolArray: TypeAlias = NDArray[np.bool_]
HashArray: TypeAlias = NDArray[np.uint64]
AnyArray: TypeAlias = NDArray[Any]

ModelInput: TypeAlias = Any
"""What the model is called with: a numpy array or a pandas frame, whichever the background was."""
