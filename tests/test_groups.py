"""Groups of features as players: against brute force over players, by every method; what cannot be grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from games import credit_like, interacting, shapley_by_subsets
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from spark_shap import Explainer, Reasons
from spark_shap.config import load_config
from spark_shap.errors import ConfigError, MethodError, UsageError

NAMES = [f"f{index}" for index in range(7)]
GROUPS = {"bureau": ["f1", "f4", "f5"], "income": ["f0", "f6"]}
PLAYERS = {"income": [0, 6], "bureau": [1, 4, 5], "f2": [2], "f3": [3]}  # a group stands where its first member stood


def frame(n_rows: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(credit_like(n_rows, 7, seed), columns=NAMES)


def model(rows: Any) -> np.ndarray:
    return interacting(np.asarray(rows))


def brute_force(f: Any, x: np.ndarray, background: np.ndarray, weights: Any = None) -> np.ndarray:
    """Shapley values of the players, by the defining formula over all coalitions of players."""
    out = []
    for row in x:
        v = np.empty(2 ** len(PLAYERS))
        for mask in range(len(v)):
            on = np.zeros(7, dtype=bool)
            for bit, columns in enumerate(PLAYERS.values()):
                on[columns] = bool(mask >> bit & 1)
            v[mask] = np.average(f(np.where(on, row, background)), weights=weights)
        out.append(shapley_by_subsets(v))
    return np.array(out)


BACKGROUND, ROWS = frame(40, 1), frame(6, 2)


def test_enumeration_is_that_of_the_players() -> None:
    weights = np.linspace(0.5, 2.0, 40)
    explainer = Explainer(model, BACKGROUND, groups=GROUPS, method="exact", weights=weights)
    found = explainer(ROWS)
    assert found.feature_names == tuple(PLAYERS)
    expected = brute_force(model, ROWS.to_numpy(), BACKGROUND.to_numpy(), weights)
    assert np.abs(found.values - expected).max() < 1e-12
    assert found.n_evaluations.max() == 2 * (2**3 - 1) * 40 + 1  # four players, not seven


def test_a_group_plays_unless_all_of_it_is_as_in_the_background() -> None:
    background, rows = BACKGROUND.assign(f5=0.3, f2=0.7), ROWS.assign(f5=0.3, f2=0.7)
    found = Explainer(model, background, groups=GROUPS, method="exact")(rows)
    expected = brute_force(model, rows.to_numpy(), background.to_numpy())
    assert np.abs(found.values - expected).max() < 1e-12
    assert (found.values[:, 2] == 0.0).all()
    assert found.n_evaluations.max() == 2 * (2**2 - 1) * 40 + 1


@pytest.mark.parametrize("surrogate_evaluations", [0, 3000])
def test_sampled_values_are_those_of_the_players(surrogate_evaluations: int) -> None:
    explainer = Explainer(
        model, BACKGROUND, groups=GROUPS, method="sampling", n_evaluations=129, seed=3,
        surrogate_evaluations=surrogate_evaluations,
    )  # fmt: skip
    rows = frame(60, 5)
    found = explainer(rows)
    expected = brute_force(model, rows.to_numpy(), BACKGROUND.to_numpy())
    z = (found.values - expected) / found.std_errors
    assert np.abs(found.additivity_gap).max() < 1e-9
    assert 0.8 < np.sqrt((z**2).mean()) < 1.2
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(60)
    assert found.std_errors.mean() < 0.02


def test_the_surrogate_knows_the_players_exactly() -> None:
    control = Explainer(model, BACKGROUND, groups=GROUPS, method="sampling", seed=3).prepared.method.control
    surrogate = control.surrogate
    x, z = ROWS.to_numpy(), BACKGROUND.to_numpy()

    def g(rows: np.ndarray) -> np.ndarray:
        return surrogate.predict(surrogate.encode(rows))[:, 0]

    found = surrogate.values(surrogate.encode(x))[..., 0]
    assert np.abs(found - brute_force(g, x, z)).max() < 1e-6
    pairs = surrogate.interactions(surrogate.encode(x))[..., 0]
    assert np.abs(pairs.sum(axis=2) - found).max() < 1e-9


def test_a_group_is_not_the_sum_of_its_members() -> None:
    whole = Explainer(model, BACKGROUND, groups=GROUPS, method="exact")(ROWS)
    alone = Explainer(model, BACKGROUND, method="exact", n_evaluations=10_000)(ROWS)
    summed = alone.summed(GROUPS)
    assert summed.feature_names == whole.feature_names
    assert np.allclose(summed.values[:, 1], alone.values[:, [1, 4, 5]].sum(axis=1))
    assert np.abs(summed.additivity_gap).max() < 1e-12
    assert np.abs(summed.values - whole.values).max() > 1e-3
    assert "sums over bureau, income" in summed.method_reason
    with pytest.raises(UsageError, match=r"groups\.b: 'f9' is no feature"):
        alone.summed({"b": ["f9"]})


@pytest.mark.parametrize("depth", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_trees_are_exact_for_players(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = frame(400, 7)
    trees = GradientBoostingRegressor(n_estimators=25, max_depth=depth, random_state=0).fit(data, model(data))
    found = Explainer(trees, BACKGROUND, groups=GROUPS)
    assert found.method == "tree"
    single = trees.predict

    def f(rows: np.ndarray) -> np.ndarray:
        return single(pd.DataFrame(rows, columns=NAMES))

    expected = brute_force(f, ROWS.to_numpy(), BACKGROUND.to_numpy())
    assert np.abs(found(ROWS).values - expected).max() < 1e-6
    pairs = found.interactions(ROWS).values
    assert np.abs(pairs.sum(axis=2) - expected).max() < 1e-6
    # Every leaf by itself, as where memory is short.
    from spark_shap.core.trees import plan
    from spark_shap.core.trees.grouping import single_leaves

    monkeypatch.setattr(plan, "_choose", lambda paths, _: single_leaves(paths))
    assert np.abs(Explainer(trees, BACKGROUND, groups=GROUPS)(ROWS).values - expected).max() < 1e-6


def test_trees_too_deep_for_tables_are_sampled_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_shap.core.trees.plan._MAX_TABLE_PATH", 2)
    data = frame(300, 7)
    deep = GradientBoostingRegressor(n_estimators=2, max_depth=5, random_state=0).fit(data, model(data))
    explainer = Explainer(deep, BACKGROUND, groups=GROUPS, surrogate_evaluations=0, n_evaluations=33)
    assert explainer.method == "sampling"
    assert "groups of features as players" in explainer.method_reason
    with pytest.raises(MethodError, match="groups: a tree has paths too long"):
        Explainer(deep, BACKGROUND, groups=GROUPS, method="tree")


def test_a_linear_model_is_exact_for_players() -> None:
    data = frame(200, 7)
    line = LinearRegression().fit(data, model(data))
    explainer = Explainer(line, BACKGROUND, groups=GROUPS)
    assert explainer.method == "linear"
    expected = brute_force(lambda rows: line.predict(pd.DataFrame(rows, columns=NAMES)), ROWS.to_numpy(), BACKGROUND)
    assert np.abs(explainer(ROWS).values - expected).max() < 1e-12


def test_one_hot_columns_are_never_mixed() -> None:
    rng = np.random.default_rng(0)
    codes = np.eye(3)[rng.integers(0, 3, 60)]
    data = pd.DataFrame(np.column_stack([rng.normal(size=60), codes]), columns=["amount", "car", "house", "tv"])

    def scores(rows: pd.DataFrame) -> np.ndarray:
        assert (rows[["car", "house", "tv"]].sum(axis=1) == 1).all()
        return rows["amount"].to_numpy() * (1 + rows["car"].to_numpy()) + rows["tv"].to_numpy()

    explainer = Explainer(scores, data.head(40), groups={"purpose": ["car", "house", "tv"]}, n_evaluations=17)
    assert explainer(data.tail(20)).feature_names == ("amount", "purpose")


def test_reasons_name_groups(tmp_path: Any) -> None:
    codes = tmp_path / "codes.yaml"
    text = 'version: "1"\nsets: {own: {version: "1", codes: {B: {text: "Bureau%s", features: bureau}}}}\n'
    codes.write_text(text % "")
    asked = Reasons(harm="high", codes=codes, max_evaluations=0)
    found = Explainer(model, BACKGROUND, groups=GROUPS, n_evaluations=65, reasons=asked)(ROWS).reasons()
    assert set(found["feature"]) <= set(PLAYERS)
    assert (found.loc[found["feature"] == "bureau", "text"] == "Bureau").all()
    codes.write_text(text % ": {value}")
    with pytest.raises(ConfigError, match=r"\{value\} means nothing for the group 'bureau'"):
        Explainer(model, BACKGROUND, groups=GROUPS, n_evaluations=65, reasons=asked)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ["f1", "g"]}, r"groups.a: 'g' is no feature; they are f0, f1"),
        ({"a": ["f1"], "b": ["f1"]}, r"groups.b: 'f1' is in a already"),
        ({"a": []}, r"groups.a: it is empty"),
        ({"f2": ["f1"]}, r"groups.f2: a feature has that name"),
        ({"a": ["f1", "f1"]}, r"groups.a: it names 'f1' twice"),
    ],
)
def test_groups_that_cannot_be(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(model, BACKGROUND, groups=groups)


def test_groups_of_a_configuration_are_checked_together(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "applicants: {path: a.csv, key: id}\nmodel: {object: 'a:b'}\noutput: {path: out}\n"
        "explain: {groups: {a: [x, x], b: [x], c: []}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [problem.split(":")[1].strip() for problem in caught.value.problems] == ["a", "b", "c"]
