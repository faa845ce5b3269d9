"""Spark ML models, which run in the JVM and cannot be called in a Python worker.

A row's draws are a function of the seed and its key, not of what the model answers. So they are made twice: one
pass over the rows asks the questions and hands their hybrid rows out as a DataFrame, the model transforms it, and a
second pass asks the same questions again and is given the answers. Between the two nothing is shuffled; that the
answers come in the order of the questions is checked, and an error otherwise.

The cost: every hybrid row goes from Python to the JVM and back. Values that decide on further questions (a
tolerance, reasons that are to be stable) cannot be had this way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_shap.dataframes import column, quoted
from spark_shap.engine.shipping import Carrier, dumps, load, ship
from spark_shap.engine.worker import Columns, explain_batches
from spark_shap.errors import MethodError, ModelError
from spark_shap.models.predictor import Predictor, as_predictor, check_output_space

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from spark_shap.prepare import Prepared

__all__ = ["PipelineCall", "explain_with_pipeline", "pipeline_call", "predictor_of"]

_STEP, _PORTION, _SCORE = "_spark_shap_step", "_spark_shap_portion", "_spark_shap_score"
_HYBRIDS = 50_000  # in memory at a time, about
_COLUMNS = {"probability": "probabilityCol", "margin": "rawPredictionCol", "prediction": "predictionCol"}


@dataclass(frozen=True)
class PipelineCall:
    """A Spark ML model as a function of rows, on the driver.

    Attributes
    ----------
    model
        A fitted pipeline or model.
    output
        The column that is explained; of a vector of two its second element.
    """

    model: Any
    output: str

    def __call__(self, rows: Any) -> NDArray[np.float64]:
        """Return (n, K) what the model says of a pandas frame."""
        from pyspark.sql import SparkSession

        if not hasattr(rows, "assign"):
            raise ModelError("model: a Spark ML model takes named columns; pass a frame as background, not an array")
        spark = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
        given = spark.createDataFrame(rows.assign(**{_STEP: np.arange(len(rows))}))
        scored: Any = self.scored(given).select(_STEP, _SCORE).toPandas()
        found = scored.sort_values(_STEP)
        if len(found) != len(rows):
            raise ModelError(f"model: it returned {len(found)} rows for {len(rows)}; let no stage skip rows")
        return np.asarray(found[_SCORE].tolist(), dtype=np.float64)

    def scored(self, frame: DataFrame) -> DataFrame:
        """Return a frame transformed, with the output as an array of doubles beside it."""
        from pyspark.ml.functions import vector_to_array
        from pyspark.ml.linalg import VectorUDT
        from pyspark.sql import functions as F

        found: DataFrame = self.model.transform(frame)
        value = F.col(quoted(self.output))
        if isinstance(found.schema[self.output].dataType, VectorUDT):
            values = vector_to_array(value)
            value = F.when(F.size(values) == 2, F.slice(values, 2, 1)).otherwise(values)
        else:
            value = F.array(value.cast("double"))
        return found.withColumn(_SCORE, value)


def predictor_of(model: Any, output_space: str | None, output_names: tuple[str, ...] | None) -> Predictor:
    """Return any model as what is explained; Spark ML's are asked through their session.

    Raises
    ------
    MethodError
        It has no such output.
    """
    if not any(base.__module__.startswith("pyspark.ml.") for base in type(model).__mro__):
        return as_predictor(model, output_space, output_names)
    stage = model.stages[-1] if hasattr(model, "stages") else model
    there = [space for space, name in _COLUMNS.items() if stage.hasParam(name)]
    space = check_output_space(output_space) or ("probability" if "probability" in there else "prediction")
    if space not in there:
        raise MethodError(
            f"output_space: {type(stage).__name__} has no {space}; choose one of {', '.join(there) or 'nothing'}"
        )
    if space == "prediction" and "probability" in there:
        raise MethodError(f"output_space: 'prediction' of {type(stage).__name__} is a label; choose 'probability'")
    return Predictor(PipelineCall(model, str(stage.getOrDefault(_COLUMNS[space]))), space, output_names)


def pipeline_call(prepared: Prepared) -> PipelineCall | None:
    """Return the Spark ML model that a method asks, None where it asks another one."""
    predict: Any = prepared.method.game.predict
    return predict.function if isinstance(predict.function, PipelineCall) else None


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
    """Return a method that asks another model."""
    method: Any = prepared.method
    predict = replace(method.game.predict, function=function)
    return replace(prepared, method=replace(method, game=replace(method.game, predict=predict)))


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
class _Answer:
    """The second pass: scores in, explained rows out."""

    carrier: Carrier
    columns: Columns

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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
                        yield from self._answered(portion, scores)
                    portion = pa.ipc.open_stream(portions[start].as_py()).read_next_batch()
                    scores, expected = [], 0
                due = np.arange(expected, expected + stop - start)
                if portion is None or not np.array_equal(numbers[start:stop], due):
                    raise _out_of_order()
                scores.append(values[start:stop])
                expected += stop - start
        if portion is not None:
            yield from self._answered(portion, scores)

    def _answered(self, portion: pa.RecordBatch, scores: list[NDArray[np.float64]]) -> Iterator[pa.RecordBatch]:
        replay = _Replay(np.concatenate(scores)[1:])
        found = list(explain_batches([portion], _with(load(self.carrier), replay), columns=self.columns))
        if replay.given != len(replay.answers):
            raise _out_of_order()
        yield from found


def _out_of_order() -> ModelError:
    return ModelError(
        "model: the pipeline loses rows or changes their order, so that answers cannot be told from each other; "
        "let no stage skip rows (handleInvalid='skip'), sort, join or shuffle"
    )


def explain_with_pipeline(
    frame: DataFrame, prepared: Prepared, call: PipelineCall, *, columns: Columns, schema: StructType
) -> DataFrame:
    """Return the explanation of every row, lazily; see `spark_shap.engine.explain.explain_frame`.

    Raises
    ------
    MethodError
        A tolerance or reasons are asked for.
    """
    from pyspark.sql import types as t

    if prepared.options.tolerance is not None or prepared.rule is not None:
        raise MethodError("tolerance, reasons: not for a Spark ML model, whose answers come after all questions")
    wanted = tuple(dict.fromkeys([*columns.key, *columns.keep, *prepared.feature_names]))
    source = frame.select(*(column(frame, name).alias(f"_{place}") for place, name in enumerate(wanted)))
    features = [frame.schema[name] for name in prepared.feature_names]
    asked = t.StructType([*features, t.StructField(_STEP, t.LongType()), t.StructField(_PORTION, t.BinaryType())])
    carrier = ship(frame.sparkSession, dumps(_with(prepared, _Recorder(len(prepared.output_names)))))
    hybrids = source.mapInArrow(_Ask(carrier, columns, wanted, _arrow(asked)), asked)
    scores = call.scored(hybrids).select(_STEP, _PORTION, _SCORE)
    return scores.mapInArrow(_Answer(carrier, columns), schema)


def _arrow(schema: StructType) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(schema)
