"""Evidence of a small made-up run, without Spark: its summary is a real one of its values."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_shap.audit.comparison import compare_runs
from spark_shap.engine.aggregate import summarize_table
from spark_shap.io.runs import RunRecord
from spark_shap.report.compared import record_against
from spark_shap.report.evidence import ApplicantEvidence, Evidence, Sample

FEATURES = ("income", "age", "loan amount", "purpose", "employed since", "flag")
OUTPUT = "bad"
BASE = 0.21
HOSTILE = [
    "<script>hacked()</script>",
    "\"><img src=x onerror='hacked()'>",
    "a & b &lt; c",
    "</svg></style></title><svg onload=hacked()>",
    "{{ 7 * 7 }}{% raw %}$x_1$",
    "収入と支出の差が" * 12 + "\u202egnp.exe\x00 #010101",
]


def record(features=FEATURES, outputs=(OUTPUT,), **changes):
    reasons = {"harm": "high", "top": 4, "cutoff": 0.2, "where": None, "max_p_swap": 0.025}
    settings = {"applicants": {"key": ["id"]}, "output": {"layout": "wide"}, "explain": {"seed": 7}, "reasons": reasons}
    values = {
        "run_id": "0123456789abcdef",
        "started_at": datetime(2026, 3, 31, 8, tzinfo=UTC),
        "finished_at": datetime(2026, 3, 31, 9, tzinfo=UTC),
        "config": json.dumps(settings),
        "model_uri": "models/card.joblib",
        "model_fingerprint": "a" * 64,
        "reference_name": "near_cutoff",
        "reference_predicate": "score between 600 and 620",
        "reference_fingerprint": "b" * 64,
        "reference_rows": 500,
        "reference_weight": 500.0,
        "feature_names": tuple(features),
        "output_names": tuple(outputs),
        "output_space": "probability",
        "method": "sampling",
        "method_reason": "no closed form",
        "seed": 7,
        "rows_read": 304,
        "rows_explained": 300,
        "rows_rejected": 4,
        "model_evaluations": 300 * 257,
        "additivity_gap_max": 1e-15,
        "std_error_median": 0.003,
        "std_error_p99": 0.006,
        "reason_rows": 150,
        "reason_stable_share": 0.9,
        "reason_codes": {"in-house 2026": "7"},
        "reason_codes_fingerprint": "c" * 64,
        "reason_exclusions": {"age": 0.125},
        "reason_exclusion_share": 0.125,
        "versions": {"spark_shap": "0.1.0", "python": "3.11.9"},
        "input_version": "content:17",
    }
    return RunRecord(**{**values, **changes})


def values_of(n=300, features=FEATURES, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    scale = 0.12 * 0.7 ** np.arange(len(features))
    values = rng.normal(0, scale, (n, len(features)))
    values[:, 0] += shift
    return values, np.full(values.shape, 0.003)


def columns_of(values, features=FEATURES):
    """Features that go with the values: numbers, categories, a flag, with some missing."""
    own = pd.DataFrame({name: np.round(5000 * column + 2000) for name, column in zip(features, values.T, strict=True)})
    if len(features) > 3:
        own[features[3]] = np.where(values[:, 3] > 0, "a new car", "furniture")
        own.loc[::11, features[2]] = np.nan
    if len(features) > 5:
        own[features[5]] = pd.Series([value > 0 for value in values[:, 5]], dtype=object)
    return own


def summary_of(values, errors, features, outputs=(OUTPUT,), segments=None):
    n = len(values)
    segments = ["north", "south", None] * n if segments is None else list(segments) * n

    def struct(table):
        return pa.StructArray.from_arrays([pa.array(column) for column in table.T], names=list(features))

    parts = [
        pa.table(
            {
                "output": [output] * n,
                "region": pa.array(segments[:n], pa.string()),
                "side": pa.array(["a", "b"] * (n // 2) + ["a"] * (n % 2)),
                "shap_values": struct(values),
                "std_errors": struct(errors),
            }
        )
        for output in outputs
    ]
    table = pa.concat_tables(parts)
    return summarize_table(table, by=["region", ["region", "side"]]).to_pandas()


def reasons_of(features, texts=None):
    texts = texts or [f"{name} is too high or too low" for name in features]
    rows, swaps = [], []
    for rank in (1, 2, 3, 4):
        for place in range(len(features)):
            n = 300 * (4 if place + 1 == rank else 1) // (len(features) + 3)
            rows.append((OUTPUT, "in-house 2026", rank, f"R{place:02d}", False, texts[place], texts[place], n))
        swaps.append((OUTPUT, "in-house 2026", rank, 300, 300 - 20 * rank, 200, 40, 30, 20, 10))
    names = ["output", "code_set", "rank", "name", "shared", "text", "last_text", "n"]
    bins = [f"p{index}" for index in range(5)]
    counts = pd.DataFrame(swaps, columns=["output", "code_set", "rank", "n", "n_stable", *bins])
    return pd.DataFrame(rows, columns=names), counts


def evidence(features=FEATURES, *, outputs=(OUTPUT,), segments=None, texts=None, earlier=0.0, **changes):
    """A run with everything; the earlier one has mean SHAP values of the first feature off by `earlier`."""
    values, errors = values_of(features=features)
    one = record(features, outputs, **changes)
    summary = summary_of(values, errors, features, outputs, segments)
    other = replace(one, run_id="fedcba9876543210", model_fingerprint="c" * 64, input_version="content:16")
    old = summary_of(*values_of(features=features, seed=1, shift=earlier), features, outputs, segments)
    base = np.full(len(values), BASE)
    sample = Sample(base + values.sum(axis=1), base, values, errors, columns_of(values, features))
    reasons, swaps = reasons_of(features, texts)
    rejects = pd.DataFrame(
        [("model", "ValueError", "unknown purpose 'boat'", 3), ("key", "NullKey", "a part of the key (id) is null", 1)],
        columns=["stage", "error_class", "message", "n"],
    )
    return Evidence(
        one,
        summary,
        dict.fromkeys(outputs, sample),
        rejects,
        2,
        reasons,
        swaps,
        compare_runs((other, old), (one, summary)),
    )


def applicant(features=FEATURES, texts=None, key="17"):
    values, errors = values_of(1, features)
    own = columns_of(values, features)
    base = np.full(1, BASE)
    sample = Sample(base + values.sum(axis=1), base, values, errors, own)
    texts = texts or ["Income is low", "Too young an account"]
    rows = [
        (OUTPUT, rank, "in-house 2026", f"R{rank:02d}", text, name, 0.05, 0.003, 0.3 / rank, rank == 1)
        for rank, (text, name) in enumerate(zip(texts, features, strict=False), start=1)
    ]
    names = ["output", "rank", "code_set", "code", "text", "feature", "shap_value", "std_error", "p_swap", "stable"]
    reasons = pd.DataFrame(rows, columns=names)
    return ApplicantEvidence(record(features), {"id": key}, {OUTPUT: sample}, reasons, {"region": "north"})


REFERENCES = ("near_cutoff", "approved <all>", "everyone")


def against_several(one):
    """The evidence of a run or an applicant as if it had been compared with three references."""
    entries = [
        {"name": "near_cutoff", "population": "near_cutoff", "cutoff": 0.5, "harm": "high", "band": 0.2, "size": 500},
        {"name": "approved <all>", "where": "bad = 0 & x < 1", "weight": "w", "as_of": "2026-03-01", "size": 400},
        {"name": "everyone", "size": 300},
    ]
    scored = {"rows_scored": 5000, "rows_found": 900}
    for place, entry in enumerate(entries):
        used = {
            "fingerprint": f"{place}" * 64,
            "rows": entry["size"],
            "weight_sum": 410.5 if place == 1 else entry["size"],
        }
        entry |= used | {"base_values": {OUTPUT: BASE + place / 10}, "method": "sampling", "method_reason": "none"}
    entries[0] |= scored
    agreement = {
        "near_cutoff & approved <all>": 0.814,
        "near_cutoff & everyone": 0.62,
        "approved <all> & everyone": 1.0,
    }
    mine = replace(one.record, references=json.dumps(entries), reference_agreement=agreement)
    others = tuple(replace(one, record=record_against(mine, name)) for name in REFERENCES[1:])
    return replace(one, record=mine, others=others)


def curves_of(features=FEATURES, output=OUTPUT):
    """Rows of the table of dependence: bins of a number with missing ones, categories, and a day."""
    rows = []
    for feature in features[:3]:
        ends = [None, 1000.0, 2000.0, 250_000.0, None]
        for place, (low, high) in enumerate(pairwise(ends)):
            label = (
                f"up to {high:.12g}" if low is None else f"above {low:.12g}" + (f" up to {high:.12g}" if high else "")
            )
            rows.append((output, feature, place, label, low, high, 1200 + place))
        rows.append((output, feature, 4, "missing", None, None, 17))
    rows += [
        (output, features[3], place, name, None, None, 900) for place, name in enumerate(["a new car", "furniture"])
    ]
    day = 1.7e18
    rows.append((output, features[4], 0, "up to 2023-11-14T22:13:20", None, day, 50))
    rows.append((output, features[4], 1, "above 2023-11-14T22:13:20", day, None, 60))
    found = pd.DataFrame(rows, columns=["output", "feature", "bin", "label", "low", "high", "n_rows"])
    means = np.linspace(-0.05, 0.08, len(found))
    return found.assign(mean_shap=means, band_low=means - 0.01, band_high=means + 0.01)
