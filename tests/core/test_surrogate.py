from __future__ import annotations

import pickle

import numpy as np
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets

from spark_shap.core import accelerate
from spark_shap.core.surrogate import SurrogateSettings, fit_surrogate

SETTINGS = SurrogateSettings(n_trees=40, depth=5, structure_rows=1500)


@pytest.fixture(params=["numpy", "compiled"])
def kernels(request, monkeypatch):
    if request.param == "compiled":
        pytest.importorskip("numba")
    monkeypatch.setattr(accelerate, "available", lambda: request.param == "compiled")


def two_outputs(x):
    first = interacting(x)
    return np.stack([first, np.where(x[:, 1] > 0.3, x[:, 2], 2.0 * first)], axis=1)


def data(n_rows=3000, n_features=5, seed=0):
    """Hybrids with missing values and a feature of few values, their answers, and a weighted background."""
    rng = np.random.default_rng(seed)
    x = credit_like(n_rows, n_features, seed)
    x[:, 4] = np.round(x[:, 4])
    answers = two_outputs(x)
    x[rng.random(n_rows) < 0.1, 1] = np.nan
    return x, answers, x[:60], rng.random(60) + 0.1


def fit(settings=SETTINGS, **changes):
    x, answers, background, weights = data(**changes)
    return fit_surrogate(x, answers, background=background, weights=weights, settings=settings, seed=3)


def hybrids(x, background, background_index, members):
    on = members.transpose(0, 2, 1)
    z = background[background_index]
    shape = (-1, x.shape[1])
    return np.where(on, x[:, None], z).reshape(shape), np.where(on, z, x[:, None]).reshape(shape)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_values_are_the_shapley_values_of_the_surrogate(kernels, depth):
    g = fit(SurrogateSettings(n_trees=12, depth=depth))
    x, _, background, weights = data()
    rows = x[100:104]
    values = g.values(g.encode(rows))
    for output in range(2):
        for row, value in zip(rows, values, strict=True):
            game = background_game(lambda x, k=output: g.predict(g.encode(x))[:, k], row, background, weights)
            assert value[:, output] == pytest.approx(shapley_by_subsets(game), abs=1e-8)
            assert g.base_values[output] == pytest.approx(game[0], abs=1e-12)


def test_values_sum_to_the_prediction(kernels):
    g = fit()
    rows = g.encode(data(seed=1)[0])
    assert g.values(rows).sum(axis=1) == pytest.approx(g.predict(rows) - g.base_values, abs=1e-7)


@pytest.mark.parametrize(("depth", "n"), [(2, 9), (8, 9), (8, 2)])  # more pairs than background rows, and fewer
def test_pair_differences_are_those_of_predictions(kernels, depth, n):
    g = fit(SurrogateSettings(n_trees=30, depth=depth))
    x = data(seed=2)[0]
    rng = np.random.default_rng(0)
    background_index, members = rng.integers(0, 60, (n, 7)), rng.random((n, 5, 7)) < 0.5
    found = g.pair_differences(g.encode(x[:n]), background_index, members)
    up, down = hybrids(x[:n], data()[2], background_index, members)
    plus, minus = (g.predict(g.encode(rows)).reshape(n, 7, 2) for rows in (up, down))
    assert found == pytest.approx(plus - minus, abs=1e-12)
    assert g.pair_sums(g.encode(x[:n]), background_index, members) == pytest.approx(plus + minus, abs=1e-12)
    assert g.background_predictions == pytest.approx(g.predict(g.encode(data()[2])), abs=1e-12)


def test_interactions_are_those_of_the_definition(kernels):
    g = fit(SurrogateSettings(n_trees=12, depth=4))
    x, _, background, weights = data()
    rows = g.encode(x[100:102])
    found = g.interactions(rows)
    game = background_game(lambda x: g.predict(g.encode(x))[:, 1], x[100], background, weights)
    for i in range(5):
        for j in range(i):
            # The index of a pair is the value of "both" less the values of each without the other.
            with_j = shapley_without(game, i, j, True) - shapley_without(game, i, j, False)
            assert found[0, i, j, 1] == pytest.approx(with_j / 2, abs=1e-8)
    assert found.sum(axis=2) == pytest.approx(g.values(rows), abs=1e-12)
    assert np.array_equal(found, found.transpose(0, 2, 1, 3))


