"""Rows that share a number of players, and where what is found of them belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from spark_shap.core.arrays import BoolArray, FloatArray, HashArray, IntArray
    from spark_shap.core.attribution import Attributions
    from spark_shap.core.control import BoundControl
    from spark_shap.core.game import Answers, RowBlock

__all__ = ["Part", "note", "place"]


class Part(NamedTuple):
    """Rows with the same number of players, and where they stand among all rows.

    Attributes
    ----------
    rows, hashes
        n rows, and the hashes of their keys.
    players
        (n, F) True for the M features of each that are players.
    places
        (n,) their positions among all rows.
    control
        The surrogate of these rows, or None.
    exact
        (n, F, K) its exact values, or None.
    """

    rows: RowBlock
    hashes: HashArray
    players: BoolArray
    places: IntArray
    control: BoundControl | None
    exact: FloatArray | None

    @property
    def n_players(self) -> int:
        """M."""
        return int(self.players[0].sum())

    def take(self, index: IntArray) -> Part:
        """Return a part of the rows."""
        control = None if self.control is None else self.control.take(index)
        exact = None if self.exact is None else self.exact[index]
        return Part(self.rows.take(index), self.hashes[index], self.players[index], self.places[index], control, exact)


def note(answers: Answers, part: Part, out: Attributions) -> None:
    """Write down predictions, evaluations and failures."""
    out.predictions[part.places] = answers.predictions
    out.n_evaluations[part.places] += answers.n_evaluations
    if out.saved is not None:
        out.saved[part.places] += answers.n_saved
    out.failures.update({int(part.places[row]): failure for row, failure in answers.failures.items()})


def place(values: FloatArray, part: Part, whole: FloatArray) -> None:
    """Write what belongs to the players (n, M, K) to their rows and features."""
    row, feature = np.nonzero(part.players)
    whole[part.places[row], feature] = values.reshape(-1, values.shape[2])
