r"""Shapley values of the fine surrogate: those of the exact one, plus a sample of what lies between them.

With f the model, h the fine surrogate and g the exact one, :math:`f = (f - h) + (h - g) + g`, and Shapley values add.
The middle game costs no evaluation of the model, so it can be asked many more pairs than the first. The estimate is
that of `spark_shap.core.design`, unbiased, with its own variance, independent of the first game's: both count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.design import design_bank
from spark_shap.core.pilot import choose_ridge, pilot_rows
from spark_shap.core.sampling import SampledPairs, draw_pairs

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray
    from spark_shap.core.strata import BackgroundStrata
    from spark_shap.core.surrogate.model import Encoded, Surrogate

__all__ = ["Refinement", "fit_refinement", "refine"]

_SEED_SHIFT = 0x5DEECE66D  # another seed than the model's pairs have: the two errors must not be related
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
    bank = design_bank(surrogate.n_features, _PILOT_PAIRS, 1.0, seed + _SEED_SHIFT)
    players = np.ones((len(rows), surrogate.n_features), dtype=bool)
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
    totals = surrogate.fine_predict(rows) - surrogate.fine_base_values - values.sum(axis=1)
    count = players.sum(axis=1)
    step = max(1, _BLOCK_PAIRS // how.n_pairs)
    for n_players in np.unique(count[count > 0]):
        index = np.flatnonzero(count == n_players)
        for start in range(0, len(index), step):
            block = index[start : start + step]
            gap, variance = _gap(surrogate, rows.take(block), row_hashes[block], (players[block], totals[block]), how)
            place, feature = np.nonzero(players[block])
            values[block[place], feature] += gap.reshape(-1, values.shape[2])
            variances[block[place], feature] = variance.reshape(-1, values.shape[2])
    return values, variances


def _gap(
    surrogate: Surrogate, rows: Encoded, row_hashes: HashArray, game: tuple[BoolArray, FloatArray], how: Refinement
) -> tuple[FloatArray, FloatArray]:
    """Return estimates and variances (n, M, K) of the game between the two, for rows with M players."""
    players, totals = game
    n_players = int(players[0].sum())
    if n_players == 1:
        return totals[:, None, :], np.zeros((len(rows), 1, totals.shape[1]))
    seed = how.seed + _SEED_SHIFT
    bank = design_bank(n_players, how.n_pairs, how.ridge, seed)
    pairs: SampledPairs = draw_pairs(bank, how.strata, row_hashes, players=players)
    fine, coarse = surrogate.pair_answers(rows, *pairs.draw(slice(None), slice(None)))
    values, std_errors = pairs.estimate(fine - coarse, totals)
    return values, std_errors**2
