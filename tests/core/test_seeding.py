from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_shap.core.seeding import Stream, hash_key, hash_keys, philox4x32, uniform_words, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers published with the algorithm
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    assert philox4x32(np.array(counter, dtype=np.uint64)[:, None], key)[:, 0].tolist() == expected


def test_numbers_depend_on_seed_row_and_stream_only():
    hashes = hash_keys((str(row),) for row in range(50))
    whole = uniform_words(7, hashes, Stream.DESIGN, 9)
    assert np.array_equal(uniform_words(7, hashes[[31, 4]], Stream.DESIGN, 9), whole[[31, 4]])
    assert np.array_equal(uniform_words(7, hashes, Stream.DESIGN, 5), whole[:, :5])
    for other in (uniform_words(8, hashes, Stream.DESIGN, 9), uniform_words(7, hashes, Stream.FEATURE_ORDER, 9)):
        assert not np.isin(other, whole).any()


def test_uniforms_are_uniform_and_open():
    draws = uniforms(3, np.arange(2000, dtype=np.uint64), Stream.BACKGROUND_JITTER, 100)
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-4
    assert draws.min() > 0.0
    assert draws.max() < 1.0
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.1


def test_key_parts_do_not_run_together():
    assert hash_key(("a", "bc")) != hash_key(("ab", "c"))
    assert hash_key(("17",)) == hash_keys([("17",)])[0]
    assert hash_key(("ключ", "\ud800")) != hash_key(("ключ", ""))  # any text a column can hold
