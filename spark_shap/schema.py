"""Names of the tables and columns, in one place.

Attributions have one row per applicant and output (the ``long`` layout one per applicant, output and
feature). The engine yields them without `RUN_ID` and with the `ERROR` struct last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ADDITIVITY_GAP",
    "ATTRIBUTIONS",
    "BASE_VALUE",
    "CLAIMS",
    "CONVERGED",
    "DEPENDENCE",
    "ERROR",
    "ERROR_CLASS",
    "FEATURE",
    "FEATURE_BINS",
    "LONG_VALUE_COLUMNS",
    "MESSAGE",
    "N_EVALUATIONS",
    "OUTPUT",
    "PREDICTION",
    "RANKING",
    "REASONS",
    "REASON_COLUMNS",
    "REASON_RATES",
    "REFERENCE",
    "REJECTS",
    "REJECT_COLUMNS",
    "ROW",
    "RUNS",
    "RUN_ID",
    "SAMPLE",
    "SHAP_VALUE",
    "SHAP_VALUES",
    "SHARD",
    "SHARDS",
    "STAGE",
    "STD_ERROR",
    "STD_ERRORS",
    "SUMMARY",
    "SUMMARY_COLUMNS",
    "SURROGATE_VALUES",
    "TABLES",
    "TOP4_AGREEMENT",
    "WIDE_VALUE_COLUMNS",
    "Layout",
    "attribution_columns",
    "has_references",
    "reserved_names",
]

Layout = Literal["wide", "long"]

# Tables: folders under a root path, or tables of a catalog schema.
RUNS = "runs"
ATTRIBUTIONS = "attributions"
SUMMARY = "summary"
REJECTS = "rejects"
REASONS = "reasons"
SAMPLE = "sample"
REASON_RATES = "reason_rates"  # how often a feature is a reason, by segment
DEPENDENCE = "dependence"  # mean values by bins of the features' values
TABLES = (RUNS, ATTRIBUTIONS, REASONS, REASON_RATES, SUMMARY, DEPENDENCE, REJECTS, SAMPLE)
# Ours too: which parts of a run are committed. Without its line a part does not exist for readers.
SHARDS = "shards"
CLAIMS = "claims"  # who makes a run, where a session gives no file system

RUN_ID = "run_id"  # partitions every table
SHARD = "shard"  # partitions the tables that a run fills part by part

# Attributions.
OUTPUT = "output"
PREDICTION = "prediction"
BASE_VALUE = "base_value"
SHAP_VALUES = "shap_values"
STD_ERRORS = "std_errors"
SURROGATE_VALUES = "surrogate_values"  # beside the two above where a run explains for its aggregates only
RANKING = "ranking"  # beside them where reasons are asked for
# First and last of them where rows are compared with several references: which one a line is of, and the share of the
# line's four largest values that are among those against each reference.
REFERENCE = "reference"
TOP4_AGREEMENT = "top4_agreement"
FEATURE_BINS = "feature_bins"  # beside them where dependence curves are asked for: the bin of each feature's value
N_EVALUATIONS = "n_evaluations"
CONVERGED = "converged"
ADDITIVITY_GAP = "additivity_gap"
ERROR = "error"
FEATURE = "feature"
SHAP_VALUE = "shap_value"
STD_ERROR = "std_error"

# Fields of `ERROR`, and columns of the table `REJECTS`.
STAGE = "stage"
ERROR_CLASS = "error_class"
MESSAGE = "message"
ROW = "row"
REJECT_COLUMNS = (STAGE, ERROR_CLASS, MESSAGE, ROW)

WIDE_VALUE_COLUMNS = (
    OUTPUT,
    PREDICTION,
    BASE_VALUE,
    SHAP_VALUES,
    STD_ERRORS,
    N_EVALUATIONS,
    CONVERGED,
    ADDITIVITY_GAP,
)
LONG_VALUE_COLUMNS = (
    OUTPUT,
    FEATURE,
    SHAP_VALUE,
    STD_ERROR,
    PREDICTION,
    BASE_VALUE,
    N_EVALUATIONS,
    CONVERGED,
    ADDITIVITY_GAP,
)

SUMMARY_COLUMNS = (
    RUN_ID,
    "segment_by",
    "segment",
    OUTPUT,
    FEATURE,
    "n_rows",
    "weight",
    "mean_abs_shap",
    "mean_shap",
    "sd",
    "min",
    "max",
    "q01",
    "q05",
    "q25",
    "q50",
    "q75",
    "q95",
    "q99",
    "share_positive",
    "rank",
    "top4_share",
    "sampling_error",
    "monte_carlo_error",
    "mean_shap_sampling_error",
    "mean_shap_monte_carlo_error",
)


# Of the table of reasons, after `RUN_ID` and the key columns.
REASON_COLUMNS = (
    OUTPUT,
    "rank",
    "code_set",
    "code",
    "text",
    FEATURE,
    SHAP_VALUE,
    STD_ERROR,
    "p_swap",
    "stable",
)


def attribution_columns(key: Sequence[str], keep: Sequence[str] = (), *, layout: Layout = "wide") -> tuple[str, ...]:
    """Return the columns of the table `ATTRIBUTIONS`, in order.

    Parameters
    ----------
    key
        Key columns of the applicants.
    keep
        Columns carried along, such as segments.
    layout
        ``"wide"``: one row per applicant and output, values in structs; ``"long"``: one per feature too.

    Returns
    -------
    tuple of str
    """
    values = WIDE_VALUE_COLUMNS if layout == "wide" else LONG_VALUE_COLUMNS
    return (RUN_ID, *key, *values, *keep)


def has_references(columns: Sequence[str]) -> bool:
    """Return whether attributions with these columns are of several references; others may keep a column so named."""
    return REFERENCE in columns and TOP4_AGREEMENT in columns


def reserved_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``names`` that the tables use themselves, so no key or kept column may have them.

    Spark's names ignore case, so ``Output`` is taken as well.
    """
    taken = {RUN_ID, SHARD, ERROR, SURROGATE_VALUES, RANKING, FEATURE_BINS}
    taken |= {*WIDE_VALUE_COLUMNS, *LONG_VALUE_COLUMNS, *REJECT_COLUMNS}
    return tuple(name for name in names if name.casefold() in taken)
