"""A run for aggregates only: few evaluations, a summary as good as asked, and counts that add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from portfolio import FEATURES, Model, applicants, save, score, settings

from spark_shap import Explainer
from spark_shap.config import RunConfig, load_config
from spark_shap.errors import ConfigError
from spark_shap.io.tables import read_table
from spark_shap.pipeline import RunResult, run

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def start(spark: Any, folder: Path, n_rows: int, **explain: Any) -> tuple[RunResult, pd.DataFrame]:
    data = applicants(n_rows)
    data.to_parquet(folder / "applicants.parquet", index=False)
    model = save(Model(folder / "calls"), folder / "model.pkl")
    config = RunConfig.model_validate(
        settings(
            folder,
            model,
            explain={"audit": "aggregates", "surrogate_evaluations": 4000, **explain},
            summary={"by": ["region"]},
        )
    )
    return run(spark, config), data


@pytest.mark.slow
def test_every_row_lightly(spark: Any, tmp_path: Path) -> None:
    result, data = start(spark, tmp_path, 1500)
    record = result.record
    assert "for aggregates" in record.method_reason
    assert record.rows_read == record.rows_explained + record.rows_left_out == 1500
    written = read_table(spark, result.location, "attributions", record.run_id).toPandas()
    assert written["n_evaluations"].max() <= 17 or record.rows_left_out > 0
    known = np.array([[row[name] for name in FEATURES] for row in written["surrogate_values"]])
    assert np.isfinite(known).all()
    reference = data.sort_values("id")[FEATURES]
    exact = np.abs(Explainer(score, reference.head(40), method="exact")(reference).values).mean(axis=0)
    summary = read_table(spark, result.location, "summary", record.run_id).toPandas()
    whole = summary[summary["segment_by"] == ""].set_index("feature").loc[FEATURES]
    # The reference of the run is another draw: importances agree roughly, and the order is the same at the top.
    assert np.corrcoef(whole["mean_abs_shap"], exact)[0, 1] > 0.9
    assert whole["sampling_error"].notna().all()


@pytest.mark.slow
def test_a_sample_of_rows_is_enough_for_a_loose_target(spark: Any, tmp_path: Path) -> None:
    result, _ = start(spark, tmp_path, 6000, target_error=0.3)
    record = result.record
    assert record.rows_read == 6000 == record.rows_explained + record.rows_left_out
    assert record.rows_left_out > 3000
    assert "a sample of" in record.method_reason
    summary = read_table(spark, result.location, "summary", record.run_id).toPandas()
    whole = summary[summary["segment_by"] == ""]
    assert whole["weight"].iloc[0] == pytest.approx(6000)
    assert whole["n_rows"].iloc[0] == record.rows_explained


def test_a_long_layout_has_no_room_for_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "applicants: {path: a.csv, key: id}\nmodel: {object: 'a:b'}\nexplain: {audit: aggregates}\n"
        "output: {path: out, layout: long}\n"
    )
    with pytest.raises(ConfigError, match="audit: aggregates"):
        load_config(path)
