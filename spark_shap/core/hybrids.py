"""Hybrid rows with the model's answers: what a surrogate is fitted on.

They are drawn as the sampler draws its pairs: a row of the population, a background row, a coalition of
stratified size, and both hybrids of the pair. Blocks that the model refuses are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_shap.core.design import design_bank
from spark_shap.core.sampling import draw_pairs
from spark_shap.core.seeding import Stream, uniform_words

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray
    from spark_shap.core.game import Game
    from spark_shap.core.strata import BackgroundStrata

__all__ = ["Hybrids", "Population", "draw_hybrids", "draw_population", "mix_numbers"]

_PAIRS = 4  # a row: few, because new rows tell more than further hybrids of the same ones
_MAX_PAIRS = 64


class Population(NamedTuple):
    """Rows like those that will be explained.

    Attributes
    ----------
    rows
        n rows in the mixer's storage.
    numbers
        (n, F) the same as numbers.
    """

    rows: Any
    numbers: FloatArray


class Hybrids(NamedTuple):
    """Rows as numbers (N, F), and what the model says of them (N, K)."""

    numbers: FloatArray
    predictions: FloatArray

    def usable(self) -> Hybrids:
        """Return those with finite predictions."""
        finite = np.isfinite(self.predictions).all(axis=1)
        return Hybrids(self.numbers[finite], self.predictions[finite])


def draw_population(seed: int, n_rows: int, n_evaluations: int) -> tuple[Any, HashArray, int]:
    """Return positions of rows for so many evaluations, hashes for their draws, and the pairs of each."""
    hashes = np.arange(n_rows, dtype=np.uint64)
    rank = uniform_words(seed, hashes, Stream.HYBRID_ROWS, 1)[:, 0].argsort(kind="stable")
    pairs = int(np.clip(-(-n_evaluations // (2 * n_rows)), _PAIRS, _MAX_PAIRS))
    wanted = max(1, n_evaluations // (2 * pairs + 1))
    # Another stream of keys than the positions of pilot rows, which count from 0 too.
    return rank[:wanted], hashes[: min(wanted, n_rows)] + np.uint64(2**40), pairs


def draw_hybrids(
    game: Game,
    strata: BackgroundStrata,
    background: FloatArray,
    population: Population,
    *,
    n_evaluations: int,
    seed: int,
) -> Hybrids:
    """Draw hybrid rows and ask the model.

    Parameters
    ----------
    game
        The model and the background rows.
    strata
        The background's weights and order.
    background
        (B, F) the background as numbers.
    population
        The rows that are mixed with it.
    n_evaluations
        Model evaluations to spend, about.
    seed
        The run's seed.
    """
    positions, hashes, n_pairs = draw_population(seed, len(population.numbers), n_evaluations)
    n_players = game.n_players(background.shape[1])
    bank = design_bank(n_players, n_pairs, 1.0, seed)
    numbers, predictions = [], []
    step = max(1, game.block_rows // (2 * n_pairs + 1))
    for start in range(0, len(positions), step):
        place = positions[start : start + step]
        players = np.ones((len(place), n_players), dtype=bool)
        pairs = draw_pairs(bank, strata, hashes[start : start + step], players=players)
        index, members = pairs.draw(slice(None), slice(None))
        try:
            predicted = game.predict(game.mix(population.rows.take(place), index, members))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - a model may refuse hybrids; these only help to fit
            continue
        own, on = population.numbers[place], game.spread(members)
        numbers += [*mix_numbers(own, background[index], on), own]
        predictions.append(predicted)
    if not predictions:
        return Hybrids(np.empty((0, background.shape[1])), np.empty((0, game.n_outputs)))
    return Hybrids(np.concatenate(numbers), np.concatenate(predictions)).usable()


def mix_numbers(own: FloatArray, other: FloatArray, members: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return both hybrids (n P, F) of each pair, from rows (n, F), background rows (n, P, F), coalitions (n, F, P)."""
    on, own = members.transpose(0, 2, 1), own[:, None, :]
    first, second = np.where(on, own, other), np.where(on, other, own)
    return first.reshape(-1, first.shape[2]), second.reshape(-1, second.shape[2])
