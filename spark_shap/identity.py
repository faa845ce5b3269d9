"""What makes a run this run: fingerprints of what determines its result, and their hash."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

import spark_shap
from spark_shap.config import RunConfig, config_json
from spark_shap.dataframes import column
from spark_shap.engine.door import census

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_shap.backgrounds import SparkBackground
    from spark_shap.compared import Compared
    from spark_shap.intake import Inputs
    from spark_shap.io.runs import RunRecord
    from spark_shap.prepare import Prepared

__all__ = ["background_identity", "references_fingerprint", "rows_fingerprint", "run_identifier", "what_changed"]

# They change values.
_EXPLAIN_KEYS = (
    "method",
    "n_evaluations",
    "tolerance",
    "surrogate_evaluations",
    "surrogate_pairs",
    "audit",
    "target_error",
    "seed",
)


def background_identity(
    whole: SparkBackground | None, prepared: Prepared, background: Any, weights: Any
) -> tuple[str, float]:
    """Return the fingerprint of the background, and the sum of its weights."""
    if whole is None or prepared.n_background == len(background):
        total = float(len(background) if weights is None else np.sum(weights))
        return rows_fingerprint(background, weights), total
    names = [*whole.features, *([whole.weight] if whole.weight else [])]
    frame = whole.frame.select(*(column(whole.frame, name) for name in names))
    digest = sha256(f"{frame.dtypes} {census(frame, whole.features).digest}".encode()).hexdigest()
    if whole.weight is None:
        return digest, float(whole.n_rows)
    return digest, float(frame.agg({whole.weight: "sum"}).first()[0])  # type: ignore[index]  # an aggregate has a row


def references_fingerprint(compared: Sequence[Compared]) -> str | list[tuple[str, str]]:
    """Return what identifies the references: one by its rows; several by their names too, which stand in the tables."""
    if len(compared) == 1:
        return compared[0].fingerprint
    return [(one.reference.name, one.fingerprint) for one in compared]


def rows_fingerprint(rows: Any, weights: Any) -> str:
    """Return a hash of a frame's rows in their order, their types, and their weights if any."""
    import pandas as pd

    digest = sha256(repr([(name, str(kind)) for name, kind in rows.dtypes.items()]).encode())
    digest.update(pd.util.hash_pandas_object(rows.astype(object), index=False).to_numpy().tobytes())
    if weights is not None:
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()


def run_identifier(config: RunConfig, inputs: Inputs) -> str:
    """Return a hash of all that determines the result: the same run again has the same id."""
    settings = json.loads(config_json(config))
    what = {
        "applicants": inputs.census.digest,
        "n_rows": inputs.census.n_rows,
        "key": inputs.columns.key,
        "keep": inputs.columns.keep,
        "model": inputs.model.fingerprint,
        "reference": references_fingerprint(inputs.compared),
        "features": inputs.prepared.feature_names,
        "outputs": inputs.prepared.output_names,
        "output_space": inputs.prepared.output_space,
        "explain": {name: settings["explain"][name] for name in _EXPLAIN_KEYS},
        "summary": {name: value for name, value in settings["summary"].items() if value is not None},
        "weight": settings["applicants"]["weight"],
        "layout": settings["output"]["layout"],
        "version": spark_shap.__version__,
    }
    if settings["explain"]["groups"]:
        what["groups"] = settings["explain"]["groups"]
    if settings["reasons"] is not None:
        codes = None if inputs.codes is None else inputs.codes.sha256
        what["reasons"] = {**settings["reasons"], "codes": codes}
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def what_changed(before: RunRecord, now: RunRecord) -> list[str]:
    """Return which inputs of two runs of the same configuration differ, for messages."""
    parts = {
        "the applicants": (_content(before.input_version), _content(now.input_version)),
        "the model": (before.model_fingerprint, now.model_fingerprint),
        "the reference": (_fingerprints(before), _fingerprints(now)),
        "the features": (before.feature_names, now.feature_names),
    }
    return [name for name, (one, other) in parts.items() if one != other]


def _fingerprints(record: RunRecord) -> list[str]:
    if record.references is None:
        return [record.reference_fingerprint]
    return [one["fingerprint"] for one in json.loads(record.references)]


def _content(version: str | None) -> str:
    return str(version).split("content:")[-1]
