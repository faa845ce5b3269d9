"""Models seen as functions: which output, in which space, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from spark_shap import Explainer, MethodError, ModelError
from spark_shap.models.predictor import Predictor, as_predictor


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).normal(size=(90, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int), np.arange(90) % 3


def test_each_space_of_a_binary_classifier(data):
    x, y, _ = data
    model = LogisticRegression().fit(x, np.where(y, "bad", "good"))
    probability, margin = as_predictor(model), as_predictor(model, "margin")
    assert (probability.output_space, probability.output_names) == ("probability", ("good",))  # classes_[1]
    assert np.array_equal(probability(x)[:, 0], model.predict_proba(x)[:, 1])
    assert (margin.output_space, margin.output_names) == ("margin", ("good",))
    assert np.array_equal(margin(x)[:, 0], model.decision_function(x))
    with pytest.raises(MethodError, match="'prediction' of the classifier LogisticRegression is a label"):
        as_predictor(model, "prediction")


def test_log_odds_where_there_is_no_decision_function(data):
    x, y, three = data
    model = RandomForestClassifier(30, max_depth=2, random_state=0).fit(x, y)
    p = model.predict_proba(x)[:, 1]
    assert as_predictor(model, "margin")(x)[:, 0] == pytest.approx(np.log(p / (1 - p)))
    with pytest.raises(MethodError, match="3 classes, so 'margin' is not defined"):
        as_predictor(RandomForestClassifier(2).fit(x, three), "margin")


def test_three_classes_and_regressors(data):
    x, _, three = data
    model = LogisticRegression().fit(x, three)
    assert as_predictor(model).output_names == ("0", "1", "2")
    assert as_predictor(model)(x).shape == (90, 3)
    line = LinearRegression().fit(x, x @ [1.0, 2.0, 3.0, 4.0])
    assert as_predictor(line).output_space == "prediction"
    with pytest.raises(MethodError, match="LinearRegression has no probability, only predict"):
        as_predictor(line, "probability")
    with pytest.raises(MethodError, match=r"LinearSVC has no predict_proba; say output_space='margin'"):
        as_predictor(LinearSVC().fit(x, three))


@pytest.mark.filterwarnings("error")  # scikit-learn warns about names that it did not see, or misses
@pytest.mark.parametrize(
    ("fitted_on", "background"),
    [(np.ndarray, np.ndarray), (np.ndarray, pd.DataFrame), (pd.DataFrame, pd.DataFrame)],
)
def test_a_model_gets_a_frame_only_if_it_was_fitted_on_one(data, fitted_on, background):
    x, y, _ = data
    frame = pd.DataFrame(x, columns=list("abcd"))
    model = LogisticRegression().fit(x if fitted_on is np.ndarray else frame, y)
    given = x if background is np.ndarray else frame
    found = Explainer(model, given[:40], n_evaluations=33)(given[40:50])
    assert found.predictions == pytest.approx(model.predict_proba(x if fitted_on is np.ndarray else frame)[40:50, 1])


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (lambda n: np.zeros(n - 1), r"returned shape \(2,\) for 3 rows; a model must return \(3,\) or \(3, 2\)"),
        (lambda n: np.zeros((n, 3)), "returned 3 outputs, and output_names has 2: a, b; name every output"),
        (lambda n: np.zeros((n, 2, 1)), r"returned shape \(3, 2, 1\)"),
        (lambda n: ["good"] * n, "returned a list that is no array of numbers"),
        (lambda n: None, r"returned shape \(\) for 3 rows"),
    ],
)
def test_wrong_results(result, text):
    predictor = Predictor(lambda rows: result(len(rows)), "prediction", ("a", "b"))
    with pytest.raises(ModelError, match=text):
        predictor(np.zeros((3, 2)))
