"""Predicted errors of audits against what they come to; the choice between all rows and a sample."""

from __future__ import annotations

import numpy as np
import pytest

from spark_shap.core.audit_errors import AuditPilot, ErrorForecast
from spark_shap.core.audit_plan import AuditCosts, AuditTargets, plan_audit
from spark_shap.core.shrinkage import fit_residuals, residual_moments
from spark_shap.core.summary import local_summary
from spark_shap.core.summary_result import summary_result
from spark_shap.core.summary_rows import Split
from spark_shap.errors import InputError

N_FEATURES, N_ROWS = 12, 4000
COSTS = AuditCosts(row=20.0, evaluation=1.0)


def portfolio(residual: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Surrogate values and true residuals, (n, M)."""
    rng = np.random.default_rng(seed)
    known = np.geomspace(2.0, 0.05, N_FEATURES) * rng.laplace(0.1, 0.7, (N_ROWS, N_FEATURES))
    size = np.abs(known) / np.abs(known).mean(axis=0)
    spread = residual * np.geomspace(0.2, 0.04, N_FEATURES) * np.sqrt(0.3 + 0.7 * size)
    return known, spread * rng.laplace(0, 2**-0.5, known.shape)


def sampled(residuals: np.ndarray, n_evaluations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and errors as a sampler of standard error 1 a pair gives them."""
    n_pairs, rng = (n_evaluations - 1) // 2, np.random.default_rng(seed)
    scale = np.sqrt(rng.chisquare(max(1, n_pairs - 1), residuals.shape) / max(1, n_pairs - 1) / n_pairs)
    return residuals + rng.normal(size=residuals.shape) / np.sqrt(n_pairs), scale


def pilot(known: np.ndarray, residuals: np.ndarray, n_rows: int = 600, n_evaluations: int = 129) -> AuditPilot:
    rows = np.random.default_rng(7).choice(len(known), n_rows, replace=False)
    found, errors = sampled(residuals[rows], n_evaluations, seed=8)
    parts = (known[rows], known[rows] + found, errors)
    return AuditPilot(*(one[:, :, None] for one in parts), n_evaluations)


def actual(known: np.ndarray, residuals: np.ndarray, n_evaluations: int, n_rows: int) -> tuple[float, float]:
    """What errors come to, over some seeds."""
    truth = summary_result(local_summary(known + residuals))
    gaps = []
    for seed in range(12):
        rows = np.random.default_rng(seed).choice(len(known), n_rows, replace=False)
        found, errors = sampled(residuals[rows], n_evaluations, seed)
        moments = residual_moments(found, errors**2, known[rows], np.ones(n_rows))
        split = Split(known[rows], fit_residuals(moments))
        got = summary_result(local_summary(known[rows] + found, std_errors=errors, split=split))
        off = np.abs(got["mean_abs_shap"] - truth["mean_abs_shap"]).sum() / truth["mean_abs_shap"].sum()
        gaps.append((off, np.abs(got["top4_share"] - truth["top4_share"]).max()))
    mean_abs, top4 = np.mean(gaps, axis=0)
    return float(mean_abs), float(top4)


@pytest.mark.parametrize(("n_evaluations", "n_rows"), [(5, 4000), (17, 4000), (65, 500), (257, 1500)])
def test_predicted_errors_come_true(n_evaluations: int, n_rows: int) -> None:
    known, residuals = portfolio()
    predicted = ErrorForecast.of(pilot(known, residuals), 0).errors(n_evaluations, n_rows, N_ROWS)
    came = actual(known, residuals, n_evaluations, n_rows)
    assert 1 / 1.5 < predicted[0] / came[0] < 1.5
    # A rate that chance decides: what 600 rows say of it may be off by more.
    assert predicted[1] < 2.5 * came[1] + 0.005
    assert predicted[1] > came[1] / 2.5 - 0.005


def test_small_portfolios_are_explained_whole_and_large_ones_by_a_sample() -> None:
    known, residuals = portfolio()
    few, many = (plan_audit(pilot(known, residuals), n_rows=n, costs=COSTS) for n in (600, 10_000_000))
    assert (few.n_rows, few.share) == (600, 1.0)
    assert few.n_evaluations <= 17
    assert many.n_evaluations in (65, 257)
    assert many.share == pytest.approx(many.n_rows / 10_000_000)
    assert many.n_rows < 20_000
    for plan in (few, many):
        assert plan.meets
        assert max(plan.mean_abs_error, plan.top4_error) <= 0.03
        assert plan.cost == plan.n_rows * (20.0 + plan.n_evaluations)
        assert "cheapest" in plan.reason


def test_a_good_surrogate_needs_the_fewest_evaluations() -> None:
    known, residuals = portfolio(residual=0.05)
    plan = plan_audit(pilot(known, residuals), n_rows=20_000, costs=AuditCosts(0.001, 1.0), targets=AuditTargets(0.02))
    assert (plan.n_evaluations, plan.share) == (5, 1.0)


def test_strict_targets_cost_more() -> None:
    known, residuals = portfolio()
    ahead = pilot(known, residuals)
    loose, strict = (
        plan_audit(ahead, n_rows=100_000, costs=COSTS, targets=AuditTargets(error, 0.05)) for error in (0.05, 0.01)
    )
    assert loose.meets
    assert strict.meets
    assert strict.mean_abs_error <= 0.01
    assert strict.cost > loose.cost


def test_a_target_out_of_reach_is_said_to_be() -> None:
    known, residuals = portfolio()
    plan = plan_audit(pilot(known, residuals), n_rows=5000, costs=COSTS, targets=AuditTargets(1e-5, 1e-5))
    assert not plan.meets
    assert plan.reason.startswith("nothing gives")
    assert (plan.n_evaluations, plan.n_rows) == (257, 5000)


def test_the_worst_output_decides() -> None:
    known, residuals = portfolio()
    one = pilot(known, residuals)
    two = AuditPilot(
        *(np.concatenate([part, other], axis=2) for part, other in zip(parts(one), exact_parts(one), strict=True)), 129
    )
    alone, both = (plan_audit(ahead, n_rows=5000, costs=COSTS) for ahead in (one, two))
    assert alone == both


def parts(ahead: AuditPilot) -> tuple[np.ndarray, ...]:
    return ahead.surrogate_values, ahead.values, ahead.std_errors


def exact_parts(ahead: AuditPilot) -> tuple[np.ndarray, ...]:
    return ahead.surrogate_values, ahead.surrogate_values, np.zeros_like(ahead.std_errors)


def test_exact_values_have_no_error_but_that_of_a_sample() -> None:
    known, residuals = portfolio()
    exact = AuditPilot(*exact_parts(pilot(known, residuals)), 129)
    forecast = ErrorForecast.of(exact, 0)
    assert forecast.errors(5, 1000, 1000) == (0.0, 0.0)
    mean_abs, top4 = forecast.errors(5, 500, 1000)
    assert 0.005 < mean_abs < 0.05
    assert 0.005 < top4 < 0.05


def test_a_pilot_of_too_few_rows_is_refused() -> None:
    nothing = np.zeros((10, 3, 1))
    with pytest.raises(InputError, match=r"10 rows.*at least 50"):
        AuditPilot(nothing, nothing, nothing, 129)
