from __future__ import annotations

import numpy as np
import pytest

from spark_shap.core.surrogate.words import pack, unpack


@pytest.mark.parametrize("n_outputs", [1, 2, 3, 4, 5])
def test_words_hold_two_outputs_each_and_give_them_back(n_outputs):
    rng = np.random.default_rng(n_outputs)
    integers = rng.integers(-(2**30), 2**30, (50, 3, n_outputs))
    integers[0], integers[1], integers[2] = -(2**30), 2**30 - 1, -1
    words = pack(integers)
    assert words.shape == (50, 3, (n_outputs + 1) // 2)
    assert np.array_equal(unpack(words, n_outputs), integers)


def test_sums_and_differences_of_words_are_those_of_their_integers():
    integers = np.random.default_rng(0).integers(-(2**15), 2**15, (4000, 3))
    signs = np.where(np.arange(4000) % 3, 1, -1)
    total = (signs[:, None] * pack(integers)).sum(axis=0)
    assert np.array_equal(unpack(total, 3), (signs[:, None] * integers).sum(axis=0))


def test_leaves_of_sixteen_bits_are_packed_without_overflow():
    leaves = np.array([[32767, -32768, -1]], dtype=np.int16)
    assert unpack(pack(leaves), 3).tolist() == [[32767, -32768, -1]]
