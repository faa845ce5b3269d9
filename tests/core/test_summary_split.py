"""Aggregates of lightly sampled values with exact parts: nearer to the truth than without, with honest errors."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import pytest
from games import credit_like, interacting, shapley_by_subsets

from spark_shap.core.design import design_bank
from spark_shap.core.moments import Moments
from spark_shap.core.sampling import draw_pairs
from spark_shap.core.shrinkage import (
    ResidualModel,
    ResidualMoments,
    fit_residuals,
    merge_residuals,
    no_signal,
    residual_moments,
    stack_models,
)
from spark_shap.core.strata import BackgroundStrata
from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import QUANTILES, shrink_to_zero, summary_result
from spark_shap.core.summary_rows import Split
from spark_shap.core.surrogate import default_settings, fit_surrogate

N_FEATURES = 12


class World(NamedTuple):
    """Surrogate values, and true residuals that grow with them."""

    known: np.ndarray
    residuals: np.ndarray

    @property
    def values(self) -> np.ndarray:
        return self.known + self.residuals

    def sampled(self, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and standard errors, rows noisy to different degrees; s^2 has 7 degrees of freedom."""
        rng = np.random.default_rng(seed)
        scale = noise * rng.uniform(0.5, 1.5, (len(self.known), 1)) * np.ones(N_FEATURES)
        errors = scale * np.sqrt(rng.chisquare(7, scale.shape) / 7)
        return self.residuals + scale * rng.normal(size=scale.shape), errors


def world(n_rows: int = 4000, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    known = np.geomspace(2.0, 0.05, N_FEATURES) * rng.laplace(0.1, 0.7, (n_rows, N_FEATURES))
    size = np.abs(known) / np.abs(known).mean(axis=0)
    spread = np.geomspace(0.2, 0.04, N_FEATURES) * np.sqrt(0.3 + 0.7 * size)
    return World(known, spread * rng.laplace(0, 2**-0.5, known.shape) + 0.02 * known)


def model_of(known: np.ndarray, residuals: np.ndarray, errors: np.ndarray) -> ResidualModel:
    moments = residual_moments(residuals, errors**2, known, np.ones(len(known)))
    assert moments is not None
    return fit_residuals(moments)


def summary(
    known: np.ndarray, residuals: np.ndarray, errors: np.ndarray, model: ResidualModel | None = None
) -> dict[str, np.ndarray]:
    model = model or model_of(known, residuals, errors)
    return summary_result(local_summary(known + residuals, std_errors=errors, split=Split(known, model)))


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).sum() / wanted.sum())


def test_mean_magnitude_is_near_where_the_naive_one_is_not() -> None:
    true = world()
    wanted = np.abs(true.values).mean(axis=0)
    for noise, limit in ((0.7, 0.05), (0.35, 0.025), (0.1, 0.01)):
        residuals, errors = true.sampled(noise, seed=1)
        found = summary(true.known, residuals, errors)["mean_abs_shap"]
        naive = np.abs(true.known + residuals).mean(axis=0)
        assert off(found, wanted) < limit < 0.3 * off(naive, wanted)


@pytest.mark.parametrize(("noise", "n_rows"), [(0.7, 4000), (0.35, 4000), (0.2, 4000), (0.35, 150)])
def test_monte_carlo_error_covers_the_mean_magnitude(noise: float, n_rows: int) -> None:
    whole = world()
    model = model_of(whole.known, *whole.sampled(noise, seed=99))
    part = World(whole.known[:n_rows], whole.residuals[:n_rows])
    wanted = np.abs(part.values).mean(axis=0)
    inside, stated, actual = [], 0.0, 0.0
    for seed in range(40):
        residuals, errors = part.sampled(noise, seed)
        found = summary(part.known, residuals, errors, model if n_rows < 4000 else None)
        gap = np.abs(found["mean_abs_shap"] - wanted)
        inside.append(gap <= 1.96 * found["monte_carlo_error"])
        stated, actual = stated + 0.8 * found["monte_carlo_error"].sum(), actual + gap.sum()
    assert 0.92 < np.mean(inside) < 0.99
    assert 0.8 < stated / actual < 1.7


