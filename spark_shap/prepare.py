"""From a model and a background to a method that can explain rows.

Everything that is decided once is decided here, on the driver: the background is scored, the method
is chosen and the reason written down, the sampler is tuned on background rows. The result is immutable
and is all that a worker needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal  # a number of coalitions is beyond floats from 1,024 features on
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from spark_shap.core.attribution import Attributions, Reference, Sampler
from spark_shap.core.exact import enumerated_pairs
from spark_shap.core.game import Game
from spark_shap.core.linear import LinearMethod
from spark_shap.core.pilot import choose_ridge, importance, pilot_rows, run_pilot
from spark_shap.core.sampling import pairs_within
from spark_shap.core.strata import BackgroundStrata, bisection_order
from spark_shap.errors import InputError, MethodError
from spark_shap.models.conform import encode
from spark_shap.models.frames import Background, Rows
from spark_shap.models.linear import linear_weights, numbers
from spark_shap.models.scoring import score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.models.predictor import Predictor

__all__ = ["METHODS", "MethodName", "Options", "Prepared", "block_rows", "prepare"]

MethodName = Literal["auto", "sampling", "exact", "linear"]
METHODS: tuple[str, ...] = get_args(MethodName)

_BLOCK_ROWS = 8192
_MAX_ENUMERATION = 2**24  # the answers of one row then take 64 MB an output
_PROBE_TOLERANCE, _FLOAT32_TOLERANCE = 1e-8, 1e-6


@dataclass(frozen=True)
class Options:
    """How to explain.

    Attributes
    ----------
    method
        One of `METHODS`.
    n_evaluations
        Model evaluations a row, at most, for sampled rows.
    seed
        Any integer.
    memory_mb
        Megabytes of hybrid rows that one worker may hold.
    """

    method: str = "auto"
    n_evaluations: int = 512
    seed: int = 0
    memory_mb: int = 256

    def __post_init__(self) -> None:
        """Check the values."""
        if self.method not in METHODS:
            raise MethodError(f"method: {self.method!r} is not known; choose one of {', '.join(map(repr, METHODS))}")
        for name, least in (("n_evaluations", 5), ("memory_mb", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise MethodError(f"{name}: {value!r} is not an integer of at least {least}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)):
            raise MethodError(f"seed: {self.seed!r} is not an integer")


@dataclass(frozen=True)
class Prepared:
    """A model, a background and a method, ready to explain rows.

    Attributes
    ----------
    method
        What explains.
    method_name, method_reason
        Which it is, and why it was chosen.
    background
        The background rows, (B, M).
    weights
        (B,) their weights, sum 1.
    base_values
        (K,) weighted mean prediction of the background.
    output_names, output_space
        What is explained.
    options
        How.
    """

    method: Sampler | LinearMethod
    method_name: str
    method_reason: str
    background: Background
    weights: NDArray[np.float64]
    base_values: NDArray[np.float64]
    output_names: tuple[str, ...]
    output_space: str
    options: Options

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the M features."""
        return self.background.layout.names

    @property
    def rows_in_memory(self) -> int:
        """Rows to explain in one go."""
        return self.method.rows_in_memory(len(self.feature_names))

    def explain(self, rows: Rows, row_hashes: NDArray[np.uint64]) -> Attributions:
        """Explain n rows with the hashes of their keys."""
        return self.method.explain(rows, row_hashes)


