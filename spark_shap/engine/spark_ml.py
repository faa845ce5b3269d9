"""Spark ML models, which run in the JVM and cannot be called in a Python worker.

A row's draws are a function of the seed and its key, not of what the model answers. So they are made twice: one
pass over the rows asks the questions and hands their hybrid rows out as a DataFrame, the model transforms it, and a
second pass asks the same questions again and is given the answers. Between the two nothing is shuffled; that the
answers come in the order of the questions is checked, and an error otherwise.

The cost: every hybrid row goes from Python to the JVM and back, and every question is made twice. Values that decide on
further questions (a tolerance, reasons for which rows take more evaluations) cannot be had this way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_shap.dataframes import column
from spark_shap.engine.shipping import Carrier, load
from spark_shap.engine.spark_ml_model import SCORE, STEP, PipelineCall, pipeline_call
from spark_shap.engine.worker import Columns, RejectLimit, explain_batches
from spark_shap.errors import MethodError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from spark_shap.prepare import Prepared

    _Answered = tuple[pa.RecordBatch, list[NDArray[np.float64]]]

__all__ = ["PipelineAnswer", "check_pipeline", "explain_with_pipeline", "hybrids_of", "scores_of", "shippable"]

_PORTION = "_spark_shap_portion"
_HYBRIDS = 50_000  # in memory at a time, about


@dataclass
class _Recorder:
    """Keeps the questions and answers 0."""

    n_outputs: int
    asked: list[Any] = field(default_factory=list)

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        self.asked.append(rows)
        return np.zeros((len(rows), self.n_outputs))


@dataclass
class _Replay:
    """Gives the answers in the order of the questions."""

    answers: NDArray[np.float64]
    given: int = 0

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        start, self.given = self.given, self.given + len(rows)
        return self.answers[start : self.given]


def _with(prepared: Prepared, function: Any) -> Prepared:
    """Return methods that ask another model, one for all references."""

    def asking(one: Prepared) -> Prepared:
        method: Any = one.method
        predict = replace(method.game.predict, function=function)
        return replace(one, method=replace(method, game=replace(method.game, predict=predict)))

    others = tuple(asking(one) for one in prepared.others)
    return replace(asking(prepared), others=others, replayed=True)


def shippable(prepared: Prepared) -> Prepared:
    """Return a method as workers can have it: without the model, where that is Spark ML's."""
    if pipeline_call(prepared) is None:
        return prepared
    return _with(prepared, _Recorder(len(prepared.output_names)))


def check_pipeline(prepared: Prepared) -> None:
    """Check that nothing is asked of a Spark ML model that depends on its answers.

    Raises
    ------
    MethodError
        A tolerance, or reasons for which rows take more evaluations.
    """
    if pipeline_call(prepared) is None:
        return
    why, options = "the answers of a Spark ML model come after all questions", prepared.options
    if options.tolerance is not None:
        raise MethodError(f"tolerance: {why}, so that no row can stop early; set n_evaluations instead")
    if prepared.rule is not None and prepared.rule.max_evaluations > options.n_evaluations:
        raise MethodError(
            f"reasons.max_evaluations: {why}, so that no row can take more; set it to 0, and n_evaluations higher"
        )


@dataclass(frozen=True)
class _Ask:
    """The first pass: rows in, hybrid rows out; the first of a portion carries the portion itself."""

    carrier: Carrier
    columns: Columns
    names: tuple[str, ...]
    arrow: pa.Schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            prepared = load(self.carrier)
            size = max(1, _HYBRIDS // prepared.options.n_evaluations)
            named = pa.RecordBatch.from_arrays(batch.columns, names=self.names)
            for start in range(0, named.num_rows, size):
                yield from self._asked(named.slice(start, size), prepared)

    def _asked(self, portion: pa.RecordBatch, prepared: Prepared) -> Iterator[pa.RecordBatch]:
        recorder = _Recorder(len(prepared.output_names))
        for _ in explain_batches([portion], _with(prepared, recorder), columns=self.columns):
            pass
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, portion.schema) as writer:
            writer.write_batch(portion)
        # A background row leads, since all of a portion's own rows may be refused before the model is asked.
        step = 0
        for rows in (prepared.sample.take(slice(0, 1)).to_input(), *recorder.asked):
            steps = np.arange(step, step + len(rows))
            payload = [sink.getvalue().to_pybytes() if step == 0 else None, *[None] * (len(rows) - 1)]
            step += len(rows)
            arrays = [
                pa.array(rows.iloc[:, place], self.arrow.field(place).type, from_pandas=True)
                for place in range(rows.shape[1])
            ]
            yield pa.RecordBatch.from_arrays(
                [*arrays, pa.array(steps), pa.array(payload, pa.binary())], schema=self.arrow
            )


