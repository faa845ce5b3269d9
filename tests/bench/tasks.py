"""What the benchmarks explain: credit-like tables with 8, 20 and 60 features, and two real ones.

Every model is a plain function of the rows, for the product as for its peers: nobody sees inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

N_BACKGROUND, N_POOL = 1000, 4000
_TRAINING_ROWS = 20_000


@dataclass(frozen=True)
class Task:
    """A model, a background and rows to explain.

    Attributes
    ----------
    name, title
        Short and readable name.
    kind
        "boosting", "forest", "network" or "logistic".
    margin, transform
        The model is ``transform(margin(rows))``; the margin of trees has exact values.
    trees
        The fitted ensemble whose output is the margin, or None.
    background, pool
        (1000, M) and (4000, M) numbers: the background, and rows to explain. They share no row, but for the German
        credit, whose 1,000 applications are both.
    frame
        Turns numbers into the frame that the product is given; None where it is given numbers, as peers always are.
    """

    name: str
    title: str
    kind: str
    margin: Callable[[Any], np.ndarray]
    background: np.ndarray
    pool: np.ndarray
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    trees: Any = None
    frame: Callable[[np.ndarray], pd.DataFrame] | None = None

    @property
    def n_features(self) -> int:
        return self.background.shape[1]

    def predict(self, rows: Any) -> np.ndarray:
        """The model: numbers, or rows as `as_taken` gives them, to (n,)."""
        out = self.margin(rows)
        return out if self.transform is None else self.transform(out)

    def as_taken(self, numbers: np.ndarray) -> Any:
        """Rows as the product is given them."""
        return numbers if self.frame is None else self.frame(numbers)


def expit(margin: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-margin))


def credit_like(n_features: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features (six common factors), every third of them skewed, and a label with interactions.

    Rounded to single precision, so that every library compares them with thresholds alike.
    """
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(n_features, 6))
    table = rng.normal(size=(n_rows, 6)) @ loadings.T * 0.5 + rng.normal(size=(n_rows, n_features))
    table[:, ::3] = np.exp(0.6 * table[:, ::3])
    table = table.astype(np.float32).astype(np.float64)
    score = (table - table.mean(axis=0)) / table.std(axis=0) @ rng.normal(size=n_features) * 0.6
    score += 0.8 * np.tanh(table[:, 0] - table[:, 1]) + 0.6 * (table[:, 2] > 0) * table[:, 3]
    label = rng.random(n_rows) < expit(score - score.mean())
    return table, label.astype(int)


