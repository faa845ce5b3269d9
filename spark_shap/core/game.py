r"""Asking the model: hybrid rows in blocks of a planned size, filled across the rows to explain.

A pair is a coalition S of features and one background row z. Its answer is
:math:`t = f(x_S, z_{\bar S}) - f(z_S, x_{\bar S})`. One model call takes the hybrids of several rows
and those rows themselves, so that no call is ever made for a single prediction.

A model may raise on some rows. The block is then halved until the rows that it refuses are alone;
they are reported with the model's message and the others keep their answers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray, ModelInput
    from spark_shap.core.players import Players
    from spark_shap.core.questions import Questions

__all__ = ["Answers", "Control", "Failure", "Game", "Mixer", "RowBlock", "ask"]


class RowBlock(Protocol):
    """Rows to explain, in whatever storage the mixer understands."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, index: Any) -> Any:
        """Return a part of the rows."""
        ...

    @property
    def predictions(self) -> FloatArray | None:
        """What the model says of them (n, K), where that is known already; None where it is to be asked."""
        ...


class Mixer(Protocol):
    """Makes hybrid rows; see `spark_shap.models.frames.Background.mix`."""

    def mix(self, rows: Any, background_index: IntArray, members: BoolArray) -> ModelInput:
        """Return ``2 n P + n`` model rows: v(S) of all pairs, v(complement) of all pairs, the rows (unless known)."""
        ...

    def inert(self, rows: Any) -> BoolArray:
        """Return (n, M) bool: features in which a row differs from no background row."""
        ...


