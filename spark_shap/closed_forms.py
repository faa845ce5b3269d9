"""Exact methods of models that were read: made from the background in parts, checked against the model.

What a closed form has to know of the background is a state that does not grow with it: parts of the
background, wherever they are, give states that merge. The background itself need never be in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spark_shap.core.closed_form import ClosedFormMethod, ExactForm, TreeForm
from spark_shap.core.game import ask
from spark_shap.core.linear import ContributionSums, reading_gap
from spark_shap.core.questions import GivenPairs
from spark_shap.core.trees import BackgroundHistograms, TreePlan, TreeTables
from spark_shap.errors import MethodError
from spark_shap.models.frames import RowsOnly
from spark_shap.models.linear import LinearModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spark_shap.choice import PlannedTrees
    from spark_shap.core.arrays import FloatArray
    from spark_shap.core.game import Game
    from spark_shap.core.players import Players
    from spark_shap.models.frames import Rows
    from spark_shap.models.trees import TreeModel

__all__ = ["BackgroundFold", "closed_form"]

_PROBE_ROWS = 256
_TOLERANCE = 1e-5


class BackgroundFold(Protocol):
    """How parts of a background become what a closed form has to know of it; travels to workers."""

    def local(self, rows: Rows, weights: NDArray[np.float64]) -> Any:
        """Return the state of some rows; two states `a.merge(b)`."""
        ...

    def form(self, state: Any) -> ExactForm:
        """Return the closed form against all rows of a state."""
        ...


@dataclass(frozen=True)
class _LinearFold:
    reading: LinearModel
    players: Players | None

    def local(self, rows: Rows, weights: NDArray[np.float64]) -> ContributionSums:
        return ContributionSums.local(self.contributions, rows, weights)

    def form(self, state: ContributionSums) -> ExactForm:
        return state.form(self.contributions)

    def contributions(self, rows: Rows) -> FloatArray:
        # What is additive in features is additive in groups of them.
        found = self.reading.contributions(rows)
        return found if self.players is None else self.players.sums(found)


@dataclass(frozen=True)
class _TreeFold:
    reading: TreeModel
    plan: TreePlan

    def local(self, rows: Rows, weights: NDArray[np.float64]) -> BackgroundHistograms:
        return BackgroundHistograms.local(self.plan, self.reading.to_numbers(rows), weights)

    def form(self, state: BackgroundHistograms) -> ExactForm:
        return TreeForm(TreeTables.build(self.plan, state), self.reading.to_numbers)


def closed_form(
    reading: LinearModel | PlannedTrees,
    game: Game,
    rows: Rows,
    weights: NDArray[np.float64],
    fold: Callable[[BackgroundFold], Any] | None = None,
) -> ClosedFormMethod:
    """Return the exact method of a model that was read.

    Parameters
    ----------
    reading
        What was read.
    game
        The model, the background and the players; what was read is checked feature by feature.
    rows, weights
        The background and its weights, sum 1; a sample of it where `fold` is given.
    fold
        Folds a background that is elsewhere.

    Raises
    ------
    MethodError
        What was read does not predict what the model predicts, or its trees do not fit the memory.
    """
    probe, players, game = rows.take(slice(0, _PROBE_ROWS)), game.players, replace(game, players=None)
    how: BackgroundFold
    if isinstance(reading, LinearModel):
        _check("linear", reading_gap(game, reading.contributions, probe, rows))
        how = _LinearFold(reading, players)
    else:
        _check("tree", _forest_gap(game, reading.model, probe, rows))
        how = _TreeFold(reading.model, reading.plan)
    state: Any = how.local(rows, weights) if fold is None else fold(how)
    return ClosedFormMethod(replace(game, mixer=RowsOnly()), how.form(state))


def _forest_gap(game: Game, reading: TreeModel, rows: Rows, background: Rows) -> float:
    """Return how far the trees that were read are from the model, on hybrid rows, as a share of its scale."""
    rng = np.random.default_rng(0)
    n_features = len(rows.columns)
    index = rng.integers(0, len(background), (len(rows), 1))
    members = rng.random((len(rows), n_features, 1)) < 0.5
    answers = ask(game, rows, GivenPairs(index, members), sums=True)
    if answers.failures or answers.sums is None:
        return float("nan")
    own, other = reading.to_numbers(rows), reading.to_numbers(background.take(index[:, 0]))
    on = members[:, :, 0]
    said = ((answers.sums + answers.differences)[:, 0] / 2, (answers.sums - answers.differences)[:, 0] / 2)
    read = (np.where(on, own, other), np.where(on, other, own))
    pairs: list[tuple[FloatArray, FloatArray]] = [(answers.predictions, reading.forest.predict(own))]
    pairs += [(one, reading.forest.predict(mixed)) for one, mixed in zip(said, read, strict=True)]
    scale = max(float(np.abs(one).max(initial=0.0)) for one, _ in pairs)
    return max(float(np.abs(one - two).max(initial=0.0)) for one, two in pairs) / (scale or 1.0)


def _check(name: str, gap: float) -> None:
    """Refuse a reading that is off by more than a share of the scale, or that cannot be checked."""
    if not gap <= _TOLERANCE:
        raise MethodError(
            f"method: what was read of the model for {name!r} is not what it predicts on {_PROBE_ROWS} hybrid rows "
            f"(off by {gap:.2e} of its scale); use method='sampling', which asks the model itself"
        )
