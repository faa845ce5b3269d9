"""The tree engine against enumeration, in every form a tree can take, plain and compiled."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from forests import edge_rows, make_forest, random_forest
from games import background_game, shapley_by_subsets

from spark_shap.core import accelerate
from spark_shap.core.trees import BackgroundHistograms, TreeTables, plan_trees
from spark_shap.core.trees.grouping import single_leaves
from spark_shap.core.trees.nodes import make_factors

FORMS = ["values", "potentials", "deep", "deep without potentials"]


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif("not accelerate.available()"))])
def compiled(request, monkeypatch):
    monkeypatch.setattr(accelerate, "available", lambda: request.param)
    return request.param


def force(form, monkeypatch):
    if form == "potentials":
        monkeypatch.setattr("spark_shap.core.trees.plan._choose", lambda paths, _: single_leaves(paths))
    if form.startswith("deep"):
        monkeypatch.setattr("spark_shap.core.trees.plan._choose", lambda *_: None)
    if form == "deep without potentials":
        shortest = make_factors(1)._replace(longest=0)
        monkeypatch.setattr("spark_shap.core.trees.deep_tree.make_factors", lambda _: shortest)


def tables(forest, background, weights=None):
    plan = plan_trees(forest)
    weights = np.ones(len(background)) if weights is None else weights
    return TreeTables.build(plan, BackgroundHistograms.local(plan, background, weights))


def games(forest, x, background, weights=None):
    """Every row's and output's game, (n, K) lists of 2**M values."""
    for row, values in enumerate(x):
        for output in range(forest.n_outputs):
            yield (
                row,
                output,
                background_game(lambda z, output=output: forest.predict(z)[:, output], values, background, weights),
            )


def interaction_index(v, i, j):
    """Half of it, by the defining formula over all sets without i and j."""
    n_players, total = len(v).bit_length() - 1, 0.0
    for s in range(len(v)):
        if not s >> i & 1 and not s >> j & 1:
            size = s.bit_count()
            weight = np.prod(np.arange(1, size + 1)) * np.prod(np.arange(1, n_players - size - 1))
            total += weight * (v[s | 1 << i | 1 << j] - v[s | 1 << i] - v[s | 1 << j] + v[s])
    return total / np.prod(np.arange(1, n_players)) / 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(6))
def test_values_equal_enumeration(form, seed, compiled, monkeypatch):
    force(form, monkeypatch)
    forest = random_forest(seed, depth=3 + seed % 4, n_outputs=1 + seed % 3, single_precision=seed % 2 == 1)
    x, background = edge_rows(seed, 8), edge_rows(100 + seed, 30)
    weights = np.random.default_rng(seed).uniform(0.0, 3.0, 30)
    found = tables(forest, background, weights)
    values = found.values(x)
    for row, output, v in games(forest, x, background, weights):
        assert values[row, :, output] == pytest.approx(shapley_by_subsets(v), abs=1e-12)
        assert found.base_values[output] == pytest.approx(v[0], abs=1e-12)
    assert found.predict(x) == pytest.approx(forest.predict(x), abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [10, 11, 12])
def test_interactions_equal_enumeration(form, seed, compiled, monkeypatch):
    force(form, monkeypatch)
    forest = random_forest(seed, depth=5, n_outputs=2)
    x, background = edge_rows(seed, 3), edge_rows(100 + seed, 20)
    found = tables(forest, background)
    values = found.interactions(x)
    for row, output, v in games(forest, x, background):
        for i in range(5):
            for j in range(i):
                assert values[row, i, j, output] == pytest.approx(interaction_index(v, i, j), abs=1e-12)
    assert np.array_equal(values, values.transpose(0, 2, 1, 3))
    assert values.sum(axis=2) == pytest.approx(found.values(x), abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_plain_and_compiled_kernels_agree(form, monkeypatch):
    if not accelerate.available():
        pytest.skip("numba is not installed")
    force(form, monkeypatch)
    forest, x = random_forest(1, n_trees=12, depth=8, n_features=9, n_outputs=2), edge_rows(1, 300, 9)
    background = edge_rows(2, 100, 9)
    found = []
    for compiled in (True, False):
        monkeypatch.setattr(accelerate, "available", lambda compiled=compiled: compiled)
        ready = tables(forest, background)
        found.append((ready.values(x), ready.interactions(x[:20]), ready.base_values))
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_does_not_depend_on_its_company(form, compiled, monkeypatch):
    force(form, monkeypatch)
    for module in ("lookup", "deep"):
        monkeypatch.setattr(f"spark_shap.core.trees.{module}._BLOCK_ROWS", 16)
    monkeypatch.setattr("spark_shap.core.trees.leaf._BLOCK_PAIRS", 99)
    found = tables(random_forest(4, n_trees=9, depth=7, n_outputs=2), edge_rows(3, 60))
    x = edge_rows(4, 40)
    values, interactions = found.values(x), found.interactions(x)
    order = np.random.default_rng(0).permutation(40)
    assert np.array_equal(found.values(x[order]), values[order])
    alone = np.concatenate([found.values(x[row : row + 1]) for row in range(40)])
    assert np.array_equal(alone, values)
    assert np.array_equal(found.interactions(x[7:8]), interactions[7:8])
    assert found.values(x[:0]).shape == (0, 5, 2)


@pytest.mark.parametrize("form", ["values", "potentials", "deep"])
def test_histograms_of_parts_add_up(form, monkeypatch):
    force(form, monkeypatch)
    forest, background, x = random_forest(5, depth=6), edge_rows(5, 90), edge_rows(6, 20)
    weights = np.random.default_rng(1).uniform(0.0, 5.0, 90)
    plan = pickle.loads(pickle.dumps(plan_trees(forest)))
    cuts = [slice(0, 1), slice(1, 1), slice(1, 50), slice(50, 90)]
    a, b, c, d = (BackgroundHistograms.local(plan, background[cut], weights[cut]) for cut in cuts)
    expected = tables(forest, background, weights)
    for state in (a.merge(b).merge(c).merge(d), d.merge(c.merge(b.merge(a)))):
        found = pickle.loads(pickle.dumps(TreeTables.build(plan, pickle.loads(pickle.dumps(state)))))
        assert found.base_values == pytest.approx(expected.base_values, abs=1e-14)
        assert found.values(x) == pytest.approx(expected.values(x), abs=1e-13)


def test_a_weight_is_that_many_rows(compiled):
    forest, background, x = random_forest(7), edge_rows(7, 15), edge_rows(8, 10)
    counts = np.arange(15) % 4
    repeated = tables(forest, np.repeat(background, counts, axis=0))
    assert tables(forest, background, counts.astype(float)).values(x) == pytest.approx(repeated.values(x), abs=1e-13)


def test_trees_that_decide_nothing_are_part_of_the_base():
    always = ({"feature": 0, "threshold": np.inf, "missing_left": True}, 3.0, 4.0)
    never = ({"feature": 0, "threshold": np.nan}, 1.0, ({"feature": 1, "rule": 1, "threshold": -np.inf}, 2.0, 7.0))
    forest = make_forest([always, never, 5.0], 2, base=(1.0,))
    found = tables(forest, np.array([[0.0, 1.0], [np.nan, -np.inf]]))
    assert found.sections == found.deep == ()
    assert found.base_values == pytest.approx([16.0])
    assert (found.values(np.array([[np.inf, np.nan]])) == 0.0).all()


def test_one_feature_in_many_tests_has_the_whole_difference(compiled):
    chain = 0.0
    for level in range(40):
        chain = ({"feature": 1, "threshold": -float(level)}, chain, float(level))
    forest = make_forest([chain, (({"feature": 1, "threshold": 3.0}, 1.0, 2.0))], 3)
    background, x = np.arange(-60.0, 0.0)[:, None] * [0, 0.5, 0], np.array([[0.0, -7.5, 0.0], [0.0, 50.0, 0.0]])
    found = tables(forest, background).values(x)
    assert found[:, 1] == pytest.approx(forest.predict(x) - forest.predict(background).mean(axis=0), abs=1e-12)
    assert (found[:, [0, 2]] == 0.0).all()
