"""The comparison of two audits: what counts as a change, and how often chance is taken for one."""

from __future__ import annotations

from itertools import product
from math import factorial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spark_shap.audit.drift import Limits, compare_summaries, holm, p_values
from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import summary_result
from spark_shap.errors import UsageError

FEATURES = ["income", "age", "loan amount"]
TRUTH = np.array([0.10, -0.04, 0.01])
NOT_TESTED = Limits(least_change=0.0)


def summary(values, errors=None, features=FEATURES, segment="", segment_by="", output="bad"):
    state = local_summary(values, std_errors=errors)
    table = pd.DataFrame({"feature": features, **summary_result(state)})
    return table.assign(segment_by=segment_by, segment=segment, output=output, n_rows=state.n_rows)


def rows(rng, n=400, shift=0.0):
    return TRUTH + np.array([shift, 0, 0]) + rng.normal(0, 0.08, (n, 3))


def noisy(rng, values, noise):
    return summary(values + rng.normal(0, noise, values.shape), np.full(values.shape, noise))


def test_holm_is_statsmodels_example():
    # Holm 1979, and R: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm").
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.02])), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.5])), [0.02, np.nan, 0.5])


def test_p_values_against_the_normal_distribution():
    change, error = np.array([0.03, -0.03, 0.0]), np.array([0.01, 0.02, 0.01])
    np.testing.assert_allclose(p_values(change, error, np.zeros(3)), 2 * stats.norm.sf(np.abs(change) / error))
    above = p_values(change, error, np.full(3, 0.02))
    np.testing.assert_allclose(above[0], stats.norm.sf(1) + stats.norm.sf(5))
    assert (above > p_values(change, error, np.zeros(3)) - 1e-12).all()


def test_exact_values_differ_or_do_not():
    change = np.array([0.0, 1e-17, 0.02, 0.03])
    np.testing.assert_array_equal(p_values(change, np.zeros(4), np.full(4, 0.02)), [1, 1, 1, 0])


@pytest.mark.parametrize("same_rows", [pytest.param(True, marks=pytest.mark.slow), False])
def test_without_a_change_there_is_one_alarm_in_twenty_at_most(same_rows):
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        values = rows(rng)
        other = values if same_rows else rows(rng)
        found = compare_summaries(
            noisy(rng, values, 0.05), noisy(rng, other, 0.05), same_rows=same_rows, limits=NOT_TESTED
        )
        alarms += found["changed"].any()
    assert alarms <= 11  # 5 expected; 12 or more would be a chance of 0.4 %


@pytest.mark.slow
def test_the_error_of_a_change_is_that_seen_in_repetitions():
    rng = np.random.default_rng(2)
    z = []
    for _ in range(200):
        found = compare_summaries(
            noisy(rng, rows(rng), 0.06), noisy(rng, rows(rng), 0.06), same_rows=False, limits=NOT_TESTED
        )
        z.append(found.set_index(["measure", "feature"]).sort_index().eval("change / std_error").to_numpy())
    spread = np.std(z, axis=0)
    assert (np.abs(np.mean(z, axis=0)) < 0.25).all()
    # Mean |SHAP| carries an allowance for its correction, which is the same on both sides: wider than it need be.
    assert ((spread[:3] > 0.6) & (spread[:3] < 1.1)).all(), spread
    assert ((spread[3:] > 0.9) & (spread[3:] < 1.1)).all(), spread


def shap_values(x, z):
    """Exact SHAP values of four features with interactions, (n, 4)."""

    def score(rows):
        a, b, c, d = np.moveaxis(rows, -1, 0)
        return 1 / (1 + np.exp(0.5 - 1.2 * a + 0.6 * b**2 - 0.9 * c * d - 0.5 * a * b))

    worth = {s: score(np.where(s, x[:, None], z)).mean(axis=1) for s in product([False, True], repeat=4)}
    out = np.zeros_like(x)
    for s, value in worth.items():
        for at in np.flatnonzero(~np.array(s)):
            more = (*s[:at], True, *s[at + 1 :])
            out[:, at] += factorial(sum(s)) * factorial(3 - sum(s)) / 24 * (worth[more] - value)
    return out


@pytest.mark.slow
def test_another_draw_of_the_reference_is_no_change():
    rng = np.random.default_rng(6)
    x, alarms, z = rng.normal(size=(300, 4)), {True: 0, False: 0}, []
    names = ["a", "b", "c", "d"]
    for _ in range(60):
        a, b = (summary(shap_values(x, rng.normal(size=(100, 4))), features=names) for _ in range(2))
        for allowed in (True, False):
            references = (100, 100) if allowed else None
            found = compare_summaries(a, b, same_rows=True, references=references, limits=NOT_TESTED)
            alarms[allowed] += found["changed"].any()
            if allowed:
                z.append(found.set_index(["measure", "feature"]).sort_index().eval("change / std_error").to_numpy())
    assert alarms[True] <= 7  # 3 expected; 8 or more would be a chance of 1 %
    assert alarms[False] == 60
    spread = np.std(z, axis=0)
    assert ((spread[:4] > 0.4) & (spread[:4] < 1.25)).all(), spread  # mean |SHAP|, with its allowance
    assert ((spread[4:] > 0.75) & (spread[4:] < 1.25)).all(), spread