@dataclass(frozen=True)
class PipelineAnswer:
    """The second pass: scores in, explained rows out."""

    carrier: Carrier
    columns: Columns
    limit: RejectLimit | None

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Explain one partition, and give up early where too many of its rows cannot be."""
        rejected, n_rows = list[str](), 0
        for portion, scores in self._portions(batches):
            found = self._answered(portion, scores)
            errors = [one for batch in found for one in batch.column(batch.num_columns - 1).drop_null().to_pylist()]
            rejected += [one["message"] for one in errors]
            n_rows += portion.num_rows
            if self.limit is not None:
                self.limit.check(n_rows, len(rejected), rejected)
            yield from found

    def _portions(self, batches: Iterable[pa.RecordBatch]) -> Iterator[_Answered]:
        """Yield each portion with what the model says of its hybrid rows."""
        portion: pa.RecordBatch | None = None
        scores: list[NDArray[np.float64]] = []
        expected = 0
        for batch in batches:
            if batch.num_rows == 0:
                continue
            steps, portions, found = batch.columns
            numbers = steps.to_numpy()
            values = found.flatten().to_numpy().reshape(batch.num_rows, -1)
            begun = [int(place) for place in np.flatnonzero(portions.is_valid())]
            for start, stop in pairwise(sorted({0, *begun, batch.num_rows})):
                if start in begun:
                    if portion is not None:
                        yield portion, scores
                    portion = pa.ipc.open_stream(portions[start].as_py()).read_next_batch()
                    scores, expected = [], 0
                due = np.arange(expected, expected + stop - start)
                if portion is None or not np.array_equal(numbers[start:stop], due):
                    raise _out_of_order()
                scores.append(values[start:stop])
                expected += stop - start
        if portion is not None:
            yield portion, scores

    def _answered(self, portion: pa.RecordBatch, scores: list[NDArray[np.float64]]) -> list[pa.RecordBatch]:
        replay = _Replay(np.concatenate(scores)[1:])
        found = list(explain_batches([portion], _with(load(self.carrier), replay), columns=self.columns))
        if replay.given != len(replay.answers):
            raise _out_of_order()
        return found


def _out_of_order() -> ModelError:
    return ModelError(
        "model: the pipeline loses rows or changes their order, so that answers cannot be told from each other; "
        "let no stage skip rows (handleInvalid='skip'), sort, join or shuffle"
    )


def hybrids_of(frame: DataFrame, prepared: Prepared, columns: Columns, carrier: Carrier) -> DataFrame:
    """Return the hybrid rows of every row, lazily, in the order in which they are asked about."""
    from pyspark.sql import types as t

    wanted = tuple(dict.fromkeys([*columns.key, *columns.keep, *prepared.column_names]))
    source = frame.select(*(column(frame, name).alias(f"_{place}") for place, name in enumerate(wanted)))
    features = [frame.schema[name] for name in prepared.column_names]
    asked = t.StructType([*features, t.StructField(STEP, t.LongType()), t.StructField(_PORTION, t.BinaryType())])
    return source.mapInArrow(_Ask(carrier, columns, wanted, _arrow(asked)), asked)


def scores_of(hybrids: DataFrame, call: PipelineCall) -> DataFrame:
    """Return what the model says of hybrid rows, lazily, and what is needed to fold it."""
    return call.scored(hybrids).select(STEP, _PORTION, SCORE)


def explain_with_pipeline(
    hybrids: DataFrame, call: PipelineCall, answer: PipelineAnswer, result: StructType
) -> DataFrame:
    """Return the explanation of every row, lazily; see `spark_shap.engine.explain.explain_frame`."""
    return scores_of(hybrids, call).mapInArrow(answer, result)


def _arrow(kind: StructType) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(kind)
