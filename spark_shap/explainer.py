"""The Python interface: the same explainer for arrays, pandas frames and Spark tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.dataframes import is_spark_frame
from spark_shap.engine.keys import content_hashes, given_keys
from spark_shap.errors import InputError, ModelError, UsageError
from spark_shap.explanation import Explanation
from spark_shap.models.conform import conform
from spark_shap.models.frames import background_rows
from spark_shap.models.predictor import as_predictor
from spark_shap.prepare import Options, Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

__all__ = ["Explainer", "Explanation"]


class Explainer:
    """Shapley values of a model's predictions against a background population.

    Features are treated as independent of each other: v(S) is the weighted mean over background rows z
    of f(x on S, z elsewhere), as in `shap.SamplingExplainer` (Strumbelj and Kononenko 2010; Lundberg and
    Lee 2017).

    Parameters
    ----------
    model
        A fitted estimator with `predict_proba`, `decision_function` or `predict`, or a function from
        rows (n, M) to (n,) or (n, K).
    background
        (B, M) pandas frame, numpy array or Spark DataFrame. The model is called with exactly its columns,
        order and dtypes.
    weights
        (B,) weights of the background rows, 0 or more, or the name of a background column that holds
        them (which then is no feature).
    background_size
        For a Spark background: how many rows to take (1,000 by default), chosen by the hash of their
        content or key, so that the choice does not depend on partitions; or ``"all"``.
    background_key
        For a Spark background: key columns for that choice; they are no features.
    n_evaluations
        Model evaluations a row, at most.
    seed
        Integer; with the row's key it fixes every random choice.
    output_space
        ``"probability"`` (default for classifiers), ``"margin"`` or ``"prediction"`` (default otherwise).
    method
        ``"auto"``, ``"sampling"``, ``"exact"`` or ``"linear"``. A method that cannot do the job is an error.
    feature_names
        Names of an array's columns.
    output_names
        Names of the outputs of a function.
    memory_mb
        Megabytes of hybrid rows a worker may hold.

    Raises
    ------
    UsageError, InputError, ModelError
        Naming the value, the place and the way out.
    """

    def __init__(
        self,
        model: Any,
        background: Any,
        *,
        weights: Any = None,
        background_size: int | str | None = None,
        background_key: str | Sequence[str] | None = None,
        n_evaluations: int = 512,
        seed: int = 0,
        output_space: str | None = None,
        method: str = "auto",
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        memory_mb: int = 256,
    ) -> None:
        options = Options(method, n_evaluations, seed, memory_mb)
        names = None if output_names is None else _names(output_names)
        on_spark = is_spark_frame(background)
        if not on_spark and (background_size is not None or background_key is not None):
            raise UsageError(
                "background_size, background_key: they choose rows of a Spark background, and this is none"
            )
        if feature_names is not None and not isinstance(background, np.ndarray):
            raise UsageError("feature_names: they name an array's columns; this background has names of its own")
        predictor = as_predictor(model, output_space, names)
        if on_spark:
            size = 1000 if background_size is None else background_size
            background, weights = _from_spark(background, background_key, size, weights, int(seed))
        elif isinstance(weights, str):
            background, weights = _split_weights(background, weights)
        rows = background_rows(background, feature_names)
        self._prepared = prepare(predictor, rows, weights, model=model, options=options)

    @property
    def prepared(self) -> Prepared:
        """The method with everything it needs; immutable."""
        return self._prepared

    @property
    def method(self) -> str:
        """The method chosen."""
        return self._prepared.method_name

    @property
    def method_reason(self) -> str:
        """Why it was chosen."""
        return self._prepared.method_reason

    @property
    def base_values(self) -> NDArray[np.float64]:
        """(K,) weighted mean prediction of the background."""
        return self._prepared.base_values

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the M features."""
        return self._prepared.feature_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the K outputs."""
        return self._prepared.output_names

    def __call__(self, X: Any, *, key: str | Sequence[str] | Any = None) -> Explanation:
        """Explain rows in memory.

        Parameters
        ----------
        X
            (n, M) numpy array, or pandas frame with the background's columns in any order.
        key
            What identifies a row and, with the seed, fixes its draws: a column of X, several, or (n,)
            values. By default the row's own content, so that equal rows get equal values.

        Returns
        -------
        Explanation

        Raises
        ------
        InputError, ModelError
            A row cannot be explained; the first such row is named.
        """
        prepared = self._prepared
        rows, problems = conform(X, prepared.background.layout)
        if problems:
            position = min(problems)
            raise InputError(f"row {position} (and {len(problems) - 1} more): {problems[position]}")
        hashes = content_hashes(rows) if key is None else given_keys(X, key, len(rows))
        size = prepared.rows_in_memory
        found = [
            prepared.explain(rows.take(slice(start, start + size)), hashes[start : start + size])
            for start in range(0, max(1, len(rows)), size)
        ]
        failures = [
            (index * size + row, text) for index, part in enumerate(found) for row, text in part.failures.items()
        ]
        if failures:
            position, failure = min(failures, key=lambda item: item[0])
            raise ModelError(
                f"model: it fails on row {position} (and {len(failures) - 1} more) with {failure.error_class}: "
                f"{failure.message}"
            )
        one = len(prepared.output_names) == 1
        values, errors = (np.concatenate([getattr(part, name) for part in found]) for name in ("values", "std_errors"))
        predictions = np.concatenate([part.predictions for part in found])
        base = np.broadcast_to(prepared.base_values, predictions.shape)
        return Explanation(
            values[:, :, 0] if one else values,
            errors[:, :, 0] if one else errors,
            base[:, 0] if one else base,
            predictions[:, 0] if one else predictions,
            _features(X, prepared.feature_names),
            prepared.feature_names,
            prepared.output_names,
            np.concatenate([part.n_evaluations for part in found]),
            prepared.method_name,
            prepared.method_reason,
            prepared.output_space,
        )

    def explain(
        self,
        df: DataFrame,
        *,
        key: str | Sequence[str],
        keep: str | Sequence[str] = (),
        partitions: int | None = None,
    ) -> DataFrame:
        """Explain a Spark DataFrame, lazily.

        Parameters
        ----------
        df
            Rows with the background's columns, classic or Spark Connect.
        key
            Column or columns that identify a row; with the seed they fix its draws.
        keep
            Columns to carry along, such as segments.
        partitions
            Spread the rows by key over so many partitions first; None leaves them as they are.

        Returns
        -------
        DataFrame
            One line a row and output: key columns, output, prediction, base_value, shap_values (a struct
            of features), std_errors, n_evaluations, converged, additivity_gap, kept columns, and error:
            null, or why the row could not be explained. Write it before you sort or filter it: every
            evaluation of the plan explains the rows again.
        """
        from spark_shap.engine.explain import explain_frame
        from spark_shap.engine.worker import Columns

        if not is_spark_frame(df):
            raise UsageError(f"df: a {type(df).__name__} is no Spark DataFrame; call explainer(X) for rows in memory")
        columns = Columns(_names(key), _names(keep))
        return explain_frame(df, self._prepared, columns=columns, partitions=partitions)

    def summarize(
        self, rows: DataFrame, *, by: str | Sequence[str | Sequence[str]] = (), weight: str | None = None
    ) -> DataFrame:
        """Fold explained rows into per-feature aggregates.

        Parameters
        ----------
        rows
            What `explain` returned; better, what was written of it and read back.
        by
            Segmentations: each a kept column, or several for their combinations. The whole is always there.
        weight
            Kept column with the rows' weights.

        Returns
        -------
        DataFrame
            One line a segment, output and feature.
        """
        from spark_shap.engine.aggregate import summarize

        return summarize(rows, by=(by,) if isinstance(by, str) else by, weight=weight)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _from_spark(
    frame: Any, key: str | Sequence[str] | None, size: int | str, weights: Any, seed: int
) -> tuple[Any, NDArray[np.float64] | None]:
    from spark_shap.io.references import sample_by_hash, to_background

    keys = None if key is None else _names(key)
    if size != "all" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise UsageError(f"background_size: {size!r} is neither a positive integer nor 'all'")
    if weights is not None and not isinstance(weights, str):
        raise UsageError("weights: for a Spark background name the column that holds them")
    # The whole too is put in the order of the hash: the order of background rows is part of a draw.
    frame = sample_by_hash(frame, key=keys, size=None if size == "all" else int(size), seed=seed)
    left_out = {*(keys or ()), weights}
    return to_background(frame, [name for name in frame.columns if name not in left_out], weights)


def _split_weights(background: Any, weights: str) -> tuple[Any, NDArray[np.float64]]:
    if weights not in getattr(background, "columns", ()):
        raise InputError(f"weights: the background has no column {weights!r}")
    return background.drop(columns=[weights]), background[weights].to_numpy()


def _features(rows: Any, names: Sequence[str]) -> Any:
    """Return the feature columns alone, in the background's order."""
    if isinstance(rows, np.ndarray):
        return rows
    place = {str(name): index for index, name in enumerate(rows.columns)}
    return rows.iloc[:, [place[name] for name in names]]
