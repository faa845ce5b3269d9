from __future__ import annotations

import numpy as np
import pytest
from games import shapley_by_subsets
from scipy import stats

from spark_shap.core.design import design_bank, draw_members, make_design
from spark_shap.core.seeding import hash_keys


def answers(v, members):
    """t of each coalition of a game given by bit mask."""
    masks = (members * (1 << np.arange(len(members)))[:, None]).sum(axis=0)
    return v[masks] - v[len(v) - 1 - masks]


def test_sizes_are_uniform_and_each_size_picks_its_members_evenly():
    members = draw_members(8, 400, 30, seed=5)
    sizes = members.sum(axis=1).ravel()
    assert set(sizes) == set(range(1, 8))
    assert np.ptp(np.bincount(sizes)[1:]) <= 2 * 30  # stratified: within one draw a boundary and design
    for size in range(1, 8):
        on = members.transpose(0, 2, 1).reshape(-1, 8)[sizes == size].sum(axis=0)
        # Without replacement the counts vary less than a multinomial's by the factor (1 - size/M) M/(M-1).
        statistic = ((on - on.mean()) ** 2 / on.mean()).sum() / (1 - size / 8) * 7 / 8
        assert stats.chi2.sf(statistic, 7) > 1e-4


def test_every_player_takes_every_part_evenly():
    bank = design_bank(5, 16, 1.0, 3)
    design, order = bank.assign(hash_keys((str(row),) for row in range(20000)))
    for player in range(5):
        assert stats.chisquare(np.bincount(order[:, player], minlength=5)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(design, minlength=len(bank.designs))).pvalue > 1e-4


@pytest.mark.parametrize("n_pairs", [2, 3, 7, 8, 40])
@pytest.mark.parametrize("ridge", [1e-2, 3.0, 1e4])
def test_unbiased_at_every_budget(n_pairs, ridge):
    rng = np.random.default_rng(n_pairs)
    v = rng.normal(size=2**5)
    total, truth = np.array([v[-1] - v[0]]), shapley_by_subsets(v)
    estimates = []
    for seed in range(150):
        for members in draw_members(5, n_pairs, 16, seed):
            value, _ = make_design(members, ridge).estimate(answers(v, members)[None], total)
            estimates.append(value[0])
    error = np.array(estimates) - truth
    z = error.mean(axis=0) / (error.std(axis=0) / np.sqrt(len(error)))
    assert (z**2).mean() < 4.0
    assert np.abs(z).max() < 4.5


def test_values_sum_to_the_total_and_a_linear_game_is_exact():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=6)
    members = draw_members(6, 64, 1, 0)[0]
    total = np.array([effects.sum()])
    asked = (np.where(members, 1, -1) * effects[:, None]).sum(axis=0)[None]
    value, error = make_design(members, 1e-9).estimate(asked, total)
    assert value.sum() == pytest.approx(total[0], abs=1e-12)
    assert value[0] == pytest.approx(effects, abs=1e-9)
    assert error.max() < 1e-9


@pytest.mark.parametrize("n_pairs", [2, 5, 16, 255])
def test_bits_do_not_depend_on_company(n_pairs):
    rng = np.random.default_rng(n_pairs)
    bank = design_bank(11, n_pairs, 2.0, 1)
    hashes = hash_keys((str(row),) for row in range(300))
    asked, totals = rng.normal(size=(300, n_pairs, 2)), rng.normal(size=(300, 2))
    whole = bank.estimate(asked, totals, *bank.assign(hashes))
    some = rng.permutation(300)[:37]
    part = bank.estimate(asked[some], totals[some], *bank.assign(hashes[some]))
    assert np.array_equal(part[0], whole[0][some])
    assert np.array_equal(part[1], whole[1][some])
