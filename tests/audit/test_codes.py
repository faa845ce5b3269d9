"""The file of code sets: every problem at once, and texts that cannot do more than be texts."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from spark_shap.audit.code_file import load_codes
from spark_shap.audit.codes import filled, value_text
from spark_shap.errors import ConfigError

FEATURES = ["age", "income", "loan amount"]
GOOD = """
version: "3"
sets:
  own:
    version: "2026"
    codes:
      "01": {text: "Age: {value}", features: [age]}
      "02": {text: Income and amount, features: [income, loan amount]}
  other:
    version: "7"
    codes:
      X: {text: "{feature}", features: income}
"""


def write(folder, text):
    path = folder / "codes.yaml"
    path.write_text(text)
    return path


def test_sets_in_their_order(tmp_path):
    found = load_codes(write(tmp_path, GOOD), FEATURES)
    assert [(one.name, one.version) for one in found.sets] == [("own", "2026"), ("other", "7")]
    own, other = found.sets
    assert {name: one.code for name, one in own.entries.items()} == {"age": "01", "income": "02", "loan amount": "02"}
    assert other.entries["income"].text == "{feature}"
    assert found.uses_values
    assert found.uncoded(FEATURES) == {"other": ("age", "loan amount")}
    assert len(found.sha256) == 64


def test_all_problems_at_once(tmp_path):
    bad = """
version: 3
sets:
  own:
    codes:
      07: {text: "Age: {vlaue}", features: [age]}
      "02": {text: Income, features: [agee, age], feature: x}
  other: {version: "1", codes: {}}
"""
    path = write(tmp_path, bad)
    with pytest.raises(ConfigError) as caught:
        load_codes(path, FEATURES)
    assert [line.removeprefix(f"{path}: ") for line in caught.value.problems] == [
        "version: must be text, got 3; if that is the text, put it in quotes",
        "sets.own.version: is required",
        "sets.own.codes[7].[key]: must be text, got 7; if that is the text, put it in quotes",
        "sets.own.codes.02.feature: unknown key; did you mean features?",
        "sets.other.codes: must not be empty",
        "sets.own.codes.7.text: {vlaue} means nothing here; {value} and {feature} do",
        "sets.own.codes.02.features: 'agee' is no feature; they are age, income, loan amount",
        "sets.own.codes.02.features: 'age' has code 7 in this set already; keep one",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", "must be a mapping"),
        ("version: '1'\nsets: {own: {version: '1', codes: {a: {text: t, features: []}}}}", "must not be empty"),
        ("version: '1'\nsets: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("version: '1'\nsets: {a: 5}", "sets.a: must be a section of keys, got 5"),
        ("version: '1'\nversion: '2'\nsets: {}", "key 'version' is given twice"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, line):
    with pytest.raises(ConfigError, match=line):
        load_codes(write(tmp_path, text), FEATURES)


def test_what_is_filled_in_is_not_looked_at_again():
    assert filled("a {value} of {feature}", "f", "{feature}") == "a {feature} of f"
    assert filled("{value.__class__} {0} {} {", "f", "v") == "{value.__class__} {0} {} {"
    assert filled("{value}", "f", None) == "missing"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (36, "36"),
        (1169.0, "1169"),
        (0.1 + 0.2, "0.3"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
        (True, "yes"),
        ("A11", "A11"),
        (date(2026, 1, 31), "2026-01-31"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_values_as_a_person_reads_them(value, text):
    assert value_text(value) == text


def test_the_example_in_conf_is_whole():
    import pandas as pd

    from spark_shap.data import german_credit_path

    features = pd.read_csv(german_credit_path()).columns.drop(["application_id", "bad"]).tolist()
    found = load_codes(Path(__file__).parents[2] / "conf" / "reason_codes.yaml", features)
    assert [one.name for one in found.sets] == ["lender", "coarse"]
    assert "age_years" in found.uncoded(features)["lender"]
