"""From a model and a background to a method that can explain rows.

Everything that is decided once is decided here, on the driver: the background is scored, the method
is chosen and the reason written down, the sampler is tuned on background rows. The result is immutable
and is all that a worker needs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.choice import choose
from spark_shap.closed_forms import closed_form
from spark_shap.core.attribution import Reference
from spark_shap.core.game import Game
from spark_shap.core.sampler import Sampler
from spark_shap.core.strata import BackgroundStrata
from spark_shap.errors import InputError, MethodError
from spark_shap.models.frames import Background, Rows
from spark_shap.models.scoring import score
from spark_shap.options import Options, grouping_of, parse_tolerance
from spark_shap.prepared import Method, Prepared, WholeBackground
from spark_shap.tuning import tune

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.surrogate import FittedBefore
    from spark_shap.models.predictor import Predictor
    from spark_shap.tuning import Forecast

__all__ = ["Method", "Prepared", "WholeBackground", "block_rows", "normalise_weights", "prepare"]

_BLOCK_ROWS = 8192
_HYBRIDS = 20_000  # for a surrogate when the number of rows is not known
_HYBRID_SHARE = 100  # evaluations of the rows for each of the surrogate's
_HYBRID_RANGE = (4_000, 200_000)
_SAMPLE_ROWS = 1024


def prepare(
    predictor: Predictor,
    rows: Rows,
    weights: NDArray[np.float64] | None,
    *,
    model: Any,
    options: Options,
    population: Rows | None = None,
    n_rows: int | None = None,
    whole: WholeBackground | None = None,
    before: FittedBefore | None = None,
) -> Prepared:
    """Score the background, choose the method and tune it.

    Parameters
    ----------
    predictor
        The model as a function.
    rows
        The background.
    weights
        (B,) weights, 0 or more, or None for equal ones.
    model
        The object behind the predictor, whose type may have a closed form.
    options
        How to explain.
    population
        Rows like those that will be explained, to fit a surrogate on; None for the background's own.
    n_rows
        How many rows will be explained, where that is known.
    whole
        The background, where `rows` are a sample of it: a closed form folds it where it is, any other method
        brings it here.
    before
        Where the surrogate is kept once it is fitted, if anywhere.

    Raises
    ------
    ModelError
        The model fails on the background, or its predictions there are not finite.
    MethodError
        The named method cannot explain this model.
    """
    choice = choose(model, predictor, rows.layout, len(rows) if whole is None else whole.n_rows, options)
    if choice.reading is None and whole is not None:
        rows, weights = whole.collect()
        whole = None
    background = Background(rows)
    share = normalise_weights(weights, len(rows))
    players, player_names = grouping_of(options.groups, rows.layout.names)
    game = Game(predictor, background, 1, block_rows(background, options.memory_mb), players)
    predictions = score(predictor, rows, game.block_rows)
    n_outputs = predictions.shape[1]
    names = predictor.output_names or _default_names(n_outputs)
    if len(set(names)) < len(names):
        raise MethodError(f"output_names: {', '.join(names)}: names must be unique")
    game = replace(game, predict=replace(predictor, output_names=names), n_outputs=n_outputs)
    base_values = share @ predictions
    rule = None if options.reasons is None else options.reasons.rule(player_names, names, options.n_evaluations)
    name, reason = choice.name, choice.reason
    method: Method
    forecast: Forecast | None = None
    if choice.reading is not None:
        method = closed_form(choice.reading, game, rows, share, None if whole is None else whole.fold)
        if whole is not None:
            # What the closed form leaves of a prediction is the same in every row, but for rounding.
            found = method.explain(rows, np.zeros(len(rows), dtype=np.uint64))
            base_values = np.asarray((found.predictions - found.values.sum(axis=1)).mean(axis=0))
    else:
        strata = BackgroundStrata.build(np.arange(len(rows)), share)
        reference = Reference(share, predictions, base_values, strata)
        method = Sampler(game, reference, options.n_evaluations, options.seed, 1.0, name == "exact", rule=rule)
        if name == "sampling":
            method = replace(method, tolerance=parse_tolerance(options.tolerance))
            tuned = tune(
                method,
                rows,
                predictions,
                population=population,
                n_hybrids=_n_hybrids(options, n_rows),
                refine_pairs=options.surrogate_pairs,
                before=before,
            )
            method, forecast = tuned.sampler, tuned.forecast
            reason = f"{reason}; {tuned.note}" if tuned.note else reason
    return Prepared(
        method,
        name,
        reason,
        rows.take(slice(0, _SAMPLE_ROWS)),
        len(rows) if whole is None else whole.n_rows,
        base_values,
        names,
        predictor.output_space,
        options,
        forecast,
        rule,
        player_names=player_names,
    )


def _n_hybrids(options: Options, n_rows: int | None) -> int:
    """Return the evaluations to spend on a surrogate: few next to what the rows will take."""
    if options.surrogate_evaluations is not None:
        return int(options.surrogate_evaluations)
    if n_rows is None:
        return _HYBRIDS
    return int(np.clip(n_rows * options.n_evaluations // _HYBRID_SHARE, *_HYBRID_RANGE))


def _default_names(n_outputs: int) -> tuple[str, ...]:
    return ("output",) if n_outputs == 1 else tuple(f"output_{index}" for index in range(n_outputs))


def normalise_weights(weights: NDArray[np.float64] | None, n_rows: int) -> NDArray[np.float64]:
    """Return (B,) weights of sum 1.

    Raises
    ------
    InputError
        Wrong length, a weight that is negative or not finite, or none that is positive.
    """
    if weights is None:
        return np.full(n_rows, 1.0 / n_rows)
    try:
        out = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"background weights: not numbers ({error})") from error
    if out.shape != (n_rows,):
        raise InputError(f"background weights: shape {out.shape} for {n_rows} background rows; pass ({n_rows},)")
    bad = np.flatnonzero(~(np.isfinite(out) & (out >= 0.0)))
    if len(bad):
        raise InputError(
            f"background weights: weight {out[bad[0]]} of row {bad[0]} is negative or not finite; weights are 0 or more"
        )
    if not out.any():
        raise InputError("background weights: all are 0; at least one row must count")
    return np.asarray(out / out.sum())


def block_rows(background: Background, memory_mb: int) -> int:
    """Return model rows in a call: what memory allows, and no more than a cache-friendly number."""
    width = sum(getattr(dtype, "itemsize", 16) + 2 for dtype in background.layout.dtypes)
    # Three copies live at once: the block, the model's own conversion of it, and the temporaries.
    return int(max(64, min(_BLOCK_ROWS, memory_mb * 2**20 // (3 * width))))
