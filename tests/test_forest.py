from __future__ import annotations

import numpy as np
import pytest
from forests import edge_rows, make_forest, random_forest

from spark_shap.forest import ZERO


def stump(**test):
    return make_forest([({"feature": 0, **test}, 1.0, 2.0)], 1, single_precision=test.pop("single", False))


def left(forest, values):
    return (forest.predict(np.array(values, dtype=float)[:, None])[:, 0] == 1.0).tolist()


@pytest.mark.parametrize(("rule", "at_threshold"), [(0, True), (1, False)])
def test_a_value_on_the_threshold_goes_left_only_when_the_rule_says_at_most(rule, at_threshold):
    forest = stump(threshold=0.5, rule=rule)
    assert left(forest, [np.nextafter(0.5, 0), 0.5, np.nextafter(0.5, 1)]) == [True, at_threshold, False]
    assert left(forest, [-np.inf, np.inf]) == [True, False]


def test_categories_in_the_set_go_left_and_unknown_ones_right():
    forest = stump(categories=[0, 3, 40])
    assert left(forest, [0, 1, 3, 40, 63, 64, 1e300]) == [True, False, True, True, False, False, False]
    # int() drops the fraction towards 0.
    assert left(forest, [-0.9, -1, 3.99, 4.0]) == [True, False, True, False]


@pytest.mark.parametrize("missing_left", [False, True])
def test_missing_values_go_where_the_node_says(missing_left):
    assert left(stump(threshold=-1.0, missing_left=missing_left), [np.nan]) == [missing_left]
    assert left(stump(categories=[1], missing_left=missing_left), [np.nan]) == [missing_left]
    zeros = stump(threshold=-1.0, missing_left=missing_left, zero_is_missing=True)
    assert left(zeros, [np.nan, 0.0, -ZERO, ZERO, 2 * ZERO]) == [*[missing_left] * 4, False]


def test_nan_is_compared_as_zero():
    assert left(stump(threshold=0.0, nan_is_zero=True), [np.nan]) == [True]
    assert left(stump(threshold=-0.5, nan_is_zero=True, missing_left=True), [np.nan]) == [False]
    # Then it is a zero like any other.
    assert left(stump(threshold=-0.5, nan_is_zero=True, zero_is_missing=True, missing_left=True), [np.nan]) == [True]


def test_single_precision_rounds_the_row_and_not_the_threshold():
    x = 0.1  # float32(0.1) is larger
    assert left(stump(threshold=x), [x]) == [True]
    assert left(stump(threshold=x, single=True), [x]) == [False]
    assert left(stump(threshold=3e38, single=True), [1e300]) == [False]


def test_the_prediction_is_the_base_and_one_leaf_of_each_tree():
    deep = ({"feature": 1, "threshold": 0.0}, ({"feature": 0, "threshold": 2.0}, [1.0, 0.0], [2.0, 0.0]), [3.0, 0.0])
    forest = make_forest([deep, [0.0, 5.0]], 2, base=(0.5, -1.0))
    assert forest.predict(np.array([[1.0, -1.0], [3.0, 0.0], [0.0, 1.0]])).tolist() == [[1.5, 4], [2.5, 4], [3.5, 4]]
    assert forest.leaves(np.zeros((0, 2))).shape == (0, 2)


def test_rows_do_not_depend_on_their_company(monkeypatch):
    forest, x = random_forest(3, n_trees=30, n_outputs=2), edge_rows(1, 50)
    whole = forest.predict(x)
    monkeypatch.setattr("spark_shap.forest._BLOCK_CELLS", 100)
    assert np.array_equal(forest.predict(x), whole)
    assert np.array_equal(np.concatenate([forest.predict(x[row : row + 1]) for row in range(50)]), whole)
