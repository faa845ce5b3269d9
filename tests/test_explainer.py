from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from games import background_game, credit_like, interacting, shapley_by_subsets

from spark_shap import Explainer, InputError, MethodError, ModelError, UsageError


@pytest.fixture(scope="module")
def data():
    x = credit_like(1400, 8)
    return x[:60], x[60:]


def test_exact_equals_the_subset_formula(data):
    background, x = data[0][:, :6], data[1][:5, :6]
    found = Explainer(interacting, background, method="exact")(x)
    for row in range(5):
        game = background_game(interacting, x[row], background)
        assert found.values[row] == pytest.approx(shapley_by_subsets(game), abs=1e-12)
    assert (found.std_errors == 0).all()
    assert found.method == "exact"


@pytest.mark.parametrize("n_evaluations", [9, 17, 65, 513])
def test_intervals_cover_the_exact_values(data, n_evaluations):
    background, x = data[0], data[1][:400]
    truth = Explainer(interacting, background, method="exact")(x).values
    sampled = {"method": "sampling", "n_evaluations": n_evaluations}
    found = [Explainer(interacting, background, seed=seed, **sampled)(x) for seed in range(3)]
    error = np.array([one.values for one in found]) - truth
    std_errors = np.array([one.std_errors for one in found])
    halves = np.array([one.confidence_interval()[1] - one.values for one in found])
    assert 0.93 <= (np.abs(error) <= halves).mean() <= 0.97
    # No luck of a loose bound: the errors' mean square is what the standard errors say, but for what the
    # stratified background saves (at 60 background rows it is covered evenly several times).
    assert 0.95 < np.mean(std_errors**2) / np.mean(error**2) < 1.25


def test_intervals_cover_where_most_of_the_error_is_the_surrogates(data):
    def probability(x):
        return 1 / (1 + np.exp(-x @ np.linspace(0.2, 1.6, 8)))

    background, x = data[0], data[1][:300]
    truth = Explainer(probability, background, method="exact")(x).values
    sampled = {"method": "sampling", "n_evaluations": 9, "population": data[1], "surrogate_evaluations": 8000}
    found = Explainer(probability, background, **sampled)(x)
    low, high = found.confidence_interval(0.95)
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97
    # Four pairs of the model alone would have 4 degrees of freedom, and an interval far too wide.
    assert np.median(found.degrees_of_freedom) > 6
    wider = found.confidence_interval(0.99)
    assert (wider[0] <= low).all()
    assert (wider[1] >= high).all()
    with pytest.raises(UsageError, match=r"level: 95 is not between 0 and 1; 0\.95"):
        found.confidence_interval(95)


def test_error_falls_with_the_root_of_the_budget(data):
    background, x = data[0], data[1][:300]
    truth = Explainer(interacting, background, method="exact")(x).values
    errors = []
    for n_evaluations in (65, 257, 1025):
        found = Explainer(interacting, background, method="sampling", n_evaluations=n_evaluations)(x)
        errors.append(np.sqrt(np.mean((found.values - truth) ** 2)))
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.25)


@pytest.mark.slow  # tests/core/test_unbiased.py has the quick one
def test_mean_error_is_zero_over_seeds(data):
    background, x = data[0], data[1][:12]
    truth = Explainer(interacting, background, method="exact")(x).values
    sampled = {"method": "sampling", "n_evaluations": 21}
    found = [Explainer(interacting, background, seed=seed, **sampled)(x).values for seed in range(80)]
    error = np.array(found) - truth
    z = error.mean(axis=0) / (error.std(axis=0, ddof=1) / np.sqrt(len(error)))
    assert (z**2).mean() == pytest.approx(1.0, abs=0.45)  # 96 values: 3 standard deviations


def test_efficiency_against_the_whole_background(data):
    background, x = data
    weights = np.linspace(1, 3, len(background))
    found = Explainer(interacting, background, weights=weights, n_evaluations=65)(x[:50])
    assert found.base_values == pytest.approx(np.average(interacting(background), weights=weights), abs=1e-14)
    assert np.abs(found.additivity_gap).max() < 1e-12


