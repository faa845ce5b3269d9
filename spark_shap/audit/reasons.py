"""Reasons as rows of a table: from rankings to ranks, codes and texts, in pandas and on workers alike.

A row of the table is a rank of an applicant in one code set. A feature that a set has no code for keeps its rank,
with neither code nor text; features that share a code keep their ranks too. What was excluded is counted: how often
it would have been a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_shap.audit.codes import CodeMap, filled, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from spark_shap.core.arrays import AnyArray, FloatArray, IntArray
    from spark_shap.core.ranking import Ranking, RankRule
    from spark_shap.prepare import Prepared

__all__ = [
    "Named",
    "ReasonCounts",
    "ReasonSpec",
    "add_counts",
    "count_reasons",
    "name_reasons",
    "reason_columns",
    "reason_spec",
    "reasons_frame",
]


@dataclass(frozen=True)
class ReasonSpec:
    """What a table of reasons is made with; it travels to workers.

    Attributes
    ----------
    features
        M names.
    outputs
        K names.
    rule
        How reasons were found.
    codes
        Code sets, or None.
    own_columns
        Where the column of each feature stands among the rows'; None for a group.
    """

    features: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: RankRule
    codes: CodeMap | None
    own_columns: tuple[int | None, ...]

    @property
    def output(self) -> str:
        """Name of the output that is explained."""
        return self.outputs[self.rule.output]

    @property
    def excluded(self) -> tuple[str, ...]:
        """Features that may be no reason."""
        return tuple(name for name, may in zip(self.features, self.rule.eligible, strict=True) if not may)


def reason_spec(prepared: Prepared, codes: CodeMap | None) -> ReasonSpec | None:
    """Return what a method's reasons are named with; None where it was asked for none."""
    if prepared.rule is None:
        return None
    return ReasonSpec(prepared.feature_names, prepared.output_names, prepared.rule, codes, prepared.own_columns)


class Named(NamedTuple):
    """N reasons, by row and rank.

    Attributes
    ----------
    row
        From 0.
    rank
        From 1.
    feature
        Its number.
    shap_value, std_error, p_swap, stable
        What the table says of it.
    """

    row: IntArray
    rank: IntArray
    feature: IntArray
    shap_value: FloatArray
    std_error: FloatArray
    p_swap: FloatArray
    stable: AnyArray


def name_reasons(ranking: Ranking, values: FloatArray, std_errors: FloatArray, rule: RankRule) -> Named:
    """Return the reasons of n rows, from (n, M) values and standard errors of the output."""
    there = ranking.features >= 0
    row, rank = np.nonzero(there)
    feature = ranking.features[there]
    return Named(
        row,
        rank + 1,
        feature,
        values[row, feature],
        std_errors[row, feature],
        ranking.p_swap[there],
        ranking.stays(rule.max_p_swap)[there],
    )


def reason_columns(named: Named, spec: ReasonSpec, values: Sequence[str | None]) -> tuple[IntArray, dict[str, Any]]:
    """Return the row of each line of the table, and its columns but the key, by name.

    Parameters
    ----------
    named
        N reasons.
    spec
        Names and codes.
    values
        (N,) texts of the features' values.
    """
    sets = spec.codes.sets if spec.codes is not None else ()
    repeat = np.repeat(np.arange(len(named.row)), max(1, len(sets)))
    names = np.array(spec.features, dtype=object)
    features = names[named.feature]
    coded = [_coded(one.entries, features.tolist(), values) for one in sets] or [[(None, None)] * len(features)]
    pairs = [each for together in zip(*coded, strict=True) for each in together]
    columns = {
        "output": np.full(len(repeat), spec.output, dtype=object),
        "rank": named.rank[repeat].astype(np.int32),
        "code_set": np.tile(np.array([one.name for one in sets] if sets else [None], dtype=object), len(named.row)),
        "code": np.array([code for code, _ in pairs], dtype=object),
        "text": np.array([text for _, text in pairs], dtype=object),
        "feature": features[repeat],
        "shap_value": named.shap_value[repeat],
        "std_error": named.std_error[repeat].astype(np.float64),
        "p_swap": named.p_swap[repeat],
        "stable": named.stable[repeat],
    }
    return named.row[repeat], columns


def _coded(
    entries: Mapping[str, Any], features: Sequence[str], values: Sequence[str | None]
) -> list[tuple[str | None, str | None]]:
    found: list[tuple[str | None, str | None]] = []
    for feature, value in zip(features, values, strict=True):
        entry = entries.get(feature)
        found.append((None, None) if entry is None else (entry.code, filled(entry.text, feature, value)))
    return found


def reasons_frame(
    ranking: Ranking, spec: ReasonSpec, values: AnyArray, std_errors: AnyArray, data: Any
) -> pd.DataFrame:
    """Return the reasons of rows in memory, indexed as the rows (a frame or an array) are."""
    import pandas as pd

    output = spec.rule.output
    one, errors = (part if part.ndim == 2 else part[..., output] for part in (values, std_errors))
    named = name_reasons(ranking, one, errors, spec.rule)
    index, columns = reason_columns(named, spec, _texts(data, named, spec))
    rows = data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(len(one))
    return pd.DataFrame(columns, index=rows[index])


def _texts(data: Any, named: Named, spec: ReasonSpec) -> list[str | None]:
    """Return the texts of the reasons' values."""
    import pandas as pd

    table = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
    places = [spec.own_columns[feature] for feature in named.feature]
    found = [None if place is None else table.iat[row, place] for row, place in zip(named.row, places, strict=True)]
    plain = [value.item() if isinstance(value, np.generic) else value for value in found]
    return [None if pd.api.types.is_scalar(value) and pd.isna(value) else value_text(value) for value in plain]


class ReasonCounts(NamedTuple):
    """What reasons there are.

    Attributes
    ----------
    rows
        Rows that were to have reasons.
    stable
        Of these, rows all of whose reasons are stable.
    touched
        Rows in which some excluded feature would have been a reason.
    excluded
        The same for each excluded feature.
    """

    rows: int
    stable: int
    touched: int
    excluded: dict[str, int]


def count_reasons(ranking: Ranking, values: FloatArray, spec: ReasonSpec) -> ReasonCounts:
    """Count rows, from (n, M) values of the output."""
    rule, asked = spec.rule, ranking.asked
    everyone = replace(rule, eligible=(True,) * len(spec.features)).standing(values[asked])
    order, harm = everyone.order[:, : rule.top], everyone.harm[:, : rule.top]
    out = [((order == spec.features.index(name)) & (harm > 0.0)).any(axis=1) for name in spec.excluded]
    return ReasonCounts(
        int(asked.sum()),
        int(ranking.settled(rule.max_p_swap)[asked].sum()),
        int(np.logical_or.reduce(out).sum()) if out else 0,
        {name: int(one.sum()) for name, one in zip(spec.excluded, out, strict=True)},
    )


def add_counts(first: ReasonCounts, second: ReasonCounts) -> ReasonCounts:
    """Return the counts of both."""
    return ReasonCounts(
        first.rows + second.rows,
        first.stable + second.stable,
        first.touched + second.touched,
        {name: count + second.excluded[name] for name, count in first.excluded.items()},
    )
