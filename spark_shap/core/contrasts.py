r"""Standard errors of differences of two values of a row, of the sampler's own covariance.

The estimate of `spark_shap.core.design` has the error :math:`\mathrm{mean}_p(m_p e_p)`, so two values a and b of
one row, which come from the same pairs, have the variance

.. math::
    \mathrm{Var}(\phi_a - \phi_b) =
    \frac{\sum_p (m_{pa} - m_{pb})^2 e_p^2 - \bigl(\sum_p (m_{pa} - m_{pb}) e_p\bigr)^2 / P}{P (P - 1)},

which with b left out is the square of a's standard error. The errors of a row sum to zero, so those of two
features are related negatively on the whole: the sum of their variances is too small, most so with few players.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.design import groups

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray, IntArray
    from spark_shap.core.design import Design, DesignBank

__all__ = ["PairErrors"]


class PairErrors(NamedTuple):
    """What the pairs of n rows with M players say of errors.

    Attributes
    ----------
    bank
        Designs.
    design
        (n,) the design of each row.
    order
        (n, M) the part of the design that each player plays.
    residuals
        (n, P) leave-one-out residuals of one output.
    """

    bank: DesignBank
    design: IntArray
    order: IntArray
    residuals: FloatArray

    def take(self, index: IntArray) -> PairErrors:
        """Return those of a part of the rows."""
        return PairErrors(self.bank, self.design[index], self.order[index], self.residuals[index])

    def variances(self, first: IntArray, second: IntArray) -> FloatArray:
        """Return the variances of the errors of differences.

        Parameters
        ----------
        first, second
            (n, J) numbers of players; M stands for nobody, whose value is 0 and exact.

        Returns
        -------
        ndarray
            (n, J).

        Notes
        -----
        Sums run over contiguous pairs of one row, so that their bits do not depend on the rows beside it.
        """
        n_pairs = self.residuals.shape[1]
        nobody = np.full((len(self.order), 1), self.bank.n_players, dtype=np.intp)
        order = np.concatenate([self.order, nobody], axis=1)
        ones, others = (np.take_along_axis(order, players, axis=1) for players in (first, second))
        out = np.empty(first.shape)
        for index, rows in groups(self.design):
            reuse = _by_player(self.bank.designs[index])
            errors = (reuse[ones[rows]] - reuse[others[rows]]) * self.residuals[rows][:, None, :]
            out[rows] = (errors * errors).sum(axis=2) - errors.sum(axis=2) ** 2 / n_pairs
        return np.asarray(np.maximum(out, 0.0) / (n_pairs * (n_pairs - 1)))

    def covariances(self) -> FloatArray:
        """Return the covariances of the values' errors, (n, M, M); a row of a matrix sums to 0."""
        n_rows, n_pairs = self.residuals.shape
        out = np.empty((n_rows, self.bank.n_players, self.bank.n_players))
        for index, rows in groups(self.design):
            # A stack of products of one fixed shape, for the same reason.
            errors = self.residuals[rows][:, :, None] * self.bank.designs[index].reuse
            sums = errors.sum(axis=1)
            found = errors.transpose(0, 2, 1) @ errors - sums[:, :, None] * sums[:, None, :] / n_pairs
            order = self.order[rows]
            out[rows] = found[np.arange(len(rows))[:, None, None], order[:, :, None], order[:, None, :]]
        out /= n_pairs * (n_pairs - 1)
        return out


def _by_player(design: Design) -> FloatArray:
    """Return (M + 1, P) sample-reuse weights; nobody's are 0."""
    n_pairs, n_players = design.reuse.shape
    out = np.zeros((n_players + 1, n_pairs))
    out[:-1] = design.reuse.T
    return out
