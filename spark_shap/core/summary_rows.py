"""What is computed once a row for its aggregates, and then reduced for any number of segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.sketch import buckets
from spark_shap.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray
    from spark_shap.core.shrinkage import ResidualModel

__all__ = ["AuditRows", "Split", "SummaryRows", "checked_rows", "derive_rows", "split_values"]
__all__ += ["top_four"]

_TOP = 4
_LOGISTIC_SCALE = np.sqrt(3.0) / np.pi  # of a logistic distribution of standard deviation 1


@dataclass(frozen=True)
class Split:
    """The exact part of sampled values, and how much of the rest is signal.

    Attributes
    ----------
    surrogate_values
        (n_rows, n_features) g; NaN in rows that have none.
    model
        Of the residuals v - g.
    """

    surrogate_values: FloatArray
    model: ResidualModel


class AuditRows(NamedTuple):
    """What a split adds, (n_rows, n_features) each but for the first."""

    is_split: BoolArray  # (n_rows,) rows that have exact parts
    kept: FloatArray  # sqrt(kappa), 1 where a value is exact
    remainder: FloatArray  # (1 - kept) r sign(g)
    flips: FloatArray  # 2 |c| where c and g differ in sign
    flips_high: FloatArray  # the same at a ratio one standard error higher


class SummaryRows(NamedTuple):
    """Checked rows with what every segmentation needs of them."""

    weights: FloatArray  # (n_rows,); everything else is (n_rows, n_features)
    values: FloatArray  # v
    errors: FloatArray  # s
    corrected: FloatArray  # c: v itself, or its variance-matched form
    magnitudes: FloatArray  # |c|
    noise_excess: FloatArray  # by how much |v| exceeds its mean without noise, were v exact
    signed_buckets: NDArray[np.int32]  # of c
    in_top: BoolArray  # |c| among the row's four largest
    audit: AuditRows | None

    def take(self, index: IntArray | slice) -> SummaryRows:
        """Return the rows at an index array or slice."""
        audit = None if self.audit is None else AuditRows._make(column[index] for column in self.audit)
        return SummaryRows._make([*(column[index] for column in self[:-1]), audit])


def checked_rows(
    values: FloatArray, std_errors: FloatArray | None, weights: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return values, standard errors and weights as float64; rows of weight 0 get zeros.

    Raises
    ------
    InputError
        A weight is negative, NaN or infinite; a value or standard error (of a row of positive weight) is
        not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    _refuse(weights, ~(np.isfinite(weights) & (weights >= 0)), "weight", "a finite number of at least 0")
    errors = np.zeros_like(values) if std_errors is None else np.asarray(std_errors, dtype=np.float64)
    ignored = weights == 0
    if ignored.any():
        values, errors = (np.where(ignored[:, None], 0.0, column) for column in (values, errors))
    _refuse(values, ~np.isfinite(values), "SHAP value", "finite, or the row marked as an error")
    _refuse(errors, ~(np.isfinite(errors) & (errors >= 0)), "standard error", "finite and at least 0")
    return values, errors, weights


def split_values(
    values: FloatArray, errors: FloatArray, surrogate_values: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return exact parts and residuals, which sum to the values, and which cells are sampled and split.

    Elsewhere the exact part is the value itself: it is exact, or nothing is known of its parts.
    """
    sampled = (errors > 0) & np.isfinite(surrogate_values)
    known = np.where(sampled, surrogate_values, values)
    return known, values - known, sampled


def derive_rows(
    values: FloatArray,
    *,
    std_errors: FloatArray | None = None,
    weights: FloatArray | None = None,
    split: Split | None = None,
) -> SummaryRows:
    """Check rows and compute what every segmentation needs of them.

    Parameters
    ----------
    values
        (n_rows, n_features) float64 SHAP values.
    std_errors
        (n_rows, n_features) their standard errors; None where they are exact.
    weights
        (n_rows,) float64; None for 1. Rows of weight 0 count in ``n_rows`` and nowhere else.
    split
        The values' exact parts, where the run wrote them.

    Raises
    ------
    InputError
        See `checked_rows`.
    """
    values, errors, weights = checked_rows(values, std_errors, weights)
    if split is None:
        corrected, audit, excess = values, None, _noise_excess(np.abs(values), errors)
    else:
        corrected, audit = _corrected(values, errors, split)
        excess = np.zeros_like(values)
        whole = np.flatnonzero(~audit.is_split)
        excess[whole] = _noise_excess(np.abs(values[whole]), errors[whole])
    magnitudes = np.abs(corrected)
    return SummaryRows(
        weights, values, errors, corrected, magnitudes, excess, buckets(corrected), top_four(magnitudes), audit
    )


def _noise_excess(magnitudes: FloatArray, errors: FloatArray) -> FloatArray:
    """Return E|x| - |v| of x logistic about v with standard deviation s, 0 where s is.

    With h the scale of the distribution it is ``2 h log(1 + exp(-|v| / h))``. Its tails are heavier than a
    normal's, as the noise's are.
    """
    scale = _LOGISTIC_SCALE * errors
    with np.errstate(over="ignore"):  # infinitely far, then
        away = np.divide(magnitudes, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.asarray(2.0 * scale * np.log1p(np.exp(-away)))


def _corrected(values: FloatArray, errors: FloatArray, split: Split) -> tuple[FloatArray, AuditRows]:
    known, residuals, sampled = split_values(values, errors, split.surrogate_values)
    low, high = (np.where(sampled, kept, 1.0) for kept in split.model.kept(known))
    sign = np.where(known < 0, -1.0, 1.0)
    corrected = known + low * residuals
    return corrected, AuditRows(
        np.asarray(np.isfinite(split.surrogate_values).any(axis=1)),
        low,
        (1.0 - low) * residuals * sign,
        2.0 * np.maximum(-sign * corrected, 0.0),
        2.0 * np.maximum(-sign * (known + high * residuals), 0.0),
    )


def top_four(magnitudes: FloatArray) -> BoolArray:
    """Return which of a row's magnitudes, (n_rows, n_features), are among its four largest; ties to the first."""
    n_rows, n_features = magnitudes.shape
    if n_features <= _TOP:
        return np.ones((n_rows, n_features), dtype=np.bool_)
    limit = np.partition(magnitudes, n_features - _TOP, axis=1)[:, n_features - _TOP, None]
    chosen = magnitudes >= limit
    tied = np.flatnonzero(chosen.sum(axis=1) > _TOP)
    if len(tied):
        above = magnitudes[tied] > limit[tied]
        level = magnitudes[tied] == limit[tied]
        free = _TOP - above.sum(axis=1, keepdims=True)
        chosen[tied] = above | (level & (np.cumsum(level, axis=1) <= free))
    return chosen


def _refuse(column: FloatArray, bad: BoolArray, name: str, wanted: str) -> None:
    if bad.any():
        place = tuple(int(index[0]) for index in np.nonzero(bad))
        where = f"row {place[0]}" if len(place) == 1 else f"row {place[0]}, feature {place[1]}"
        raise InputError(f"{name} {column[place]} ({where} of the batch) cannot be used: it must be {wanted}")