def test_weighted_background_equals_repeated_rows(data):
    background, x = data[0][:10, :5], data[1][:4, :5]
    weights = np.array([1, 2, 3, 1, 1, 4, 1, 2, 1, 1])
    weighted = Explainer(interacting, background, weights=weights, method="exact")(x)
    repeated = Explainer(interacting, np.repeat(background, weights, axis=0), method="exact")(x)
    assert weighted.values == pytest.approx(repeated.values, abs=1e-12)


def test_weighted_sampling_covers(data):
    background, x = data[0], data[1][:250]
    weights = np.random.default_rng(0).integers(0, 5, len(background)) + 0.25
    truth = Explainer(interacting, background, weights=weights, method="exact")(x).values
    found = Explainer(interacting, background, weights=weights, method="sampling", n_evaluations=129)(x)
    assert 0.93 <= (np.abs(found.values - truth) <= 1.998 * found.std_errors).mean() <= 0.97


def test_dummy_and_symmetric_features(data):
    def model(z):
        return np.tanh(z[:, 0] + z[:, 1]) * (1 + (z[:, 3] > 1))

    background, x = data[0].copy(), data[1][:60].copy()
    background[:, 1], x[:, 1] = background[:, 0], x[:, 0]  # the first two are interchangeable
    found = Explainer(model, background, method="sampling", n_evaluations=513, seed=1)(x)
    dummy = np.abs(found.values[:, [2, 4, 5, 6, 7]]) <= 4.2 * found.std_errors[:, [2, 4, 5, 6, 7]]
    assert dummy.all()
    gap = found.values[:, 0] - found.values[:, 1]
    assert (np.abs(gap) <= 4.2 * np.hypot(found.std_errors[:, 0], found.std_errors[:, 1])).mean() > 0.99
    exact = Explainer(model, background, method="exact")(x[:10])
    assert exact.values[:, 0] == pytest.approx(exact.values[:, 1], abs=1e-13)
    assert np.abs(exact.values[:, 4:]).max() < 1e-15


def test_values_are_linear_in_the_model(data):
    background, x = data[0], data[1][:20]

    def values(model):
        return Explainer(model, background, method="exact")(x).values

    combined = values(lambda z: 2 * interacting(z) - 3 * np.tanh(z[:, 5]))
    assert combined == pytest.approx(2 * values(interacting) - 3 * values(lambda z: np.tanh(z[:, 5])), abs=1e-12)


def test_a_row_alone_in_company_in_any_order(data):
    background, x = data
    frame = pd.DataFrame(x[:300], columns=list("abcdefgh")).assign(id=[f"A{row}" for row in range(300)])
    explainer = Explainer(interacting_frame, pd.DataFrame(background, columns=list("abcdefgh")), n_evaluations=65)
    whole = explainer(frame, key="id").values
    shuffled = np.random.default_rng(1).permutation(300)
    assert np.array_equal(explainer(frame.iloc[shuffled], key="id").values, whole[shuffled])
    assert np.array_equal(explainer(frame.iloc[[17]], key="id").values[0], whole[17])
    assert np.array_equal(explainer(frame, key=["id"]).values, whole)
    assert np.array_equal(explainer(frame.drop(columns="id"), key=frame["id"]).values, whole)
    assert not np.array_equal(explainer(frame.assign(id=range(300)), key="id").values, whole)


def interacting_frame(frame):
    return interacting(frame.to_numpy())


def test_without_a_key_equal_rows_get_equal_values(data):
    background, x = data
    twice = np.concatenate([x[:5], x[2:3]])
    found = Explainer(interacting, background, n_evaluations=65)(twice)
    assert np.array_equal(found.values[5], found.values[2])


