"""Rankings as a column of attributions: what only the worker knows of a row's reasons.

How sure a rank is takes the covariance of two values, which a table of values and standard errors does not hold,
and all covariances of a row would be wider than its values. So the worker writes, for the ranks that a row's
reasons have and no others, the feature, its value as a text (only where a code text says it), and two
probabilities. The table of reasons is made from them and from the values beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_shap.audit.codes import value_text
from spark_shap.core.ranking import Ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.core.arrays import AnyArray, IntArray
    from spark_shap.prepare import Prepared

__all__ = ["RANKING_TYPE", "ranking_array", "read_ranking"]

RANKING_TYPE = pa.list_(
    pa.struct(
        [("feature", pa.string()), ("value", pa.string()), ("p_swap", pa.float64()), ("p_out", pa.float64())],
    )
)


def ranking_array(ranking: Ranking, portion: pa.Table, positions: IntArray, prepared: Prepared) -> pa.Array:
    """Return the column of n rows and K outputs: null for rows and outputs without reasons.

    Parameters
    ----------
    ranking
        Of n rows.
    portion
        Their columns, among others.
    positions
        (n,) where the rows stand in the portion.
    prepared
        The method.
    """
    there = ranking.features >= 0
    row, _ = np.nonzero(there)
    features = ranking.features[there]
    names = np.array(prepared.feature_names, dtype=object)
    texts = pa.nulls(len(row), pa.string())
    if prepared.shows_values:
        texts = _texts(portion, positions[row], names[features], prepared.column_names)
    items = pa.StructArray.from_arrays(
        [
            pa.array(names[features], pa.string()),
            texts,
            pa.array(ranking.p_swap[there]),
            pa.array(ranking.p_out[there]),
        ],
        fields=list(RANKING_TYPE.value_type),
    )
    n_outputs, mine = len(prepared.output_names), 0 if prepared.rule is None else prepared.rule.output
    counts = np.zeros((len(ranking.asked), n_outputs), dtype=np.int32)
    counts[:, mine] = there.sum(axis=1)
    asked = np.zeros(counts.shape, dtype=bool)
    asked[:, mine] = ranking.asked
    offsets = np.concatenate([[0], counts.ravel().cumsum()]).astype(np.int32)
    # A null offset marks a null list.
    marked = pa.array(offsets, mask=np.concatenate([~asked.ravel(), [False]]))
    return pa.ListArray.from_arrays(marked, items, type=RANKING_TYPE)


def _texts(portion: pa.Table, positions: IntArray, features: AnyArray, columns: Sequence[str]) -> pa.Array:
    """Return the values of features as texts; a group of columns has none."""
    out = np.full(len(features), None, dtype=object)
    for name in set(features.tolist()) & set(columns):
        here = np.flatnonzero(features == name)
        found = portion.column(name).take(pa.array(positions[here])).to_pylist()
        out[here] = [value_text(value) for value in found]
    return pa.array(out, pa.string())


def read_ranking(column: pa.Array, features: Sequence[str], top: int) -> tuple[Ranking, list[str | None]]:
    """Return the rankings of rows from their column, and the texts of the reasons' values, row by row."""
    out = Ranking.none(len(column), top)
    out.asked[:] = column.is_valid().to_numpy(zero_copy_only=False)
    items = column.flatten()
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(column)), counts)
    rank = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    names, texts, p_swap, p_out = items.flatten()
    out.features[row, rank] = pc.index_in(names, value_set=pa.array(list(features), names.type)).to_numpy(
        zero_copy_only=False
    )
    out.p_swap[row, rank] = p_swap.to_numpy(zero_copy_only=False)
    out.p_out[row, rank] = p_out.to_numpy(zero_copy_only=False)
    return out, texts.to_pylist()
