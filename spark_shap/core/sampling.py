"""The sampler: paired coalitions with one background row a pair, drawn by the row's key.

See `spark_shap.core.design` for the estimator and `spark_shap.core.strata` for the background draws.
With P pairs a row costs ``2 P + 1`` model evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray
    from spark_shap.core.design import DesignBank, Solution
    from spark_shap.core.strata import BackgroundStrata

__all__ = ["SampledPairs", "draw_pairs", "pairs_within"]


@overload
def pairs_within(n_evaluations: int) -> int: ...
@overload
def pairs_within(n_evaluations: IntArray) -> IntArray: ...
def pairs_within(n_evaluations: int | IntArray) -> int | IntArray:
    """Return the pairs that a budget of evaluations a row pays for; one evaluation is the row itself."""
    pairs = np.maximum(0, (np.asarray(n_evaluations) - 1) // 2)
    return pairs if isinstance(n_evaluations, np.ndarray) else int(pairs)


@dataclass(frozen=True)
class SampledPairs:
    """The drawn pairs of n rows that have the same number of players.

    Attributes
    ----------
    bank
        The designs.
    design
        (n,) the design of each row.
    order
        (n, M) the part of the design that each of the row's players plays.
    parts
        (n, F) the same by feature; M for a feature that is no player.
    background_index
        (n, P) the background row of each pair.
    """

    bank: DesignBank
    design: IntArray
    order: IntArray
    parts: IntArray
    background_index: IntArray

    @property
    def n_pairs(self) -> int:
        """Pairs a row."""
        return self.bank.n_pairs

    def take(self, rows: slice) -> SampledPairs:
        """Return the pairs of a part of the rows."""
        kept = (part[rows] for part in (self.design, self.order, self.parts, self.background_index))
        return SampledPairs(self.bank, *kept)

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:
        """Return background rows (n, P) and coalitions (n, F, P) of a part of the rows and pairs."""
        members = self.bank.coalitions(self.design[rows], self.parts[rows])
        return self.background_index[rows, pairs], members[:, :, pairs]

    def estimate(self, differences: FloatArray, totals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors of the players, (n, M, K) each."""
        return self.bank.estimate(differences, totals, self.design, self.order)

    def solve_for(self, differences: FloatArray, totals: FloatArray) -> Solution:
        """Return values and standard errors of the players, and residuals."""
        return self.bank.solve_for(differences, totals, self.design, self.order)


def draw_pairs(
    bank: DesignBank, strata: BackgroundStrata, row_hashes: HashArray, *, players: BoolArray
) -> SampledPairs:
    """Draw the pairs of rows.

    Parameters
    ----------
    bank
        Designs for the rows' number of players M.
    strata
        The background.
    row_hashes
        (n,) hashes of the rows' keys.
    players
        (n, F) True for the M features of each row that are players.
    """
    design, order = bank.assign(row_hashes)
    parts = np.full(players.shape, bank.n_players, dtype=np.intp)
    parts[players] = order.ravel()
    index = strata.draw(bank.seed, row_hashes, bank.n_pairs)
    return SampledPairs(bank, design, order, parts, index)
