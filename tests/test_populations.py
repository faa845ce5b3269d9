"""References whose rows are long texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_shap import populations
from spark_shap.errors import InputError
from spark_shap.io.hash_samples import HashSample
from spark_shap.models.predictor import as_predictor
from spark_shap.populations import Drawing, Scorer, draw
from spark_shap.references import Reference


def lengths(rows: object) -> np.ndarray:
    return np.array([len(text) for text in rows["t"]], dtype=float)  # type: ignore[index]  # a frame


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Drawing:
    """With memory for 1 MB of a reference, and three applicants of a sample that was cut."""
    monkeypatch.setattr(populations, "_LEAST_MEGABYTES", 1)
    alike = HashSample(pa.table({"t": ["a", "b", "c"]}), 4997)
    return Drawing(("id",), ("t",), 7, Scorer(as_predictor(lengths, None, None), 1), lambda: alike, False)


@pytest.fixture(scope="module")
def texts(spark: SparkSession) -> DataFrame:
    return spark.range(200).select("id", F.expr("rpad(cast(id as string), 10000, 'x')").alias("t"))


def test_a_reference_that_is_too_large_says_how_many_rows_are_not(texts: DataFrame, drawing: Drawing) -> None:
    with pytest.raises(InputError, match=r"size: 150: .* 104 of them come to 1 MB; set size to 104 or less"):
        draw(Reference(size=150), texts, drawing)
    assert len(draw(Reference(size=104), texts, drawing).background) == 104
    roomy = drawing._replace(scorer=drawing.scorer._replace(memory_mb=2))
    assert len(draw(Reference(size=150), texts, roomy).background) == 150


def test_applicants_that_were_cut_are_no_reference_that_is_larger(texts: DataFrame, drawing: Drawing) -> None:
    assert draw(Reference(size=2), texts, drawing).background["t"].tolist() == ["a", "b"]
    assert len(draw(Reference(size=4), texts, drawing).background["t"].iloc[0]) == 10_000


def test_a_population_by_scores_is_found_among_as_many_as_fit(texts: DataFrame, drawing: Drawing) -> None:
    asked = Reference(size=10, population="approved", cutoff=1.0, harm="low")
    found = draw(asked, texts, drawing)
    assert (found.scored, len(found.background)) == (104, 10)
