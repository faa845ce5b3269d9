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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_shap.core.arrays import BoolArray, FloatArray, IntArray, ModelInput

__all__ = ["Answers", "Failure", "Game", "Mixer", "Questions", "RowBlock", "ask"]


class RowBlock(Protocol):
    """Rows to explain, in whatever storage the mixer understands."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, index: Any) -> Any:
        """Return a part of the rows."""
        ...


class Mixer(Protocol):
    """Makes hybrid rows; see `spark_shap.models.frames.Background.mix`."""

    def mix(self, rows: Any, background_index: IntArray, members: BoolArray) -> ModelInput:
        """Return ``2 n P + n`` model rows: v(S) of all pairs, v(complement) of all pairs, the rows."""
        ...

    def inert(self, rows: Any) -> BoolArray:
        """Return (n, M) bool: features in which a row differs from no background row."""
        ...


class Questions(Protocol):
    """The pairs that are asked of each row."""

    @property
    def n_pairs(self) -> int:
        """Pairs a row."""
        ...

    def draw(self, rows: slice, pairs: slice) -> tuple[IntArray, BoolArray]:
        """Return background rows (n, P) and coalitions (n, M, P) of a part of the rows and pairs."""
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
        (n, P, K) answers t; NaN where the row failed.
    n_evaluations
        Model rows spent on each row to explain.
    failures
        Failed rows by position.
    """

    predictions: FloatArray
    differences: FloatArray
    n_evaluations: int
    failures: dict[int, Failure] = field(default_factory=dict)


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
    """

    predict: Callable[[ModelInput], FloatArray]
    mixer: Mixer
    n_outputs: int
    block_rows: int


def ask(game: Game, rows: RowBlock, questions: Questions) -> Answers:
    """Ask all pairs of all rows.

    Parameters
    ----------
    game
        The model, the background and the block size.
    rows
        n rows.
    questions
        P pairs for each of them; P may be 0, then only predictions are made.
    """
    n_rows, n_pairs = len(rows), questions.n_pairs
    answers = Answers(
        np.full((n_rows, game.n_outputs), np.nan),
        np.full((n_rows, n_pairs, game.n_outputs), np.nan),
        2 * n_pairs + max(1, -(-n_pairs // _pairs_in_block(game))),
    )
    rows_in_block = max(1, game.block_rows // (2 * n_pairs + 1))
    # Blocks of equal size rather than full ones and a small rest: a small call costs more a row.
    n_blocks = -(-n_rows // rows_in_block)
    edges = [n_rows * block // n_blocks for block in range(n_blocks + 1)] if n_blocks else []
    for start, stop in itertools.pairwise(edges):
        _ask_block(game, rows, questions, slice(start, stop), answers)
    return answers


def _pairs_in_block(game: Game) -> int:
    return max(1, game.block_rows // 2)


def _ask_block(game: Game, rows: RowBlock, questions: Questions, part: slice, answers: Answers) -> None:
    """Fill the answers of some rows; on an error of the model find the rows that it refuses."""
    try:
        _ask_pairs(game, rows.take(part), questions, part, answers)
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
    refused = _refused(game, rows, questions, part, answers) if questions.n_pairs else []
    cuts = refused or [(part.start + part.stop) // 2]
    starts = [part.start, *(cut + 1 for cut in refused)] if refused else [part.start, *cuts]
    for start, stop in zip(starts, [*cuts, part.stop], strict=True):
        if start < stop:
            _ask_block(game, rows, questions, slice(start, stop), answers)


def _refused(game: Game, rows: RowBlock, questions: Questions, part: slice, answers: Answers) -> list[int]:
    """Return the positions of the rows that the model refuses to predict, and note why."""
    index, members = questions.draw(part, slice(0, 0))
    try:
        game.predict(game.mixer.mix(rows.take(part), index, members))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        if part.stop - part.start == 1:
            answers.failures[part.start] = Failure(type(error).__name__, str(error)[:2000])
            return [part.start]
        middle = (part.start + part.stop) // 2
        halves = (slice(part.start, middle), slice(middle, part.stop))
        return [row for half in halves for row in _refused(game, rows, questions, half, answers)]
    return []


def _ask_pairs(game: Game, block: RowBlock, questions: Questions, part: slice, answers: Answers) -> None:
    n_rows, size = len(block), _pairs_in_block(game)
    not_finite = np.zeros(n_rows, dtype=np.intp)
    for start in range(0, max(1, questions.n_pairs), size):
        pairs = slice(start, min(start + size, questions.n_pairs))
        index, members = questions.draw(part, pairs)
        predicted = game.predict(game.mixer.mix(block, index, members))
        half = index.size
        shape = (*index.shape, game.n_outputs)
        upper, lower = predicted[:half].reshape(shape), predicted[half : 2 * half].reshape(shape)
        difference = upper - lower
        answers.differences[part, pairs] = difference
        answers.predictions[part] = predicted[2 * half :]
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
