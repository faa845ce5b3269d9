"""Aggregates against numpy on whole arrays; merging against one pass."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from ddsketch import LogarithmicMapping
from ddsketch.ddsketch import DDSketch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spark_shap.core import sketch
from spark_shap.core.moments import Moments
from spark_shap.core.shrinkage import ResidualModel
from spark_shap.core.summary import SummaryState, empty_summary, local_summary, merge_summaries
from spark_shap.core.summary_result import QUANTILES, summary_result
from spark_shap.core.summary_rows import Split
from spark_shap.errors import InputError

MAPPING = LogarithmicMapping(sketch.RELATIVE_ACCURACY)


def rows(n_rows: int, n_features: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0.1, 1.0, (n_rows, n_features)) * np.geomspace(0.01, 10, n_features)


def numbers(state: SummaryState) -> list[np.ndarray]:
    """Everything a state holds, comparable across ways of merging."""
    found = []
    for value in (getattr(state, field.name) for field in fields(state)):
        if isinstance(value, Moments):
            found += [value.high + value.low, value.m2]
        else:
            found += list(value) if isinstance(value, tuple) else [np.asarray(value)]
    return found


def assert_same(left: SummaryState, right: SummaryState, rtol: float = 1e-12) -> None:
    for a, b in zip(numbers(left), numbers(right), strict=True):
        # Sums that cancel are known to rounding of their terms, of which 100 is the largest here.
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def test_result_is_numpys_on_the_whole_array() -> None:
    v = rows(5000)
    got = summary_result(local_summary(v))
    np.testing.assert_allclose(got["mean_abs_shap"], np.abs(v).mean(0), rtol=1e-12)
    np.testing.assert_allclose(got["mean_shap"], v.mean(0), rtol=1e-12)
    np.testing.assert_allclose(got["sd"], v.std(0), rtol=1e-12)
    np.testing.assert_array_equal(got["min"], v.min(0))
    np.testing.assert_array_equal(got["max"], v.max(0))
    np.testing.assert_allclose(got["share_positive"], (v > 0).mean(0), rtol=1e-12)
    np.testing.assert_allclose(got["sampling_error"], np.abs(v).std(0, ddof=1) / 5000**0.5, rtol=1e-12)
    np.testing.assert_array_equal(got["monte_carlo_error"], 0)
    np.testing.assert_allclose(got["mean_shap_sampling_error"], v.std(0, ddof=1) / 5000**0.5, rtol=1e-12)
    np.testing.assert_array_equal(got["mean_shap_monte_carlo_error"], 0)
    np.testing.assert_array_equal(got["rank"], 1 + np.argsort(np.argsort(-np.abs(v).mean(0))))


def test_quantiles_are_within_half_a_percent() -> None:
    v = rows(4001, seed=3)
    got = summary_result(local_summary(v))
    for name, share in QUANTILES.items():
        truth = np.quantile(v, share, axis=0, method="lower")
        assert np.all(np.abs(got[name] - truth) <= 0.005 * np.abs(truth) * (1 + 1e-9)), name


def test_bucket_keys_are_ddsketchs() -> None:
    rng = np.random.default_rng(1)
    # Bucket edges and the floats next to them: where two logarithms that differ in the last bit disagree.
    edges = np.array([MAPPING.value(key) * (1 + MAPPING.gamma) / 2 for key in range(-60_000, 60_000, 7)])
    edges = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, 0)])
    special = [0.0, -0.0, 1.0, -1.0, 5e-324, 2.3e-308, 1e-17, 1.7e308, float.fromhex("0x1.531cc098fffc2p+6")]
    v = np.concatenate([rng.normal(size=5000) * 10.0 ** rng.integers(-300, 300, 5000), edges, -edges, special])
    keys = [0 if abs(x) <= MAPPING.min_possible else MAPPING.key(abs(x)) + 2**17 for x in v.tolist()]
    np.testing.assert_array_equal(sketch.buckets(v), np.sign(v) * keys)


@pytest.mark.parametrize("n_rows", [1, 3, 2000], ids=["one", "sparse", "dense"])
def test_sketch_is_what_ddsketch_makes_of_the_same_values(n_rows: int) -> None:
    v, other = rows(n_rows, 2, seed=5), rows(700, 2, seed=6)
    v[0, 0] = 0.0
    ours = sketch.merge_sketches(
        *(sketch.count_buckets(sketch.buckets(part), np.ones(len(part))) for part in (v, other))
    )
    shares = np.linspace(0, 1, 41).tolist()
    got = sketch.quantiles(ours, shares, n_features=2, scale=1.0)
    for feature in range(2):
        theirs, added = (DDSketch(sketch.RELATIVE_ACCURACY) for _ in range(2))
        for x in v[:, feature].tolist():
            theirs.add(x)
        for x in other[:, feature].tolist():
            added.add(x)
        theirs.merge(added)
        assert got[:, feature].tolist() == [theirs.get_quantile_value(q) for q in shares]


def test_huge_range_of_values_keeps_the_accuracy() -> None:
    v = np.array([[1e-290], [-1e250], [3.0], [-1e-17], [0.0]])
    got = summary_result(local_summary(np.clip(v, -1e150, None)))
    assert got["q50"][0] == 0.0
    assert got["q01"][0] == -1e150
    assert got["q75"][0] == pytest.approx(1e-290, rel=0.005)


MODEL = ResidualModel(np.linspace(0, 2, 5), np.linspace(0.1, 3, 5), np.array([0.0, 1.0, 5.0, 20.0, 50.0]))
blocks = st.lists(
    st.integers(0, 30).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.float64, (n, 5), elements=st.floats(-100, 100, allow_subnormal=False)),
            hnp.arrays(np.float64, (n, 5), elements=st.floats(0, 10, allow_subnormal=False)),
            hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.25, 1.0, 1.7, 40.0])),
            hnp.arrays(np.float64, (n, 5), elements=st.floats(-100, 100, allow_subnormal=False)),
        )
    ),
    min_size=3,
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(blocks, st.booleans())
def test_merge_is_associative_commutative_and_one_pass(parts: list[tuple[np.ndarray, ...]], split: bool) -> None:
    def state(v: np.ndarray, se: np.ndarray, w: np.ndarray, g: np.ndarray) -> SummaryState:
        return local_summary(v, std_errors=se, weights=w, split=Split(g, MODEL) if split else None)

    a, b, c = (state(*part) for part in parts)
    once = state(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    left = merge_summaries(merge_summaries(a, b), c)
    assert_same(left, merge_summaries(a, merge_summaries(b, c)))
    assert_same(left, merge_summaries(c, merge_summaries(b, a)))
    assert_same(left, once)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 400), max_size=3))
def test_variance_survives_a_mean_of_1e8(seed: int, cuts: list[int]) -> None:
    v = 1e8 + np.random.default_rng(seed).normal(size=(400, 1))
    merged = empty_summary(1)
    for part in np.split(v, sorted(cuts)):
        merged = merge_summaries(merged, local_summary(part))
    exact = [Fraction(x) for x in v[:, 0].tolist()]
    mean = sum(exact) / 400
    variance = float(sum((x - mean) ** 2 for x in exact) / 400)
    got = summary_result(merged)
    assert got["sd"][0] ** 2 == pytest.approx(variance, rel=1e-12)
    assert got["mean_shap"][0] == pytest.approx(float(mean), rel=1e-15)


def test_empty_state_is_neutral_and_has_no_numbers() -> None:
    state = local_summary(rows(7))
    for merged in (merge_summaries(state, empty_summary(6)), merge_summaries(empty_summary(6), state)):
        for a, b in zip(numbers(merged), numbers(state), strict=True):
            np.testing.assert_array_equal(a, b)
    nothing = summary_result(merge_summaries(empty_summary(6), empty_summary(6)))
    assert set(nothing) == set(summary_result(state))
    assert all(np.isnan(column).all() for column in nothing.values())


@pytest.mark.parametrize("weight", [1.0, 0.3, 1e-9, 7e5])
def test_one_row_is_itself(weight: float) -> None:
    v = np.array([[2.5, -0.1, 0.0]])
    got = summary_result(local_summary(v, weights=np.array([weight])))
    for name in ("mean_shap", "min", "max", *QUANTILES):
        np.testing.assert_allclose(got[name], v[0], rtol=1e-15)
    np.testing.assert_array_equal(got["sd"], 0)
    assert np.isnan(got["sampling_error"]).all()


def test_integer_weights_are_repeated_rows() -> None:
    v, times = rows(900, seed=8), np.random.default_rng(2).integers(0, 5, 900)
    repeated = np.repeat(v, times, axis=0)
    weighted = summary_result(local_summary(v, weights=times.astype(float)))
    expected = summary_result(local_summary(repeated))
    for name in ("mean_abs_shap", "mean_shap", "sd", "min", "max", "share_positive", "rank", "top4_share"):
        np.testing.assert_allclose(weighted[name], expected[name], rtol=1e-12, err_msg=name)
    for name, share in QUANTILES.items():
        # The rank is share * (n - 1) with n the rows before repeating: up to one row to the left.
        low = np.quantile(repeated, max(0.0, share - 5 / len(repeated)), axis=0, method="lower")
        high = np.quantile(repeated, min(1.0, share + 5 / len(repeated)), axis=0, method="higher")
        room = 0.005 * np.maximum(np.abs(low), np.abs(high))
        assert np.all((weighted[name] >= low - room) & (weighted[name] <= high + room)), name


def test_scaling_all_weights_changes_only_the_weight() -> None:
    v, w = rows(500), np.random.default_rng(4).random(500) + 0.1
    one, other = (summary_result(local_summary(v, weights=w * k)) for k in (1.0, 1e-3))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12, err_msg=name)


def test_sampling_error_covers_under_unequal_weights() -> None:
    rng = np.random.default_rng(11)
    truth = np.sqrt(2 / np.pi)
    z = []
    for _ in range(2000):
        v, w = rng.normal(size=(120, 1)), rng.exponential(size=120)
        got = summary_result(local_summary(v, weights=w))
        z.append((got["mean_abs_shap"][0] - truth) / got["sampling_error"][0])
    assert np.std(z) == pytest.approx(1.0, abs=0.06)


def test_errors_under_weights_that_go_with_the_values() -> None:
    v, se = rows(300), np.abs(rows(300, seed=1))
    w = np.abs(v[:, 5]) + 0.01
    got = summary_result(local_summary(v, std_errors=se, weights=w))
    off = np.abs(v) - np.average(np.abs(v), axis=0, weights=w)
    squares = (w[:, None] ** 2 * off**2).sum(0) / (1 - (w**2).sum() / w.sum() ** 2)
    np.testing.assert_allclose(got["sampling_error"], np.sqrt(squares) / w.sum(), rtol=1e-12)
    corrected = np.average(np.abs(v), axis=0, weights=w) - got["mean_abs_shap"]
    sampler = (w**2) @ se**2 / w.sum() ** 2
    np.testing.assert_allclose(got["monte_carlo_error"], np.sqrt(sampler + (0.2 * corrected) ** 2), rtol=1e-12)
    np.testing.assert_allclose(got["mean_shap_monte_carlo_error"], np.sqrt(sampler), rtol=1e-12)
    kish = w.sum() ** 2 / (w**2).sum()
    np.testing.assert_allclose(got["mean_shap_sampling_error"], got["sd"] / np.sqrt(kish - 1), rtol=1e-12)


def test_rows_of_weight_zero_count_and_do_nothing_else() -> None:
    v = rows(50)
    with_zero = np.vstack([v, np.full((2, 6), np.nan)])
    state = local_summary(with_zero, weights=np.r_[np.ones(50), 0.0, 0.0])
    assert state.n_rows == 52
    for name, column in summary_result(local_summary(v)).items():
        np.testing.assert_array_equal(summary_result(state)[name], column)


@pytest.mark.parametrize("weight", [-0.5, np.nan, np.inf])
def test_bad_weight_is_named(weight: float) -> None:
    with pytest.raises(InputError, match=rf"weight {weight} \(row 3"):
        local_summary(rows(5), weights=np.array([1, 1, 1, weight, 1]))


def test_bad_value_and_error_are_named() -> None:
    v = rows(5)
    v[2, 1] = np.nan
    with pytest.raises(InputError, match=r"SHAP value nan \(row 2, feature 1"):
        local_summary(v)
    with pytest.raises(InputError, match=r"standard error -1.0 \(row 0, feature 0"):
        local_summary(rows(5), std_errors=np.full((5, 6), -1.0))


def test_noise_correction_comes_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(0, [1.0, 0.5, 0.2], (200_000, 3))
    noise = rng.uniform(0.2, 0.6, truth.shape)
    noisy = truth + noise * rng.normal(size=truth.shape)
    got = summary_result(local_summary(noisy, std_errors=noise))
    wanted = np.abs(truth).mean(0)
    naive = np.abs(noisy).mean(0)
    # The variance of the noisiest feature is known to 1.7 % from so many rows, its root to half that.
    np.testing.assert_allclose(got["mean_abs_shap"], wanted, rtol=0.05)
    np.testing.assert_allclose(got["sd"], truth.std(0), rtol=0.05)
    assert np.all(np.abs(got["mean_abs_shap"] - wanted) < 0.5 * np.abs(naive - wanted))


@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_noise_correction_follows_the_density_at_zero(noise: float) -> None:
    # Noise lifts |v| by its variance times the density at 0: a normal's correction fits neither of the two others.
    rng = np.random.default_rng(3)
    n = 200_000
    truth = np.stack([rng.normal(size=n), rng.standard_t(3, n) / 3**0.5, rng.uniform(-(3**0.5), 3**0.5, n)], axis=1)
    errors = np.full_like(truth, noise)
    got = summary_result(local_summary(truth + noise * rng.normal(size=truth.shape), std_errors=errors))
    wanted = np.abs(truth).mean(0)
    np.testing.assert_allclose(got["mean_abs_shap"], wanted, rtol=0.011)
    assert np.all(np.abs(got["mean_abs_shap"] - wanted) < 1.96 * got["monte_carlo_error"] + 0.003)


def test_pure_noise_has_no_importance() -> None:
    v = rows(10, 1)
    got = summary_result(local_summary(v, std_errors=np.full_like(v, 10.0)))
    assert got["mean_abs_shap"][0] == 0
    assert got["sd"][0] == 0


def test_top4_ties_go_to_the_first_features() -> None:
    v = np.array([[1.0, -1, 1, 0, -1, 1], [0, 0, 0, 0, 0, 0], [9, 1, 2, 3, -4, 5]])
    got = summary_result(local_summary(v, weights=np.array([1.0, 2.0, 5.0])))
    np.testing.assert_allclose(got["top4_share"] * 8, [8, 3, 3, 7, 6, 5])


def test_top4_is_a_stable_sort() -> None:
    v = np.random.default_rng(9).integers(-3, 4, (3000, 9)).astype(float)
    first = np.argsort(-np.abs(v), axis=1, kind="stable")[:, :4]
    expected = np.bincount(first.ravel(), minlength=9) / 3000
    np.testing.assert_allclose(summary_result(local_summary(v))["top4_share"], expected, rtol=1e-12)


def test_up_to_four_features_are_all_top() -> None:
    np.testing.assert_array_equal(summary_result(local_summary(rows(6, 4)))["top4_share"], 1.0)
