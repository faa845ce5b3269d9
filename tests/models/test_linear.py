"""Linear models and pipelines: what is read, against enumeration over hybrid rows, and what is refused."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from games import shapley_by_subsets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    Perceptron,
    PoissonRegressor,
    RANSACRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC, LinearSVR

from spark_shap.core.closed_form import ClosedFormMethod
from spark_shap.core.game import Game
from spark_shap.core.linear import ContributionSums, reading_gap
from spark_shap.data import german_credit_path
from spark_shap.models.conform import conform
from spark_shap.models.frames import Background, background_rows
from spark_shap.models.linear import LinearModel, NotLinear, read_linear
from spark_shap.models.predictor import as_predictor

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::FutureWarning:sklearn",
    "ignore:Bins whose width are too small",
    "ignore:Skipping features without any observed values",
)
N_BACKGROUND = 10


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = 140
    frame = pd.DataFrame(
        {
            "amount": np.exp(rng.normal(size=n)),
            "months": rng.integers(3, 60, n),
            "age": np.where(rng.random(n) < 0.2, np.nan, rng.normal(40, 9, n)),
            "income": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "purpose": rng.choice(["car", "tv_x", "tv", "boat"], n, p=[0.5, 0.3, 0.15, 0.05]),
            "housing": pd.Series(rng.choice(["own", "rent"], n), dtype=object).where(rng.random(n) < 0.8, None),
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], n), ["low", "mid", "high"]),
        }
    )
    score = frame["amount"] + 0.04 * frame["months"] + frame["income"].fillna(0.7) + (frame["purpose"] == "car")
    return frame, (score + 0.3 * rng.normal(size=n)).to_numpy()


def three(target):
    return np.digitize(target, np.quantile(target, [0.4, 0.75])).astype(str)


def space_of(model):
    return "margin" if hasattr(model, "decision_function") else "prediction"


def method_of(model, background, weights=None):
    rows = background_rows(background)
    predictor = as_predictor(model, space_of(model))
    read = read_linear(model, predictor.output_space, rows.layout)
    assert isinstance(read, LinearModel), read
    game = Game(predictor, Background(rows), predictor(rows.to_input()).shape[1], 64)
    share = np.full(len(rows), 1.0) if weights is None else weights
    form = ContributionSums.local(read.contributions, rows, share / share.sum()).form(read.contributions)
    return ClosedFormMethod(game, form)


def values_of(method, x):
    rows = conform(x, method.game.mixer.layout)[0]
    return method.explain(rows, np.zeros(len(rows), dtype=np.uint64)).values


def enumerated(method, x, weights=None):
    """The subset formula on hybrid rows that pandas mixes: one model call for all coalitions."""
    background = method.game.mixer.rows
    pool = pd.concat([background.to_input(), conform(x, background.layout)[0].to_input()], ignore_index=True)
    n_features, n_rows = pool.shape[1], len(background)
    masks = np.repeat(np.arange(2**n_features), n_rows)
    other = np.tile(np.arange(n_rows), 2**n_features)
    place = {name: np.where(masks >> i & 1, n_rows, other) for i, name in enumerate(pool)}
    hybrids = pd.DataFrame({name: pool[name].take(index).array for name, index in place.items()})
    answers = method.game.predict(hybrids).reshape(2**n_features, n_rows, -1)
    v = np.average(answers, axis=1, weights=weights)
    return np.stack([shapley_by_subsets(v[:, output]) for output in range(v.shape[1])], axis=1)


def check(model, frame, rows=(20, 21)):
    weights = np.linspace(0.3, 2.0, N_BACKGROUND)
    background = frame.iloc[:N_BACKGROUND]
    method = method_of(model, background, weights)
    probe = method.game.mixer.rows
    assert reading_gap(method.game, method.form.contributions, probe, probe) < 1e-12
    found = values_of(method, frame.iloc[list(rows)])
    for place, row in enumerate(rows):
        truth = enumerated(method, frame.iloc[[row]], weights)
        assert np.abs(truth).max() > 0.01
        assert found[place] == pytest.approx(truth, abs=1e-9)
    return found


NUMBERS, GAPS, TEXT = ["amount", "months"], ["age", "income"], ["purpose", "housing", "grade"]
KNOTS = np.array([[0.0, 0.0], [1.0, 20.0], [4.0, 60.0]])
TRANSFORMERS = {
    "standard": (StandardScaler(), NUMBERS),
    "min-max": (MinMaxScaler(), NUMBERS),
    "max-abs": (MaxAbsScaler(), NUMBERS),
    "robust": (RobustScaler(), NUMBERS),
    "quantile": (QuantileTransformer(n_quantiles=20, output_distribution="normal"), NUMBERS),
    "power": (PowerTransformer(), NUMBERS),
    "binarizer": (Binarizer(threshold=1.0), NUMBERS),
    "splines": (SplineTransformer(knots=KNOTS, extrapolation="linear", include_bias=False), NUMBERS),
    "sparse splines": (SplineTransformer(n_knots=4, degree=2, sparse_output=True), NUMBERS),
    "bins": (KBinsDiscretizer(5, encode="onehot", strategy="uniform"), NUMBERS),
    "ordinal bins": (KBinsDiscretizer(5, encode="ordinal", strategy="uniform"), NUMBERS),
    "bins merged": (
        make_pipeline(FunctionTransformer(np.floor), KBinsDiscretizer(6, encode="onehot-dense")),
        NUMBERS,
    ),
    "ufunc": (FunctionTransformer(np.log1p), NUMBERS),
    "no function": (FunctionTransformer(), NUMBERS),
    "passthrough": ("passthrough", NUMBERS),
    "powers of degree 1": (PolynomialFeatures(1), NUMBERS),
    "sparse powers of degree 1": (make_pipeline(OneHotEncoder(), PolynomialFeatures(1)), TEXT),
    "powers of one feature": (PolynomialFeatures(3), ["amount"]),
    "any function of one feature": (FunctionTransformer(lambda z: np.column_stack([z, z > 1, z**2])), ["amount"]),
    "mixing columns of one feature": (
        make_pipeline(OneHotEncoder(sparse_output=False), PCA(2), PolynomialFeatures(2)),
        ["purpose"],
    ),
    "one-hot": (OneHotEncoder(), TEXT),
    "dense one-hot": (OneHotEncoder(sparse_output=False), TEXT),
    "one-hot less the first": (OneHotEncoder(drop="first"), TEXT),
    "one-hot less one of two": (OneHotEncoder(drop="if_binary"), ["purpose", "grade"]),
    "infrequent": (OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"), TEXT),
    "infrequent less the first": (OneHotEncoder(max_categories=2, drop="first", handle_unknown="ignore"), TEXT),
    "ordinal": (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["purpose", "grade"]),
    "target": (TargetEncoder(random_state=0), TEXT),
    "imputer": (SimpleImputer(), GAPS),
    "imputer with indicators": (SimpleImputer(strategy="constant", add_indicator=True), ["amount", *GAPS]),
    "indicators": (MissingIndicator(), ["amount", *GAPS]),
    "all indicators": (MissingIndicator(features="all"), ["amount", *GAPS]),
    "impute, scale, select": (
        make_pipeline(SimpleImputer(add_indicator=True), "passthrough", MinMaxScaler(), SelectKBest(f_regression, k=3)),
        ["amount", "months", *GAPS],
    ),
    "variance threshold": (make_pipeline(OneHotEncoder(sparse_output=False), VarianceThreshold(0.1)), TEXT),
    "union": (
        FeatureUnion(
            [("scaled", StandardScaler()), ("b", SplineTransformer(n_knots=3)), ("c", "passthrough"), ("d", "drop")],
            transformer_weights={"scaled": 3.0},
        ),
        NUMBERS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_each_transformer_equals_enumeration(data, name):
    frame, target = data
    transformer, columns = TRANSFORMERS[name]
    encode = ColumnTransformer([("one", transformer, columns)], sparse_threshold=1.0)
    model = make_pipeline(encode, Ridge(1e-3)).fit(frame, target)
    found = check(model, frame)
    unused = [place for place, feature in enumerate(frame) if feature not in columns]
    assert (found[:, unused] == 0).all()


def test_mixing_the_columns_of_the_only_feature(data):
    frame, target = data
    one = ColumnTransformer([("purpose", OneHotEncoder(sparse_output=False), ["purpose"])])
    check(make_pipeline(one, PCA(2), PCA(1), StandardScaler(), Ridge()).fit(frame, target), frame)


def test_the_columns_of_the_target_encoder_by_class(data):
    frame, target = data
    model = make_pipeline(ColumnTransformer([("t", TargetEncoder(random_state=0), TEXT)]), LogisticRegression())
    assert check(model.fit(frame, three(target)), frame).shape == (2, 7, 3)


def test_a_column_that_was_empty_in_training_is_gone(data):
    frame, target = data
    empty = frame[["age", "amount", "income", "months"]].assign(amount=np.nan)
    for imputer in (
        SimpleImputer(add_indicator=True),
        SimpleImputer(strategy="constant", keep_empty_features=True, add_indicator=True),
    ):
        model = make_pipeline(imputer, LinearRegression()).fit(empty, target)
        check(model, empty)


MIXED = [("text", OneHotEncoder(handle_unknown="ignore"), TEXT), ("gaps", SimpleImputer(add_indicator=True), GAPS)]


@pytest.mark.parametrize(
    "steps",
    [
        [("number", StandardScaler(), slice("amount", "months")), *MIXED],
        [("number", StandardScaler(), [1, 0]), ("text", OneHotEncoder(), [4, 6])],
        [("number", StandardScaler(), slice(0, 2)), ("text", OneHotEncoder(), slice(-1, None))],
        [("number", StandardScaler(), [True, True, *[False] * 5]), ("grade", OneHotEncoder(), [-1])],
        [("n", SimpleImputer(), make_column_selector(dtype_include="number")), ("t", OneHotEncoder(), lambda z: TEXT)],
        [*MIXED, ("again", SimpleImputer(strategy="most_frequent"), ["income", "amount"]), ("no", "drop", ["months"])],
        [("none", StandardScaler(), []), *MIXED, ("number", "passthrough", NUMBERS)],
        [
            ("nested", ColumnTransformer([("a", StandardScaler(), ["months"])], remainder="passthrough"), NUMBERS),
            *MIXED,
        ],
    ],
    ids=["names", "numbers", "slices", "mask", "functions", "used twice", "nothing", "nested"],
)
@pytest.mark.parametrize("remainder", ["drop", make_pipeline(OrdinalEncoder(), SimpleImputer(add_indicator=True))])
def test_columns_are_found_however_they_were_picked(data, steps, remainder):
    frame, target = data
    encode = ColumnTransformer(steps, remainder=remainder)
    check(Pipeline([("prepare", encode), ("fit", Ridge())]).fit(frame, target), frame, rows=(20,))


def test_the_columns_that_remain_pass_through(data):
    frame, target = data
    encode = ColumnTransformer([*MIXED, ("scaled", StandardScaler(), ["months"])], remainder="passthrough")
    check(make_pipeline(encode, Ridge()).fit(frame, target), frame, rows=(20,))


def test_a_frame_with_columns_in_another_order_and_further_ones(data):
    frame, target = data
    encode = ColumnTransformer([("number", StandardScaler(), [0, 1]), ("grade", OneHotEncoder(), ["grade"])])
    model = make_pipeline(encode, Ridge()).fit(frame[["amount", "months", "grade"]], target)
    found = check(model, frame[["grade", "age", "months", "amount"]])
    assert (found[:, 1] == 0).all()
    first = make_pipeline(FunctionTransformer(), encode, Ridge()).fit(frame[["amount", "months", "grade"]], target)
    assert found[:, [0, 2, 3]] == pytest.approx(check(first, frame[["grade", "months", "amount"]]), abs=1e-12)


def test_output_as_frames(data):
    frame, target = data
    scale = make_pipeline(StandardScaler(), ColumnTransformer([("months", "passthrough", ["months"])]))
    steps = [("number", scale, NUMBERS), ("text", OneHotEncoder(sparse_output=False), TEXT)]
    model = make_pipeline(ColumnTransformer(steps), Ridge()).set_output(transform="pandas").fit(frame, target)
    assert (check(model, frame)[:, 0] == 0).all()


LINEAR = [
    LinearRegression(), Ridge(), Lasso(0.01), ElasticNet(0.01), SGDRegressor(eta0=1e-5, random_state=0),
    HuberRegressor(), LinearSVR(random_state=0), RANSACRegressor(random_state=0),
    GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}),
    LogisticRegression(), LogisticRegressionCV(Cs=2, cv=2),
    LinearSVC(), SGDClassifier(random_state=0), RidgeClassifier(), Perceptron(), LinearDiscriminantAnalysis(),
]  # fmt: skip


@pytest.mark.parametrize("bare", [False, True], ids=["pipeline", "bare"])
@pytest.mark.parametrize("last", LINEAR, ids=lambda model: type(model).__name__)
def test_every_linear_model(data, last, bare):
    frame, target = data
    if bare:
        frame = frame[NUMBERS].assign(
            flag=frame["months"] % 2 == 0, score=frame["income"].fillna(0.0).astype("Float64")
        )
    else:
        last = make_pipeline(ColumnTransformer([*MIXED, ("number", StandardScaler(), NUMBERS)]), last)
    for classes in [target > 1, three(target)] if hasattr(last, "decision_function") else [target]:
        check(last.fit(frame, classes), frame, rows=(20,))


def test_two_outputs_and_sparse_slopes(data):
    frame, target = data
    numbers = frame[NUMBERS]
    model = make_pipeline(StandardScaler(), MultiTaskLasso(0.01)).fit(numbers, np.column_stack([target, -(target**2)]))
    assert check(model, numbers).shape == (2, 2, 2)
    few = SGDClassifier(penalty="l1", random_state=0).fit(numbers, target > 1).sparsify()
    check(few, numbers)


@pytest.mark.filterwarnings("error")
def test_a_model_fitted_on_arrays_with_a_frame_for_background(data):
    frame, target = data
    numbers = frame[NUMBERS]
    model = make_pipeline(ColumnTransformer([("second", StandardScaler(), [1])], remainder="passthrough"), Ridge())
    check(model.fit(numbers.to_numpy(), target), numbers)


@pytest.mark.parametrize(
    ("model", "space", "reason"),
    [
        (LogisticRegression(), "probability", "LogisticRegression is linear in output_space='margin', not in its prob"),
        (make_pipeline(PCA(2), Ridge()), "prediction", "step 'pca', a PCA, may mix columns of 2 features"),
        (make_pipeline(Normalizer(), Ridge()), "prediction", "'normalizer', a Normalizer, may mix"),
        (make_pipeline(KNNImputer(), Ridge()), "prediction", "'knnimputer', a KNNImputer, may mix"),
        (
            make_pipeline(PolynomialFeatures(2), Ridge()),
            "prediction",
            "'polynomialfeatures' multiplies columns of diff",
        ),
        (
            make_pipeline(FunctionTransformer(np.cumsum, kw_args={"axis": 1}), Ridge()),
            "prediction",
            "'functiontransformer', a FunctionTransformer, may mix columns of 2 features, unless its function is a",
        ),
        (
            make_pipeline(ColumnTransformer([("both", make_pipeline(StandardScaler(), PCA()), NUMBERS)]), Ridge()),
            "prediction",
            "step 'columntransformer > both > pca', a PCA, may mix columns of 2 features",
        ),
        (PoissonRegressor(), "prediction", "a PoissonRegressor predicts through a link"),
        (make_pipeline(StandardScaler(), GammaRegressor()), "prediction", "a GammaRegressor predicts through a link"),
        (TweedieRegressor(power=1.5), "prediction", "a TweedieRegressor predicts through a link"),
        (TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1), "prediction", "its target"),
        (CalibratedClassifierCV(LogisticRegression()), "margin", "CalibratedClassifierCV is not one of the linear"),
        (RandomForestClassifier(3), "probability", "a RandomForestClassifier is not one of the linear models"),
        (SVC(kernel="linear"), "margin", "a SVC is not one of the linear models"),
        (RFE(Ridge(), n_features_to_select=1), "prediction", "a RFE is not one of the linear models"),
    ],
)
def test_what_is_refused_and_why(data, model, space, reason):
    frame, target = data
    numbers = frame[NUMBERS]
    model.fit(
        numbers, (target > 1) if hasattr(model, "predict_proba") or "SV" in str(model) else target - target.min() + 1
    )
    found = read_linear(model, space, background_rows(numbers).layout)
    assert isinstance(found, NotLinear)
    assert reason in found.reason


class Shifted(StandardScaler):
    def transform(self, X, copy=None):
        return super().transform(X) + np.asarray(X).sum(axis=1, keepdims=True)


def test_a_subclass_and_a_function_are_not_taken_for_what_they_resemble(data):
    frame, target = data
    layout = background_rows(frame[NUMBERS]).layout
    Shifted.__name__ = "StandardScaler"
    model = make_pipeline(Shifted(), Ridge()).fit(frame[NUMBERS], target)
    assert read_linear(model, "prediction", layout) == NotLinear(
        "its step 'standardscaler', a StandardScaler, may mix columns of 2 features"
    )
    assert isinstance(read_linear(model.predict, "prediction", layout), NotLinear)


def test_selection_by_a_model(data):
    frame, target = data
    for select in (SelectFromModel(Lasso(0.05)), RFE(Ridge(), n_features_to_select=3)):
        encode = ColumnTransformer([*MIXED, ("number", StandardScaler(), NUMBERS)])
        check(make_pipeline(encode, select, Ridge()).fit(frame, target), frame, rows=(20,))


@pytest.fixture(scope="module")
def german():
    data = pd.read_csv(german_credit_path())
    return data.drop(columns=["application_id", "bad"]), data["bad"]


@pytest.mark.parametrize("sparse", [True, False])
def test_german_credit(german, sparse):
    features, bad = german
    text = list(features.select_dtypes(exclude="number"))
    encode = ColumnTransformer([("text", OneHotEncoder(sparse_output=sparse), text)], remainder=StandardScaler())
    encode.sparse_threshold = 1.0
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(features, bad)
    method = method_of(model, features)
    values = values_of(method, features)
    assert values.shape == (1000, 20, 1)
    margins = model.decision_function(features)
    assert values.sum(axis=(1, 2)) == pytest.approx(margins - margins.mean(), abs=1e-10)
    rows = method.game.mixer.rows
    assert reading_gap(method.game, method.form.contributions, rows.take(slice(0, 128)), rows) < 1e-12
    # A feature's value is its slopes times its own columns, centered: written out for one of each kind.
    one_hot = pd.get_dummies(features["purpose"]).astype(float)
    start = sum(features[name].nunique() for name in text[: text.index("purpose")])
    slopes = model[-1].coef_[0][start : start + one_hot.shape[1]]
    place = features.columns.get_loc("purpose")
    assert values[:, place, 0] == pytest.approx(((one_hot - one_hot.mean()) @ slopes).to_numpy(), abs=1e-10)
    numbers = [name for name in features if name not in text]
    slope = model[-1].coef_[0][numbers.index("age_years") - len(numbers)]
    age = features["age_years"]
    expected = slope * (age - age.mean()) / age.std(ddof=0)
    assert values[:, features.columns.get_loc("age_years"), 0] == pytest.approx(expected.to_numpy(), abs=1e-10)


def test_eight_german_features_equal_enumeration(german):
    eight = german[0].iloc[:, :8]
    text = list(eight.select_dtypes(exclude="number"))
    encode = ColumnTransformer([("text", OneHotEncoder(), text)], remainder=StandardScaler())
    check(make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(eight, german[1]), eight)


@pytest.mark.parametrize("sparse", [True, False])
def test_a_row_has_the_same_bits_alone_and_in_company(data, sparse):
    frame, target = data
    steps = [("text", OneHotEncoder(sparse_output=sparse), TEXT), ("splines", SplineTransformer(), NUMBERS)]
    encode = ColumnTransformer(steps, sparse_threshold=float(sparse))
    model = make_pipeline(encode, LogisticRegression()).fit(frame, three(target))
    rows = background_rows(frame)
    read = read_linear(model, "margin", rows.layout)
    whole = read.contributions(rows)
    assert np.abs(whole - fold(read, rows)).max() < 1e-12
    for part in (slice(0, 1), slice(3, 50), slice(70, 77)):
        assert np.array_equal(read.contributions(rows.take(part)), whole[part])
    assert read.contributions(rows.take(slice(0, 0))).shape == (0, 7, 3)
    again = pickle.loads(pickle.dumps(read))
    assert np.array_equal(again.contributions(rows), whole)


def fold(read, rows):
    """The definition: columns times slopes, summed by owner."""
    weighted = read.columns(rows)[:, :, None] * read.slopes
    return np.stack([weighted[:, read.feature_of_column == i].sum(axis=1) for i in range(read.n_features)], axis=1)


@pytest.mark.slow
def test_wide_one_hot_columns_stay_sparse():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"place": rng.integers(0, 10**6, 20_000).astype(str), "x": rng.normal(size=20_000)})
    model = make_pipeline(ColumnTransformer([("place", OneHotEncoder(), ["place"])], remainder="passthrough"), Ridge())
    model.fit(frame, rng.normal(size=20_000))
    rows = background_rows(frame)
    read = read_linear(model, "prediction", rows.layout)
    assert len(read.slopes) > 19_000  # 3 GB, were they dense
    tracemalloc.start()
    found = read.contributions(rows).sum(axis=(1, 2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 * 2**20
    assert found + model[-1].intercept_ == pytest.approx(model.predict(frame), abs=1e-10)


def test_a_category_that_the_encoder_refuses_fails_alone(data):
    frame, target = data
    model = make_pipeline(ColumnTransformer([("text", OneHotEncoder(), ["purpose"])]), Ridge()).fit(frame, target)
    method = method_of(model, frame.iloc[:N_BACKGROUND])
    x = frame.iloc[20:30].assign(purpose=["car"] * 4 + ["rocket"] + ["tv"] * 5)
    found = method.explain(conform(x, method.game.mixer.layout)[0], np.zeros(10, dtype=np.uint64))
    assert list(found.failures) == [4]
    assert "rocket" in found.failures[4].message
    assert np.isfinite(np.delete(found.values, 4, axis=0)).all()
