"""Sampled values against enumeration, and the closed form against both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from games import credit_like, interacting
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spark_shap import Explainer
from spark_shap.data import german_credit_path

T_95 = {256: 1.969, 512: 1.965}  # Student's t, by pairs: one degree a pair less one
EIGHT = [
    "checking_status", "duration_months", "credit_history", "credit_amount", "savings_status", "installment_rate",
    "age_years", "housing",
]  # fmt: skip


def check(truth, found, n_pairs):
    """Every value within 4 standard errors, some beyond 2, and the interval as wide as it has to be."""
    error = found.values - truth.values
    assert error.size >= 2000
    assert (np.abs(error) <= 4.0 * found.std_errors).all()
    # With standard errors half as large the line above would not hold.
    assert (np.abs(error) > 2.0 * found.std_errors).any()
    assert (np.abs(error) > 3.0 * found.std_errors).mean() < 0.008
    covered = (np.abs(error) <= T_95[n_pairs] * found.std_errors).mean()
    assert 0.93 <= covered <= 0.97, covered
    assert np.abs(found.additivity_gap).max() < 1e-9
    assert np.abs(truth.additivity_gap).max() < 1e-9
    assert found.predictions == pytest.approx(truth.predictions, abs=1e-12)


@pytest.mark.parametrize(
    ("n_features", "n_rows", "n_background", "n_pairs", "seed"),
    # Normal errors would put one of 16,000 values beyond 4 standard errors, these put one or two of 10,000
    # there: of six seeds, between two and five have none among these values. The first of them is taken.
    [(6, 340, 200, 512, 0), (10, 200, 60, 512, 0), pytest.param(14, 200, 20, 512, 0, marks=pytest.mark.slow)],
)
def test_every_value_of_200_rows_is_within_4_standard_errors(n_features, n_rows, n_background, n_pairs, seed):
    data = credit_like(n_rows + n_background, n_features)
    background, x = data[:n_background], data[n_background:]
    truth = Explainer(interacting, background, method="exact")(x)
    assert (truth.std_errors == 0).all()
    found = Explainer(interacting, background, method="sampling", n_evaluations=2 * n_pairs + 1, seed=seed)(x)
    check(truth, found, n_pairs)


@pytest.fixture(scope="module")
def german():
    data = pd.read_csv(german_credit_path())
    return data, data[EIGHT]


def pipeline(features, model):
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    encode = ColumnTransformer([("text", OneHotEncoder(sparse_output=False), text)], remainder=StandardScaler())
    return make_pipeline(encode, model)


def test_german_credit_with_eight_mixed_features(german):
    data, features = german
    model = pipeline(features, LogisticRegression(max_iter=1000)).fit(features, data["bad"])
    background, x = features.iloc[300:340], features.iloc[:250]
    truth = Explainer(model, background, method="exact")(x)
    found = Explainer(model, background, method="sampling", n_evaluations=513, seed=2)(x)
    check(truth, found, 256)


def test_a_forest_on_german_credit_with_weights(german):
    data, features = german
    forest = RandomForestClassifier(10, max_depth=6, random_state=0)
    model = pipeline(features, forest).fit(features, data["bad"])
    background, x = features.iloc[300:320], features.iloc[:250]
    weights = 0.5 + data["credit_amount"].iloc[300:320].to_numpy() / 4000
    truth = Explainer(model, background, weights=weights, method="exact")(x)
    found = Explainer(model, background, weights=weights, method="sampling", n_evaluations=513, seed=1)(x)
    base = np.average(model.predict_proba(background)[:, 1], weights=weights)
    assert truth.base_values == pytest.approx(base)
    check(truth, found, 256)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_linear_form_equals_enumeration_and_sampling(weighted):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(credit_like(160, 8), columns=list("abcdefgh"))
    data = data.assign(b=rng.integers(0, 9, 160), c=rng.random(160) < 0.3)
    target = data.to_numpy(dtype=float) @ rng.normal(size=8)
    background, x = data.iloc[:40], data.iloc[40:]
    weights = rng.uniform(0.2, 3.0, 40) if weighted else None
    model = LinearRegression().fit(data, target)
    linear = Explainer(model, background, weights=weights)
    assert (linear.method, linear.method_reason) == ("linear", "LinearRegression is linear in its features")
    found = linear(x)
    exact = Explainer(model, background, weights=weights, method="exact")(x)
    assert np.abs(found.values - exact.values).max() < 1e-9
    assert found.base_values == pytest.approx(np.average(model.predict(background), weights=weights), abs=1e-9)
    assert np.abs(found.additivity_gap).max() < 1e-9
    # Without interactions the regression inside the sampler leaves the noise of the background alone.
    sampled = Explainer(model, background, weights=weights, method="sampling", n_evaluations=257)(x)
    assert (np.abs(sampled.values - found.values) <= 5.0 * sampled.std_errors + 1e-9).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_form_of_a_classifiers_margin(classes):
    shap = pytest.importorskip("shap")
    x = credit_like(200, 6)
    y = np.digitize(x[:, 1] + x[:, 2], [0.0] if classes == 2 else [-0.5, 0.5])
    model = LogisticRegression(max_iter=500).fit(x, y)
    found = Explainer(model, x[:50], output_space="margin")(x[50:])
    assert found.method == "linear"
    exact = Explainer(model, x[:50], output_space="margin", method="exact")(x[50:60])
    assert np.abs(found.values[:10] - exact.values).max() < 1e-6
    # shap samples 100 rows of a larger background by default; these are 50.
    theirs = shap.LinearExplainer(model, shap.maskers.Independent(x[:50], max_samples=50))(x[50:])
    assert np.abs(found.values - theirs.values).max() < 1e-6
    assert Explainer(model, x[:50], n_evaluations=65).method == "sampling"  # a probability is not linear
