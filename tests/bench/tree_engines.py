"""The models of the tree bench, and what explains them: the engine, the Explainer, and its peers, in turns."""

from __future__ import annotations

import json
import pickle
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = ("XGBoost", "LightGBM")
N_BACKGROUND = 1000
_TURNS = 3
_PROBE = 10


class Timed(NamedTuple):
    """CPU seconds before the first row, and of all rows; the values (n, F) of the first rows."""

    before: float
    rows: float
    values: np.ndarray


def features_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "table.parquet").drop(columns=["id", "bad"]).astype(float)


def train(data: pd.DataFrame) -> dict[str, Any]:
    """200 trees of depth 6, and 200 trees of 31 leaves."""
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    given = {"n_estimators": 200, "learning_rate": 0.05, "n_jobs": 1}
    models = {"XGBoost": XGBClassifier(**given, max_depth=6), "LightGBM": LGBMClassifier(**given, verbose=-1)}
    sample = data.sample(min(len(data), 30_000), random_state=0)
    x, y = sample.drop(columns=["id", "bad"]).astype(float), sample["bad"]
    return {name: model.fit(x, y) for name, model in models.items()}


def time_engine(model: Any, background: pd.DataFrame, x: pd.DataFrame) -> Timed:
    """Reading, tables and look-ups alone."""
    from spark_shap.core.trees import BackgroundHistograms, TreeTables, plan_trees
    from spark_shap.models.frames import background_rows
    from spark_shap.models.trees import TreeModel, read_forest

    start = time.process_time()
    reference, rows = background_rows(background), background_rows(x)
    found = read_forest(model, "margin", reference.layout)
    if not isinstance(found, TreeModel):
        raise TypeError(found.reason)
    plan = plan_trees(found.forest)
    state = BackgroundHistograms.local(plan, found.to_numbers(reference), np.ones(len(reference)))
    tables = TreeTables.build(plan, state)
    ready = time.process_time()
    values = tables.values(found.to_numbers(rows))
    return Timed(ready - start, time.process_time() - ready, values[:, :, 0])


def time_numpy(model: Any, background: pd.DataFrame, x: pd.DataFrame) -> Timed:
    """The same without the compiled kernels."""
    from spark_shap.core import accelerate

    usual = accelerate.available
    accelerate.available = lambda: False  # type: ignore[assignment]
    try:
        return time_engine(model, background, x)
    finally:
        accelerate.available = usual  # type: ignore[assignment]


def time_explainer(model: Any, background: pd.DataFrame, x: pd.DataFrame) -> Timed:
    """What a user calls: also checks the reading, predicts, and checks and keys the rows."""
    from spark_shap import Explainer

    start = time.process_time()
    explainer = Explainer(model, background, output_space="margin")
    ready = time.process_time()
    values = explainer(x).values
    return Timed(ready - start, time.process_time() - ready, values)


def time_woodelf(model: Any, background: pd.DataFrame, x: pd.DataFrame) -> Timed:
    """Its background phase is part of every call: what a call for ten rows takes comes before the rows."""
    from woodelf.explainer import WoodelfExplainer

    start = time.process_time()
    explainer = WoodelfExplainer(model, background)
    explainer.shap_values(x.iloc[:_PROBE], verbose=False)
    ready = time.process_time()
    few = time.process_time() - start
    explainer = WoodelfExplainer(model, background)
    values = explainer.shap_values(x, verbose=False)
    return Timed(few, time.process_time() - ready - few, np.asarray(values))


def time_shap(model: Any, background: pd.DataFrame, x: pd.DataFrame) -> Timed:
    """On few rows, and so many times over."""
    import shap

    n_rows = 40
    start = time.process_time()
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.TreeExplainer(model, masker, feature_perturbation="interventional")
    ready = time.process_time()
    values = explainer.shap_values(x.iloc[:n_rows], check_additivity=False)
    return Timed(ready - start, (time.process_time() - ready) * len(x) / n_rows, np.asarray(values))


OURS = {"engine": time_engine, "engine, numpy": time_numpy, "Explainer": time_explainer}
PEERS = {"woodelf-explainer": time_woodelf, "shap.TreeExplainer": time_shap}


def speed(folder: Path, library: str, peers: str) -> None:
    """Print seconds and gaps of everything that explains one model: the best of some turns, compiled before."""
    warnings.simplefilter("ignore")
    model = pickle.loads((folder / f"{library}.pkl").read_bytes())
    x = features_of(folder)
    background = x.sample(N_BACKGROUND, random_state=0)
    start = time.process_time()
    time_engine(model, background, x.iloc[:100])
    out: dict[str, Any] = {"warm-up": time.process_time() - start}
    kinds = {**OURS, **(PEERS if peers == "peers" else {})}
    truth = time_engine(model, background, x).values
    for turn in range(_TURNS):
        for name, function in kinds.items():
            if turn and name in ("engine, numpy", "shap.TreeExplainer"):
                continue  # slow, and far from any limit
            found = function(model, background, x)
            gap = np.abs(found.values - truth[: len(found.values)]).max() / np.abs(truth).max()
            best = out.get(name, (np.inf, np.inf, 0.0))
            out[name] = (min(best[0], found.before), min(best[1], found.rows), max(best[2], float(gap)))
    print(json.dumps(out))


def agree(folder: Path, library: str) -> None:
    """Print the gaps to woodelf with 20,000 background rows, as shares of the scale: of values and of interactions."""
    from woodelf.explainer import WoodelfExplainer

    from spark_shap import Explainer

    model = pickle.loads((folder / f"{library}.pkl").read_bytes())
    x = features_of(folder)
    background = x.sample(20_000, random_state=1, replace=len(x) < 20_000)
    explainer, peer = Explainer(model, background, output_space="margin"), WoodelfExplainer(model, background)
    values = explainer(x.iloc[:5000]).values
    gap = np.abs(values - peer.shap_values(x.iloc[:5000], verbose=False)).max()
    pairs = explainer.interactions(x.iloc[:200]).values
    pair_gap = np.abs(pairs - peer.shap_interaction_values(x.iloc[:200], verbose=False)).max()
    print(json.dumps({"values": gap / np.abs(values).max(), "interactions": pair_gap / np.abs(values).max()}))
