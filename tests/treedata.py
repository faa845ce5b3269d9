"""Rows with missing values and categories for tests of tree models, and hybrids of two data sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from games import credit_like

from spark_shap.forest import IN_SET, ZERO
from spark_shap.models.frames import Background, Rows, background_rows
from spark_shap.models.predictor import as_predictor
from spark_shap.models.trees import TreeModel, read_forest


def numeric(n_rows, seed=0, share_missing=0.15):
    x = credit_like(n_rows, 8, seed)
    x[:, 5] = np.round(x[:, 5])  # many ties, many zeros
    x[np.random.default_rng(seed + 99).random(x.shape) < share_missing] = np.nan
    return x


def mixed(n_rows, seed=0):
    """Numbers of several widths, a boolean, and categories of texts and of integers; all but two may be missing."""
    rng = np.random.default_rng(seed)
    x = numeric(n_rows, seed)
    region = pd.Categorical.from_codes(rng.integers(-1, 40, n_rows), [f"r{place * 7 % 40}" for place in range(40)])
    grade = pd.Categorical.from_codes(rng.integers(-1, 4, n_rows), [30, 10, 40, 20])
    return pd.DataFrame(
        {
            "income": x[:, 0],
            "region": region,
            "ratio": x[:, 1].astype(np.float32),
            "months": rng.integers(0, 60, n_rows),
            "grade": grade,
            "owner": rng.random(n_rows) < 0.4,
            "balance": x[:, 5],
        }
    )


def score(frame):
    """A target with interactions between numbers, missing values and categories."""
    frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)
    total = np.zeros(len(frame))
    for name in frame:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            value = column.cat.codes.to_numpy() % 3 - 1.0
        else:
            value = np.tanh(column.astype(float).fillna(1.5).to_numpy())
        total = total + value * (1.0 + 0.5 * np.tanh(total))
    return total


def classes(frame, n_classes=2):
    total = score(frame)
    return np.digitize(total, np.quantile(total, np.arange(1, n_classes) / n_classes))


def deviation(model, space, background, x):
    """Largest gap between the forest that was read and the model itself on hybrids, by the scale of its output."""
    reference = background_rows(background)
    found = read_forest(model, space, reference.layout)
    assert isinstance(found, TreeModel), found
    rng = np.random.default_rng(5)
    rows = _on_thresholds(background_rows(_as(x, background)), found.forest, rng)
    index = rng.integers(0, len(reference), (len(rows), 4))
    members = rng.random((len(rows), len(reference.columns), 4)) < 0.5
    hybrids = Background(reference).mix(rows, index, members)
    read = found.forest.predict(found.to_numbers(background_rows(hybrids)))
    own = as_predictor(model, space)(hybrids)
    assert len(own) >= 2000
    assert (own.std(axis=0) > 0).all()
    assert read.shape == own.shape
    return np.abs(read - own).max() / np.abs(own).max()


def _on_thresholds(rows, forest, rng):
    """Move a third of the rows to thresholds of the trees, to the next double, or to the next single."""
    columns = []
    for place, column in enumerate(rows.columns):
        thresholds = forest.threshold[(forest.feature == place) & (forest.rule != IN_SET)]
        thresholds = thresholds[np.abs(thresholds) > 2.0 * ZERO]  # LightGBM takes what is smaller for 0
        thresholds = thresholds[np.isfinite(thresholds)]
        if getattr(column.dtype, "kind", "") == "f" and isinstance(column, np.ndarray) and len(thresholds):
            column = column.copy()
            chosen = np.flatnonzero(rng.random(len(column)) < 0.3)
            near = rng.choice(thresholds, len(chosen)).astype(column.dtype)
            side = rng.choice([-np.inf, 0.0, np.inf], len(chosen)).astype(column.dtype)
            with np.errstate(over="ignore"):  # CatBoost has the smallest single for a border
                doubles = np.where(side == 0.0, near, np.nextafter(near, side))
                singles = np.nextafter(near.astype(np.float32), side.astype(np.float32))
            column[chosen] = np.where(rng.random(len(chosen)) < 0.7, doubles, singles)
        columns.append(column)
    return Rows(rows.layout, tuple(columns))


def _as(x, background):
    if isinstance(x, np.ndarray):
        return x.astype(background.dtype)
    # pandas takes category dtypes for equal that differ in the order of their categories.
    return x.astype(dict.fromkeys(x.select_dtypes("category"), object)).astype(background.dtypes)
