"""XGBoost's trees as they are read, against XGBoost's own margins on hybrid rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from treedata import classes, deviation, mixed, numeric, score

from spark_shap.models.frames import background_rows
from spark_shap.models.trees import NotReadable, read_forest

xgboost = pytest.importorskip("xgboost")

FRAME, MORE = mixed(2000), mixed(300, 1)
ARRAY, MORE_ARRAY = numeric(2000), numeric(300, 1)
FEW = {"n_estimators": 25, "n_jobs": 1, "enable_categorical": True, "learning_rate": 0.5}
# Sums of single precision differ by the order of their terms.
LIMIT = 1e-5


def layout(rows):
    return background_rows(rows).layout


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_cat_to_onehot": 1},
        {"base_score": 0.02, "max_depth": 10},
        {"booster": "dart", "rate_drop": 0.3},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"tree_method": "approx"},
    ],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_with_categories_and_missing_values(given, n_classes):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(FRAME))
    model = xgboost.XGBClassifier(**FEW | given).fit(FRAME, classes(FRAME, n_classes), sample_weight=weights)
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    assert deviation(model.get_booster(), "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.parametrize(
    ("objective", "space"),
    [
        ("reg:squarederror", "prediction"),
        ("reg:pseudohubererror", "prediction"),
        ("reg:absoluteerror", "margin"),
        ("count:poisson", "margin"),
        ("reg:tweedie", "margin"),
        ("reg:gamma", "margin"),
        ("survival:cox", "margin"),
    ],
)
def test_objectives(objective, space):
    target = np.abs(score(FRAME)) + 0.1
    model = xgboost.XGBRegressor(**FEW, objective=objective, base_score=0.7).fit(FRAME, target)
    assert deviation(model, space, FRAME[:400], MORE) < LIMIT


def test_softmax_over_two_classes_has_one_margin():
    model = xgboost.XGBClassifier(**FEW, objective="multi:softprob", num_class=2).fit(FRAME, classes(FRAME))
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets(strategy):
    target = np.column_stack([score(ARRAY), -2.0 * score(ARRAY), classes(ARRAY)])
    model = xgboost.XGBRegressor(**FEW, multi_strategy=strategy).fit(ARRAY, target)
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


def test_an_estimator_stops_at_its_best_iteration_and_a_booster_does_not():
    model = xgboost.XGBClassifier(**FEW | {"n_estimators": 300, "early_stopping_rounds": 5, "num_parallel_tree": 2})
    model.fit(FRAME, classes(FRAME, 3), eval_set=[(MORE, classes(MORE, 3))], verbose=False)
    whole = read_forest(model.get_booster(), "margin", layout(FRAME))
    assert len(read_forest(model, "margin", layout(FRAME)).forest.roots) == 6 * (model.best_iteration + 1)
    assert len(whole.forest.roots) == 6 * (model.best_iteration + 6)
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    assert deviation(model.get_booster(), "margin", FRAME[:400], MORE) < LIMIT


def test_random_forests_and_pruned_trees():
    model = xgboost.XGBRFClassifier(**FEW | {"learning_rate": 1.0}).fit(FRAME, classes(FRAME))
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    pruned = xgboost.XGBRegressor(n_estimators=25, tree_method="exact", gamma=2.0, max_depth=8)
    pruned.fit(ARRAY, score(ARRAY))
    assert deviation(pruned, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT
    forest = read_forest(pruned, "prediction", layout(ARRAY)).forest
    # A tree has one node more than it has children; pruning leaves others behind.
    assert len(forest.feature) == 2 * (forest.feature >= 0).sum() + len(forest.roots)


def test_the_order_of_the_backgrounds_categories_does_not_matter():
    model = xgboost.XGBClassifier(**FEW, max_cat_to_onehot=1).fit(FRAME, classes(FRAME))
    frame = FRAME.assign(
        region=FRAME["region"].cat.reorder_categories(sorted(FRAME["region"].cat.categories)),
        grade=FRAME["grade"].cat.reorder_categories([10, 20, 30, 40]),
    )
    assert not (frame["region"].cat.codes == FRAME["region"].cat.codes).all()
    assert deviation(model, "margin", frame[:400], MORE) < LIMIT


def test_a_category_that_xgboost_does_not_know_is_refused():
    model = xgboost.XGBClassifier(**FEW).fit(FRAME, classes(FRAME))
    if "cats" not in model.get_booster().save_raw("json").decode():
        pytest.skip("before XGBoost 3.1 a model knows no categories")
    found = read_forest(model, "margin", layout(FRAME.assign(region=FRAME["region"].cat.add_categories("r99"))))
    assert "feature 'region' has the category 'r99', which it was not fitted with" in found.reason


def test_arrays_with_codes_for_categories():
    array, more = (
        np.column_stack([frame[name].cat.codes if name in ("region", "grade") else frame[name] for name in frame])
        for frame in (FRAME, MORE)
    )
    array[:, 4][array[:, 4] < 0] = np.nan
    array[:, 1] += 1
    more[:, 1] += 3  # codes beyond those of training
    model = xgboost.XGBClassifier(**FEW, feature_types=["q", "c", "q", "int", "c", "i", "q"])
    model.fit(array, classes(FRAME))
    more[:, 4][more[:, 4] < 0] = np.nan
    assert deviation(model, "margin", array[:400], more) < LIMIT


def test_a_number_that_stands_for_missing_values():
    array, more = np.nan_to_num(ARRAY, nan=-1.0), np.nan_to_num(MORE_ARRAY, nan=-1.0)
    model = xgboost.XGBRegressor(n_estimators=25, missing=-1.0).fit(array, score(ARRAY))
    assert deviation(model, "prediction", array[:400], more) < LIMIT
    assert deviation(model, "prediction", pd.DataFrame(array[:400]), pd.DataFrame(more)) < LIMIT
    beside = xgboost.XGBRegressor(**FEW, missing=-1.0).fit(FRAME, score(FRAME))
    assert "takes -1.0 for missing beside categories" in read_forest(beside, "prediction", layout(FRAME)).reason


@pytest.mark.parametrize(
    ("given", "space", "reason"),
    [
        ({"booster": "gblinear"}, "prediction", "XGBRegressor: its booster is gblinear, which has no trees"),
        ({}, "probability", "output space 'prediction', not in 'probability'; say output_space='prediction'"),
        ({"objective": "count:poisson"}, "prediction", "in output space 'margin', not in 'prediction'"),
        ({"objective": "binary:logitraw"}, "prediction", "output space 'margin'"),
    ],
)
def test_what_is_no_sum_of_trees(given, space, reason):
    array = np.nan_to_num(ARRAY)
    model = xgboost.XGBRegressor(n_estimators=3, **given).fit(array, classes(ARRAY))
    found = read_forest(model, space, layout(array))
    assert isinstance(found, NotReadable)
    assert reason in found.reason
