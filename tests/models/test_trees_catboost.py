"""CatBoost's trees as they are read, against CatBoost's own raw formula on hybrid rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from treedata import classes, deviation, mixed, numeric, score

from spark_shap.models.frames import background_rows
from spark_shap.models.trees import NotReadable, read_forest
from spark_shap.models.trees.cityhash import category_hash

catboost = pytest.importorskip("catboost")


def with_texts(frame):
    """CatBoost takes no missing categories, and no category that is a float."""
    region = frame["region"].astype(object).where(frame["region"].notna(), "no région at all")
    return frame.assign(region=region, grade=frame["grade"].astype(float).fillna(-1).astype(int))


PLAIN, PLAIN_MORE = mixed(2000), mixed(300, 1)
FRAME, MORE = with_texts(PLAIN), with_texts(PLAIN_MORE)
MORE.loc[:30, "region"], MORE.loc[20:50, "grade"] = "never seen", 77
ARRAY, MORE_ARRAY = numeric(2000), numeric(300, 1)
FEW = {"iterations": 25, "depth": 5, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
ONE_HOT = {**FEW, "cat_features": ["region", "grade", "owner"], "one_hot_max_size": 60}
LIMIT = 1e-12


def layout(rows):
    return background_rows(rows).layout


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_with_categories_and_missing_values(policy, n_classes):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, len(FRAME))
    model = catboost.CatBoostClassifier(**ONE_HOT, grow_policy=policy)
    model.fit(FRAME, classes(PLAIN, n_classes), sample_weight=weights)
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    forest = read_forest(model, "margin", layout(FRAME)).forest
    assert len(forest.category_words) > 25  # there are splits by category


@pytest.mark.parametrize("loss", ["MultiClass", "MultiClassOneVsAll"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_losses_of_several_classes(loss, n_classes):
    model = catboost.CatBoostClassifier(**ONE_HOT, loss_function=loss).fit(FRAME, classes(PLAIN, n_classes))
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT


@pytest.mark.parametrize("given", [{"nan_mode": "Min"}, {"nan_mode": "Max"}, {"border_count": 1000, "depth": 8}])
def test_regressors(given):
    model = catboost.CatBoostRegressor(**FEW | given).fit(ARRAY, score(ARRAY))
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT
    names = {"columns": list("hgfedcba")}  # an array's features have no names: columns count by their order
    frame, more = pd.DataFrame(ARRAY[:400], **names), pd.DataFrame(MORE_ARRAY, **names)
    assert deviation(model, "prediction", frame, more) < LIMIT
    model.fit(np.nan_to_num(ARRAY), score(ARRAY))  # NaN is then no larger than any border
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


@pytest.mark.parametrize(
    ("loss", "space"), [("MAE", "prediction"), ("Poisson", "margin"), ("Tweedie:variance_power=1.5", "margin")]
)
def test_losses_of_regressors(loss, space):
    model = catboost.CatBoostRegressor(**ONE_HOT, loss_function=loss).fit(FRAME, np.round(np.abs(score(PLAIN))))
    assert deviation(model, space, FRAME[:400], MORE) < LIMIT
    if space == "margin":
        assert "in output space 'margin'" in read_forest(model, "prediction", layout(FRAME)).reason


def test_several_targets():
    target = np.column_stack([score(ARRAY), -2.0 * score(ARRAY)])
    model = catboost.CatBoostRegressor(**FEW, loss_function="MultiRMSE").fit(ARRAY, target)
    assert deviation(model, "prediction", ARRAY[:400], MORE_ARRAY) < LIMIT


def test_features_are_matched_by_name():
    frame, more = (pd.DataFrame(rows, columns=list("abcdefgh")) for rows in (ARRAY, MORE_ARRAY))
    model = catboost.CatBoostRegressor(**FEW).fit(frame, score(ARRAY))
    turned = list("hbcdefga")
    assert deviation(model, "prediction", frame[turned][:400], more[turned]) < LIMIT
    found = read_forest(model, "prediction", layout(frame.rename(columns={"c": "z"})))
    assert found == NotReadable("CatBoostRegressor: it was fitted on feature 'c', which the background does not have")


@pytest.mark.parametrize(
    "dtypes",
    [
        {"region": "category", "grade": "category", "owner": "category"},
        {"region": "string", "grade": "Int64", "owner": "boolean"},
        {"grade": "object", "owner": "object"},
        {"grade": "str", "income": "float32"},
    ],
)
def test_categories_of_any_dtype(dtypes):
    model = catboost.CatBoostRegressor(**ONE_HOT).fit(FRAME.astype(dtypes), score(PLAIN))
    # The same category is the same text, whatever its dtype.
    for kinds in ({}, dtypes):
        background = FRAME[:400].astype(kinds)
        more = MORE.assign(region=FRAME["region"][400:701].to_numpy()[: len(MORE)], grade=FRAME["grade"][: len(MORE)])
        assert deviation(model, "prediction", background, more) < LIMIT


def test_arrays_of_integers_with_categories():
    array = np.column_stack([np.nan_to_num(ARRAY * 10.0).astype(int), FRAME["grade"], FRAME["owner"]])
    model = catboost.CatBoostRegressor(**FEW, cat_features=[8, 9], one_hot_max_size=9).fit(array, score(PLAIN))
    assert deviation(model, "prediction", array[:400], array[500:800]) < LIMIT


def test_shrunk_to_the_best_iteration_and_saved(tmp_path):
    model = catboost.CatBoostClassifier(**ONE_HOT | {"iterations": 400, "learning_rate": 0.5}, early_stopping_rounds=5)
    model.fit(FRAME, classes(PLAIN, 3), eval_set=(MORE, classes(PLAIN_MORE, 3)))
    assert len(read_forest(model, "margin", layout(FRAME)).forest.roots) == model.best_iteration_ + 1 < 400
    assert deviation(model, "margin", FRAME[:400], MORE) < LIMIT
    model.save_model(tmp_path / "model.cbm")
    for kind in (catboost.CatBoostClassifier, catboost.CatBoost):
        again = kind().load_model(tmp_path / "model.cbm")
        assert deviation(again, "margin", FRAME[:400], MORE) < LIMIT


def test_target_statistics_cannot_be_read():
    model = catboost.CatBoostClassifier(**{**ONE_HOT, "one_hot_max_size": 2}).fit(FRAME, classes(PLAIN))
    found = read_forest(model, "margin", layout(FRAME))
    assert isinstance(found, NotReadable)
    assert "OnlineCtr tests statistics of the target by category" in found.reason
    texts = catboost.CatBoostClassifier(**FEW, text_features=["region"])
    texts.fit(FRAME[["income", "region"]], classes(PLAIN))
    assert "texts or embeddings" in read_forest(texts, "margin", layout(FRAME[["income", "region"]])).reason


def test_the_hash_is_catboosts_own(tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyzé 0123456789"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(letters), size)) for size in range(1, 200)]
    frame = pd.DataFrame({"text": texts * 3, "number": rng.normal(size=len(texts) * 3)})
    model = catboost.CatBoostRegressor(**FEW | {"iterations": 1}, cat_features=["text"]).fit(frame, frame["number"])
    model.save_model(tmp_path / "model.json", format="json", pool=catboost.Pool(frame, cat_features=["text"]))
    known = json.loads((tmp_path / "model.json").read_text())["features_info"]["cat_features_hash"]
    assert len(known) == len(texts)
    assert [entry["hash"] for entry in known] == [category_hash(entry["value"]) for entry in known]
