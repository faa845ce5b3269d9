"""Models of XGBoost, LightGBM and CatBoost as functions of rows: raw scores, and Boosters without an estimator."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from treedata import classes, numeric, score

from spark_shap import Explainer, MethodError
from spark_shap.models.predictor import as_predictor

ARRAY = np.nan_to_num(numeric(600))
TWO, THREE = np.array(["no", "yes"])[classes(ARRAY)], classes(ARRAY, 3)


def estimators(library):
    """The library's classifier and regressor."""
    module = pytest.importorskip(library)
    if library == "xgboost":
        return module.XGBClassifier(n_estimators=10), module.XGBRegressor(n_estimators=10)
    if library == "lightgbm":
        given = {"n_estimators": 10, "n_jobs": 1, "verbose": -1}
        return module.LGBMClassifier(**given), module.LGBMRegressor(**given)
    given = {"iterations": 10, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    return module.CatBoostClassifier(**given), module.CatBoostRegressor(**given)


def softmax(margin):
    powers = np.exp(margin)
    return powers / powers.sum(axis=1, keepdims=True)


each_library = pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])


@each_library
def test_margins_of_classifiers(library):
    classifier, _ = estimators(library)
    classifier.fit(ARRAY, THREE)
    margin = as_predictor(classifier, "margin")
    assert (margin.output_space, margin.output_names) == ("margin", ("0", "1", "2"))
    assert softmax(margin(ARRAY)) == pytest.approx(classifier.predict_proba(ARRAY), abs=1e-6)
    classifier, _ = estimators(library)
    classifier.fit(ARRAY, classes(ARRAY))
    margin = as_predictor(classifier, "margin")
    assert margin.output_names == ("1",)
    probability = as_predictor(classifier)
    assert (probability.output_space, probability.output_names) == ("probability", ("1",))
    assert probability(ARRAY)[:, 0] == pytest.approx(classifier.predict_proba(ARRAY)[:, 1])
    assert 1.0 / (1.0 + np.exp(-margin(ARRAY))) == pytest.approx(probability(ARRAY), abs=1e-6)
    with pytest.raises(MethodError, match=r"'prediction' of the classifier .* is a label"):
        as_predictor(classifier, "prediction")


@each_library
def test_outputs_of_regressors(library):
    _, regressor = estimators(library)
    regressor.fit(ARRAY, score(ARRAY))
    prediction = as_predictor(regressor)
    assert prediction.output_space == "prediction"
    assert prediction(ARRAY)[:, 0] == pytest.approx(regressor.predict(ARRAY))
    assert as_predictor(regressor, "margin")(ARRAY) == pytest.approx(prediction(ARRAY))
    with pytest.raises(MethodError, match="was not trained for probabilities"):
        as_predictor(regressor, "probability")


@each_library
def test_a_pipeline_hands_on_what_its_last_step_gives(library):
    for estimator, target in zip(estimators(library), (THREE, score(ARRAY)), strict=True):
        pipeline = make_pipeline(StandardScaler(), estimator).fit(ARRAY, target)
        scaled = pipeline[0].transform(ARRAY)
        assert as_predictor(pipeline, "margin")(ARRAY) == pytest.approx(as_predictor(estimator, "margin")(scaled))


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "multi:softmax", "reg:squarederror"])
def test_a_bare_booster_of_xgboost(objective):
    xgboost = pytest.importorskip("xgboost")
    given = {"num_class": 3} if objective.startswith("multi") else {}
    target = THREE if given else classes(ARRAY)
    matrix = xgboost.DMatrix(ARRAY, target)
    booster = xgboost.train({"objective": objective, **given}, matrix, 10)
    predictor, margin = as_predictor(booster), as_predictor(booster, "margin")
    assert predictor.output_space == ("prediction" if objective.startswith("reg") else "probability")
    own = booster.predict(matrix, output_margin=True)
    assert np.squeeze(margin(ARRAY)) == pytest.approx(own)
    expected = softmax(own) if given else booster.predict(matrix)
    assert np.squeeze(pickle.loads(pickle.dumps(predictor))(ARRAY)) == pytest.approx(expected, abs=1e-6)


