from __future__ import annotations

import numpy as np

from spark_shap.core.dependence import DependenceState, dependence_result, local_dependence, merge_dependence
from spark_shap.core.ranking import Ranking
from spark_shap.core.reason_rates import local_rates, merge_rates, rates_result


def cells(level, n_rows=4000):
    rng = np.random.default_rng(0)
    bins = rng.integers(-1, 3, (n_rows, 2))
    return bins + level + rng.normal(size=(n_rows, 2)), bins, rng.uniform(0.5, 2.0, n_rows)


def arrays(state: DependenceState):
    return np.stack([getattr(state, name) for name in DependenceState.__dataclass_fields__])


def test_curves_are_weighted_moments_by_bin_far_from_zero_too():
    values, bins, weights = cells(1e8)
    found = dependence_result(local_dependence(values, None, bins, weights=weights, n_bins=3))
    for feature in range(2):
        for place in range(3):
            inside, at = bins[:, feature] == place, feature * 3 + place
            mean = np.average(values[inside, feature], weights=weights[inside])
            assert abs(found["mean_shap"][at] - mean) < 1e-6
            variance = np.average((values[inside, feature] - mean) ** 2, weights=weights[inside])
            assert abs(found["sd"][at] / np.sqrt(variance) - 1) < 1e-6
            plain = np.sqrt(variance / inside.sum())
            assert 0.9 < found["sampling_error"][at] / plain < 1.2
    assert found["weight"].sum() < 2 * weights.sum()


def test_parts_merge_to_the_whole_in_any_order():
    values, bins, weights = cells(1e3)
    whole = arrays(local_dependence(values, np.ones_like(values), bins, weights=weights, n_bins=3))
    parts = [
        local_dependence(values[a:b], np.ones((b - a, 2)), bins[a:b], weights=weights[a:b], n_bins=3)
        for a, b in ((0, 1), (1, 900), (900, 900), (900, 4000))
    ]
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        merged = parts[order[0]]
        for place in order[1:]:
            merged = merge_dependence(merged, parts[place])
        assert np.abs(arrays(merged) / np.where(whole == 0, 1, whole) - (whole != 0)).max() < 1e-9


def test_the_samplers_noise_is_kept_apart():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(50_000, 1))
    errors = np.full_like(truth, 2.0)
    bins = np.zeros(truth.shape, dtype=int)
    state = local_dependence(
        truth + errors * rng.normal(size=truth.shape), errors, bins, weights=np.ones(50_000), n_bins=2
    )
    found = dependence_result(state)
    assert abs(found["sd"][0] - 1.0) < 0.05
    assert abs(found["monte_carlo_error"][0] - 2.0 / np.sqrt(50_000)) < 1e-12
    assert np.isnan(found["mean_shap"][1])


def test_rates_of_reasons():
    features = np.array([[0, 2], [2, -1], [-1, -1], [1, 0]])
    asked = np.array([True, True, True, False])
    ranking = Ranking(features, np.zeros((4, 2)), np.zeros((4, 2)), asked)
    weights = np.array([1.0, 2.0, 1.0, 5.0])
    whole = rates_result(local_rates(ranking, weights, 3))
    assert np.allclose(whole["first_share"], [0.25, 0.0, 0.5])
    assert np.allclose(whole["any_share"], [0.25, 0.0, 0.75])
    parts = [local_rates(ranking.take(np.array([row])), weights[[row]], 3) for row in range(4)]
    merged = merge_rates(merge_rates(parts[3], parts[1]), merge_rates(parts[0], parts[2]))
    assert all(np.allclose(value, whole[name]) for name, value in rates_result(merged).items())
    assert whole["first_share_error"][1] == 0.0
    x = np.array([0.0, 1.0, 0.0])
    w = weights[:3]
    expected = np.sqrt((w**2 * (x - 0.5) ** 2).sum() / (1 - (w**2).sum() / 16)) / 4
    assert np.isclose(whole["first_share_error"][2], expected)
