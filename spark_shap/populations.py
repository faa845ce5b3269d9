"""Reference populations as rows: opened where they are, sampled by the hash of their keys, brought to the driver.

A population that goes by the model's scores is looked for among rows in the order of those hashes: so many are scored
that enough belong to it, so that it is the same however many are scored at a time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.backgrounds import SparkBackground
from spark_shap.errors import InputError
from spark_shap.io.hash_samples import HashSample, collect_sample
from spark_shap.io.references import background_columns, background_of
from spark_shap.io.sources import read_source, where_rows
from spark_shap.models.conform import as_declared
from spark_shap.models.frames import Background, background_rows
from spark_shap.models.scoring import row_scores
from spark_shap.prepare import block_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame, SparkSession

    from spark_shap.models.adapters.mlflow import InputColumns
    from spark_shap.models.predictor import Predictor
    from spark_shap.references import Reference

__all__ = ["POPULATION_ROWS", "Drawing", "Drawn", "Scorer", "draw", "open_reference"]

_log = logging.getLogger(__name__)
_BACKGROUND_ROWS = 1000
POPULATION_ROWS = 5000  # applicants that a surrogate is fitted on
_LEAST_MEGABYTES = 256  # that a reference may hold, whatever explain.memory_mb is
_CANDIDATES = 8  # scored for each row that is wanted, and so many times more while too few belong
_MOST_CANDIDATES = 200_000


class Scorer(NamedTuple):
    """The model as scores: its function, the memory for a block of rows, and the columns of its signature, if any."""

    predictor: Predictor
    memory_mb: int
    declared: InputColumns | None = None

    def __call__(self, frame: pd.DataFrame, output: str | None) -> NDArray[np.float64]:
        """Return one output of rows, (n,); NaN where the model refuses a row."""
        rows = background_rows(as_declared(frame, self.declared))
        found = row_scores(self.predictor, rows, block_rows(Background(rows), self.memory_mb))
        names = self.predictor.output_names or tuple(f"output_{index}" for index in range(found.shape[1]))
        if output is None and found.shape[1] > 1:
            raise InputError(f"reference: name the output that the cutoff is of: output: one of {', '.join(names)}")
        if output is not None and output not in names and found.shape[1] > 1:
            raise InputError(f"reference: {output!r} is no output of the model; they are {', '.join(names)}")
        return found[:, names.index(output) if output in names else 0]


class Drawing(NamedTuple):
    """What references are drawn with: the applicants' key and features, the run's seed, the model's scores.

    `alike` returns the features of some applicants, drawn by the hash of their keys. Where `typed`, references take the
    dtypes of these: a few rows without a missing integer would refuse applicants who have one.
    """

    key: tuple[str, ...]
    features: tuple[str, ...]
    seed: int
    scorer: Scorer
    alike: Callable[[], HashSample]
    typed: bool

    def own(self, reference: Reference) -> bool:
        """Whether a reference is nothing but a sample of the applicants."""
        plain = reference.where is None and reference.weight is None and reference.seed in (None, self.seed)
        return plain and reference.is_of_applicants and not reference.is_scored and reference.size != "all"

    def rows(self, table: pa.Table, weight: str | None) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
        """Return collected rows as a background, and their weights."""
        import pyarrow as pa

        background, weights = background_of(table, self.features, weight)
        own, others = table.select(list(self.features)), self.alike().table
        if self.typed and own.schema.equals(others.schema):
            both = pa.concat_tables([own, others])
            background = background_of(both, self.features)[0].iloc[: len(background)]
        return as_declared(background, self.scorer.declared), weights


class Drawn(NamedTuple):
    """A reference's rows.

    Attributes
    ----------
    background, weights
        (B, M) frame, and (B,) weights or None.
    whole
        All of it, where all is asked for: `background` is a sample then.
    scored, found
        Rows that were scored to find it, and those that belong; None where scores do not matter.
    """

    background: pd.DataFrame
    weights: NDArray[np.float64] | None
    whole: SparkBackground | None = None
    scored: int | None = None
    found: int | None = None


def open_reference(spark: SparkSession, reference: Reference, applicants: DataFrame) -> DataFrame:
    """Return the rows that a reference is taken from, lazily; the applicants for a single row, which lends no rows."""
    if not reference.is_of_applicants and reference.row is None:
        return read_source(
            spark,
            path=reference.path,
            table=reference.table,
            format=reference.resolved_format,
            where=reference.where,
        )
    if reference.where is not None:
        return where_rows(applicants, reference.where, place="reference: the applicants")
    return applicants


def draw(reference: Reference, frame: DataFrame, drawing: Drawing) -> Drawn:
    """Bring a reference to the driver.

    Parameters
    ----------
    reference
        Its configuration.
    frame
        As `open_reference` gave it.
    drawing
        Key, features, seed, scores and some applicants.

    Raises
    ------
    InputError
        There are no such rows, or they cannot be used; with the reference's name.
    """
    if reference.row is not None:
        return _single(reference, drawing)
    seed = drawing.seed if reference.seed is None else reference.seed
    key = drawing.key if all(name in frame.columns for name in drawing.key) else None

    most_mb = max(_LEAST_MEGABYTES, drawing.scorer.memory_mb)

    def sample(size: int) -> HashSample:
        columns = background_columns(drawing.features, reference.weight)
        return collect_sample(frame, columns, key=key, size=size, seed=seed, most_bytes=most_mb * 2**20)

    if reference.is_scored:
        return _scored(reference, sample, drawing)
    if reference.size == "all":
        # All of it is folded where it is, or brought here later: a sample shows its types.
        declared = drawing.scorer.declared
        whole = SparkBackground(frame, key, drawing.features, reference.weight, seed, declared)
        return Drawn(*drawing.rows(sample(_BACKGROUND_ROWS).table, reference.weight), whole)
    # A larger sample begins with the rows of a smaller one.
    if drawing.own(reference) and reference.size <= _rows_there(drawing.alike()):
        table = drawing.alike().table.slice(0, reference.size)
    else:
        table = _all_of(sample(reference.size), reference, most_mb)
    return Drawn(*drawing.rows(table, reference.weight))


def _rows_there(alike: HashSample) -> int:
    """Return how large a sample of the applicants these rows can stand for."""
    return alike.table.num_rows if alike.n_left_out else POPULATION_ROWS


def _all_of(drawn: HashSample, reference: Reference, most_mb: int) -> pa.Table:
    """Return the rows of a sample from which none was left out."""
    if drawn.n_left_out:
        n_rows = drawn.table.num_rows
        raise InputError(
            f"reference {reference.name}: size: {reference.size}: the driver and each worker hold all of its rows, and "
            f"{n_rows} of them come to {most_mb} MB; set size to {n_rows} or less, leave out features of long texts, "
            f"or allow more by explain.memory_mb above {most_mb} (and give Spark's driver the memory for it)"
        )
    return drawn.table


def _scored(reference: Reference, sample: Callable[[int], HashSample], drawing: Drawing) -> Drawn:
    """Return the first rows, in the order of the sample, whose scores belong."""
    wanted, size = int(reference.size), 0
    scores = np.empty(0)
    while True:
        size = min(_MOST_CANDIDATES, max(_CANDIDATES * wanted, POPULATION_ROWS, _CANDIDATES * size))
        table = sample(size).table  # of rows so wide that they fill the memory, fewer
        frame, _ = background_of(table, drawing.features)
        scores = np.concatenate([scores, drawing.scorer(frame.iloc[len(scores) :], reference.output)])
        belongs = np.flatnonzero(_belongs(scores, reference))
        if len(belongs) >= wanted or table.num_rows < size or size == _MOST_CANDIDATES:
            break
    where = _words(reference)
    if not len(belongs):
        raise InputError(
            f"reference {reference.name}: none of {len(scores):,} rows has a score {where}; they go from "
            f"{np.nanmin(scores):.6g} to {np.nanmax(scores):.6g}: check cutoff, harm and band"
        )
    if len(belongs) < wanted:
        _log.warning(
            "reference %s: %d of %d rows have a score %s, fewer than size: %d",
            reference.name,
            len(belongs),
            len(scores),
            where,
            wanted,
        )
    chosen = drawing._replace(typed=True).rows(table.take(belongs[:wanted]), reference.weight)
    return Drawn(*chosen, None, len(scores), len(belongs))


def _belongs(scores: NDArray[np.float64], reference: Reference) -> NDArray[np.bool_]:
    """Return (n,) whether scores are on the side that is accepted; near the cutoff, no further from it than the band.

    As in reasons, a row at the cutoff is turned down.
    """
    beyond = scores - float(reference.cutoff or 0.0)
    beyond = -beyond if reference.harm == "high" else beyond
    with np.errstate(invalid="ignore"):
        return np.asarray((beyond > 0.0) & (beyond <= (np.inf if reference.band is None else reference.band)))


def _words(reference: Reference) -> str:
    side = "below" if reference.harm == "high" else "above"
    band = "" if reference.band is None else f", at most {reference.band:g} from it"
    return f"{side} the cutoff {reference.cutoff:g}{band}"


def _single(reference: Reference, drawing: Drawing) -> Drawn:
    """Return a single row with the types of the applicants."""
    import pyarrow as pa

    alike = drawing.alike().table
    row, place = dict(reference.row or {}), f"reference {reference.name}: row"
    missing = [name for name in alike.column_names if name not in row]
    if missing:
        raise InputError(f"{place}: it has no value for {', '.join(missing)}; give one, null for a missing value")
    unknown = [name for name in row if name not in alike.column_names]
    if unknown:
        raise InputError(f"{place}: {unknown[0]!r} is no feature; they are {', '.join(alike.column_names)}")
    columns = []
    for field in alike.schema:
        value = row[field.name]
        try:
            columns.append(pa.array([value], field.type))
            # Arrow cuts the fraction off without a word.
            fits = not (pa.types.is_integer(field.type) and columns[-1][0].as_py() != value)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
            fits = False
        if not fits:
            raise InputError(f"{place}: {field.name}: {value!r} does not fit the applicants' {field.type}")
    table = pa.Table.from_arrays(columns, schema=alike.schema)
    return Drawn(*drawing._replace(typed=True).rows(table, None))