def test_a_bare_linear_booster_of_xgboost():
    xgboost = pytest.importorskip("xgboost")
    matrix = xgboost.DMatrix(ARRAY, classes(ARRAY), feature_names=list("abcdefgh"))
    booster = xgboost.train({"objective": "binary:logistic", "booster": "gblinear"}, matrix, 10)
    assert as_predictor(booster)(ARRAY)[:, 0] == pytest.approx(booster.predict(matrix))
    assert as_predictor(booster, "margin")(ARRAY)[:, 0] == pytest.approx(booster.predict(matrix, output_margin=True))


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression", "poisson"])
def test_a_bare_booster_of_lightgbm(objective):
    lightgbm = pytest.importorskip("lightgbm")
    given = {"num_class": 3} if objective == "multiclass" else {}
    data = lightgbm.Dataset(ARRAY, THREE if given else classes(ARRAY))
    booster = lightgbm.train({"objective": objective, "num_threads": 1, "verbose": -1, **given}, data, 10)
    predictor, margin = as_predictor(booster), as_predictor(booster, "margin")
    assert predictor.output_space == ("probability" if objective in ("binary", "multiclass") else "prediction")
    assert np.squeeze(predictor(ARRAY)) == pytest.approx(booster.predict(ARRAY))
    assert np.squeeze(pickle.loads(pickle.dumps(margin))(ARRAY)) == pytest.approx(
        booster.predict(ARRAY, raw_score=True)
    )


def test_catboost_without_a_kind():
    catboost = pytest.importorskip("catboost")
    given = {"iterations": 10, "verbose": 0, "allow_writing_files": False}
    model = catboost.CatBoost({"loss_function": "Logloss", **given}).fit(ARRAY, TWO)
    predictor = as_predictor(model)
    assert (predictor.output_space, predictor.output_names) == ("probability", ("yes",))
    margin = as_predictor(model, "margin")(ARRAY)
    assert 1.0 / (1.0 + np.exp(-margin)) == pytest.approx(predictor(ARRAY), abs=1e-9)


def test_lightgbms_random_forest_has_the_log_odds_of_its_mean():
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(
        n_estimators=10, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, n_jobs=1, verbose=-1
    ).fit(ARRAY, classes(ARRAY))
    margin = as_predictor(model, "margin")(ARRAY)[:, 0]
    assert 1.0 / (1.0 + np.exp(-margin)) == pytest.approx(model.predict_proba(ARRAY)[:, 1])


@each_library
def test_values_of_a_margin_of_three_classes_add_up(library):
    classifier, _ = estimators(library)
    x = ARRAY[:, :4]
    found = Explainer(classifier.fit(x, THREE), x[:20], output_space="margin", method="exact")(x[20:25])
    assert found.values.shape == (5, 4, 3)
    assert np.abs(found.values).max() > 0.1
    assert np.abs(found.additivity_gap).max() < 1e-6


@pytest.mark.parametrize("library", ["lightgbm", "catboost"])
def test_threads_obey_the_environment(library, monkeypatch):
    classifier, _ = estimators(library)
    name = {"lightgbm": "num_threads", "catboost": "thread_count"}[library]
    seen = []

    class Spy(type(classifier)):
        def predict(self, rows, **given):
            seen.append(given.get(name))
            return np.zeros(len(rows))

    model = Spy(**classifier.get_params()).fit(ARRAY, classes(ARRAY))
    for limit in ("1", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        as_predictor(model, "margin")(ARRAY)
    assert seen == [1, None]


def test_reading_trees_loads_no_library():
    code = (
        "import sys, numpy as np\n"
        "from spark_shap.models.trees import read_forest\n"
        "from spark_shap.models.frames import background_rows\n"
        "print(read_forest(len, 'prediction', background_rows(np.zeros((2, 2))).layout).reason)\n"
        "print(*{'xgboost', 'lightgbm', 'catboost', 'sklearn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    reason, loaded = done.stdout.splitlines()
    assert reason.endswith("it is no tree model of XGBoost, LightGBM, CatBoost or scikit-learn")
    assert loaded == ""
