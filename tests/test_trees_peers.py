"""Exact values of tree models against shap's TreeExplainer and against enumeration, library by library."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from treedata import classes, mixed, numeric, score

from spark_shap import Explainer, MethodError, choice
from spark_shap.models.trees import read_forest

N_BACKGROUND, N_ROWS = 100, 5
LIMIT = 1e-5
BOOSTED = {"n_estimators": 20, "n_jobs": 1}
XGBOOST = {**BOOSTED, "enable_categorical": True}
LIGHTGBM = {**BOOSTED, "verbose": -1}
CATBOOST = {"iterations": 20, "depth": 5, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
CATEGORIES = {"cat_features": ["region", "grade", "owner"], "one_hot_max_size": 60}
SKLEARN = {"n_estimators": 15, "random_state": 0}
HISTOGRAM = {"max_iter": 20, "random_state": 0}


def coarse(n_rows, seed=0):
    """Missing values, and numbers so short that single precision holds them and the middle of any two."""
    return np.round(64 * numeric(n_rows, seed)) / 64


def full(n_rows, seed=0):
    return np.nan_to_num(coarse(n_rows, seed))


def texts(n_rows, seed=0):
    """As CatBoost wants it: no missing categories, and no category that is a float."""
    frame = mixed(n_rows, seed)
    region = frame["region"].astype(object).where(frame["region"].notna(), "none")
    return frame.assign(region=region, grade=frame["grade"].astype(float).fillna(-1).astype(int))


class Case(NamedTuple):
    """A model to fit; `n_classes` is 0 for a regression."""

    module: str
    kind: str
    given: dict
    data: object
    n_classes: int
    shap: bool = True

    def fit(self):
        """The model, the background and the rows."""
        kind = self.kind + ("Classifier" if self.n_classes else "Regressor")
        model = getattr(pytest.importorskip(self.module), kind)(**self.given)
        # With texts for categories the target is that of the categories.
        source = mixed(2000) if self.data is texts else self.data(2000)
        x = self.data(2000)
        model.fit(x, classes(source, self.n_classes) if self.n_classes else score(source))
        return model, x[:N_BACKGROUND], self.data(N_ROWS, 1)

    @property
    def space(self):
        """Where the model is a sum of trees."""
        if not self.n_classes:
            return "prediction"
        return "probability" if self.kind in ("RandomForest", "ExtraTrees", "DecisionTree") else "margin"


def cases():
    """Regressions, two classes, three classes; numbers with missing values, and categories.

    `shap` is False where shap cannot answer: it takes no texts and no pandas categories, only path-dependent values
    of LightGBM's categorical splits, no gradient boosting of scikit-learn with several classes; CatBoost's models
    of several classes crash its process. It rounds rows to single precision, whatever the model does, and the
    background not at all, which moves values by up to 4e-3 of scale where a number is next to a threshold: it is
    asked about numbers that rounding does not change.
    """
    out = []
    for n in (0, 2, 3):
        out += [
            Case("xgboost", "XGB", XGBOOST, coarse, n),
            Case("xgboost", "XGB", XGBOOST, mixed, n, shap=False),
            Case("lightgbm", "LGBM", LIGHTGBM, coarse, n),
            Case("lightgbm", "LGBM", LIGHTGBM, mixed, n, shap=False),
            Case("catboost", "CatBoost", CATBOOST, coarse, n, shap=n < 3),
            Case("catboost", "CatBoost", {**CATBOOST, **CATEGORIES}, texts, n, shap=False),
            Case("sklearn.ensemble", "GradientBoosting", SKLEARN, full, n, shap=n < 3),
            Case("sklearn.ensemble", "HistGradientBoosting", HISTOGRAM, coarse, n),
            Case("sklearn.ensemble", "HistGradientBoosting", HISTOGRAM, mixed, n, shap=False),
            Case("sklearn.ensemble", "RandomForest", {**SKLEARN, "max_depth": 8}, coarse, n),
            Case("sklearn.ensemble", "ExtraTrees", {**SKLEARN, "max_depth": 8}, coarse, n),
            Case("sklearn.tree", "DecisionTree", {"random_state": 0, "max_depth": 10}, coarse, n),
        ]
    numbers = [case for case in out if case.data is coarse and case.n_classes == 2]
    return [*out, *(case._replace(data=numeric, shap=False) for case in numbers)]


def name(case):
    return f"{case.kind}-{case.data.__name__}-{case.n_classes}"


def quick_and_slow():
    """Two classes of every library, with missing values and with categories, are tested always."""
    quick = [case for case in cases() if case.n_classes == 2 and case.data is not numeric]
    slow = [case for case in cases() if case not in quick]
    return [*quick, *(pytest.param(case, marks=pytest.mark.slow) for case in slow)]


def shap_values(model, background, x):
    shap = pytest.importorskip("shap")
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.TreeExplainer(model, masker, feature_perturbation="interventional")
    return np.asarray(explainer.shap_values(x, check_additivity=False))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("case", quick_and_slow(), ids=name)
def test_values_are_those_of_enumeration_and_of_shap(case):
    model, background, x = case.fit()
    explainer = Explainer(model, background, output_space=case.space)
    found = explainer(x)
    assert explainer.method == found.method == "tree"
    enumerated = Explainer(model, background, output_space=case.space, method="exact")(x)
    limit = LIMIT * np.abs(enumerated.values).max()
    np.testing.assert_allclose(found.values, enumerated.values, rtol=0, atol=limit)
    np.testing.assert_allclose(found.base_values, enumerated.base_values, rtol=0, atol=limit)
    np.testing.assert_allclose(
        found.predictions,
        found.base_values + found.values.sum(axis=1),
        rtol=0,
        atol=LIMIT * np.abs(found.predictions).max(),
    )
    assert not found.std_errors.any()
    if case.shap:
        peer = shap_values(model, background, x)
        # Of two classes with probabilities shap explains both.
        peer = peer[..., 1] if peer.ndim > found.values.ndim else peer
        np.testing.assert_allclose(found.values, peer, rtol=0, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in cases() if case.n_classes == 3], ids=name)
def test_interactions_are_those_of_enumeration(case):
    """shap has no interventional interactions: it says so, and returns other numbers."""
    model, background, x = case.fit()
    given = {"weights": 1.0 + np.arange(N_BACKGROUND) % 3, "output_space": case.space}
    explainer = Explainer(model, background, **given)
    found, values = explainer.interactions(x).values, explainer(x).values
    enumerated = Explainer(model, background, **given, method="exact").interactions(x[:2]).values
    limit = LIMIT * np.abs(values).max()
    np.testing.assert_allclose(found[:2], enumerated, rtol=0, atol=limit)
    np.testing.assert_allclose(found.sum(axis=2), values, rtol=0, atol=limit)


@pytest.fixture
def boosted():
    model, background, x = Case("sklearn.ensemble", "HistGradientBoosting", HISTOGRAM, numeric, 2).fit()
    return model, background, x


@pytest.mark.slow
def test_probabilities_are_sampled_beside_a_surrogate(boosted):
    model, background, x = boosted
    explainer = Explainer(model, background, n_evaluations=129, surrogate_evaluations=4000, seed=3)
    found = explainer(x)
    assert found.method == "sampling"
    assert found.output_space == "probability"
    assert explainer.prepared.method.control is not None
    np.testing.assert_allclose(found.predictions, model.predict_proba(x)[:, 1], atol=1e-12)
    np.testing.assert_allclose(found.base_values + found.values.sum(axis=1), found.predictions, atol=1e-12)
    exact = Explainer(model, background, method="exact")(x)
    assert (found.std_errors > 0).all()
    assert (np.abs(found.values - exact.values) < 6 * found.std_errors).all()
    # The names of the methods are not interchangeable: what cannot be done is refused.
    with pytest.raises(MethodError, match="say output_space='margin'"):
        Explainer(model, background, method="tree")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["value", "threshold", "base"])
@pytest.mark.parametrize("method", ["auto", "tree"])
def test_a_wrong_reading_is_refused(boosted, monkeypatch, what, method):
    model, background, _ = boosted

    def misread(*arguments):
        found = read_forest(*arguments)
        wrong = getattr(found.forest, what).copy()
        if what == "value":  # one leaf that rows reach
            wrong[found.forest.leaves(background)[0, 0]] += 0.001
        elif what == "threshold":
            wrong[found.forest.roots[0]] += 0.5
        else:
            wrong += 0.001
        return replace(found, forest=replace(found.forest, **{what: wrong}))

    monkeypatch.setattr(choice, "read_forest", misread)
    with pytest.raises(MethodError, match=r"what was read of the model for 'tree' is not what it predicts.*sampling"):
        Explainer(model, background, output_space="margin", method=method)
    assert Explainer(model, background, output_space="margin", method="sampling").method == "sampling"