def test_features_equal_to_a_constant_background_are_exactly_zero(data):
    background, x = data[0].copy(), data[1][:40].copy()
    background[:, 2] = 0.5
    x[:20, 2] = 0.5
    found = Explainer(interacting, background, n_evaluations=65)(x)
    assert (found.values[:20, 2] == 0.0).all()
    assert (found.values[20:, 2] != 0.0).all()
    assert np.abs(found.additivity_gap).max() < 1e-12


def test_one_background_row_is_enumerated_when_few_features_differ(data):
    base = data[0][:1]
    x = np.repeat(base, 3, axis=0)
    x[1, :3] += 1.0
    x[2, :] += 1.0
    found = Explainer(interacting, base, n_evaluations=65)(x)
    assert found.n_evaluations.tolist() == [1, 7, 65]
    assert (found.std_errors[:2] == 0).all()
    assert (found.std_errors[2] > 0).all()
    game = background_game(interacting, x[1], base)
    assert found.values[1] == pytest.approx(shapley_by_subsets(game), abs=1e-12)
    assert found.values[0] == pytest.approx(np.zeros(8), abs=0)


def test_one_feature_and_two():
    background = np.arange(20.0).reshape(-1, 1)
    found = Explainer(lambda z: z[:, 0] ** 2, background)(np.array([[3.0]]))
    assert found.values[0, 0] == pytest.approx(9.0 - np.mean(background**2))
    pairs = np.random.default_rng(0).normal(size=(500, 2))
    found = Explainer(lambda z: z[:, 0] * z[:, 1], pairs, n_evaluations=65)(pairs[:50])
    assert np.abs(found.additivity_gap).max() < 1e-12


def test_several_outputs_in_one_pass(data):
    background, x = data[0], data[1][:30]
    calls = []

    def model(z):
        calls.append(len(z))
        p = interacting(z)
        return np.stack([p, 1 - p, p * p], axis=1)

    explainer = Explainer(model, background, n_evaluations=129, output_names=["bad", "good", "square"])
    calls.clear()
    found = explainer(x)
    assert found.values.shape == (30, 8, 3)
    assert sum(calls) == 30 * 129
    assert found.output_names == ("bad", "good", "square")
    assert found.values[:, :, 0] == pytest.approx(-found.values[:, :, 1], abs=1e-12)
    assert np.abs(found.additivity_gap).max() < 1e-12


def test_model_calls_are_pooled_into_full_blocks(data):
    background, x = data
    calls = []

    def model(z):
        calls.append(len(z))
        return interacting(z)

    explainer = Explainer(model, background, n_evaluations=129)
    calls.clear()
    explainer(x[:1000])
    assert sum(calls) == 129_000
    assert max(calls) <= 8192
    assert min(calls) > 7500
    calls.clear()
    explainer(x[:1])
    assert calls == [129]  # the row's own prediction travels with its hybrids


def test_a_budget_larger_than_a_block_is_split(data):
    background, x = data
    found = Explainer(interacting, np.tile(background, (5, 1)), n_evaluations=40_001)(x[:2])
    assert found.n_evaluations.tolist() == [40_005] * 2  # each of the five calls predicts the row again
    assert np.abs(found.additivity_gap).max() < 1e-12


def test_to_shap(data):
    shap = pytest.importorskip("shap")
    background, x = data
    ours = Explainer(interacting, background, n_evaluations=65)(x[:4])
    theirs = ours.to_shap()
    assert isinstance(theirs, shap.Explanation)
    assert theirs.values.shape == (4, 8)
    assert np.array_equal(theirs.base_values, ours.base_values)
    pytest.importorskip("matplotlib").use("Agg")
    shap.plots.bar(theirs, show=False)
    shap.plots.waterfall(theirs[0], show=False)