def test_rates_and_quantiles_are_those_of_the_truth() -> None:
    true = world()
    residuals, errors = true.sampled(0.35, seed=3)
    plain = summary_result(local_summary(true.known + residuals, std_errors=errors))
    exact = summary_result(local_summary(true.values))
    found = summary(true.known, residuals, errors)
    scale = exact["mean_abs_shap"]
    for names, shrinks_to in ((["top4_share"], 0.1), (["share_positive"], 0.4), (QUANTILES, 0.25)):
        error, before = (
            sum(np.abs((one[name] - exact[name]) * scale).sum() for name in names) for one in (found, plain)
        )
        assert error < shrinks_to * before, names
    np.testing.assert_array_equal(found["mean_shap"], plain["mean_shap"])
    np.testing.assert_array_equal(found["sd"], plain["sd"])
    assert np.abs(found["top4_share"] - exact["top4_share"]).max() < 0.03


def test_small_segments_lean_on_the_surrogate_and_on_the_whole() -> None:
    true = world()
    residuals, errors = true.sampled(0.35, seed=5)
    model = model_of(true.known, residuals, errors)
    gaps = []
    for start in range(0, 4000, 50):
        part = slice(start, start + 50)
        wanted = np.abs(true.values[part]).mean(axis=0)
        unbiased = np.mean(np.sign(true.known[part]) * (true.known + residuals)[part], axis=0)
        own = summary(true.known[part], residuals[part], errors[part])["mean_abs_shap"]
        found = summary(true.known[part], residuals[part], errors[part], model)["mean_abs_shap"]
        gaps.append([off(one, wanted) for one in (found, own, unbiased)])
    leaning, own_model, unbiased = np.mean(gaps, axis=0)
    assert leaning < 0.6 * unbiased
    assert leaning < own_model


def test_exact_values_stay_as_they_are_whatever_the_surrogate_says() -> None:
    v = world(200).values
    exact = summary_result(local_summary(v))
    model = ResidualModel(np.full(N_FEATURES, 0.3), np.full(N_FEATURES, 0.5), np.ones(N_FEATURES))
    for surrogate_values in (np.zeros_like(v), v[::-1]):
        split = Split(surrogate_values, model)
        found = summary_result(local_summary(v, std_errors=np.zeros_like(v), split=split))
        for name, column in exact.items():
            np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_rows_without_exact_parts_are_as_if_nothing_was_split() -> None:
    residuals, errors = world(300).sampled(0.3, seed=2)
    none = Split(np.full_like(residuals, np.nan), no_signal(N_FEATURES))
    plain = summary_result(local_summary(residuals, std_errors=errors))
    for name, column in summary_result(local_summary(residuals, std_errors=errors, split=none)).items():
        np.testing.assert_array_equal(column, plain[name], err_msg=name)


def test_a_feature_without_exact_part_keeps_its_noise() -> None:
    known = world(300).known
    residuals, errors = world(300).sampled(0.3, seed=2)
    holes = known.copy()
    holes[:, 3] = np.nan
    model = ResidualModel(np.full(N_FEATURES, 0.3), np.full(N_FEATURES, 0.3), np.ones(N_FEATURES))
    found = summary_result(local_summary(known + residuals, std_errors=errors, split=Split(holes, model)))
    assert found["monte_carlo_error"][3] == pytest.approx(np.sqrt((errors[:, 3] ** 2).sum()) / 300)


def test_models_do_not_hang_on_the_order_of_summation() -> None:
    true = world(500)
    residuals, errors = true.sampled(0.3, seed=2)
    whole = model_of(true.known, residuals, errors)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(500)
        other = model_of(true.known[order], residuals[order], errors[order])
        for name in ("ratio", "ratio_high", "magnitude"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name), err_msg=name)