def shapley_without(game, i, j, present):
    """Player i's value in the game without player j, who is always there or never."""
    players = [player for player in range(5) if player != j]
    index = [sum(1 << player for at, player in enumerate(players) if mask >> at & 1) for mask in range(16)]
    return shapley_by_subsets(game[np.array(index) | (present << j)])[players.index(i)]


def test_kernels_agree_to_the_last_bit(monkeypatch):
    pytest.importorskip("numba")
    found = []
    for compiled in (False, True):
        monkeypatch.setattr(accelerate, "available", lambda compiled=compiled: compiled)
        g = fit()
        rows = g.encode(data(seed=4)[0][:50])
        rng = np.random.default_rng(0)
        pairs = rng.integers(0, 60, (50, 33)), rng.random((50, 5, 33)) < 0.5
        found.append(
            (rows.codes, g.predict(rows), g.values(rows), g.pair_differences(rows, *pairs), g.interactions(rows))
        )
    for numpy_result, compiled_result in zip(*found, strict=True):
        assert np.array_equal(numpy_result, compiled_result)


def test_a_row_does_not_depend_on_its_company(kernels):
    g = fit()
    rows = g.encode(data(seed=5)[0])
    some = np.random.default_rng(0).permutation(3000)[:17]
    index, members = np.full((3000, 40), 7), np.random.default_rng(1).random((3000, 5, 40)) < 0.5
    for whole, part in [
        (g.predict(rows), g.predict(rows.take(some))),
        (g.values(rows), g.values(rows.take(some))),
        (g.pair_differences(rows, index, members), g.pair_differences(rows.take(some), index[some], members[some])),
    ]:
        assert np.array_equal(whole[some], part)


def test_the_fit_explains_most_of_the_variance_and_repeats(kernels):
    g, again = fit(SurrogateSettings(n_trees=150), n_rows=8000), fit(SurrogateSettings(n_trees=150), n_rows=8000)
    x, answers, _, _ = data(4000, seed=9)
    residual = answers - g.predict(g.encode(x))
    assert residual.var(axis=0) / answers.var(axis=0) == pytest.approx(0.0, abs=0.12)
    assert np.array_equal(g.values(g.encode(x)), again.values(again.encode(x)))


def test_missing_values_have_their_own_bin(kernels):
    x = np.linspace(-1.0, 1.0, 400)[:, None]
    x[::4] = np.nan
    answers = np.where(np.isnan(x), 5.0, 0.0)
    settings = SurrogateSettings(n_trees=60, depth=1, learning_rate=0.3)
    g = fit_surrogate(x, answers, background=x, weights=np.ones(400), settings=settings, seed=0)
    assert g.predict(g.encode(np.array([[np.nan], [0.2], [-np.inf]])))[:, 0] == pytest.approx([5, 0, 0], abs=0.2)


def test_constant_answers_and_features_are_explained_by_nothing(kernels):
    x = np.ones((50, 2))
    g = fit_surrogate(x, np.full((50, 1), 3.0), background=x, weights=np.ones(50), settings=SETTINGS, seed=0)
    rows = g.encode(np.array([[1.0, 2.0]]))
    assert g.base_values == pytest.approx([3.0])
    assert not g.values(rows).any()
    assert len(g.encode(np.empty((0, 2)))) == 0


def test_travels_in_a_few_hundred_kilobytes(kernels):
    g = fit(SurrogateSettings(n_trees=100, depth=6))
    sent = pickle.dumps(g)
    assert len(sent) < 2**20
    rows = g.encode(data(seed=6)[0])
    assert np.array_equal(pickle.loads(sent).values(rows), g.values(rows))
