"""scikit-learn's trees as they are read, against its own predictions on hybrid rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from treedata import classes, deviation, mixed, numeric, score

from spark_shap.models.frames import background_rows
from spark_shap.models.trees import NotReadable, read_forest

FRAME, MORE = mixed(2000), mixed(300, 1)
ARRAY, MORE_ARRAY = numeric(2000), numeric(300, 1)
FULL, MORE_FULL = np.nan_to_num(ARRAY), np.nan_to_num(MORE_ARRAY)
WEIGHTS = np.random.default_rng(0).uniform(0.1, 3.0, len(ARRAY))
LIMIT = 1e-12


def layout(rows):
    return background_rows(rows).layout


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(15, random_state=0),
        ExtraTreesClassifier(15, max_depth=6, random_state=0, class_weight="balanced"),
        DecisionTreeClassifier(random_state=0),
        ExtraTreeClassifier(random_state=0),
    ],
)
def test_forests_and_trees_that_classify(model, n_classes):
    model.fit(ARRAY, classes(ARRAY, n_classes), sample_weight=WEIGHTS)
    assert deviation(model, "probability", ARRAY[:400], MORE_ARRAY) < LIMIT
    assert "say output_space='probability'" in read_forest(model, "margin", layout(ARRAY)).reason


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(15, random_state=0),
        ExtraTreesRegressor(15, max_depth=6, random_state=0),
        DecisionTreeRegressor(random_state=0),
        ExtraTreeRegressor(random_state=0),
    ],
)
def test_forests_and_trees_that_predict_numbers(model, n_targets):
    target = np.column_stack([score(ARRAY), -2.0 * score(ARRAY)])[:, :n_targets]
    model.fit(ARRAY, target if n_targets > 1 else target[:, 0])
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


def test_columns_of_several_dtypes():
    frame = pd.DataFrame(ARRAY, columns=list("abcdefgh"))
    frame = frame.assign(a=frame["a"].astype(np.float32), h=FULL[:, 5].astype(int), g=frame["g"] > 0)
    model = RandomForestRegressor(15, random_state=0).fit(frame, score(ARRAY))
    assert deviation(model, "prediction", frame[:400], frame[500:800]) < LIMIT


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("given", [{}, {"init": "zero"}, {"n_iter_no_change": 2, "subsample": 0.5}])
def test_gradient_boosting_classifiers(given, n_classes):
    model = GradientBoostingClassifier(n_estimators=25, random_state=0, **given)
    model.fit(FULL, classes(FULL, n_classes), sample_weight=WEIGHTS)
    assert deviation(model, "margin", FULL[:400], MORE_FULL) < LIMIT


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_gradient_boosting_regressors(loss):
    model = GradientBoostingRegressor(loss=loss, n_estimators=25, random_state=0).fit(FULL, score(FULL))
    assert deviation(model, "prediction", FULL[:400], MORE_FULL) < LIMIT


def test_exponential_loss_has_its_own_margin():
    model = GradientBoostingClassifier(loss="exponential", n_estimators=25).fit(FULL, classes(FULL))
    assert deviation(model, "margin", FULL[:400], MORE_FULL) < LIMIT


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("given", [{}, {"early_stopping": True, "max_iter": 200, "learning_rate": 0.5}])
def test_histogram_boosting_with_categories_and_missing_values(given, n_classes):
    model = HistGradientBoostingClassifier(**{"max_iter": 25, **given}, random_state=0)
    model.fit(FRAME, classes(FRAME, n_classes), sample_weight=WEIGHTS)
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile"])
def test_histogram_boosting_regressors(loss):
    model = HistGradientBoostingRegressor(loss=loss, quantile=0.3, max_iter=25)
    assert deviation(model.fit(FRAME, score(FRAME)), "prediction", FRAME[:400], MORE) < LIMIT
    # Thresholds are compared in double precision: values next to one are told apart.
    assert deviation(model.fit(ARRAY, score(ARRAY)), "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT
    assert deviation(model.fit(FULL, score(FULL)), "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


def test_histogram_boosting_matches_categories_by_label_and_takes_unknown_ones_for_missing():
    model = HistGradientBoostingRegressor(max_iter=25).fit(FRAME, score(FRAME))
    labels = [*sorted(FRAME["region"].cat.categories), "r99"]
    frame = FRAME.assign(region=FRAME["region"].cat.set_categories(labels))
    frame.loc[frame.index % 3 == 0, "region"] = "r99"
    assert deviation(model, "prediction", frame[:400], MORE) < LIMIT


@pytest.mark.parametrize("marker", [None, np.nan])
def test_histogram_boosting_with_categories_of_texts_and_of_numbers(marker):
    # To the encoder None is a category, and NaN a missing value.
    frame, more = (
        rows.assign(region=rows["region"].astype(object).where(rows["region"].notna(), marker)).assign(
            grade=rows["grade"].astype(float)
        )
        for rows in (FRAME, MORE)
    )
    more.loc[:50, "region"], more.loc[40:90, "grade"] = "never seen", 77.0
    model = HistGradientBoostingRegressor(max_iter=25, categorical_features=["grade", "region"])
    assert deviation(model.fit(frame, score(FRAME)), "prediction", frame[:400], more) < LIMIT


def test_nothing_but_single_precision_separates_neighbours():
    """A threshold between two doubles that are one single: forests cannot tell them apart, histograms can."""
    x = np.repeat([[1.0], [1.0 + 1e-12]], 1100, axis=0)
    y = np.repeat([0.0, 1.0], 1100)
    model = HistGradientBoostingRegressor(max_iter=5).fit(x, y)
    assert model.predict(x).std() > 0.1
    assert deviation(model, "prediction", x, x[::8]) < LIMIT
    forest = read_forest(model, "prediction", layout(x)).forest
    assert forest.predict(x).std() > 0.1


@pytest.mark.parametrize(
    ("model", "space", "reason"),
    [
        (
            AdaBoostClassifier(n_estimators=2),
            "margin",
            "AdaBoostClassifier: it is not one of scikit-learn's sums of trees",
        ),
        (BaggingRegressor(n_estimators=2), "prediction", "sums of trees"),
        (IsolationForest(n_estimators=2), "prediction", "sums of trees"),
        (LinearRegression(), "prediction", "sums of trees"),
        (HistGradientBoostingClassifier(max_iter=2), "probability", "say output_space='margin'"),
        (HistGradientBoostingRegressor(max_iter=2, loss="poisson"), "prediction", "predicts through an exponential"),
        (
            GradientBoostingRegressor(n_estimators=2, init=LinearRegression()),
            "prediction",
            "starts from the predictions of a LinearRegression",
        ),
        (make_pipeline(StandardScaler(), DecisionTreeRegressor()), "prediction", "Pipeline: it is not one of"),
    ],
)
def test_what_is_no_sum_of_trees(model, space, reason):
    found = read_forest(model.fit(FULL, classes(FULL)), space, layout(FULL))
    assert isinstance(found, NotReadable)
    assert reason in found.reason


def test_several_classified_targets_are_refused():
    model = DecisionTreeClassifier(max_depth=2).fit(FULL, np.column_stack([classes(FULL), classes(FULL, 3)]))
    assert "classifies several targets" in read_forest(model, "probability", layout(FULL)).reason


def test_a_pipeline_of_steps_that_change_nothing_is_its_last_step():
    model = make_pipeline("passthrough", None, GradientBoostingRegressor(n_estimators=5)).fit(FULL, score(FULL))
    assert deviation(model, "prediction", FULL[:400], MORE_FULL) < LIMIT
