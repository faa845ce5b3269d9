"""Rows against all references of a run: the model says what it thinks of a row once, whatever it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spark_shap.core.agreement import shared_top
from spark_shap.core.game import Failure
from spark_shap.models.accepted import refused_values
from spark_shap.models.conform import conform

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from spark_shap.core.attribution import Attributions
    from spark_shap.models.frames import Rows
    from spark_shap.prepare import Prepared

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Rows that could be explained against every reference.

    Attributes
    ----------
    prepared
        The methods.
    positions
        (n,) where the rows stand among those that were given.
    found
        What each reference gives for them.
    rows
        All rows that were given.
    """

    prepared: Prepared
    positions: NDArray[np.intp]
    found: tuple[Attributions, ...]
    rows: Rows

    @property
    def n_rows(self) -> int:
        """How many they are."""
        return len(self.positions)

    @cached_property
    def bins(self) -> NDArray[np.int8] | None:
        """Return (n, M) the bins of the rows' values, where they are asked for."""
        bins = self.prepared.bins
        return None if bins is None else bins.encode(self.rows.take(self.positions))

    def agreement(self, place: int) -> NDArray[np.float64]:
        """Return (n, R, K) the share of a reference's four largest values that are so against each reference."""
        own = self.found[place].values
        return np.stack([shared_top(own, other.values) for other in self.found], axis=1)


def compare(
    frame: pd.DataFrame,
    row_hashes: NDArray[np.uint64],
    prepared: Prepared,
    failures: dict[int, tuple[str, Failure]],
) -> Comparison:
    """Explain rows against every reference.

    Parameters
    ----------
    frame
        n rows.
    row_hashes
        (n,) hashes of their keys.
    prepared
        The methods.
    failures
        Stage and reason of rows that cannot be explained; those found here are added, each once.
    """
    fitted = _conformed(frame, prepared, failures)
    everyone = np.arange(len(row_hashes))
    positions = np.setdiff1d(everyone, np.fromiter(failures, dtype=np.intp, count=len(failures)))
    explained: list[tuple[NDArray[np.intp], Attributions]] = []
    for one, rows in zip(prepared.references, fitted, strict=True):
        if not len(positions):
            return Comparison(prepared, positions, (), fitted[0])
        part = rows if len(positions) == len(everyone) else rows.take(positions)
        if explained and rows is fitted[0]:
            part = replace(part, predictions=_predictions(*explained[0], positions))
        found = one.explain(part, row_hashes[positions])
        explained.append((positions, found))
        for row, failure in found.failures.items():
            failures.setdefault(int(positions[row]), ("model", failure))
        if not prepared.replayed:
            positions = np.delete(positions, list(found.failures))
    positions = np.setdiff1d(positions, np.fromiter(failures, dtype=np.intp, count=len(failures)))
    good = tuple(found.take(np.searchsorted(places, positions)) for places, found in explained)
    return Comparison(prepared, positions, good, fitted[0])


def _conformed(frame: pd.DataFrame, prepared: Prepared, failures: dict[int, tuple[str, Failure]]) -> list[Rows]:
    """Return the rows in each reference's layout; layouts that look alike share them."""
    fitted: list[Rows] = []
    for one in prepared.references:
        if fitted and one.layout.looks_like(fitted[0].layout):
            fitted.append(fitted[0])
            continue
        rows, problems = conform(frame, one.layout)
        for row, text in problems.items():
            failures.setdefault(row, ("input", Failure("ValueDoesNotFit", text)))
        fitted.append(rows)
    for row, text in refused_values(fitted[0], prepared.accepted).items():
        failures.setdefault(row, ("input", Failure("ValueDoesNotFit", text)))
    return fitted


def _predictions(places: NDArray[np.intp], found: Attributions, positions: NDArray[np.intp]) -> NDArray[np.float64]:
    return found.predictions[np.searchsorted(places, positions)]
