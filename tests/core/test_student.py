"""Student's t, and the degrees of freedom of a sum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_shap.core.student import student_quantile, student_tail, welch


@pytest.mark.parametrize("dof", [3, 5, 15, 63, 1000])
def test_student_tail(dof):
    t = np.linspace(0, 9, 200)[None]
    mine = student_tail(t, np.ones_like(t), np.full((1, 1), float(dof)))
    np.testing.assert_allclose(mine, stats.t.sf(t, dof), atol=0.001)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_student_quantile(level):
    dof = np.array([[4.0, 8.0], [31.5, 500.0]])
    np.testing.assert_allclose(student_quantile(level, dof), stats.t.ppf((1 + level) / 2, dof), rtol=0.02)
    np.testing.assert_allclose(student_quantile(0.95, dof), stats.t.ppf(0.975, dof), rtol=0.006)


def test_degrees_of_freedom_of_a_sum():
    four, many = np.full(4, 4.0), np.full(4, 32.0)
    s1, s2 = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    found = welch((s1, four), (s2, many))
    np.testing.assert_allclose(found, [4.0, 32.0, 4 / (1 / 4 + 1 / 32), 4.0])
