"""The demonstration, as a new user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_cli

from spark_shap.config import load_config
from spark_shap.data import german_credit_path
from spark_shap.demo import demo_config, train_german_credit
from spark_shap.models.loading import load_model

ROOT = Path(__file__).parents[1]


def features() -> pd.DataFrame:
    return pd.read_csv(german_credit_path()).drop(columns=["application_id", "bad"])


@pytest.mark.slow
def test_demo_prints_top_features_and_writes_tables(tmp_path: Path) -> None:
    start = time.perf_counter()
    said = test_cli.call([sys.executable, "-m", "spark_shap.cli", "demo"], tmp_path)
    assert said.code == 0, said.err
    assert time.perf_counter() - start < 120
    assert "1,000 of 1,000 rows explained, 0 rejected" in said.out
    assert "explained: probability of bad" in said.out
    assert re.search(r"^ +1 checking_status +0\.1\d+ ", said.out, re.MULTILINE)
    assert len(re.findall(r"^ +\d+ [a-z_]+ +\d\.\d{5}", said.out, re.MULTILINE)) == 10
    folder = tmp_path / "spark-shap-demo"
    tables = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert tables == ["attributions", "rejects", "runs", "sample", "shards", "summary"]
    command = said.out.splitlines()[-1].strip()
    rows = eval(command, {"pandas": pd})
    values = np.array([list(row.values()) for row in rows["shap_values"]])
    assert values.shape == (1000, 20)
    np.testing.assert_allclose(values.sum(axis=1) + rows["base_value"], rows["prediction"], atol=1e-9)


def test_the_model_is_trained_when_it_is_asked_for_and_once() -> None:
    name = demo_config("out").model.object
    assert name is not None
    first, second = load_model(object=name), load_model(object=name)
    assert first.model is second.model
    assert first.fingerprint == second.fingerprint
    again = train_german_credit(german_credit_path())
    np.testing.assert_array_equal(again.predict_proba(features()), first.model.predict_proba(features()))


@pytest.mark.parametrize("name", ["spark_shap.demo:german_credit_model", "portfolio:score"])
def test_a_model_has_one_fingerprint_in_all_processes(name: str) -> None:
    code = f"from spark_shap.models.loading import load_model; print(load_model(object={name!r}).fingerprint)"
    printed = set()
    for seed in ("1", "2"):
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        values = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=values)
        printed.add(done.stdout)
    assert len(printed) == 1


def test_unknown_attributes_are_no_models() -> None:
    import spark_shap.demo

    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = spark_shap.demo.other


def test_importing_the_demo_trains_nothing_and_loads_no_spark() -> None:
    code = "import sys, spark_shap.demo; print([name for name in ('sklearn', 'pyspark') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert printed.stdout == "[]\n"


def test_the_local_example_names_what_is_in_the_checkout() -> None:
    config = load_config(ROOT / "conf" / "local.yaml")
    assert (ROOT / str(config.applicants.path)).samefile(german_credit_path())
    assert load_model(object=config.model.object).model.predict_proba(features()).shape == (1000, 2)
