"""What a report is made from: rows of the tables, brought to one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from spark_shap.audit.comparison import Comparison
    from spark_shap.core.arrays import FloatArray
    from spark_shap.io.runs import RunRecord

__all__ = ["ApplicantEvidence", "Evidence", "Sample"]


@dataclass(frozen=True)
class Sample:
    """Explained rows of one output; for the portfolio's report those drawn by the hash of their keys.

    Attributes
    ----------
    prediction, base_value
        (n_rows,) each.
    shap_values, std_errors
        (n_rows, n_features), in the order of the run's features.
    features
        n_rows rows with the features' own values, by name, as far as the tables have them.
    """

    prediction: FloatArray
    base_value: FloatArray
    shap_values: FloatArray
    std_errors: FloatArray
    features: pd.DataFrame


@dataclass(frozen=True)
class Evidence:
    """A run.

    Attributes
    ----------
    record
        Its row in the table of runs.
    summary
        Its rows of the table of summaries.
    samples
        Of each output.
    rejects
        stage, error_class, message, n: the most frequent first.
    n_reject_kinds
        How many kinds there are; `rejects` may hold fewer.
    reasons
        output, code_set, name (a code, or a feature without one), shared (by several features), rank, text and
        last_text (the first and last in order), and n, the applicants for whom this is the reason's first rank; None
        where the run gave no reasons.
    swaps
        output, code_set, rank, n, n_stable, and p_swap cut into tenths of 0 .. 0.5 as columns p0 .. p4; None likewise.
    comparison
        With the run before; None where there is none.
    curves
        Its rows of the table of dependence; None where the run made none.
    others
        The run against each of its other references: `record` speaks of that one; counts, rejects and comparison are
        the run's, and stand here only.
    """

    record: RunRecord
    summary: pd.DataFrame
    samples: Mapping[str, Sample]
    rejects: pd.DataFrame | None = None
    n_reject_kinds: int = 0
    reasons: pd.DataFrame | None = None
    swaps: pd.DataFrame | None = None
    comparison: Comparison | None = None
    curves: pd.DataFrame | None = None
    others: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class ApplicantEvidence:
    """One applicant of a run.

    Attributes
    ----------
    record
        The run's row in the table of runs.
    key
        Column to value.
    rows
        Of each output, with one row.
    reasons
        The applicant's rows of the table of reasons; None where the run gave none.
    kept
        Columns that the run carried along, with the applicant's values.
    others
        The applicant against each of the run's other references: `record` speaks of that one.
    """

    record: RunRecord
    key: Mapping[str, object]
    rows: Mapping[str, Sample]
    reasons: pd.DataFrame | None = None
    kept: Mapping[str, object] = field(default_factory=dict)
    others: tuple[ApplicantEvidence, ...] = ()
