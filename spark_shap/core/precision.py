r"""Precision on demand: how many pairs a row takes to reach a standard error.

Rows start with a guess and double their pairs until every standard error is within the tolerance, or the
budget is spent; earlier pairs are kept. Round r of a row has :math:`P_r` pairs, drawn independently of the
other rounds, and gives an unbiased estimate :math:`\phi_r` with standard error :math:`s_r`; with
:math:`P = \sum_r P_r`

.. math::
    \phi = \sum_r \frac{P_r}{P} \phi_r, \qquad s^2 = \sum_r \Bigl(\frac{P_r}{P}\Bigr)^2 s_r^2 .

The guess comes from a variance model fitted on pilot rows: it costs nothing and cannot bias a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.contrasts import PairErrors

__all__ = ["FIRST_PAIRS", "RoundSum", "Tolerance", "VarianceModel", "fit_variance"]

FIRST_PAIRS = 8
_SHARE_FLOOR = 1e-12


@dataclass(frozen=True)
class Tolerance:
    """The largest standard error that a value may have.

    Attributes
    ----------
    size
        In units of the output, or as a share.
    is_share
        True when `size` is a share of the size of the row's T, its prediction less the base value.
    """

    size: float
    is_share: bool = False

    def limits(self, totals: FloatArray) -> FloatArray:
        """Return the largest standard error, (n, K), of rows with (n, K) totals."""
        return np.abs(totals) * self.size if self.is_share else np.full(totals.shape, self.size)

    def met(self, std_errors: FloatArray, totals: FloatArray) -> BoolArray:
        """Return (n, K) whether all (n, M, K) standard errors of a row and output are within it."""
        worst = std_errors.max(axis=1, initial=0.0)
        return np.asarray(worst <= self.limits(totals))


@dataclass
class RoundSum:
    """Rounds of some rows, summed up as they come.

    Attributes
    ----------
    values
        (n, M, K) sum of P_r phi_r.
    variances
        (n, M, K) sum of P_r^2 s_r^2.
    pairs
        (n,) P.
    kept
        Of rounds that were added with their errors: the rows, ascending, and those errors.
    """

    values: FloatArray
    variances: FloatArray
    pairs: IntArray
    kept: list[tuple[IntArray, PairErrors]] = field(default_factory=list)

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> RoundSum:
        """Return the sum of no rounds."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape[0], dtype=np.intp))

    def add(self, index: IntArray, found: tuple[FloatArray, FloatArray], n_pairs: int) -> None:
        """Add a round of the rows at `index`: values and standard errors, (n, M, K) each."""
        values, std_errors = found
        self.values[index] += n_pairs * values
        self.variances[index] += (n_pairs * std_errors) ** 2
        self.pairs[index] += n_pairs

    def estimate(self, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors of the rows at `index`; 0 where there was no round."""
        pairs = np.maximum(self.pairs[index, None, None], 1)
        return self.values[index] / pairs, np.sqrt(self.variances[index]) / pairs

    def covariances(self, index: IntArray) -> FloatArray:
        """Return the covariances of the players' errors, (n, M, M), from rounds that kept theirs."""
        n_players = self.values.shape[1]
        out = np.zeros((len(index), n_players, n_players))
        for rows, errors in self.kept:
            here = np.isin(index, rows)
            if here.any():
                part = errors.take(np.searchsorted(rows, index[here]))
                out[here] += part.residuals.shape[1] ** 2 * part.covariances()
        return np.asarray(out / np.maximum(self.pairs[index, None, None], 1) ** 2)

    def gap_variances(self, index: IntArray, first: IntArray, second: IntArray) -> FloatArray:
        """Return the variances of differences between players, (n, J), from rounds that kept their errors."""
        out = np.zeros(first.shape)
        for rows, errors in self.kept:
            here = np.isin(index, rows)
            if not here.any():
                continue
            part = errors.take(np.searchsorted(rows, index[here]))
            out[here] += part.residuals.shape[1] ** 2 * part.variances(first[here], second[here])
        return np.asarray(out / np.maximum(self.pairs[index, None], 1) ** 2)


@dataclass(frozen=True)
class VarianceModel:
    r"""A guess at a row's worst standard error from what is known before it is sampled.

    :math:`\log(s \sqrt P) = a + b \log |T_r| + c \log \lVert \phi_g \rVert`, with :math:`T_r` the part of the
    total that the surrogate leaves and :math:`\phi_g` its values.

    Attributes
    ----------
    coefficients
        a, b, c.
    floors
        What the two quantities are at least.
    """

    coefficients: tuple[float, float, float]
    floors: tuple[float, float]

    def scale(self, totals: FloatArray, known: FloatArray) -> FloatArray:
        """Return the guess at s sqrt(P), (n, K), from residual totals (n, K) and known values (n, F, K)."""
        return np.asarray(np.exp(_regressors(totals, known, self.floors) @ np.array(self.coefficients)))

    def pairs(self, totals: FloatArray, known: FloatArray, limits: FloatArray, most: int) -> IntArray:
        """Return the pairs to begin with, (n,): a power of two times `FIRST_PAIRS`, within `most`."""
        need = (self.scale(totals, known) / np.maximum(limits, 1e-300)) ** 2
        worst = np.clip(need.max(axis=1), FIRST_PAIRS, 2.0**40)
        # Rounded down: a row that turns out to be easier has not spent more than it needs.
        doublings = np.floor(np.log2(worst / FIRST_PAIRS))
        return np.asarray(np.minimum(FIRST_PAIRS * 2.0**doublings, most).astype(np.intp))


def _regressors(totals: FloatArray, known: FloatArray, floors: tuple[float, float]) -> FloatArray:
    size = np.sqrt((known * known).sum(axis=1))
    left, seen = (np.log(np.maximum(part, floor)) for part, floor in zip((np.abs(totals), size), floors, strict=True))
    return np.stack([np.ones_like(left), left, seen], axis=-1)


def fit_variance(std_errors: FloatArray, totals: FloatArray, known: FloatArray, n_pairs: int) -> VarianceModel:
    """Fit the model on pilot rows.

    Parameters
    ----------
    std_errors
        (n, M, K) of pilot rows.
    totals, known
        (n, K) residual totals and (n, F, K) values of the surrogate (zeros without one).
    n_pairs
        Pairs that each of them took.

    Notes
    -----
    Coefficients are rounded: the last bits of a matrix product on another machine must not change how
    many pairs a row begins with.
    """
    worst = std_errors.max(axis=1) * np.sqrt(n_pairs)
    size = np.sqrt((known * known).sum(axis=1))
    floors = tuple(_rounded(max(0.05 * float(np.abs(part).mean()), _SHARE_FLOOR)) for part in (totals, size))
    usable = worst > 0.0
    if not usable.any():
        return VarianceModel((-690.0, 0.0, 0.0), (floors[0], floors[1]))
    design = _regressors(totals, known, (floors[0], floors[1]))[usable]
    target = np.log(worst[usable])
    penalty = np.diag([1e-9, 1.0, 1.0])
    a, b, c = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    return VarianceModel((_rounded(a), _rounded(b), _rounded(c)), (floors[0], floors[1]))


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
