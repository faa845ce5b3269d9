"""The tables of dependence curves and of how often features are reasons, from written attributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from spark_shap.core.dependence import DependenceState, dependence_result, local_dependence, merge_dependence
from spark_shap.core.reason_rates import RateState, local_rates, merge_rates, rates_result
from spark_shap.engine.keyed_fold import fold_frame, keyed_members
from spark_shap.engine.ranking_column import read_ranking
from spark_shap.engine.summary_blocks import block_arrays, block_weights, blocks
from spark_shap.engine.summary_spec import SummarySpec, make_spec
from spark_shap.errors import InputError
from spark_shap.schema import FEATURE_BINS, RANKING, SHAP_VALUES, STD_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyspark.sql import DataFrame

    from spark_shap.engine.summary_schema import SummaryKey
    from spark_shap.models.bins import FeatureBins

__all__ = ["dependence_frame", "reason_rate_frame"]


@dataclass(frozen=True)
class _Dependence:
    """How attributions fold to curves."""

    spec: SummarySpec
    bins: FeatureBins

    state = DependenceState
    schema = pa.schema(
        [
            ("feature", pa.string()),
            ("bin", pa.int32()),
            ("label", pa.string()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("n_rows", pa.int64()),
            *((name, pa.float64()) for name in ("weight", "mean_shap", "sd", "sampling_error", "monte_carlo_error")),
            ("band_low", pa.float64()),
            ("band_high", pa.float64()),
        ]
    )

    def local(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[SummaryKey, DependenceState]]:
        n_features, n_bins = len(self.spec.features), self.bins.n_bins
        for block in blocks(batches, n_features):
            values, std_errors, _, weights = block_arrays(self.spec, block)
            weights = np.ones(block.num_rows) if weights is None else weights
            bins = block.column(FEATURE_BINS).flatten().to_numpy(zero_copy_only=False).reshape(-1, n_features)
            for key, members in keyed_members(block, self.spec.populations, self.spec.segmentations):
                errors = None if std_errors is None else std_errors[members]
                found = local_dependence(
                    values[members], errors, bins[members], weights=weights[members], n_bins=n_bins
                )
                yield key, found

    def merge(self, left: DependenceState, right: DependenceState) -> DependenceState:
        return merge_dependence(left, right)

    def result(self, state: DependenceState) -> list[pa.Array]:
        there = np.flatnonzero(state.weight > 0.0)
        feature, place = np.divmod(there, self.bins.n_bins)
        names = np.array(self.spec.features, dtype=object)[feature]
        labels = [self.bins.label(int(one), int(bin_)) for one, bin_ in zip(feature, place, strict=True)]
        numbers = dependence_result(state)
        columns = [names, place, *zip(*labels, strict=True), state.n_rows[there].astype(np.int64)]
        columns += [numbers[name][there] for name in self.schema.names[6:]]
        return [_array(cells, field.type) for cells, field in zip(columns, self.schema, strict=True)]


@dataclass(frozen=True)
class _ReasonRates:
    """How attributions fold to the frequencies of reasons."""

    spec: SummarySpec
    top: int

    state = RateState
    schema = pa.schema(
        [
            ("feature", pa.string()),
            ("n_rows", pa.int64()),
            *((name, pa.float64()) for name in ("weight", "first_share", "first_share_error")),
            *((name, pa.float64()) for name in ("any_share", "any_share_error")),
        ]
    )

    def local(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[SummaryKey, RateState]]:
        n_features = len(self.spec.features)
        for block in blocks(batches, n_features):
            block = block.filter(block.column(RANKING).is_valid())
            if not block.num_rows:
                continue
            ranking, _ = read_ranking(block.column(RANKING), self.spec.features, self.top)
            weights = block_weights(self.spec, block)
            weights = np.ones(block.num_rows) if weights is None else weights
            for key, members in keyed_members(block, self.spec.populations, self.spec.segmentations):
                yield key, local_rates(ranking.take(members), weights[members], n_features)

    def merge(self, left: RateState, right: RateState) -> RateState:
        return merge_rates(left, right)

    def result(self, state: RateState) -> list[pa.Array]:
        n_features, numbers = len(self.spec.features), rates_result(state)
        columns = [
            self.spec.features,
            np.full(n_features, int(state.totals[0])),
            np.full(n_features, state.totals[1]),
            *(numbers[name] for name in self.schema.names[3:]),
        ]
        return [_array(cells, field.type) for cells, field in zip(columns, self.schema, strict=True)]


def dependence_frame(rows: DataFrame, bins: FeatureBins, *, weight: str | None = None) -> DataFrame:
    """Return dependence curves of wide attributions that have the column `feature_bins`, lazily.

    Parameters
    ----------
    rows
        As they were written and read back.
    bins
        What the bins are.
    weight
        Column of row weights.

    Returns
    -------
    DataFrame
        One row an output (a reference), feature and bin that rows are in: label, low, high, n_rows, weight, mean_shap,
        sd, sampling_error, monte_carlo_error, and band_low and band_high, which hold the mean with 95 %.
    """
    spec = _spec(rows, (), weight)
    if FEATURE_BINS not in rows.columns:
        raise InputError("these rows were explained without bins of their features' values: set summary.dependence")
    errors = [STD_ERRORS] if STD_ERRORS in rows.columns else []
    weights = [] if weight is None else [weight]
    return fold_frame(
        rows,
        list(dict.fromkeys([*spec.populations, SHAP_VALUES, *errors, FEATURE_BINS, *weights])),
        _Dependence(spec, bins),
    )


def reason_rate_frame(
    rows: DataFrame, top: int, *, by: Sequence[str | Sequence[str]] = (), weight: str | None = None
) -> DataFrame:
    """Return how often features are reasons, by segment, from wide attributions that have the column `ranking`, lazily.

    Parameters
    ----------
    rows
        As they were written and read back.
    top
        Reasons a row, at most.
    by, weight
        As for the summary.

    Returns
    -------
    DataFrame
        One row a segment, output (a reference) and feature, of rows that were to have reasons: n_rows, weight,
        first_share, any_share (of the weight) and their sampling errors.
    """
    spec = _spec(rows, by, weight)
    segments = [name for columns in spec.segmentations for name in columns]
    weights = [] if weight is None else [weight]
    wanted = list(dict.fromkeys([*spec.populations, RANKING, *segments, *weights]))
    return fold_frame(rows, wanted, _ReasonRates(spec, top))


def _spec(rows: DataFrame, by: Sequence[str | Sequence[str]], weight: str | None) -> SummarySpec:
    features = getattr(rows.schema[SHAP_VALUES].dataType, "names", [])
    return make_spec(rows.columns, features, by, weight=weight, sampled_share=1.0)


def _array(cells: object, kind: pa.DataType) -> pa.Array:
    # NaN (too few rows to say) is null in the table.
    return pa.array(cells, from_pandas=True).cast(kind)
