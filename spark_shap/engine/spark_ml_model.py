"""Spark ML models as what is explained: loaded from a folder that Spark ML saved, and asked on the driver."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.dataframes import quoted
from spark_shap.errors import MethodError, ModelError
from spark_shap.models.adapters.mlflow import folder_digest
from spark_shap.models.files import missing_package
from spark_shap.models.formats import detect_folder
from spark_shap.models.loading import LoadedModel, check_folder, load_model
from spark_shap.models.predictor import Predictor, as_predictor, check_output_space

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

    from spark_shap.models.accepted import Accepted
    from spark_shap.prepare import Prepared

__all__ = [
    "SCORE",
    "STEP",
    "PipelineCall",
    "accepted_values",
    "load_any",
    "pipeline_call",
    "pipeline_inputs",
    "predictor_of",
]

_log = logging.getLogger(__name__)
STEP, SCORE = "_spark_shap_step", "_spark_shap_score"
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
        given = spark.createDataFrame(rows.assign(**{STEP: np.arange(len(rows))}))
        scored: Any = self.scored(given).select(STEP, SCORE).toPandas()
        found = scored.sort_values(STEP)
        if len(found) != len(rows):
            raise ModelError(f"model: it returned {len(found)} rows for {len(rows)}; let no stage skip rows")
        return np.asarray(found[SCORE].tolist(), dtype=np.float64)

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
        return found.withColumn(SCORE, value)


def is_spark_ml(model: Any) -> bool:
    """Whether an object is a model of Spark ML, or of a library that writes such."""
    return any(base.__module__.startswith("pyspark.ml.") for base in type(model).__mro__)


def predictor_of(model: Any, output_space: str | None, output_names: tuple[str, ...] | None) -> Predictor:
    """Return any model as what is explained; Spark ML's are asked through their session.

    Raises
    ------
    MethodError
        It has no such output.
    """
    if not is_spark_ml(model):
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


def load_any(*, file: str | None = None, format: str = "auto", sha256: str | None = None, **others: Any) -> LoadedModel:
    """Load a model, see `spark_shap.models.loading.load_model`; what Spark ML saved is loaded by Spark."""
    folder = Path(file or "")
    if file is not None and folder.is_dir():
        found = detect_folder(folder)
        if format == "spark_ml" or (format == "auto" and found is not None and found.format == "spark_ml"):
            return _load_spark_ml(folder, sha256)
    return load_model(file=file, format=format, sha256=sha256, **others)


def _load_spark_ml(folder: Path, expected: str | None) -> LoadedModel:
    """Load what Spark ML saved in a folder, which all nodes must see, and log what it is.

    Parameters
    ----------
    folder
        With ``metadata``, and ``stages`` or ``data``.
    expected
        Its SHA-256, as `folder_digest` has it; None where it is not checked.

    Raises
    ------
    ModelError
        It cannot be loaded, or its checksum differs.
    """
    digest = folder_digest(folder)
    check_folder("model.file", str(folder), digest, expected)
    found = detect_folder(folder)
    try:
        text = next(one for one in sorted((folder / "metadata").glob("part-*"))).read_text(encoding="utf-8")
        name = str(json.loads(text.splitlines()[0])["class"]).replace("org.apache.spark.", "pyspark.", 1)
        module, _, kind = name.rpartition(".")
        # As a URI: a cluster's default file system is another one.
        model = getattr(import_module(module), kind).load(folder.resolve().as_uri())
    except ModuleNotFoundError as error:
        raise missing_package(f"model.file: {folder}", error.name or str(error)) from error
    except Exception as error:  # Spark's, Java's, and damage of any kind
        raise ModelError(
            f"model.file: {folder}: Spark ML cannot load it: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    why = "model.format says so" if found is None else found.why
    loaded = LoadedModel(model, str(folder), digest, f"spark_ml ({why}), a {name}")
    _log.info("model: %s is %s", loaded.uri, loaded.kind)
    return loaded


def pipeline_inputs(model: Any) -> tuple[str, ...] | None:
    """Return the columns that a pipeline reads and does not make itself; None where a stage does not say what it reads.

    A stage of SQL may read anything; so may an RFormula.
    """
    if not is_spark_ml(model):
        return None
    made, read = set[str](), dict[str, None]()
    *stages, last = getattr(model, "stages", None) or [model]
    for stage in stages:
        inputs, outputs = _values(stage, ("inputCol", "inputCols")), _values(stage, ("outputCol", "outputCols"))
        if not inputs or not outputs:
            return None
        read |= dict.fromkeys(name for name in inputs if name not in made)
        made |= set(outputs)
    # A model's own features are a vector: they are no columns of a table, which a run explains.
    if not set(_values(last, ("featuresCol",))) & made:
        return None
    return tuple(read)


def accepted_values(model: Any) -> Accepted:
    """Return what stages accept of a table's columns, where they raise an error over all else: one row ends a job then.

    Labels of a StringIndexer, and what is not missing of the columns of an assembler; nothing for other models.
    """
    found: Accepted = {}
    made = set[str]()
    for stage in (getattr(model, "stages", None) or [model]) if is_spark_ml(model) else ():
        inputs = _values(stage, ("inputCol", "inputCols"))
        if stage.hasParam("handleInvalid") and stage.getOrDefault("handleInvalid") == "error":
            labels = getattr(stage, "labelsArray", None)
            for place, name in enumerate(inputs):
                if name not in made:
                    found[name] = found.get(name) if labels is None else frozenset(labels[place])
        made |= set(_values(stage, ("outputCol", "outputCols")))
    return found


def _values(stage: Any, params: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in params:
        if stage.hasParam(name) and stage.isDefined(name):
            value = stage.getOrDefault(name)
            found += [value] if isinstance(value, str) else list(value)
    return tuple(found)
