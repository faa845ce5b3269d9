r"""Shapley values of the fine surrogate: those of the exact one, plus a sample of what lies between them.

With f the model, h the fine surrogate and g the exact one, :math:`f = (f - h) + (h - g) + g`, and Shapley values add.
The middle game costs no evaluation of the model, so it can be asked many more pairs than the first. The estimate is
that of `spark_shap.core.design`, unbiased, with its own variance, independent of the first game's: both count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.design import Solution, design_bank
from spark_shap.core.pilot import choose_ridge, pilot_rows
from spark_shap.core.sampling import draw_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray
    from spark_shap.core.questions import Questions
    from spark_shap.core.sampling import SampledPairs
    from spark_shap.core.strata import BackgroundStrata
    from spark_shap.core.surrogate.encoded import Encoded
    from spark_shap.core.surrogate.model import Surrogate

__all__ = [
    "SEED_SHIFT",
    "Refinement",
    "Unrefined",
    "fine_gaps",
    "fine_totals",
    "fit_refinement",
    "refine",
    "refined_blocks",
]

SEED_SHIFT = 0x5DEECE66D  # another seed than the model's pairs have: the two errors must not be related
_PILOT_PAIRS = 64
_BLOCK_PAIRS = 2**15


class Refinement(NamedTuple):
    """How the fine surrogate's values are sampled.

    Attributes
    ----------
    n_pairs
        Pairs a row.
    strata
        The background, with which the surrogate's own agrees row by row.
    seed
        The run's seed.
    ridge
        Penalty of the regression.
    """

    n_pairs: int
    strata: BackgroundStrata
    seed: int
    ridge: float


def fit_refinement(surrogate: Surrogate, n_pairs: int, strata: BackgroundStrata, seed: int) -> Refinement:
    """Choose the penalty by pairs of some background rows."""
    index, hashes = pilot_rows(seed, len(surrogate.background))
    rows = surrogate.background.take(index)
    bank = design_bank(surrogate.n_players, _PILOT_PAIRS, 1.0, seed + SEED_SHIFT)
    players = np.ones((len(rows), surrogate.n_players), dtype=bool)
    pairs = draw_pairs(bank, strata, hashes, players=players)
    answers = pairs.draw(slice(None), slice(None))
    fine, coarse = surrogate.pair_answers(rows, *answers)
    totals = surrogate.fine_predict(rows) - surrogate.fine_base_values
    totals -= surrogate.predict(rows) - surrogate.base_values
    return Refinement(n_pairs, strata, seed, choose_ridge(pairs, fine - coarse, totals))


def refine(
    surrogate: Surrogate, rows: Encoded, row_hashes: HashArray, players: BoolArray, how: Refinement
) -> tuple[FloatArray, FloatArray]:
    """Return the fine surrogate's Shapley values and the variances of their errors, (n, F, K) each.

    Parameters
    ----------
    surrogate
        With a fine part.
    rows
        n rows.
    row_hashes
        (n,) hashes of their keys.
    players
        (n, F) True for features in which a row differs from some background row; the others get 0.
    how
        Pairs, strata, seed and penalty.
    """
    values = np.where(players[:, :, None], surrogate.values(rows), 0.0)
    variances = np.zeros_like(values)
    totals = fine_totals(surrogate, rows, values)
    count = players.sum(axis=1)
    for n_players in np.unique(count[count > 0]):
        index = np.flatnonzero(count == n_players)
        given = Unrefined(rows.take(index), row_hashes[index], players[index], totals[index])
        for block, _, found in refined_blocks(surrogate, given, how):
            place, feature = np.nonzero(given.players[block])
            at = index[block][place]
            values[at, feature] += found.values.reshape(-1, values.shape[2])
            variances[at, feature] = found.std_errors.reshape(-1, values.shape[2]) ** 2
    return values, variances


class Unrefined(NamedTuple):
    """Rows with the same number of players: hashes (n,), players (n, F), totals (n, K) of the game between."""

    rows: Encoded
    row_hashes: HashArray
    players: BoolArray
    totals: FloatArray


def fine_totals(surrogate: Surrogate, rows: Encoded, values: FloatArray) -> FloatArray:
    """Return the totals (n, K) of the game between, from the exact surrogate's (n, F, K) values."""
    return np.asarray(surrogate.fine_predict(rows) - surrogate.fine_base_values - values.sum(axis=1))


def refined_blocks(
    surrogate: Surrogate, given: Unrefined, how: Refinement
) -> Iterator[tuple[IntArray, SampledPairs | None, Solution]]:
    """Yield blocks of rows, their pairs (None where one player takes it all) and the estimates (n, M, K)."""
    n_players, step = int(given.players[0].sum()), max(1, _BLOCK_PAIRS // how.n_pairs)
    for start in range(0, len(given.totals), step):
        index = np.arange(start, min(start + step, len(given.totals)))
        totals = given.totals[index]
        if n_players == 1:
            values = totals[:, None, :]
            yield index, None, Solution(values, np.zeros_like(values), np.zeros((len(index), 0, totals.shape[1])))
            continue
        bank = design_bank(n_players, how.n_pairs, how.ridge, how.seed + SEED_SHIFT)
        pairs = draw_pairs(bank, how.strata, given.row_hashes[index], players=given.players[index])
        fine, coarse = surrogate.pair_answers(given.rows.take(index), *pairs.draw(slice(None), slice(None)))
        yield index, pairs, pairs.solve_for(fine - coarse, totals)


def fine_gaps(surrogate: Surrogate, rows: Encoded, pairs: Questions) -> FloatArray:
    """Return the answers (n, P, K) of the game between to given pairs of rows."""
    fine, coarse = surrogate.pair_answers(rows, *pairs.draw(slice(0, len(rows)), slice(0, pairs.n_pairs)))
    return np.asarray(fine - coarse)