def prepare(
    predictor: Predictor, rows: Rows, weights: NDArray[np.float64] | None, *, model: Any, options: Options
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

    Raises
    ------
    ModelError
        The model fails on the background, or its predictions there are not finite.
    MethodError
        The named method cannot explain this model.
    """
    background = Background(rows)
    share = normalise_weights(weights, len(rows))
    game = Game(predictor, background, 1, block_rows(background, options.memory_mb))
    predictions = score(predictor, rows, game.block_rows)
    n_outputs = predictions.shape[1]
    names = predictor.output_names or _default_names(n_outputs)
    if len(set(names)) < len(names):
        raise MethodError(f"output_names: {', '.join(names)}: names must be unique")
    game = replace(game, predict=replace(predictor, output_names=names), n_outputs=n_outputs)
    base_values = share @ predictions
    name, reason, slopes = _choose(background, predictor, model, options)
    method: Sampler | LinearMethod
    if name == "linear" and slopes is not None:
        method = LinearMethod(game, numbers, slopes, share @ numbers(rows))
        _verify_linear(method, rows, base_values)
    else:
        strata = BackgroundStrata.build(np.arange(len(rows)), share)
        reference = Reference(share, base_values, strata)
        method = Sampler(game, reference, options.n_evaluations, options.seed, 1.0, exact_only=name == "exact")
        if name == "sampling":
            method = _tune(method, rows, predictions)
    return Prepared(method, name, reason, background, share, base_values, names, predictor.output_space, options)


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


def _choose(
    background: Background, predictor: Predictor, model: Any, options: Options
) -> tuple[str, str, NDArray[np.float64] | None]:
    """Return the method's name, the reason for it, and the slopes of a linear model."""
    slopes = linear_weights(model, predictor.output_space, background.layout)
    n_background, n_features = len(background.rows), len(background.layout.names)
    n_evaluations = 2 * enumerated_pairs(n_features, n_background) + 1
    asked = f"method={options.method!r} was asked for"
    if options.method == "linear" or (options.method == "auto" and slopes is not None):
        if slopes is None:
            raise MethodError(
                f"method: 'linear' needs a linear model of scikit-learn on numeric features, explained where it is "
                f"linear; a {type(model).__name__} in output space {predictor.output_space!r} is not; use 'auto'"
            )
        reason = asked if options.method == "linear" else f"{type(model).__name__} is linear in its features"
        return "linear", reason, slopes
    if options.method == "exact":
        if n_evaluations > _MAX_ENUMERATION:
            raise MethodError(
                f"method: 'exact' would need {Decimal(n_evaluations):.2e} evaluations a row for {n_features} features "
                f"and {n_background} background rows; use 'sampling', or a smaller background"
            )
        return "exact", asked, None
    if options.method == "auto" and n_evaluations <= options.n_evaluations:
        return "exact", f"enumeration takes {n_evaluations} evaluations a row, within the budget", None
    reason = (
        f"no closed form for a {type(model).__name__} in output space {predictor.output_space!r}, and enumeration "
        f"would take {Decimal(n_evaluations):.3g} evaluations a row"
    )
    return "sampling", asked if options.method == "sampling" else reason, None


def _verify_linear(method: LinearMethod, rows: Rows, base_values: NDArray[np.float64]) -> None:
    """Check our reading of the slopes against the model's own predictions."""
    probe = rows.take(slice(0, 256))
    found = method.explain(probe, np.zeros(len(probe), dtype=np.uint64))
    gap = np.abs(found.values.sum(axis=1) + base_values - found.predictions).max()
    scale = np.abs(found.predictions).max() + 1.0
    # On single-precision columns the model itself calculates in single precision.
    narrow = any(dtype.kind == "f" and dtype.itemsize < 8 for dtype in rows.layout.blocks)
    if not gap <= (_FLOAT32_TOLERANCE if narrow else _PROBE_TOLERANCE) * scale:
        raise MethodError(
            f"method: 'linear' does not reproduce the model's own predictions (off by {gap:.2e}); use method='sampling'"
        )


def _tune(method: Sampler, rows: Rows, predictions: NDArray[np.float64]) -> Sampler:
    """Set the ridge penalty and the order of the background from a pilot on background rows."""
    n_features = len(rows.columns)
    if n_features < 2 or pairs_within(method.n_evaluations) < 2:
        return method
    positions, hashes = pilot_rows(method.seed, len(rows))
    pairs, answers = run_pilot(method.game, rows.take(positions), hashes, len(rows))
    encoded = encode(rows, predictions.mean(axis=1))
    weight = importance(pairs, answers, encoded[positions], encoded)
    order = bisection_order(encoded * weight)
    strata = BackgroundStrata.build(order, method.reference.weights)
    ridge = choose_ridge(pairs, answers, method.reference.base_values)
    return replace(method, reference=replace(method.reference, strata=strata), ridge=ridge)
