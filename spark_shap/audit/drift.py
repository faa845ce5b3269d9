r"""What changed between two audits, told apart from what chance does.

For every output, segment and feature two measures of a run B are compared with those of a run A: mean ``|SHAP|``
(how much a feature matters) and mean ``SHAP`` (which way it pushes). A difference ``d`` has the standard error

    s = sqrt(population_A^2 + population_B^2 + monte_carlo_A^2 + monte_carlo_B^2 + reference_A^2 + reference_B^2)

where both runs explained all of the very same applicants without the population's part: there is nothing that
another draw of applicants could have changed. (Overlapping populations are treated as independent ones, which errs
on the side of no change.) Where both compare with the very same rows the reference's part is left out as well.

Another draw of n reference rows shifts all SHAP values of a feature alike as far as its effect is additive: by the
error of a mean of n effects. The effects spread as the SHAP values of all applicants do, so the error of mean SHAP is
``sd / sqrt(n)``. The shift moves mean ``|SHAP|`` up for values of its sign and down for others, by its share
``2 p - 1`` with ``p`` the share of positive values; interactions add what a constant allows for:
``sd / sqrt(n) sqrt((2 p - 1)^2 + 0.2^2)``. Both were measured on a game with interactions, see the tests.

With millions of rows any difference is significant, so the question is not whether there is one but whether it is
larger than ``delta``, a share of the segment's total mean ``|SHAP|`` in run A. The p-value of "no more than delta" is

    p = P(Z > (|d| - delta) / s) + P(Z > (|d| + delta) / s),    Z standard normal,

which is the ordinary two-sided one for ``delta = 0`` (McCarthy and Smyth 2009). All comparisons of two runs are one
family: Holm's adjustment keeps the chance of any false alarm among them, however they depend on each other, at
``alpha``. A feature that one run's model does not take has the value 0 there, exactly.

References
----------
McCarthy and Smyth, "Testing significance relative to a fold-change threshold is a TREAT", Bioinformatics 25, 2009.
Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spark_shap.errors import UsageError

if TYPE_CHECKING:
    from spark_shap.core.arrays import FloatArray

__all__ = ["MEASURES", "Limits", "compare_summaries", "holm", "p_values"]

_PLACE = ["output", "segment_by", "segment"]
_INTERACTIONS = 0.2  # of what another reference does to mean |SHAP|
# Measure: its columns in the summary, the value first, then the population's and the sampler's errors.
MEASURES = {
    "mean_abs_shap": ("mean_abs_shap", "sampling_error", "monte_carlo_error"),
    "mean_shap": ("mean_shap", "mean_shap_sampling_error", "mean_shap_monte_carlo_error"),
}


@dataclass(frozen=True)
class Limits:
    """When a difference is a change.

    Attributes
    ----------
    alpha
        Chance that two audits between which nothing changed are told apart.
    least_change
        Share of a segment's total mean |SHAP| in run A that a difference must exceed.
    least_rows
        Smaller segments are not tested: their errors are not normal.
    """

    alpha: float = 0.05
    least_change: float = 0.02
    least_rows: int = 30

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha {self.alpha}: give a number between 0 and 1")
        if not 0 <= self.least_change < math.inf:
            raise UsageError(f"threshold {self.least_change}: give a share of at least 0, such as 0.02")


def compare_summaries(
    before: pd.DataFrame,
    after: pd.DataFrame,
    *,
    same_rows: bool,
    references: tuple[int, int] | None = None,
    limits: Limits | None = None,
) -> pd.DataFrame:
    """Return one row an output, segment, feature and measure that both runs have, most certain changes first.

    Parameters
    ----------
    before, after
        The rows of runs A and B in the table ``summary``.
    same_rows
        Both runs explained all of the same applicants.
    references
        How many rows each run's reference has; None where they are the very same rows.
    limits
        When a difference is a change.

    Returns
    -------
    DataFrame
        output, segment_by, segment, feature, measure, before, after, change, share (of the segment's total mean
        |SHAP| in A), std_error, p_value, p_adjusted (both NaN where there are too few rows to test), changed.
    """
    limits = limits or Limits()
    places = before[[*_PLACE, "n_rows"]].drop_duplicates(_PLACE)
    places = places.merge(after[[*_PLACE, "n_rows"]].drop_duplicates(_PLACE), on=_PLACE, suffixes=("_a", "_b"))
    total = before.groupby(_PLACE, dropna=False)["mean_abs_shap"].sum().rename("total").reset_index()
    places = places.merge(total, on=_PLACE)
    both = places.merge(_features_of(before, after), on=_PLACE)
    both = both.assign(**_reference_errors(both, references))
    found = pd.concat([_measured(both, measure, same_rows) for measure in MEASURES], ignore_index=True)
    few = np.minimum(found["n_rows_a"], found["n_rows_b"]).to_numpy() < limits.least_rows
    change = found["change"].to_numpy(dtype=float)
    p = p_values(change, found["std_error"].to_numpy(dtype=float), limits.least_change * found["total"].to_numpy())
    p = np.where(few, np.nan, p)
    total_values = found["total"].to_numpy(dtype=float)
    share = np.divide(change, total_values, out=np.zeros_like(change), where=total_values > 0)
    found = found.assign(share=share, p_value=p, p_adjusted=holm(p))
    found["changed"] = found["p_adjusted"] < limits.alpha
    # By size where the p-values are the same: of exact values all are 0 or 1.
    found = found.assign(_size=-found["share"].abs()).sort_values(["p_adjusted", "_size"], kind="stable")
    return found.drop(columns=["total", "n_rows_a", "n_rows_b", "_size"]).reset_index(drop=True)


def _features_of(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return all features of either run with the numbers of both; 0 where one does not take the feature."""
    columns = [*_PLACE, "feature", "sd", "share_positive", *(name for names in MEASURES.values() for name in names)]
    on, sides = [*_PLACE, "feature"], ("_a", "_b")
    both = before[columns].merge(after[columns], on=on, how="outer", suffixes=sides, indicator="found")
    for side, absent in zip(sides, ("right_only", "left_only"), strict=True):
        numbers = [name for name in both.columns if name.endswith(side)]
        both.loc[both["found"] == absent, numbers] = 0.0
    return both.drop(columns="found")