def test_the_error_of_the_references_is_that_of_a_mean_of_so_many_effects():
    rng = np.random.default_rng(7)
    a, b = (pd.concat([summary(rows(rng)), summary(rows(rng, 50), segment="x", segment_by="s")]) for _ in range(2))
    one = compare_summaries(a, b, same_rows=True, limits=NOT_TESTED).set_index(["segment", "feature", "measure"])
    two = compare_summaries(a, b, same_rows=True, references=(100, 400), limits=NOT_TESTED)
    two = two.set_index(["segment", "feature", "measure"])["std_error"].reindex(one.index)
    more = np.sqrt(two**2 - one["std_error"] ** 2)
    sd = [table[table["segment"] == ""].set_index("feature")["sd"]["age"] for table in (a, b)]
    for segment in ("", "x"):  # all applicants' spread, in segments too
        assert more[segment, "age", "mean_shap"] == pytest.approx(np.hypot(sd[0] / 10, sd[1] / 20))
        assert 0.2 * more[segment, "age", "mean_shap"] < more[segment, "age", "mean_abs_shap"]
        assert more[segment, "age", "mean_abs_shap"] < more[segment, "age", "mean_shap"]


def test_without_the_population_part_the_same_change_shows_on_the_same_rows_only():
    rng = np.random.default_rng(3)
    values = rows(rng, 200)
    a, b = noisy(rng, values, 0.01), noisy(rng, values + np.array([0.006, 0, 0]), 0.01)
    same = compare_summaries(a, b, same_rows=True, limits=NOT_TESTED)
    apart = compare_summaries(a, b, same_rows=False, limits=NOT_TESTED)
    changed = same[same["changed"]]
    assert set(changed["feature"]) == {"income"}
    assert not apart["changed"].any()


def test_a_change_within_the_threshold_is_none_however_certain():
    rng = np.random.default_rng(4)
    a, b = summary(rows(rng, 50_000)), summary(rows(rng, 50_000, shift=0.004))
    assert compare_summaries(a, b, same_rows=False, limits=NOT_TESTED)["changed"].any()
    assert not compare_summaries(a, b, same_rows=False)["changed"].any()
    far = summary(rows(rng, 50_000, shift=0.02))
    found = compare_summaries(a, far, same_rows=False)
    assert set(found[found["changed"]]["feature"]) == {"income"}
    assert found["changed"].iloc[0]


def test_segments_apart_small_ones_untested_and_new_ones_left_out():
    rng = np.random.default_rng(5)
    by = {"segment_by": "region"}
    a = pd.concat([summary(rows(rng, n), segment=name, **by) for name, n in (("n", 900), ("s", 20), (None, 900))])
    b = pd.concat(
        [
            summary(rows(rng, 900, shift=shift), segment=name, **by)
            for name, shift in (("n", 0.05), ("s", 0.5), (None, 0.0), ("new", 0.5))
        ]
    )
    found = compare_summaries(a, b, same_rows=False)
    assert set(found["segment"].fillna("none")) == {"n", "s", "none"}
    assert found[found["segment"] == "s"]["p_adjusted"].isna().all()
    assert found[found["changed"]][["segment", "feature"]].drop_duplicates().to_numpy().tolist() == [["n", "income"]]


def test_a_feature_that_the_new_model_does_not_take_counts_as_0():
    rng = np.random.default_rng(6)
    a, b = summary(rows(rng)), summary(rows(rng)[:, 1:], features=FEATURES[1:])
    found = compare_summaries(a, b, same_rows=False).set_index(["feature", "measure"])
    assert found.loc[("income", "mean_shap"), "after"] == 0
    assert found.loc[("income", "mean_shap"), "changed"]
    assert len(found) == 6


def test_a_number_that_the_summary_does_not_know_is_no_test():
    rng = np.random.default_rng(7)
    a = summary(rows(rng)).assign(mean_shap_sampling_error=np.nan)
    found = compare_summaries(a, summary(rows(rng, shift=1.0)), same_rows=False)
    assert found[found["measure"] == "mean_shap"]["p_value"].isna().all()
    assert found[found["measure"] == "mean_abs_shap"]["changed"].any()


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"least_change": -0.1}, {"least_change": np.nan}])
def test_limits_that_are_none(wrong):
    with pytest.raises(UsageError):
        Limits(**wrong)
