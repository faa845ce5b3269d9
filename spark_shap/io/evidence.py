"""Rows of the tables for a report: of a run a bounded sample and counts, of an applicant the one row.

Nothing that is brought here grows with the number of applicants.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from spark_shap import schema
from spark_shap.dataframes import column, quoted
from spark_shap.errors import InputError
from spark_shap.io.references import collect_arrow
from spark_shap.io.samples import sampled_rows
from spark_shap.io.shards import optional_columns, read_committed, read_shards
from spark_shap.io.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

    from spark_shap.core.arrays import FloatArray
    from spark_shap.io.location import Location
    from spark_shap.io.runs import RunRecord
    from spark_shap.io.shards import Shard

__all__ = ["Explained", "RunTables"]

_SET = ["output", "code_set"]
_KINDS = 25  # of rejects; a report says how many more there are
_VALUES = (schema.OUTPUT, schema.PREDICTION, schema.BASE_VALUE)
_OTHER = {*schema.WIDE_VALUE_COLUMNS, *schema.LONG_VALUE_COLUMNS, schema.SURROGATE_VALUES, schema.RUN_ID, "ranking"}


class Explained(NamedTuple):
    """Attributions of n rows in one place.

    Attributes
    ----------
    rows
        Key columns, output, prediction, base_value and kept columns.
    values, errors
        (n, n_features) SHAP values and standard errors.
    """

    rows: pd.DataFrame
    values: FloatArray
    errors: FloatArray


class RunTables:
    """The tables of one run, to be read from.

    Parameters
    ----------
    spark
        Classic or Connect session.
    location
        Where the tables are.
    record
        The run; of several references the one that it speaks of is read.
    """

    def __init__(self, spark: SparkSession, location: Location, record: RunRecord) -> None:
        self._spark, self._location, self.record = spark, location, record
        settings = json.loads(record.config)
        self.key: tuple[str, ...] = tuple(settings["applicants"]["key"])
        self.layout: str = settings["output"]["layout"]
        self.sample_size = int(settings["output"].get("sample", 0))
        self._columns = (*record.feature_names, *(name for members in record.groups.values() for name in members))

    @cached_property
    def _shards(self) -> dict[int, Shard]:
        return read_shards(self._spark, self._location, self.record.run_id)

    def _table(self, name: str) -> DataFrame:
        where, features = (self._spark, self._location, name, self.record.run_id), self.record.feature_names
        if name in (schema.ATTRIBUTIONS, schema.REJECTS):
            several = optional_columns(surrogate_values=False, ranking=False, references=True)
            found = read_committed(*where, self._shards, struct_fields=features, optional=several)
            return self._of_one(found, several) if schema.has_references(found.columns) else found
        found = read_table(*where, struct_fields=features)
        several = (schema.REFERENCE,)
        return self._of_one(found, several) if {*several} & {*found.columns} - {*self.key} else found

    def _of_one(self, table: DataFrame, columns: Sequence[str]) -> DataFrame:
        """Return the lines against one of several references, which the run's record speaks of."""
        reference = F.col(schema.REFERENCE)
        return table.where(reference.isNull() | (reference == self.record.reference_name)).drop(*columns)

    def _table_if_any(self, name: str) -> DataFrame | None:
        try:
            return self._table(name)
        except InputError:  # the run did not write it
            return None

    def summary(self) -> pd.DataFrame:
        """Return the run's rows of the table of summaries.

        Raises
        ------
        InputError
            There are none, or an older version wrote them.
        """
        table = self._table(schema.SUMMARY)
        missing = [name for name in schema.SUMMARY_COLUMNS if name not in table.columns]
        if missing:
            raise InputError(
                f"run {self.record.run_id}: its summary has no column {missing[0]!r}, an older version wrote it; "
                "start the run again"
            )
        return _frame(table)

    def curves(self) -> pd.DataFrame | None:
        """Return the run's rows of the table of dependence; None where it made none."""
        table = self._table_if_any(schema.DEPENDENCE)
        found = None if table is None else _frame(table)
        return found if found is not None and len(found) else None

    def sample(self, size: int) -> Explained:
        """Return about so many explained rows, drawn by the hash of their keys, of all outputs."""
        table = self._table(schema.ATTRIBUTIONS)
        return self._explained(sampled_rows(table, key=self.key, size=size, n_rows=self.record.rows_explained))

    def applicant(self, key: Mapping[str, str]) -> Explained:
        """Return one applicant's rows, of all outputs.

        Raises
        ------
        InputError
            The key does not name the run's key columns, or no explained row has it.
        """
        if set(key) != set(self.key):
            raise InputError(f"--key: give {' and '.join(f'{name}=VALUE' for name in self.key)}, not {', '.join(key)}")
        found = self._explained(self._table(schema.ATTRIBUTIONS).where(_is(key)))
        if not len(found.rows):
            said = ", ".join(f"{name}={value}" for name, value in key.items())
            raise InputError(
                f"run {self.record.run_id} explained no row with {said}; it may be in the table of rejects"
            )
        return found

    def _explained(self, table: DataFrame) -> Explained:
        """Bring attributions here, in the order of their keys, from either layout."""
        known = [name for name in (*self.key, *_VALUES) if name in table.columns]
        kept = [name for name in table.columns if name not in {*known, *_OTHER}]
        names = self.record.feature_names
        order = [column(table, name) for name in (*self.key, schema.OUTPUT)]
        if self.layout == "wide":
            cells: list[Column] = []
            for struct in (schema.SHAP_VALUES, schema.STD_ERRORS):
                cells += [column(table, struct).getField(name).cast("double") for name in names]
            # Numbered: a feature may have the name of a key.
            numbered = [cell.alias(f"_{index}") for index, cell in enumerate(cells)]
            found = _frame(table.select(*(column(table, name) for name in (*known, *kept)), *numbered).orderBy(*order))
            numbers = found.iloc[:, len(known) + len(kept) :].to_numpy(dtype=float)
            rows = found.iloc[:, : len(known) + len(kept)]
            return Explained(rows, numbers[:, : len(names)], np.nan_to_num(numbers[:, len(names) :]))
        long = _frame(table.orderBy(*order))
        place = pd.Categorical(long[schema.FEATURE], categories=names).codes
        long = long.assign(_place=place).sort_values([*self.key, schema.OUTPUT, "_place"], kind="stable")
        values, errors = (long[name].to_numpy(dtype=float) for name in (schema.SHAP_VALUE, schema.STD_ERROR))
        rows = long.iloc[:: len(names)][[*known, *kept]].reset_index(drop=True)
        return Explained(rows, values.reshape(-1, len(names)), np.nan_to_num(errors.reshape(-1, len(names))))

    def features(self, rows: pd.DataFrame, key: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Return the features' values of explained rows as far as the run's sample or its kept columns have them.

        Parameters
        ----------
        rows
            As `sample` and `applicant` give them.
        key
            Of the applicant, where they are of one.

        Returns
        -------
        DataFrame
            As many rows, and the features, and members of groups of features, that are known of any.
        """
        names = self._columns
        known = rows[[name for name in names if name in rows.columns]].reset_index(drop=True)
        table = self._table_if_any(schema.SAMPLE) if self.sample_size else None
        if table is None:
            return known
        stored = _frame(table if key is None else table.where(_is(key)))
        values = {key: json.loads(text) for key, text in zip(_texts(stored, self.key), stored["row"], strict=True)}
        lines = [values.get(key, {}) for key in _texts(rows, self.key)]
        more = {name: _typed([line.get(name) for line in lines]) for name in names if name not in known}
        more = {name: value for name, value in more.items() if value.notna().any()}
        return pd.concat([known, pd.DataFrame(more)], axis=1) if more else known

    def rejects(self) -> tuple[pd.DataFrame, int]:
        """Return kinds of rejects, the most frequent first, with their number n; and how many kinds there are."""
        table = self._table_if_any(schema.REJECTS)
        names = ["stage", "error_class", "message"]
        if table is None:
            return pd.DataFrame(columns=[*names, "n"]), 0
        counts = table.groupBy(*names).agg(F.count(F.lit(1)).alias("n"))
        return _frame(counts.orderBy(F.col("n").desc(), *names).limit(_KINDS)), counts.count()

    def reasons(self) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Return counts of reasons by name, and of stable ranks; None where the run gave no reasons."""
        table = self._table_if_any(schema.REASONS)
        if table is None or table.isEmpty():
            return None
        tenth = F.least(F.floor(F.col("p_swap") * 10), F.lit(4))
        bins = [F.sum(F.when(tenth == index, 1).otherwise(0)).alias(f"p{index}") for index in range(5)]
        stable = F.sum(F.when(F.col("stable"), 1).otherwise(0)).alias("n_stable")
        by_rank = table.groupBy(*_SET, "rank").agg(F.count(F.lit(1)).alias("n"), stable, *bins)
        return self._counted(table), _frame(by_rank).sort_values([*_SET, "rank"])

    def _counted(self, table: DataFrame) -> pd.DataFrame:
        """Return how many applicants have each reason, by the first rank at which they have it."""
        named = table.withColumn("name", F.coalesce("code", "feature"))
        by_name = named.groupBy(*_SET, "name", "rank").agg(
            F.min("text").alias("text"),
            F.max("text").alias("last_text"),
            F.count(F.lit(1)).alias("n"),
            F.min("feature").alias("_first"),
            F.max("feature").alias("_last"),
        )
        found = _frame(by_name)
        alike = found.groupby([*_SET, "name"], dropna=False)  # without a code map there is no code set
        shared = alike["_first"].transform("min") != alike["_last"].transform("max")
        found = found.drop(columns=["_first", "_last"]).assign(shared=shared)
        if not shared.any():
            return found
        # An applicant may have such a reason more than once.
        keys = [F.col(quoted(name)).alias(f"_{index}") for index, name in enumerate(self.key)]
        best = named.groupBy(*keys, *_SET, "name").agg(F.min("rank").alias("rank"))
        once = _frame(best.groupBy(*_SET, "name", "rank").agg(F.count(F.lit(1)).alias("n")))
        counts = found.drop(columns="n").merge(once, on=[*_SET, "name", "rank"], how="left")
        return counts.assign(n=counts["n"].fillna(0).astype(int))

    def reasons_of(self, key: Mapping[str, str]) -> pd.DataFrame | None:
        """Return one applicant's reasons; None where the run gave no reasons."""
        table = self._table_if_any(schema.REASONS)
        if table is None:
            return None
        return _frame(table.where(_is(key)).orderBy("output", "code_set", "rank").drop(schema.RUN_ID))


def _is(key: Mapping[str, str]) -> Column:
    """Return whether a row has a key, whose parts are given as text, whatever their types."""
    whole = F.lit(True)
    for name, value in key.items():
        whole = whole & (F.col(quoted(name)).cast("string") == value)
    return whole


def _texts(rows: pd.DataFrame, key: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(rows[name].astype(str) for name in key), strict=True))


def _typed(values: list[Any]) -> pd.Series:
    """Return a column as numbers where it has no others; JSON writes what is no number as text."""
    numbers = [np.nan if value in ("NaN", "Infinity", "-Infinity") else value for value in values]
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in numbers):
        return pd.Series(numbers, dtype=float)
    return pd.Series(values, dtype=object)


def _frame(df: DataFrame) -> pd.DataFrame:
    found: pd.DataFrame = collect_arrow(df).to_pandas()
    return found