def test_integer_weights_are_repeated_rows() -> None:
    true = world(800)
    residuals, errors = true.sampled(0.3, seed=4)
    times = np.random.default_rng(3).integers(0, 4, 800)
    repeated = [np.repeat(one, times, axis=0) for one in (true.known, residuals, errors)]
    weighted = residual_moments(residuals, errors**2, true.known, times.astype(float))
    unweighted = residual_moments(repeated[1], repeated[2] ** 2, repeated[0], np.ones(times.sum()))
    for name in ("excess", "noise", "magnitude"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(unweighted, name), rtol=1e-12, err_msg=name)
    expected = model_of(*repeated)
    split = Split(true.known, expected)
    found = summary_result(local_summary(true.known + residuals, std_errors=errors, weights=times, split=split))
    wanted = summary(*repeated, expected)
    for name in ("share_positive", "top4_share", "mean_shap", "min", "max"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)


def test_signal_over_noise_is_found_and_never_negative() -> None:
    true = world(40_000)
    residuals, errors = true.sampled(0.35, seed=8)
    found = model_of(true.known, residuals, errors)
    noise = (errors**2).mean(axis=0)
    wanted = (true.residuals**2).mean(axis=0) / noise
    assert np.all(np.abs(found.ratio - wanted) < 4 * (found.ratio_high - found.ratio))
    assert np.all(found.ratio_high - found.ratio < 0.03)
    nothing = model_of(true.known, residuals - true.residuals, errors)
    assert np.all(nothing.ratio >= 0)
    assert nothing.ratio.max() < 0.02


def test_ratios_of_few_rows_come_nearer_by_leaning_on_each_other() -> None:
    gaps = []
    for seed in range(30):
        true = world(500, seed)
        residuals, errors = true.sampled(0.35, seed)
        noise = (errors**2).mean(axis=0)
        wanted = (true.residuals**2).mean(axis=0) / noise
        raw = np.maximum((residuals**2).mean(axis=0) / noise - 1.0, 0.0)
        gaps.append([((one - wanted) ** 2).sum() for one in (model_of(true.known, residuals, errors).ratio, raw)])
    together, alone = np.mean(gaps, axis=0)
    assert together < 0.7 * alone


def test_kept_share_grows_with_signal_and_with_the_surrogate_value() -> None:
    model = ResidualModel(np.array([0.0, 0.5, 1e6]), np.array([0.1, 1.0, 1e6]), np.array([1.0, 1.0, 0.0]))
    low, high = model.kept(np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 1.0]]))
    np.testing.assert_allclose(low, np.sqrt([[0, 0.15 / 1.15, 1], [0, 0.5 / 1.5, 1]]), atol=1e-6)
    assert np.all(high >= low)
    rows = stack_models([model, model]).take(np.array([1, 0]))
    np.testing.assert_array_equal(rows.kept(np.ones((2, 3)))[0], model.kept(np.ones((2, 3)))[0])


def test_residual_moments_merge_to_those_of_all_rows() -> None:
    true = world(600)
    residuals, errors = true.sampled(0.3, seed=6)
    weights = np.random.default_rng(0).uniform(0, 2, 600)
    weights[:100] = 0.0

    def moments(part: slice) -> ResidualMoments | None:
        return residual_moments(residuals[part], errors[part] ** 2, true.known[part], weights[part])

    assert moments(slice(0, 100)) is None
    a, b, c, whole = (moments(slice(*part)) for part in ((0, 250), (250, 251), (251, 600), (0, 600)))
    for merged in (merge_residuals(merge_residuals(a, b), c), merge_residuals(c, merge_residuals(b, a))):
        for field in fields(whole):
            left, right = getattr(merged, field.name), getattr(whole, field.name)
            if isinstance(left, Moments):
                left, right = (one.high + one.low for one in (left, right))
            np.testing.assert_allclose(left, right, rtol=1e-12, err_msg=field.name)


def test_shrinking_lowers_the_risk_and_states_what_is_left() -> None:
    rng = np.random.default_rng(5)
    truth, variances = rng.normal(0, 0.5, 20), rng.uniform(0.5, 1.5, 20)
    gaps, inside = [], []
    for _ in range(400):
        raw = truth + np.sqrt(variances) * rng.normal(size=20)
        found, left, kept = shrink_to_zero(raw, variances)
        assert np.all(np.abs(found - raw) <= np.sqrt(variances) * (1 + 1e-12))
        assert np.all(left <= variances)
        assert 0 <= kept <= 1
        gaps.append([((one - truth) ** 2).sum() for one in (found, raw)])
        inside.append(np.abs(found - truth) <= 1.96 * np.sqrt(left))
    shrunk, raw_risk = np.mean(gaps, axis=0)
    assert shrunk < 0.5 * raw_risk
    assert 0.93 < np.mean(inside) < 0.98


