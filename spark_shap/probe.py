"""Timing the planned work on a few rows, wherever it is called."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.core.design import design_bank
from spark_shap.core.sampler import Sampler
from spark_shap.core.sampling import draw_pairs, pairs_within
from spark_shap.errors import InputError, ModelError
from spark_shap.models.conform import conform
from spark_shap.plan import Probe

if TYPE_CHECKING:
    import pandas as pd

    from spark_shap.models.frames import Rows
    from spark_shap.prepare import Prepared

__all__ = ["one_thread", "probe_rows"]

_SECONDS = 0.3


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS and OpenMP use one thread, as in a worker.

    It takes threadpoolctl, which comes with scikit-learn; without it the probe of a model that uses
    several threads predicts too short a time.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    context: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return context


def probe_rows(prepared: Prepared, frame: pd.DataFrame) -> Probe:
    """Explain a few rows and time it.

    Parameters
    ----------
    prepared
        The method, or several against as many references, whose times add up.
    frame
        Some applicants, with at least the features.

    Raises
    ------
    InputError
        A feature is missing or of the wrong kind, or no row fits.
    ModelError
        Every row fails in the model.
    """
    found = [_probe(one, frame) for one in prepared.references]
    return replace(
        found[0],
        row_seconds=sum(one.row_seconds for one in found),
        surrogate_seconds=sum(one.surrogate_seconds for one in found),
        n_evaluations=sum(one.n_evaluations for one in found),
        std_error=max(one.std_error for one in found),
    )


def _probe(prepared: Prepared, frame: pd.DataFrame) -> Probe:
    """Explain a few rows against one reference and time it."""
    rows, problems = conform(frame, prepared.layout)
    usable = np.setdiff1d(np.arange(len(rows)), np.fromiter(problems, dtype=np.intp, count=len(problems)))
    if not len(usable):
        raise InputError(f"none of the first {len(rows)} applicants can be explained, the first because: {problems[0]}")
    rows = rows.take(usable)
    hashes = np.arange(len(rows), dtype=np.uint64)
    prepared.explain(rows.take(slice(0, 2)), hashes[:2])  # builds what is built once
    n_rows, seconds, found = 1, 0.0, None
    # Rows are doubled until the clock has something to measure: the cost of a row is not known yet.
    while True:
        size = min(n_rows, len(rows), prepared.rows_in_memory)
        start = perf_counter()
        found = prepared.explain(rows.take(slice(0, size)), hashes[:size])
        seconds = perf_counter() - start
        if seconds > _SECONDS or size < n_rows:
            break
        n_rows *= 2
    good = [row for row in range(size) if row not in found.failures]
    if not good:
        failure = found.failures[0]
        raise ModelError(
            f"model: it fails on each of the first {size} applicants, the first time with {failure.error_class}: "
            f"{failure.message}"
        )
    return Probe(
        size,
        seconds / size,
        _model_seconds(prepared),
        _surrogate_seconds(prepared, rows.take(slice(0, size))),
        float(found.n_evaluations[good].mean()),
        float(np.median(found.std_errors[good])),
    )


def _model_seconds(prepared: Prepared) -> float:
    game, background = prepared.method.game, prepared.sample
    index = np.arange(game.block_rows) % len(background)
    block = background.take(index).to_input()
    times = []
    for _ in range(3):
        start = perf_counter()
        game.predict(block)
        times.append(perf_counter() - start)
    return min(times) / game.block_rows


def _surrogate_seconds(prepared: Prepared, rows: Rows) -> float:
    """Return the seconds a row of the surrogate's values and of its answers to the row's pairs."""
    method = prepared.method
    if not isinstance(method, Sampler) or method.control is None:
        return 0.0
    n_pairs, n_players = pairs_within(method.n_evaluations), method.game.n_players(len(rows.columns))
    bank = design_bank(n_players, n_pairs, method.ridge, method.seed)
    players = np.ones((len(rows), n_players), dtype=bool)
    pairs = draw_pairs(bank, method.reference.strata, np.arange(len(rows), dtype=np.uint64), players=players)
    index, members = pairs.draw(slice(None), slice(None))
    start = perf_counter()
    control = method.control.bind(rows)
    control.taken(np.arange(len(rows), dtype=np.uint64), players)
    control.differences(slice(None), index, members)
    return (perf_counter() - start) / len(rows)
