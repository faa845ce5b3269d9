"""Reasons of rows in memory: the frame, codes, exclusions, groups of outputs, and what they may not be."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from games import credit_like, interacting

from spark_shap import Explainer, Reasons
from spark_shap.audit.reasons import add_counts, count_reasons, reason_spec
from spark_shap.errors import ConfigError, MethodError, UsageError

NAMES = ["age", "in'come", 'loan "amount"', "{value}", "`rate`.x", "f5"]
CODES = """
version: "1"
sets:
  own:
    version: "1"
    codes:
      "01": {text: "Age {value}", features: [age]}
      "02": {text: "'; drop table x; -- {feature} {value}", features: ["in'come", "{value}"]}
  other:
    version: "1"
    codes:
      "9": {text: Other, features: [age, "in'come", 'loan "amount"', "`rate`.x", f5]}
"""


def frame(n_rows=60, seed=3):
    data = pd.DataFrame(credit_like(n_rows, len(NAMES), seed=seed), columns=NAMES)
    data["age"] = (data["age"] * 10 + 40).round().astype(int)
    return data


def model(rows):
    x = np.asarray(rows, dtype=float).copy()
    x[:, 0] = (x[:, 0] - 40) / 10
    return interacting(x)


def explainer(**settings):
    reasons = settings.pop("reasons", Reasons(harm="high", top=3))
    how = {"n_evaluations": 65, "seed": 1, "surrogate_evaluations": 0, "method": "sampling"} | settings
    return Explainer(model, frame(80, 5), reasons=reasons, **how)


@pytest.fixture
def codes(tmp_path):
    path = tmp_path / "codes.yaml"
    path.write_text(CODES)
    return path


def test_one_line_a_row_and_rank():
    data = frame()
    data.index = [f"row {i}" for i in range(len(data))]
    found = explainer()(data)
    table = found.reasons()
    assert table.columns.tolist() == [
        *("output", "rank", "code_set", "code", "text"),
        *("feature", "shap_value", "std_error", "p_swap", "stable"),
    ]
    for name, part in table.groupby(level=0):
        values = pd.Series(found.values[data.index.get_loc(name)], NAMES)
        best = values[values > 0].nlargest(3)
        assert part["rank"].tolist() == list(range(1, len(best) + 1))
        assert part["feature"].tolist() == best.index.tolist()
        np.testing.assert_array_equal(part["shap_value"], best)
    assert table["code_set"].isna().all()
    assert table["p_swap"].between(0, 0.51).all()


def test_exact_values_are_stable():
    table = explainer(method="exact")(frame(20)).reasons()
    assert (table["p_swap"] == 0).all()
    assert table["stable"].all()


def test_low_outputs_may_harm():
    high, low = (explainer(reasons=Reasons(harm=harm))(frame(20)).reasons() for harm in ("high", "low"))
    assert (high["shap_value"] > 0).all()
    assert (low["shap_value"] < 0).all()


def test_several_code_sets_and_features_without_a_code(codes, caplog):
    data = frame()
    with caplog.at_level(logging.WARNING):
        made = explainer(reasons=Reasons(harm="high", top=6, codes=codes))
    assert "code set own has no code for 3 features" in caplog.text
    found = made(data)
    table = found.reasons()
    plain = explainer(reasons=Reasons(harm="high", top=6))(data).reasons()
    assert len(table) == 2 * len(plain)
    assert table["code_set"].tolist() == ["own", "other"] * len(plain)
    np.testing.assert_array_equal(table["feature"].to_numpy()[::2], plain["feature"])
    own = table[table["code_set"] == "own"]
    age = own[own["feature"] == "age"]
    assert age["text"].tolist() == [f"Age {data.loc[row, 'age']}" for row in age.index]
    odd = own[own["feature"] == "{value}"].iloc[0]
    value = data.loc[odd.name, "{value}"]
    assert odd["text"] == f"'; drop table x; -- {{value}} {value:.12g}"
    assert own[own["feature"] == "f5"]["code"].isna().all()


def test_excluded_features_are_no_reasons_and_are_counted():
    data = frame()
    free = explainer()(data)
    reasons = Reasons(harm="high", top=3, exclude=("age", "f5"))
    made = explainer(reasons=reasons)
    found = made(data)
    assert not set(found.reasons()["feature"]) & {"age", "f5"}
    spec = reason_spec(made.prepared, None)
    counts = count_reasons(found.ranking, free.values, spec)
    best = [set(part["feature"]) for _, part in free.reasons().groupby(level=0)]
    assert counts.excluded == {name: sum(name in one for one in best) for name in ("age", "f5")}
    assert counts.touched == sum(bool(one & {"age", "f5"}) for one in best)
    assert add_counts(counts, counts).excluded["age"] == 2 * counts.excluded["age"]


def test_a_cutoff():
    data = frame()
    found = explainer(reasons=Reasons(harm="high", cutoff=0.6))(data)
    assert set(found.reasons().index) <= set(np.flatnonzero(found.predictions >= 0.6))
    assert found.ranking.asked.sum() == (found.predictions >= 0.6).sum() > 0


def test_one_of_several_outputs():
    both = lambda rows: np.column_stack([1 - model(rows), model(rows)])  # noqa: E731
    how = {"n_evaluations": 65, "seed": 1, "output_names": ["good", "bad"]}
    with pytest.raises(UsageError, match=r"reasons.output: name the output to explain, one of good, bad"):
        Explainer(both, frame(80, 5), reasons=Reasons(harm="high"), **how)
    found = Explainer(both, frame(80, 5), reasons=Reasons(harm="high", output="bad"), **how)(frame(20))
    table = found.reasons()
    assert set(table["output"]) == {"bad"}
    first = table[table["rank"] == 1]
    np.testing.assert_array_equal(first["shap_value"], found.values[first.index, :, 1].max(axis=1))
    assert np.abs(found.additivity_gap).max() < 1e-12


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"harm": "up"}, "reasons.harm: 'up' is neither"),
        ({"harm": "high", "top": 0}, "reasons.top: 0 is not"),
        ({"harm": "high", "exclude": ("agee",)}, "reasons.exclude: 'agee' is no feature"),
        ({"harm": "high", "exclude": tuple(NAMES)}, "names every feature"),
        ({"harm": "high", "output": "good"}, "reasons.output: 'good' is no output"),
        ({"harm": "high", "max_p_swap": 0.7}, "reasons.max_p_swap: 0.7"),
        ({"harm": "high", "cutoff": "0.5"}, "reasons.cutoff: '0.5' is no number"),
        ({"harm": "high", "max_evaluations": -1}, "reasons.max_evaluations: -1"),
    ],
)
def test_what_reasons_may_not_be(settings, text):
    with pytest.raises(UsageError, match=text):
        explainer(reasons=Reasons(**settings))


def test_unknown_features_in_codes(tmp_path):
    path = tmp_path / "codes.yaml"
    path.write_text("version: '1'\nsets: {own: {version: '1', codes: {a: {text: t, features: [agee]}}}}")
    with pytest.raises(ConfigError, match="'agee' is no feature"):
        explainer(reasons=Reasons(harm="high", codes=path))


def test_none_without_asking():
    with pytest.raises(UsageError, match="none were asked for"):
        explainer(reasons=None)(frame(3)).reasons()


def test_aggregates_have_no_reasons():
    from spark_shap.options import Options

    with pytest.raises(MethodError, match="aggregates"):
        Options(audit="aggregates", reasons=Reasons(harm="high"))


def test_half_the_evaluations_of_a_uniform_budget():
    """On German credit; `tests/bench/reasons.py` has both data sets and more rows."""
    from spark_shap.data import german_credit_path
    from spark_shap.demo import train_german_credit

    pipeline = train_german_credit(german_credit_path())
    data = pd.read_csv(german_credit_path()).drop(columns=["application_id", "bad"])
    rows = data.iloc[np.argsort(-pipeline.predict_proba(data)[:, 1], kind="stable")[:300:5]]

    def found(n_evaluations, most):
        made = Explainer(
            lambda one: pipeline.predict_proba(one)[:, 1],
            data,
            n_evaluations=n_evaluations,
            surrogate_evaluations=4000,
            seed=2,
            reasons=Reasons(harm="high", max_evaluations=most),
        )(rows)
        return made.n_evaluations.mean(), made.ranking.settled(0.025).mean()

    spent, stable = found(65, 1025)
    uniform, alike = found(1025, 0)
    assert stable >= alike
    assert spent < uniform / 2