def card_like(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A generated stand-in for the credit card file: 23 integer features of codes, bills and payments."""
    rng = np.random.default_rng(1)
    common = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, 23))
    amounts = np.exp(8 + 0.7 * common + 0.7 * rng.normal(size=(n_rows, 23)))
    codes = np.clip(np.round(common[:, :9] + rng.normal(size=(n_rows, 9))), -2, 8)
    table = np.concatenate([codes, amounts[:, 9:]], axis=1).round()
    score = np.tanh(common[:, 0] - common[:, 1] * (common[:, 2] > 0)) + 0.3 * codes[:, 0]
    return table.astype(np.float32).astype(np.float64), (rng.random(n_rows) < expit(2 * score - 1.5)).astype(int)


def _card(path: str | None) -> tuple[np.ndarray, np.ndarray]:
    if path is None:
        table, label = card_like(30_000)
    else:
        data = pd.read_csv(path)
        label = data["defaulted"].to_numpy()
        table = data.drop(columns=["client_id", "defaulted"]).to_numpy(dtype=np.float64)
    order = np.random.default_rng(2).permutation(len(table))
    return table[order], label[order]


def _network() -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=20, random_state=0))


def _boosting() -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=150, max_depth=4, subsample=0.5, max_features=0.5, random_state=0)


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(50, min_samples_leaf=20, max_features=0.5, random_state=0)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    expand = PolynomialFeatures(2, interaction_only=True, include_bias=False)
    return make_pipeline(StandardScaler(), expand, LogisticRegression(C=0.01, max_iter=500))


_MODELS = {"network": _network, "boosting": _boosting, "forest": _forest, "logistic": _logistic}


def _numeric_task(name: str, title: str, table: np.ndarray, label: np.ndarray) -> Task:
    """Train the model that the name asks for: "<table>-<kind>-<space>"."""
    _, kind, space = name.split("-")
    training = slice(0, _TRAINING_ROWS - N_POOL)
    model = _MODELS[kind]().fit(table[training], label[training])
    trees = model if kind in ("boosting", "forest") else None
    if kind == "boosting":
        margin, transform = model.decision_function, expit if space == "probability" else None
    else:
        margin, transform = (lambda rows: model.predict_proba(rows)[:, 1]), None
    background, pool = table[:N_BACKGROUND], table[_TRAINING_ROWS - N_POOL : _TRAINING_ROWS]
    return Task(name, title, kind, margin, background, pool, transform, trees)


def _german_task(name: str) -> Task:
    """German credit: 13 columns of strings and 7 of numbers, as they are; peers get codes and the same coefficients.

    Peers ask for few rows at a time, where the pipeline takes milliseconds a call: look-ups spare them that.
    """
    from spark_shap.data import german_credit_path
    from spark_shap.demo import train_german_credit

    model = train_german_credit(german_credit_path())
    features = pd.read_csv(german_credit_path()).drop(columns=["application_id", "bad"])
    encoder, scaler = (model[0].named_transformers_[part] for part in ("text", "remainder"))
    levels = dict(zip(encoder.feature_names_in_, encoder.categories_, strict=True))
    split = np.cumsum([len(known) for known in levels.values()])
    *by_level, slopes = np.split(model[-1].coef_[0], split)
    places = {column: features.columns.get_loc(column) for column in features}
    text, numeric = [places[column] for column in levels], [places[column] for column in scaler.feature_names_in_]

    def on_codes(codes: np.ndarray) -> np.ndarray:
        score = (codes[:, numeric] - scaler.mean_) / scaler.scale_ @ slopes + model[-1].intercept_[0]
        for place, weights in zip(text, by_level, strict=True):
            score += weights[codes[:, place].astype(np.intp)]
        return expit(score)

    def frame(codes: np.ndarray) -> pd.DataFrame:
        whole = codes.astype(np.int64)
        return pd.DataFrame(
            {
                column: levels[column][whole[:, place]] if column in levels else whole[:, place]
                for column, place in places.items()
            }
        )

    codes = features.copy()
    for column, known in levels.items():
        codes[column] = np.searchsorted(known.astype(str), features[column].to_numpy(dtype=str))
    numbers = codes.to_numpy(dtype=np.float64)
    return Task(
        name,
        TASKS[name],
        "logistic",
        lambda rows: on_codes(rows) if isinstance(rows, np.ndarray) else model.predict_proba(rows)[:, 1],
        numbers,
        numbers[np.random.default_rng(3).permutation(len(numbers))],
        frame=frame,
    )


TASKS = {
    "f8-boosting-probability": "8 features, boosting probability",
    "f8-network-probability": "8 features, network",
    "f20-boosting-margin": "20 features, boosting margin",
    "f20-boosting-probability": "20 features, boosting probability",
    "f20-forest-probability": "20 features, random forest",
    "f20-network-probability": "20 features, network",
    "f20-logistic-probability": "20 features, logistic with interactions",
    "german-logistic-probability": "German credit (20 mixed), logistic",
    "card-network-probability": "credit card (23), network",
    "card-boosting-margin": "credit card (23), boosting margin",
    "f60-boosting-margin": "60 features, boosting margin",
    "f60-network-probability": "60 features, network",
}


def make_task(name: str, credit_card: str | None = None) -> Task:
    """Make a task; without the credit card file, a stand-in that says so in its title."""
    source = name.split("-")[0]
    if source == "german":
        return _german_task(name)
    if source == "card":
        title = TASKS[name] if credit_card else TASKS[name].replace("credit card", "GENERATED stand-in for credit card")
        return _numeric_task(name, title, *_card(credit_card))
    return _numeric_task(name, TASKS[name], *credit_like(int(source[1:]), _TRAINING_ROWS))