def test_what_is_certain_or_nearly_alone_is_not_shrunk() -> None:
    raw, variances = np.array([1.0, -2.0, 0.3, 0.1, 5.0]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    found, left, _ = shrink_to_zero(raw, variances)
    assert (found[4], left[4]) == (5.0, 0.0)
    assert abs(found[0]) < 1.0
    for part in (slice(0, 2), slice(3, 5)):
        np.testing.assert_array_equal(shrink_to_zero(raw[part], variances[part])[0], raw[part])
    np.testing.assert_array_equal(shrink_to_zero(np.zeros(3), np.ones(3))[0], 0.0)


def test_sampling_error_of_a_share_is_that_for_the_portfolio() -> None:
    portfolio = world(1000).values[:, :2]
    wanted = np.abs(portfolio).mean(axis=0)
    rng = np.random.default_rng(1)
    z = []
    for _ in range(1500):
        found = summary_result(local_summary(portfolio[rng.random(1000) < 0.6]), sampled_share=0.6)
        z.append((found["mean_abs_shap"] - wanted) / found["sampling_error"])
    np.testing.assert_allclose(np.std(z, axis=0), 1.0, atol=0.06)


@pytest.mark.slow
def test_five_evaluations_a_row_give_mean_magnitudes_within_three_percent() -> None:
    # The real sampler and a surrogate of few hybrids against enumeration.
    n_rows, n_features, n_pairs = 1200, 8, 2
    background, x = credit_like(24, n_features, seed=1), credit_like(n_rows, n_features, seed=2)
    weights, rng = np.full(24, 1 / 24), np.random.default_rng(0)
    on = rng.random((1500, n_features)) < rng.random((1500, 1))
    hybrids = np.where(on, credit_like(1500, n_features, seed=3), background[np.arange(1500) % 24])
    settings, answers = default_settings(1500), interacting(hybrids)[:, None]
    g = fit_surrogate(hybrids, answers, background=background, weights=weights, settings=settings, seed=0)
    rows = g.encode(x)
    known = g.values(rows)[:, :, 0]
    bank, strata = design_bank(n_features, n_pairs, 8.0, 5), BackgroundStrata.build(np.arange(24), weights)
    pairs = draw_pairs(bank, strata, np.arange(n_rows, dtype=np.uint64), players=np.ones(x.shape, dtype=bool))
    index, members = pairs.draw(slice(None), slice(None))
    on, z = members.transpose(0, 2, 1), background[index]
    differences = interacting_of(np.where(on, x[:, None], z)) - interacting_of(np.where(on, z, x[:, None]))
    differences = differences[:, :, None] - g.pair_differences(rows, index, members)
    totals = interacting(x) - interacting(background).mean() - known.sum(axis=1)
    residuals, errors = (one[:, :, 0] for one in pairs.estimate(differences, totals[:, None]))
    found = summary(known, residuals, errors)
    wanted = np.abs(enumerated(x, background)).mean(axis=0)
    naive = np.abs(known + residuals).mean(axis=0)
    assert off(found["mean_abs_shap"], wanted) < 0.03
    assert off(found["mean_abs_shap"], wanted) < 0.4 * off(naive, wanted)
    assert np.mean(np.abs(found["mean_abs_shap"] - wanted) <= 2.5 * found["monte_carlo_error"]) > 0.8


def interacting_of(x: np.ndarray) -> np.ndarray:
    return interacting(x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])


def enumerated(x: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Exact Shapley values by the subset formula, coalitions outer."""
    n_features = x.shape[1]
    games = np.empty((len(x), 2**n_features))
    for mask in range(2**n_features):
        on = np.array([bool(mask >> i & 1) for i in range(n_features)])
        games[:, mask] = interacting_of(np.where(on, x[:, None], background)).mean(axis=1)
    return np.array([shapley_by_subsets(game) for game in games])
