r"""Paired-coalition designs and the linear maps that turn their answers into Shapley values.

For a game with M players and total :math:`T = v(N) - v(\emptyset)`, pair p is a coalition
:math:`S_p` whose size is uniform on 1 .. M-1, and its answer is
:math:`t_p = v(S_p) - v(N \setminus S_p)`. Shapley values depend on the odd part of a game only, and
pairing keeps exactly that. With :math:`s_{pi} = \pm 1` for a player on or off the coalition,

* :math:`y_p = t_p - \sum_i s_{pi} T / M` and the rows of s centred over players;
* the sample-reuse weight :math:`m_{pi} = (M-1)/(2k)` on, :math:`-(M-1)/(2(M-k))` off, k the size,
  for which :math:`T/M + \mathrm{mean}_p(m_p y_p)` is unbiased at every number of pairs;
* ridge regression :math:`d = A^{-1} \sum_p s_p y_p`, :math:`A = \sum_p s_p s_p' + \lambda I`, with
  leave-one-out residuals :math:`e_p = (y_p - s_p d) / (1 - h_p)`;
* the estimate :math:`\phi = T/M + d + \mathrm{mean}_p((m_p - A^{-1} s_p) e_p)`.

The estimate is the mean over p of "the regression without pair p, plus the unbiased correction of
pair p": unbiased for every :math:`\lambda` and P, and as accurate as a paired kernel regression
where that exists. Its standard error is :math:`\mathrm{sd}_p(m_p e_p) / \sqrt P`.

Sizes are stratified: one from each of P equal strata, in random order. Given its size, m_p corrects
a linear function without bias, so stratification keeps the estimate unbiased.

A `DesignBank` holds a few dozen such designs. A row takes one by its key and permutes the players at
random, by its key too: over the bank's seed its draw is distributed as a fresh one, while everything
that depends on the design alone (A^-1, h, m) is computed once instead of for each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.seeding import Stream, uniform_words, uniforms

if TYPE_CHECKING:
    from spark_shap.core.arrays import AnyArray, BoolArray, FloatArray, HashArray, IntArray

__all__ = ["Design", "DesignBank", "Solution", "design_bank", "groups", "make_design"]

_BANK_BYTES = 8 * 2**20
_MAX_DESIGNS = 64
_MIN_DESIGNS = 4


class Solution(NamedTuple):
    """What answers say.

    Attributes
    ----------
    values, std_errors
        (n, M) of one output or (n, M, K).
    residuals
        (n, P) or (n, P, K) leave-one-out residuals e, of which errors and their covariances are made.
    """

    values: FloatArray
    std_errors: FloatArray
    residuals: FloatArray


@dataclass(frozen=True)
class Design:
    """One set of P coalitions over M players and its estimator.

    Attributes
    ----------
    members
        (M, P) bool, True where a player is in the pair's coalition.
    balance
        (P,) sum of s over players, ``2 k - M``.
    signs
        (P, M) s, centred over players.
    solve
        (P, M) rows ``A^-1 s_p``.
    leverage
        (P,) ``h_p = s_p A^-1 s_p``.
    reuse
        (P, M) sample-reuse weights m.
    """

    members: BoolArray
    balance: FloatArray
    signs: FloatArray
    solve: FloatArray
    leverage: FloatArray
    reuse: FloatArray

    def estimate(self, differences: FloatArray, totals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return Shapley values and standard errors, (n, M) each; see `solve_for`."""
        return self.solve_for(differences, totals)[:2]

    def solve_for(self, differences: FloatArray, totals: FloatArray) -> Solution:
        """Return Shapley values, standard errors and residuals.

        Parameters
        ----------
        differences
            (n, P) answers t.
        totals
            (n,) T of each row.

        Returns
        -------
        Solution
            (n, M), (n, M) and (n, P); a row of values sums to its total.

        Notes
        -----
        Every product is a stack of vector-matrix products of one fixed shape, so the bits of a
        row's values cannot depend on how many rows share the call.
        """
        n_pairs, n_players = self.signs.shape
        share = (totals / n_players)[:, None]
        y = (differences - share * self.balance)[:, None, :]
        d = y @ self.solve
        e = (y - d @ self.signs.T) / (1.0 - self.leverage)
        correction = e @ self.reuse
        values = share + (d + (correction - e @ self.solve) / n_pairs)[:, 0]
        squares = ((e * e) @ (self.reuse * self.reuse))[:, 0]
        spread = squares - correction[:, 0] ** 2 / n_pairs
        return Solution(values, np.sqrt(np.maximum(spread, 0.0) / (n_pairs * (n_pairs - 1))), e[:, 0])


def make_design(members: BoolArray, ridge: float) -> Design:
    """Build the estimator of given coalitions.

    Parameters
    ----------
    members
        (M, P) bool; every column has between 1 and M-1 players, P at least 2.
    ridge
        Penalty lambda > 0: noise variance over signal variance.
    """
    n_players, n_pairs = members.shape
    on = np.ascontiguousarray(members.T)
    size = on.sum(axis=1, dtype=np.float64)[:, None]
    raw = np.where(on, 1.0, -1.0)
    signs = raw - raw.mean(axis=1, keepdims=True)
    if n_pairs >= n_players:
        solve = np.linalg.solve(signs.T @ signs + ridge * np.eye(n_players), signs.T).T
    else:  # the dual form inverts the smaller matrix
        solve = np.linalg.solve(signs @ signs.T + ridge * np.eye(n_pairs), signs)
    # Centred already but for rounding, which a small penalty would magnify: values must sum to the total.
    solve = solve - solve.mean(axis=1, keepdims=True)
    return Design(
        members=members,
        balance=raw.sum(axis=1),
        signs=signs,
        solve=np.ascontiguousarray(solve),
        leverage=(solve * signs).sum(axis=1),
        reuse=0.5 * (n_players - 1) * np.where(on, 1.0 / size, -1.0 / (n_players - size)),
    )


