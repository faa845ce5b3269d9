"""LightGBM's trees as they are read, against LightGBM's own raw scores on hybrid rows."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from treedata import classes, deviation, mixed, numeric, score

from spark_shap.models.frames import background_rows
from spark_shap.models.trees import NotReadable, read_forest

lightgbm = pytest.importorskip("lightgbm")

FRAME, MORE = mixed(2000), mixed(300, 1)
ARRAY, MORE_ARRAY = numeric(2000), numeric(300, 1)
FEW = {"n_estimators": 25, "n_jobs": 1, "verbose": -1, "learning_rate": 0.3}
RANDOM_FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
LIMIT = 1e-12


def layout(rows):
    return background_rows(rows).layout


@pytest.mark.parametrize(
    "given",
    [{}, {"max_cat_to_onehot": 50}, {"sigmoid": 2.0}, {"boosting_type": "dart"}, {"num_leaves": 300}, RANDOM_FOREST],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_with_categories_and_missing_values(given, n_classes):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(FRAME))
    model = lightgbm.LGBMClassifier(**FEW | given).fit(FRAME, classes(FRAME, n_classes), sample_weight=weights)
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    assert deviation(model.booster_, "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"zero_as_missing": True},
        {"use_missing": False},
        {"objective": "huber"},
        {"objective": "quantile"},
        RANDOM_FOREST,
        {"min_child_samples": 2000},  # trees of one leaf
    ],
)
def test_regressors(given):
    model = lightgbm.LGBMRegressor(**FEW | given).fit(ARRAY, score(ARRAY))
    if given.get("min_child_samples"):
        forest = read_forest(model, "prediction", layout(ARRAY)).forest
        assert forest.predict(MORE_ARRAY)[:, 0] == pytest.approx(model.predict(MORE_ARRAY))
        return
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT
    model.fit(np.nan_to_num(ARRAY), score(ARRAY))  # NaN then counts as 0
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


@pytest.mark.parametrize("given", [{"objective": "poisson"}, {"objective": "cross_entropy"}, {"reg_sqrt": True}])
def test_a_link_leaves_the_margin_only(given):
    model = lightgbm.LGBMRegressor(**FEW, **given).fit(FRAME, classes(FRAME))
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    assert "in output space 'margin'" in read_forest(model, "prediction", layout(FRAME)).reason


def test_two_classes_by_softmax_have_one_margin():
    model = lightgbm.LGBMClassifier(**FEW, objective="multiclass", num_class=2).fit(FRAME, classes(FRAME))
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
@pytest.mark.parametrize("given", [{}, RANDOM_FOREST])
def test_prediction_stops_at_the_best_iteration(given):
    model = lightgbm.LGBMClassifier(**FEW | {"n_estimators": 300, "learning_rate": 0.8} | given)
    stop = lightgbm.early_stopping(5, verbose=False)
    model.fit(FRAME, classes(FRAME, 3), eval_set=[(MORE, classes(MORE, 3))], callbacks=[stop])
    assert len(read_forest(model, "margin", layout(FRAME)).forest.roots) == 3 * model.best_iteration_ < 900
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT


def test_categories_are_matched_by_label_and_unknown_ones_are_missing():
    model = lightgbm.LGBMClassifier(**FEW).fit(FRAME, classes(FRAME))
    labels = [*sorted(FRAME["region"].cat.categories), "r99"]
    frame = FRAME.assign(region=FRAME["region"].cat.set_categories(labels))
    frame.loc[frame.index % 3 == 0, "region"] = "r99"
    assert deviation(model, "margin", frame[:400], MORE) < LIMIT


def test_numbers_travel_without_the_forest():
    found = read_forest(lightgbm.LGBMRegressor(**FEW).fit(FRAME, score(FRAME)), "prediction", layout(FRAME))
    sent = pickle.dumps(found.to_numbers)
    assert len(sent) < 2000 < len(pickle.dumps(found.forest))
    rows = background_rows(FRAME)
    assert np.array_equal(pickle.loads(sent)(rows), found.to_numbers(rows), equal_nan=True)


def test_arrays_with_codes_for_categories():
    array, more = (
        np.column_stack([frame[name].cat.codes if name in ("region", "grade") else frame[name] for name in frame])
        for frame in (FRAME, MORE)
    )
    more[:100, 1], more[100:200, 1] = 77.0, np.nan  # a code beyond those of training; -1 occurs too
    model = lightgbm.LGBMClassifier(**FEW).fit(array, classes(FRAME), categorical_feature=[1, 4])
    assert deviation(model, "margin", array[:400], more) < LIMIT


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_arrays_of_other_dtypes(dtype):
    # LightGBM rounds integers of arrays to float32, and lays its thresholds half-way: no value changes sides.
    array, more = ((np.nan_to_num(rows) * 1e8).astype(dtype) for rows in (ARRAY, MORE_ARRAY))
    model = lightgbm.LGBMRegressor(**FEW, num_leaves=200, min_child_samples=1).fit(array, score(ARRAY))
    assert deviation(model, "prediction", array[:400], more) < LIMIT


def test_nullable_columns():
    frame = FRAME.astype({"months": "Int64", "owner": "boolean", "income": "Float64"})
    frame.loc[frame.index % 5 == 0, ["months", "owner", "income"]] = pd.NA
    model = lightgbm.LGBMRegressor(**FEW).fit(frame, score(FRAME))
    assert deviation(model, "prediction", frame[:400], frame[500:800]) < LIMIT


def test_boosters_of_their_own_and_from_a_file(tmp_path):
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, dataset(3), 20)
    booster.save_model(tmp_path / "model.txt")
    assert deviation(booster, "margin", FRAME[:400], MORE) < LIMIT
    assert deviation(lightgbm.Booster(model_file=tmp_path / "model.txt"), "margin", FRAME[:400], MORE) < LIMIT
    own = lightgbm.train({"objective": lambda raw, data: (raw - data.get_label(), np.ones_like(raw))}, dataset(2), 9)
    assert deviation(own, "prediction", FRAME[:400], MORE) < LIMIT


def dataset(n_classes):
    return lightgbm.Dataset(FRAME, classes(FRAME, n_classes))


def test_what_is_no_sum_of_trees():
    array = np.nan_to_num(ARRAY)
    model = lightgbm.LGBMRegressor(**FEW, linear_tree=True).fit(array, score(ARRAY))
    found = read_forest(model, "prediction", layout(array))
    assert found == NotReadable("LGBMRegressor: its leaves are linear models (linear_tree)")
    model = lightgbm.LGBMRegressor(**FEW).fit(FRAME, score(FRAME))
    fewer = layout(FRAME.drop(columns="region"))
    assert "on 2 pandas category columns and the background has 1" in read_forest(model, "prediction", fewer).reason
    text = layout(FRAME.astype({"balance": str}))
    assert "feature 'balance' has dtype object" in read_forest(model, "prediction", text).reason
    unfitted = read_forest(lightgbm.LGBMRegressor(), "prediction", layout(FRAME))
    assert "(NotFittedError: No booster found" in unfitted.reason