def test_agrees_with_shap_on_the_same_background(data):
    shap = pytest.importorskip("shap")
    background, x = data[0][:, :6], data[1][:6, :6]
    masker = shap.maskers.Independent(background, max_samples=len(background))
    theirs = shap.ExactExplainer(interacting, masker)(x)
    ours = Explainer(interacting, background, method="exact")(x)
    assert ours.values == pytest.approx(theirs.values, abs=1e-9)
    assert ours.base_values == pytest.approx(theirs.base_values, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_evaluation": 100}, TypeError, "n_evaluation"),
        ({"method": "kernel"}, MethodError, "'kernel' is not known; choose one of 'auto'"),
        ({"output_space": "log_odds"}, MethodError, "output_space: 'log_odds' is not supported"),
        ({"n_evaluations": 3}, MethodError, "n_evaluations: 3 is not an integer of at least 5"),
        ({"n_evaluations": 100.0}, MethodError, "n_evaluations: 100.0 is not an integer"),
        ({"seed": "x"}, MethodError, "seed: 'x' is not an integer"),
        ({"weights": [1.0, 2.0]}, InputError, r"background weights: shape \(2,\) for 60 background rows"),
        ({"weights": [-1.0] * 60}, InputError, "weight -1.0 of row 0"),
        ({"method": "linear"}, MethodError, "'linear' needs a model that is linear"),
        ({"feature_names": ["a"]}, InputError, "feature_names: 1 names for 8"),
    ],
)
def test_bad_options(data, options, error, text):
    with pytest.raises(error, match=text):
        Explainer(interacting, data[0], **options)


def test_bad_backgrounds(data):
    with pytest.raises(InputError, match=r"background: it has shape \(0, 8\)"):
        Explainer(interacting, data[0][:0])
    with pytest.raises(InputError, match="must be two-dimensional and numeric"):
        Explainer(interacting, data[0][0])
    with pytest.raises(InputError, match="column name 'a' occurs more than once"):
        Explainer(interacting, pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]))


def test_bad_models(data):
    background = data[0]

    def fails(z):
        raise ValueError("no such table: rates")

    with pytest.raises(
        ModelError, match=r"fails on background row 0 \(ValueError: no such table: rates\), and on 5 more"
    ):
        Explainer(fails, background)
    with pytest.raises(ModelError, match=r"returned shape \(3,\) for 60 rows"):
        Explainer(lambda z: np.zeros(3), background)
    with pytest.raises(
        ModelError,
        match=r"fails on background row 0 \(its prediction is \[nan\], which is not finite\), and on 59 more",
    ):
        Explainer(lambda z: np.full(len(z), np.nan), background)
    with pytest.raises(ModelError, match="no array of numbers"):
        Explainer(lambda z: ["good"] * len(z), background)
    with pytest.raises(ModelError, match="neither predict_proba nor predict"):
        Explainer(object(), background)


def test_a_row_that_the_model_refuses_is_named(data):
    background, x = data

    def model(z):
        if (z[:, 0] == x[5, 0]).any():
            raise KeyError("rate class 9")
        return interacting(z)

    with pytest.raises(ModelError, match=r"row 5 \(and 0 more\) with KeyError: 'rate class 9'"):
        Explainer(model, background, n_evaluations=33)(x[:20])


def test_bad_rows(data):
    background = pd.DataFrame(data[0][:, :5], columns=list("abcde"))
    explainer = Explainer(interacting_frame, background, n_evaluations=33)
    with pytest.raises(InputError, match=r"feature 'c' is missing \(1 of 5 features: c\)"):
        explainer(background.drop(columns="c"))
    with pytest.raises(InputError, match=r"feature 'b': the rows have dtype .*'x'.* the background has float64"):
        explainer(background.assign(b="x"))
    with pytest.raises(InputError, match="key: X has no column 'id'"):
        explainer(background, key="id")
    with pytest.raises(InputError, match="key of row 1 is null"):
        explainer(background.iloc[:2], key=["a", None])
    with pytest.raises(UsageError, match="no Spark DataFrame"):
        explainer.explain(background, key="a")