class Control(Protocol):
    """A game that is known exactly and resembles the model's; see `spark_shap.core.control`."""

    def differences(self, rows: slice, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return its own answers (n, P, K) to the pairs of a part of the rows."""
        ...

    def sums(self, rows: slice, background_index: IntArray, members: BoolArray) -> FloatArray:
        """Return its own v(S) + v(complement), (n, P, K)."""
        ...


@dataclass(frozen=True)
class Failure:
    """Why a row has no explanation."""

    error_class: str
    message: str


@dataclass(frozen=True)
class Answers:
    """What the model said.

    Attributes
    ----------
    predictions
        (n, K) f(x); NaN where the row failed.
    differences
        (n, P, K) answers t, less those of the control where there is one; NaN where the row failed.
    n_evaluations
        Model rows for each row to explain, its own predictions among them.
    failures
        Failed rows by position.
    sums
        (n, P, K) v(S) + v(complement), less the control's; None where they were not asked for.
    n_saved
        How many of the model rows were not spent, because the predictions were known.
    """

    predictions: FloatArray
    differences: FloatArray
    n_evaluations: int
    failures: dict[int, Failure] = field(default_factory=dict)
    sums: FloatArray | None = None
    n_saved: int = 0


@dataclass(frozen=True)
class Game:
    """A model and the background against which it is explained.

    Attributes
    ----------
    predict
        Model rows to (h, K) float64.
    mixer
        Holds the background rows.
    n_outputs
        K.
    block_rows
        Model rows in a call, at most (one row to explain may take up to three more).
    players
        Which player each column is; None where every column is one.
    """

    predict: Callable[[ModelInput], FloatArray]
    mixer: Mixer
    n_outputs: int
    block_rows: int
    players: Players | None = None

    def n_players(self, n_columns: int) -> int:
        """Return M of rows with F columns."""
        return n_columns if self.players is None else self.players.n_players

    def spread(self, members: BoolArray) -> BoolArray:
        """Return coalitions (n, M, P) of players as coalitions (n, F, P) of columns."""
        return members if self.players is None else self.players.spread(members)

    def mix(self, rows: Any, background_index: IntArray, members: BoolArray) -> ModelInput:
        """Return the hybrid rows of coalitions (n, M, P) of players, see `Mixer.mix`."""
        return self.mixer.mix(rows, background_index, self.spread(members))

    def inert(self, rows: Any) -> BoolArray:
        """Return (n, M) bool: players in which a row differs from no background row."""
        found = self.mixer.inert(rows)
        return found if self.players is None else self.players.whole(found)


def ask(
    game: Game, rows: RowBlock, questions: Questions, control: Control | None = None, *, sums: bool = False
) -> Answers:
    """Ask all pairs of all rows.

    Parameters
    ----------
    game
        The model, the background and the block size.
    rows
        n rows.
    questions
        P pairs for each of them; P may be 0, then only predictions are made.
    control
        What is taken off the model's answers.
    sums
        Whether the even part of the answers is wanted too.
    """
    asking = _Asking(game, rows, questions, control)
    n_rows, n_pairs = len(rows), questions.n_pairs
    n_own = max(1, -(-n_pairs // _pairs_in_block(game)))  # the row itself, once a call
    answers = Answers(
        np.full((n_rows, game.n_outputs), np.nan),
        np.full((n_rows, n_pairs, game.n_outputs), np.nan),
        2 * n_pairs + n_own,
        sums=np.full((n_rows, n_pairs, game.n_outputs), np.nan) if sums else None,
        n_saved=0 if rows.predictions is None else n_own,
    )
    rows_in_block = max(1, game.block_rows // (2 * n_pairs + 1))
    # Blocks of equal size rather than full ones and a small rest: a small call costs more a row.
    n_blocks = -(-n_rows // rows_in_block)
    edges = [n_rows * block // n_blocks for block in range(n_blocks + 1)] if n_blocks else []
    for start, stop in itertools.pairwise(edges):
        _ask_block(asking, slice(start, stop), answers)
    return answers


class _Asking(NamedTuple):
    """What is asked of whom."""

    game: Game
    rows: RowBlock
    questions: Questions
    control: Control | None


def _pairs_in_block(game: Game) -> int:
    return max(1, game.block_rows // 2)


def _ask_block(asking: _Asking, part: slice, answers: Answers) -> None:
    """Fill the answers of some rows; on an error of the model find the rows that it refuses."""
    try:
        _ask_pairs(asking, part, answers)
        return
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the row is reported, never dropped
        failure = Failure(type(error).__name__, str(error)[:2000])
    if part.stop - part.start == 1:
        answers.failures[part.start] = failure
        answers.predictions[part] = np.nan
        answers.differences[part] = np.nan
        return
    # Most often a row itself is refused, which its prediction shows at one evaluation a row.
    refused = _refused(asking, part, answers) if asking.questions.n_pairs else []
    cuts = refused or [(part.start + part.stop) // 2]
    starts = [part.start, *(cut + 1 for cut in refused)] if refused else [part.start, *cuts]
    for start, stop in zip(starts, [*cuts, part.stop], strict=True):
        if start < stop:
            _ask_block(asking, slice(start, stop), answers)


def _refused(asking: _Asking, part: slice, answers: Answers) -> list[int]:
    """Return the positions of the rows that the model refuses to predict, and note why."""
    game, rows, questions, _ = asking
    if rows.predictions is not None:
        return []
    index, members = questions.draw(part, slice(0, 0))
    try:
        game.predict(game.mix(rows.take(part), index, members))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        if part.stop - part.start == 1:
            answers.failures[part.start] = Failure(type(error).__name__, str(error)[:2000])
            return [part.start]
        middle = (part.start + part.stop) // 2
        halves = (slice(part.start, middle), slice(middle, part.stop))
        return [row for half in halves for row in _refused(asking, half, answers)]
    return []


def _ask_pairs(asking: _Asking, part: slice, answers: Answers) -> None:
    game, rows, questions, control = asking
    block, size = rows.take(part), _pairs_in_block(game)
    n_rows = len(block)
    not_finite = np.zeros(n_rows, dtype=np.intp)
    for start in range(0, max(1, questions.n_pairs), size):
        pairs = slice(start, min(start + size, questions.n_pairs))
        index, members = questions.draw(part, pairs)
        half = index.size
        if half or block.predictions is None:
            predicted = game.predict(game.mix(block, index, members))
        else:
            predicted = np.empty((0, game.n_outputs))
        shape = (*index.shape, game.n_outputs)
        upper, lower = predicted[:half].reshape(shape), predicted[half : 2 * half].reshape(shape)
        difference = upper - lower
        if control is not None:
            difference -= control.differences(part, index, members)
        answers.differences[part, pairs] = difference
        if answers.sums is not None:
            both = upper + lower
            if control is not None:
                both -= control.sums(part, index, members)
            answers.sums[part, pairs] = both
        answers.predictions[part] = predicted[2 * half :] if block.predictions is None else block.predictions
        bad = ~np.isfinite(difference)
        if bad.any():
            not_finite += bad.any(axis=2).sum(axis=1)
    not_finite += ~np.isfinite(answers.predictions[part]).all(axis=1)
    for row in np.flatnonzero(not_finite):
        position = part.start + int(row)
        shown = answers.predictions[position].tolist()
        answers.failures[position] = Failure(
            "NonFinitePrediction",
            f"the model returned NaN or infinity in {not_finite[row]} of {questions.n_pairs + 1} comparisons "
            f"for this row (its own prediction: {shown[0] if len(shown) == 1 else shown})",
        )
