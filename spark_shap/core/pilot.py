"""A few thousand evaluations on the driver that tune the sampler before a row is explained.

Pilot rows are background rows, so that what the pilot finds cannot depend on which rows are explained
together. It decides three things, none of which can bias a value: a linear control variate, the ridge
penalty, and the order in which background rows lie on the unit interval. They are rounded, so that the
last bit of a matrix product on another machine does not change every draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.design import design_bank
from spark_shap.core.game import Answers, Game, ask
from spark_shap.core.sampling import SampledPairs, draw_pairs
from spark_shap.core.seeding import Stream, uniform_words
from spark_shap.core.strata import BackgroundStrata

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, HashArray

__all__ = ["choose_ridge", "pilot_rows", "pilot_slopes", "round_to", "run_pilot"]

_N_ROWS = 48
_N_PAIRS = 64
_RIDGE_RANGE = (1e-2, 1e6)


def pilot_rows(seed: int, n_background: int) -> tuple[Any, HashArray]:
    """Return the positions of the pilot rows in the background, and hashes for their draws."""
    n_rows = min(_N_ROWS, max(1, n_background // 2))  # the others are left to fit a surrogate on
    hashes = np.arange(n_background, dtype=np.uint64)
    rank = uniform_words(seed, hashes, Stream.PILOT_ROWS, 1)[:, 0].argsort(kind="stable")
    return rank[:n_rows], hashes[:n_rows]


def run_pilot(game: Game, rows: Any, row_hashes: HashArray, n_background: int) -> tuple[SampledPairs, Answers]:
    """Ask the pilot's pairs of the pilot rows, all players being in the game."""
    n_players = game.n_players(len(rows.columns))
    bank = design_bank(n_players, _N_PAIRS, 1.0, 0)
    strata = BackgroundStrata(np.arange(n_background), None)
    players = np.ones((len(rows), n_players), dtype=bool)
    pairs = draw_pairs(bank, strata, row_hashes, players=players)
    return pairs, ask(game, rows, pairs, sums=True)


def choose_ridge(pairs: SampledPairs, differences: FloatArray, totals: FloatArray) -> float:
    """Return noise variance over signal variance, moments matched on the pilot's answers.

    Parameters
    ----------
    pairs
        What was asked of n rows.
    differences, totals
        (n, P, K) answers and (n, K) totals, of the model's game or of what a surrogate leaves of it.

    Notes
    -----
    Two halves of the pairs give independent unbiased estimates of each value's deviation from the even
    share T / M; the mean of their products estimates the signal variance. The result is a power of two.
    """
    usable = np.isfinite(differences).all(axis=(1, 2)) & np.isfinite(totals).all(axis=1)
    n_players = pairs.bank.n_players
    signal = noise = 0.0
    for row in np.flatnonzero(usable):
        design = pairs.bank.designs[pairs.design[row]]
        share = totals[row] / n_players
        y = differences[row] - design.balance[:, None] * share
        first = design.reuse[::2].T @ y[::2] / len(y[::2])
        second = design.reuse[1::2].T @ y[1::2] / len(y[1::2])
        signal += float((first * second).mean(axis=0).sum())
        noise += float((y * y).mean(axis=0).sum())
    if not noise > 0.0:
        return 1.0
    signal = max(signal, 1e-9 * noise)
    noise = max(noise - (n_players - 1) * signal * 2 / 3, 0.05 * noise)
    return float(2.0 ** np.round(np.log2(np.clip(noise / signal, *_RIDGE_RANGE))))


def pilot_slopes(
    game: Game, pairs: SampledPairs, answers: Answers, x: FloatArray, background: FloatArray
) -> FloatArray:
    """Return (F, K) slopes of the model in encoded features, by ridge regression on the pilot's answers.

    Parameters
    ----------
    game
        The players.
    pairs, answers
        What was asked and answered.
    x
        (n, F) encoded pilot rows.
    background
        (B, F) encoded background rows.
    """
    z_index, members = pairs.draw(slice(None), slice(None))
    signs = np.where(game.spread(members), 1.0, -1.0).transpose(0, 2, 1)
    steps = (signs * (x[:, None, :] - background[z_index])).reshape(-1, x.shape[1])
    answer = answers.differences.reshape(len(steps), -1)
    usable = np.isfinite(answer).all(axis=1)
    steps, answer = steps[usable], answer[usable]
    gram = steps.T @ steps
    penalty = 1e-2 * max(float(np.trace(gram)), 1e-12) / len(gram)
    slopes = np.linalg.solve(gram + penalty * np.eye(len(gram)), steps.T @ answer)
    return round_to(np.asarray(slopes, dtype=np.float64), 4)


def round_to(values: FloatArray, digits: int) -> FloatArray:
    """Round to significant decimal digits."""
    magnitude = np.floor(np.log10(np.where(values == 0.0, 1.0, np.abs(values))))
    scale = 10.0 ** (digits - 1 - magnitude)
    return np.asarray(np.round(values * scale) / scale)