def _reference_errors(both: pd.DataFrame, references: tuple[int, int] | None) -> dict[str, FloatArray | float]:
    """Return what the draws of both references add to the variance of each measure's change, by column."""
    if references is None:
        return dict.fromkeys((f"{measure}_reference2" for measure in MEASURES), 0.0)
    whole, on = both[both["segment_by"] == ""], ["output", "feature"]
    spread = both[on].merge(whole[[*on, "sd_a", "sd_b"]], on=on, how="left")
    shift = {
        side: spread[f"sd_{side}"].to_numpy(dtype=float) ** 2 / n for side, n in zip("ab", references, strict=True)
    }
    one_sided = {side: 2.0 * both[f"share_positive_{side}"].to_numpy(dtype=float) - 1.0 for side in "ab"}
    moved = sum(shift[side] * (one_sided[side] ** 2 + _INTERACTIONS**2) for side in "ab")
    return {"mean_shap_reference2": shift["a"] + shift["b"], "mean_abs_shap_reference2": np.asarray(moved)}


def _measured(both: pd.DataFrame, measure: str, same_rows: bool) -> pd.DataFrame:
    value, population, monte_carlo = MEASURES[measure]
    errors = [monte_carlo] if same_rows else [population, monte_carlo]
    square = sum(both[f"{name}_{side}"].to_numpy(dtype=float) ** 2 for name in errors for side in "ab")
    square = square + both[f"{measure}_reference2"].to_numpy(dtype=float)
    a, b = both[f"{value}_a"], both[f"{value}_b"]
    kept = both[[*_PLACE, "feature", "n_rows_a", "n_rows_b", "total"]]
    return kept.assign(measure=measure, before=a, after=b, change=b - a, std_error=np.sqrt(square))


def p_values(change: FloatArray, std_error: FloatArray, delta: FloatArray) -> FloatArray:
    """Return the p-values of "the change is no more than delta", each (n,); the formula stands at the top.

    Differences of exact values, whose standard error is 0, are certain: p is 0 or 1. NaN where an error is not known.
    """
    size = np.abs(change)
    # Two sums of the same numbers in another order differ by rounding.
    certain = np.where(size - delta > 1e-9 * np.maximum(size, delta), 0.0, 1.0)
    scale = np.where(std_error > 0, std_error, 1.0)
    p = _upper((size - delta) / scale) + _upper((size + delta) / scale)
    return np.where(np.isnan(std_error), np.nan, np.where(std_error > 0, np.minimum(p, 1.0), certain))


def _upper(z: FloatArray) -> FloatArray:
    return np.array([0.5 * math.erfc(one / math.sqrt(2.0)) for one in z.tolist()])


def holm(p: FloatArray) -> FloatArray:
    """Return Holm's adjusted p-values, (n,); NaNs are no tests and stay as they are."""
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