def draw_members(n_players: int, n_pairs: int, n_designs: int, seed: int) -> BoolArray:
    """Draw coalitions of stratified sizes, (n_designs, M, P) bool."""
    index = np.arange(n_designs, dtype=np.uint64)
    # Players and pairs are part of the stream, so that two banks of one run share no numbers.
    keys = index + np.uint64((n_players << 40) + (n_pairs << 10))
    draws = uniforms(seed, keys, Stream.BANK, n_pairs * (n_players + 2))
    jitter, order, ranks = np.split(draws, [n_pairs, 2 * n_pairs], axis=1)
    strata = (np.arange(n_pairs) + jitter) / n_pairs
    sizes = 1 + np.floor(strata * (n_players - 1)).astype(np.intp)
    sizes = np.take_along_axis(sizes, order.argsort(axis=1), axis=1)
    position = ranks.reshape(n_designs, n_pairs, n_players).argsort(axis=2).argsort(axis=2)
    return np.ascontiguousarray((position < sizes[:, :, None]).transpose(0, 2, 1))


@dataclass(frozen=True)
class DesignBank:
    """Designs for one number of players and pairs, and the rule by which a row takes one.

    Attributes
    ----------
    seed
        The run's seed.
    designs
        The designs.
    members
        (n_designs, M + 1, P) bool; the last player of each belongs to no coalition.
    """

    seed: int
    designs: tuple[Design, ...]
    members: BoolArray

    @property
    def n_players(self) -> int:
        """Number of players M."""
        return int(self.members.shape[1]) - 1

    @property
    def n_pairs(self) -> int:
        """Number of pairs P."""
        return int(self.members.shape[2])

    def assign(self, row_hashes: HashArray) -> tuple[IntArray, IntArray]:
        """Return each row's design (n,) and its order of players (n, M).

        Player j of row i plays the part of player ``order[i, j]`` of the design.
        """
        word = uniform_words(self.seed, row_hashes, Stream.DESIGN, 1)[:, 0]
        design = ((word * np.uint64(len(self.designs))) >> np.uint64(32)).astype(np.intp)
        order = uniforms(self.seed, row_hashes, Stream.FEATURE_ORDER, self.n_players).argsort(axis=1)
        return design, order

    def coalitions(self, design: IntArray, parts: IntArray) -> BoolArray:
        """Return the rows' coalitions, (n, F, P) bool, from the players (n, F) that their features play."""
        return self.members[design[:, None], parts]

    def estimate(
        self, differences: FloatArray, totals: FloatArray, design: IntArray, order: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors, (n, M, K) each, from (n, P, K) answers and (n, K) totals."""
        return self.solve_for(differences, totals, design, order)[:2]

    def solve_for(self, differences: FloatArray, totals: FloatArray, design: IntArray, order: IntArray) -> Solution:
        """Return values, standard errors and residuals."""
        n_rows, n_pairs, n_outputs = differences.shape
        shape = (n_rows, self.n_players, n_outputs)
        values, std_errors, residuals = np.empty(shape), np.empty(shape), np.empty((n_rows, n_pairs, n_outputs))
        for index, rows in groups(design):
            for output in range(n_outputs):
                answers = np.ascontiguousarray(differences[rows, :, output])
                value, error, left = self.designs[index].solve_for(answers, totals[rows, output])
                values[rows, :, output] = np.take_along_axis(value, order[rows], axis=1)
                std_errors[rows, :, output] = np.take_along_axis(error, order[rows], axis=1)
                residuals[rows, :, output] = left
        return Solution(values, std_errors, residuals)


def groups(labels: IntArray) -> list[tuple[int, AnyArray]]:
    """Return (label, positions) of each label that occurs."""
    order = labels.argsort(kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, starts[1:]), strict=True))


@lru_cache(maxsize=16)
def design_bank(n_players: int, n_pairs: int, ridge: float, seed: int) -> DesignBank:
    """Return the bank for M players and P pairs; the same one for the same arguments.

    Parameters
    ----------
    n_players
        At least 2.
    n_pairs
        At least 2: leave-one-out needs another pair.
    ridge
        Penalty of the regression, see `make_design`.
    seed
        The run's seed.
    """
    design_bytes = 3 * 8 * n_players * n_pairs
    n_designs = int(np.clip(_BANK_BYTES // design_bytes, _MIN_DESIGNS, _MAX_DESIGNS))
    members = draw_members(n_players, n_pairs, n_designs, seed)
    nobody = np.zeros((n_designs, 1, n_pairs), dtype=bool)
    designs = tuple(make_design(one, ridge) for one in members)
    return DesignBank(seed, designs, np.concatenate([members, nobody], axis=1))
