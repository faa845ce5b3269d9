r"""Student's t: how far an estimate may be from the truth, in standard errors that are estimates themselves.

With P pairs a standard error has about P degrees of freedom. A sum of two independent estimates with standard
errors :math:`s_1, s_2` and degrees of freedom :math:`\nu_1, \nu_2` has (Welch 1947, Satterthwaite 1946)

.. math::
    \nu = \frac{(s_1^2 + s_2^2)^2}{s_1^4 / \nu_1 + s_2^4 / \nu_2} .

Probabilities and quantiles follow Wallace's normal approximation (D. L. Wallace, "Bounds on normal approximations to
Student's and the chi-square distributions", 1959): within 0.001 of the exact probability, and half a percent of the
95 % limit, from four degrees of freedom on.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray

__all__ = ["student_quantile", "student_tail", "welch"]


def student_tail(gaps: FloatArray, errors: FloatArray, dof: FloatArray) -> FloatArray:
    """Return the probability that Student's t is larger than gaps over errors, both 0 or more; 0 where exact."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(errors > 0.0, gaps / errors, np.inf)
    dof = np.broadcast_to(np.maximum(dof, 1.0), t.shape)
    sure = np.isinf(t)
    squared = np.where(sure, 0.0, t) ** 2
    z = (8.0 * dof + 1.0) / (8.0 * dof + 3.0) * np.sqrt(dof * np.log1p(squared / dof))
    tails = np.fromiter((0.5 * math.erfc(one) for one in (z * math.sqrt(0.5)).ravel().tolist()), np.float64, z.size)
    return np.where(sure, 0.0, tails.reshape(z.shape))


def student_quantile(level: float, dof: FloatArray) -> FloatArray:
    """Return the t that |t| is below with probability ``level``, for degrees of freedom of any shape, 1 or more."""
    z = NormalDist().inv_cdf((1.0 + level) / 2.0) * (8.0 * dof + 3.0) / (8.0 * dof + 1.0)
    return np.asarray(np.sqrt(dof * np.expm1(z**2 / dof)))


def welch(first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return the degrees of freedom of a sum of two, each given by its standard errors and degrees of freedom."""
    (s1, v1), (s2, v2) = first, second
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (s1**2 + s2**2) ** 2 / (s1**4 / v1 + s2**4 / v2)
    return np.where(np.isfinite(found), found, v1)  # both are 0: nothing is uncertain
