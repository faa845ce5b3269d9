"""Scoring background rows, and finding those that the model refuses."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.frames import Rows
    from spark_shap.models.predictor import Predictor

__all__ = ["refused_rows", "row_scores", "score"]

_FEW, _SHARE = 5, 0.05
_NOT_FINITE = "its prediction is "


def score(predictor: Predictor, rows: Rows, size: int) -> NDArray[np.float64]:
    """Return the predictions of background rows, (B, K).

    Parameters
    ----------
    predictor
        The model as a function.
    rows
        The background.
    size
        Rows in a model call, at most.

    Raises
    ------
    ModelError
        The model raises on a row, or a prediction is not finite; the first such row is named.
    """
    predictions, failures = _score(predictor, rows, size)
    if failures:
        first = min(failures)
        raise ModelError(
            f"model: it fails on {len(failures)} of {len(rows)} background rows, the first time on row {first}: "
            f"{failures[first]}. It must accept the background's columns, order and dtypes; leave such rows out "
            "(reference.where) or mend the model"
        )
    return np.concatenate(predictions)


def row_scores(predictor: Predictor, rows: Rows, size: int) -> NDArray[np.float64]:
    """Return the predictions of rows, (n, K); NaN for those that the model refuses.

    Raises
    ------
    ModelError
        It fails on more than 5 rows and on more than 5 % of them.
    """
    predictions, failures = _score(predictor, rows, size)
    if not predictions:
        raise ModelError(f"model: it fails on all of {len(rows)} rows, the first time with {failures[0]}")
    found = np.concatenate(predictions)
    out = np.full((len(rows), found.shape[1]), np.nan)
    # A row on which the model raises has no prediction; one that is not finite has.
    raised = [row for row, why in failures.items() if not why.startswith(_NOT_FINITE)]
    out[np.setdiff1d(np.arange(len(rows)), raised)] = found
    return np.where(np.isfinite(out), out, np.nan)


def refused_rows(predictor: Predictor, rows: Rows, size: int) -> dict[int, str]:
    """Return why the model fails on background rows, by position; none where it fails on none.

    Raises
    ------
    ModelError
        It fails on more than 5 rows and on more than 5 % of them.
    """
    return _score(predictor, rows, size)[1]


def _score(predictor: Predictor, rows: Rows, size: int) -> tuple[list[NDArray[np.float64]], dict[int, str]]:
    n_blocks = max(1, -(-len(rows) // size))
    edges = [len(rows) * block // n_blocks for block in range(n_blocks, -1, -1)]
    waiting = [(start, stop) for stop, start in itertools.pairwise(edges)]
    predictions: list[NDArray[np.float64]] = []
    failures: dict[int, str] = {}
    while waiting:
        start, stop = waiting.pop()
        try:
            found = predictor(rows.take(slice(start, stop)).to_input())
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the row is reported
            if stop - start > 1:  # halves, the first of them next
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
                continue
            failures[start] = f"{type(error).__name__}: {error}"
            _check_few(failures, stop, len(rows), error)
            continue
        predictions.append(found)
        for row in np.flatnonzero(~np.isfinite(found).all(axis=1)):
            failures[start + int(row)] = f"{_NOT_FINITE}{found[row].tolist()}, which is not finite"
        _check_few(failures, stop, len(rows), None)
    return predictions, failures


def _check_few(failures: dict[int, str], n_seen: int, n_rows: int, error: Exception | None) -> None:
    if len(failures) > max(_FEW, _SHARE * n_rows):
        first = min(failures)
        raise ModelError(
            f"model: it fails on background row {first} ({failures[first]}), and on {len(failures) - 1} more of the "
            f"first {n_seen} background rows. It must accept the background's columns, order and dtypes"
        ) from error
