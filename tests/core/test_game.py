from __future__ import annotations

import numpy as np
import pytest

from spark_shap.core.game import Game, ask
from spark_shap.models.frames import Background, background_rows


class Fixed:
    """The same pairs for every row."""

    def __init__(self, n_pairs, n_features):
        rng = np.random.default_rng(0)
        self.n_pairs = n_pairs
        self.index = rng.integers(0, 6, n_pairs)
        self.members = rng.random((n_features, n_pairs)) < 0.5

    def draw(self, rows, pairs):
        n_rows = rows.stop - rows.start
        index = np.broadcast_to(self.index[pairs], (n_rows, len(self.index[pairs])))
        members = np.broadcast_to(self.members[:, pairs], (n_rows, *self.members[:, pairs].shape))
        return index, np.ascontiguousarray(members)


@pytest.fixture
def rows():
    return background_rows(np.random.default_rng(1).normal(size=(9, 3)))


@pytest.fixture
def background():
    return Background(background_rows(np.random.default_rng(2).normal(size=(6, 3))))


def product(z):
    return (z[:, 0] * z[:, 1] + z[:, 2])[:, None]


@pytest.mark.parametrize("block_rows", [1, 7, 23, 10_000])
def test_answers_do_not_depend_on_blocks(rows, background, block_rows):
    questions = Fixed(11, 3)
    whole = ask(Game(product, background, 1, 10_000), rows, questions)
    found = ask(Game(product, background, 1, block_rows), rows, questions)
    assert np.array_equal(found.differences, whole.differences)
    assert np.array_equal(found.predictions, whole.predictions)


def test_an_answer_is_the_difference_of_the_two_hybrids(rows, background):
    questions = Fixed(4, 3)
    found = ask(Game(product, background, 1, 100), rows, questions)
    x, z = np.stack(rows.columns, 1)[5], np.stack(background.rows.columns, 1)[questions.index[2]]
    on = questions.members[:, 2]
    expected = product(np.where(on, x, z)[None]) - product(np.where(on, z, x)[None])
    assert found.differences[5, 2] == pytest.approx(expected[0], abs=1e-15)


def test_only_the_rows_that_the_model_refuses_fail(rows, background):
    bad = {rows.columns[0][2], rows.columns[0][7]}

    def refuses(z):
        if bad & set(z[:, 0]):
            raise RuntimeError("too rich")
        return product(z)

    found = ask(Game(refuses, background, 1, 100), rows, Fixed(4, 3))
    assert sorted(found.failures) == [2, 7]
    assert found.failures[2].message == "too rich"
    good = [0, 1, 3, 4, 5, 6, 8]
    whole = ask(Game(product, background, 1, 100), rows, Fixed(4, 3))
    assert np.array_equal(found.differences[good], whole.differences[good])
    assert np.isnan(found.differences[[2, 7]]).all()


def test_a_nan_among_the_hybrids_fails_its_row_only(rows, background):
    def undefined(z):
        return np.where((z[:, 0] == rows.columns[0][4]) & (z[:, 1] != rows.columns[1][4]), np.nan, z[:, 2])[:, None]

    found = ask(Game(undefined, background, 1, 10_000), rows, Fixed(6, 3))
    assert list(found.failures) == [4]
    assert found.failures[4].error_class == "NonFinitePrediction"
    assert "of 7 comparisons" in found.failures[4].message


def test_refused_rows_cost_little(rows, background):
    asked = []
    bad = set(rows.columns[0][[0, 3, 4, 8]])

    def refuses(z):
        asked.append(len(z))
        if bad & set(z[:, 0]):
            raise RuntimeError("too rich")
        return product(z)

    questions = Fixed(200, 3)
    found = ask(Game(refuses, background, 1, 100_000), rows, questions)
    assert sorted(found.failures) == [0, 3, 4, 8]
    # The block that failed, once more its good rows, and the predictions that told which they were.
    assert sum(asked) <= 9 * 401 + 5 * 401 + 60


def test_a_hybrid_that_the_model_refuses_is_found_by_halving(rows, background):
    def refuses(z):
        if ((z[:, 0] == rows.columns[0][6]) & (z[:, 1] != rows.columns[1][6])).any():
            raise RuntimeError("never seen together")
        return product(z)

    found = ask(Game(refuses, background, 1, 10_000), rows, Fixed(30, 3))
    assert list(found.failures) == [6]
    assert np.isfinite(np.delete(found.differences, 6, axis=0)).all()


def test_running_out_of_memory_is_no_property_of_a_row(rows, background):
    def hungry(z):
        raise MemoryError("8 GB")

    with pytest.raises(MemoryError):
        ask(Game(hungry, background, 1, 100), rows, Fixed(4, 3))
