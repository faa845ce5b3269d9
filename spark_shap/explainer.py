"""The Python interface: the same explainer for arrays, pandas frames and Spark tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.audit.code_file import with_codes
from spark_shap.audit.reasons import reason_spec
from spark_shap.backgrounds import given_background, names_of, plan_on_spark, population_rows
from spark_shap.dataframes import is_spark_frame
from spark_shap.engine.spark_ml_model import accepted_values, predictor_of
from spark_shap.errors import UsageError
from spark_shap.explanation import Explanation, Interactions
from spark_shap.in_memory import explain_rows, interact_rows
from spark_shap.models.frames import background_rows
from spark_shap.options import Options
from spark_shap.plan import Plan, make_plan
from spark_shap.prepare import Prepared, prepare
from spark_shap.probe import probe_rows
from spark_shap.reasons import Reasons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame


__all__ = ["Explainer", "Explanation", "Interactions", "Reasons"]


class Explainer:
    """Shapley values of a model's predictions against a background population.

    Features are treated as independent of each other: v(S) is the weighted mean over background rows z
    of f(x on S, z elsewhere), as in `shap.SamplingExplainer` (Strumbelj and Kononenko 2010; Lundberg and
    Lee 2017).

    Parameters
    ----------
    model
        A fitted estimator, a Booster, a network, a Spark ML model, or a function from rows (n, M) to (n,) or (n, K).
    background
        (B, M) pandas frame, numpy array or Spark DataFrame. The model is called with exactly its columns,
        order and dtypes.
    weights
        (B,) weights of the background rows, 0 or more, or the name of a background column that holds
        them (which then is no feature).
    background_size
        For a Spark background: how many rows to take (1,000 by default), chosen by the hash of their content or key;
        or ``"all"``, which linear and tree models fold on the workers, and other models bring to the driver.
    background_key
        Its key columns, for that choice; they are no features.
    n_evaluations
        Model evaluations a row, at most.
    tolerance
        Standard error at which a row is done: a number in units of the output, or a share of the row's
        prediction less the base value, as ``"2%"``. Rows then take as many evaluations as they need, within
        `n_evaluations`.
    surrogate_evaluations
        Model evaluations spent here, once, on a surrogate that lowers the error of every row; None for 20,000. With 0
        small trees or a line are fitted to the pilot's 6,000 answers, which are asked anyway.
    surrogate_pairs
        Where the output is a probability the surrogate may have a finer part, sampled at no cost in model
        evaluations: so many pairs for each pair of the model. 0: none; 8 suits slow models.
    population
        Rows like those that will be explained, to fit the surrogate on: any number of rows with the
        background's columns. The background's own rows by default. It can only lower errors, not bias values.
    seed
        Integer; with the row's key it fixes every random choice.
    output_space
        ``"probability"`` (default for classifiers), ``"margin"`` or ``"prediction"`` (default otherwise).
    method
        ``"auto"``, ``"sampling"``, ``"exact"``, ``"linear"`` or ``"tree"``. A method that cannot do
        the job is an error.
    feature_names, output_names
        Names of an array's columns, and of the outputs of a function.
    memory_mb
        Megabytes of hybrid rows a worker may hold.
    reasons
        What is to be said of each row, see `Reasons`; rows whose reasons are not stable take more evaluations.
    groups
        Features that are one player together, by the group's name: they are masked as one, and the group has one
        value, its Shapley value in the game of the groups and the other features. `Explanation.summed` adds values
        up instead.

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
        tolerance: float | str | None = None,
        surrogate_evaluations: int | None = None,
        surrogate_pairs: int = 4,
        population: Any = None,
        seed: int = 0,
        output_space: str | None = None,
        method: str = "auto",
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        memory_mb: int = 256,
        reasons: Reasons | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        options = Options(
            method,
            n_evaluations,
            seed,
            memory_mb,
            tolerance,
            surrogate_evaluations,
            surrogate_pairs,
            reasons=reasons,
            groups=None if groups is None else {name: names_of(members) for name, members in groups.items()},
        )
        if feature_names is not None and not isinstance(background, np.ndarray):
            raise UsageError("feature_names: they name an array's columns; this background has names of its own")
        predictor = predictor_of(model, output_space, None if output_names is None else names_of(output_names))
        choice = (background_key, background_size)
        background, weights, whole = given_background(background, weights, choice, int(seed))
        rows = background_rows(background, feature_names)
        alike = None if population is None else population_rows(population, rows)
        prepared = prepare(predictor, rows, weights, model=model, options=options, population=alike, whole=whole)
        self._prepared, self._codes = with_codes(replace(prepared, accepted=accepted_values(model)))

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
        return explain_rows(self._prepared, X, key, self._codes)

    def interactions(self, X: Any, *, key: str | Sequence[str] | Any = None) -> Interactions:
        """Return pairwise Shapley interaction values of rows in memory.

        Parameters
        ----------
        X, key
            As for explaining: the same rows and keys get the same draws.

        Returns
        -------
        Interactions
            `values` (n, M, M), symmetric: off the diagonal half the Shapley interaction index of two features
            (Grabisch and Roubens 1999), the convention of TreeExplainer; row i sums to feature i's SHAP value.
            Exact where values are exact; sampled within `n_evaluations`, with standard errors, otherwise.
        """
        return interact_rows(self._prepared, X, key)

    def plan(self, X: Any) -> Plan:
        """Time a few rows and say what explaining all of them takes; explains nothing else.

        Parameters
        ----------
        X
            Rows in memory, or a Spark DataFrame (its rows are counted, and every core of its session is timed).

        Returns
        -------
        Plan
            Method and why, evaluations a row, expected standard error, seconds a row and in all, and which share
            of them is whose; `lines()` are for reading.
        """
        prepared = self._prepared
        if is_spark_frame(X):
            return plan_on_spark(prepared, X)
        frame = X if hasattr(X, "columns") else np.asarray(X)
        return make_plan(prepared, probe_rows(prepared, frame[:256]), n_rows=len(frame), parallelism=1, job_seconds=0.0)

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
            One line a row and output: key columns, output, prediction, base_value, shap_values (a struct of features),
            std_errors, n_evaluations, converged, additivity_gap, kept columns, and error: null, or why there are no
            values. Write it before you sort or filter it: every evaluation explains the rows again.
        """
        from spark_shap.engine.explain import explain_frame
        from spark_shap.engine.worker import Columns

        if not is_spark_frame(df):
            raise UsageError(f"df: a {type(df).__name__} is no Spark DataFrame; call explainer(X) for rows in memory")
        columns = Columns(names_of(key), names_of(keep))
        return explain_frame(df, self._prepared, columns=columns, partitions=partitions)

    def summarize(
        self,
        rows: DataFrame,
        *,
        by: str | Sequence[str | Sequence[str]] = (),
        weight: str | None = None,
        sampled_share: float = 1.0,
    ) -> DataFrame:
        """Fold explained rows into per-feature aggregates, one line a segment, output and feature.

        Parameters
        ----------
        rows
            What `explain` returned; better, what was written of it and read back.
        by
            Segmentations: each a kept column, or several for their combinations. The whole is always there.
        weight
            Kept column with the rows' weights.
        sampled_share
            Share of the portfolio that the rows are a random sample of; 1 where they are all of it.
        """
        from spark_shap.engine.aggregate import summarize

        return summarize(rows, by=(by,) if isinstance(by, str) else by, weight=weight, sampled_share=sampled_share)

    def reasons(self, rows: DataFrame, *, key: str | Sequence[str]) -> DataFrame:
        """Return the reasons of rows that `explain` explained, as they were written and read back.

        Key columns, then as `Explanation.reasons` has them: one line a row, rank and code set.
        """
        from spark_shap.engine.reasons import reason_frame

        spec = reason_spec(self._prepared, self._codes)
        if spec is None:
            raise UsageError("reasons: none were asked for; make the explainer with reasons=Reasons(harm='high')")
        return reason_frame(rows, spec, key=names_of(key))
