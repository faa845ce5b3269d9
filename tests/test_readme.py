"""Every command and code block of README.md is executed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spark_shap.config import RunConfig
from spark_shap.pipeline import run as run_job

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.strip().splitlines()]
# Not run as they stand here: the tests would start themselves, or take minutes. Each has its own test below.
BENCH = ".venv/bin/python tests/bench"
APART = ("python3 jobs/demo.py", "python3 tests/run.py", "pip install", "pip wheel", ".venv/bin/pip install", BENCH)
ENVIRONMENT = {
    **os.environ,
    "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    "PYSPARK_PYTHON": sys.executable,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what git has, so that nothing is written into the tree under test."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run(command, folder, seconds=300, **variables):
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_only_known_kinds_of_blocks():
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "yaml"}
    assert len(COMMANDS) >= 8


def told_apart(command):
    """The reports' and comparisons' options are tested in one session, too: tests/test_reporting.py."""
    # The python blocks make that run themselves, and tests/test_cli.py runs the command.
    long = command.startswith(("spark-submit", "spark-shap"))
    return pytest.param(command, marks=pytest.mark.slow if long else ())


@pytest.mark.parametrize("command", [told_apart(line) for line in COMMANDS if not line.startswith(APART)])
def test_command(command, checkout):
    run(command, checkout)


def test_python_blocks_in_one_session(checkout):
    if not (checkout / "out" / "german_credit").exists():  # the commands above have made it
        run("spark-shap run --config conf/local.yaml", checkout)
    script = checkout / "readme.py"
    script.write_text("\n".join(text for kind, text in BLOCKS if kind == "python"))
    printed = run(f"python {script}", checkout)
    assert "mean_abs_shap" in printed


@pytest.mark.slow
def test_yaml_blocks_in_one_run(spark, tmp_path):
    settings = yaml.safe_load((ROOT / "conf" / "local.yaml").read_text())
    for section, values in (item for kind, text in BLOCKS if kind == "yaml" for item in yaml.safe_load(text).items()):
        settings[section] = {**settings.get(section, {}), **values}
    del settings["reference"]
    settings["applicants"]["path"] = str(ROOT / settings["applicants"]["path"])
    settings["explain"] |= {"n_evaluations": 33, "surrogate_evaluations": 0}
    settings["output"]["path"] = str(tmp_path / "out")
    result = run_job(spark, RunConfig.model_validate(settings))
    assert result.record.rows_explained == 1000
    assert result.record.reference_names == ("near_cutoff", "approved", "good_payers")
    assert "terms" in result.record.feature_names


def test_the_demo_command(checkout):
    marker = Path(sys.prefix, "spark-shap-environment")
    if not marker.exists():
        pytest.skip("this environment was not made by conf/environment.py")
    assert "python3 jobs/demo.py" in COMMANDS
    made = ROOT if os.access(ROOT, os.W_OK) else checkout
    printed = run(f"python3 jobs/demo.py --output {checkout}/demo", made, SPARK_SHAP_VENV=sys.prefix)
    assert "1,000 of 1,000 rows explained, 0 rejected" in printed
    for table in ("runs", "attributions", "summary", "rejects"):
        assert list(Path(checkout, "demo", table).glob("run_id=*/**/*.parquet"))


def test_ci_calls_the_test_command():
    assert "python3 tests/run.py" in COMMANDS
    assert "tests/run.py" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("pip install")])
def test_install_command(command, checkout, tmp_path):
    run(f"python -m venv {tmp_path}/fresh", checkout)
    fresh = {"PATH": f"{tmp_path}/fresh/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    run(command, checkout, seconds=900, **fresh)
    run("spark-shap --version && python -c 'import pyspark, delta, sklearn'", tmp_path, **fresh)


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("pip wheel")])
def test_wheel_command(command, checkout, tmp_path):
    run(command, checkout, seconds=600)
    zipped = next(Path(checkout, "dist").glob("*.zip"))
    run("python -c 'import spark_shap; print(spark_shap.__file__)' | grep -F .zip", tmp_path, PYTHONPATH=str(zipped))


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/job.py")])
def test_bench_command_on_few_rows(command, checkout):
    assert "x 23 features" in run(command.replace(".venv/bin/python", "python") + " --rows 600", checkout, seconds=900)


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/accuracy.py")])
def test_accuracy_command_on_few_rows(command, checkout, tmp_path):
    quick = f"{command.replace('.venv/bin/python', 'python')} --quick --no-peers --no-race --output {tmp_path}"
    assert "spark-shap" in run(quick, checkout, seconds=900)


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/intervals.py")])
def test_intervals_command_on_few_rows(command, checkout, tmp_path):
    quick = f"{command.replace('.venv/bin/python', 'python')} --quick --output {tmp_path}"
    assert "between 0.93 and 0.97" in run(quick, checkout, seconds=900)


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/boosters.py")])
def test_boosters_command_on_few_rows(command, checkout):
    few = " --tasks f8-network-probability --hybrids 2000"
    assert "| 8 features, network | 2,000 | 0." in run(command.replace(".venv/bin/python", "python") + few, checkout)


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/reasons.py")])
def test_reasons_command_on_few_rows(command, checkout):
    quick = f"{command.replace('.venv/bin/python', 'python')} --rows 12 --tasks german-logistic-probability"
    assert re.search(r"up to +1,025 .* of rows stable; uniform .* times as many", run(quick, checkout, seconds=900))


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/scale.py")])
def test_scale_command_on_few_rows(command, checkout):
    printed = run(command.replace(".venv/bin/python", "python") + " --rows 2000 3000", checkout, seconds=900)
    assert " 3,000 " in printed


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/trees.py")])
def test_trees_command_on_few_rows(command, checkout):
    printed = run(f"{command.replace('.venv/bin/python', 'python')} --quick --no-peers", checkout, seconds=900)
    assert "whole Spark job at least 0.7" in printed
    assert "in 2 GB a worker" in printed


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(f"{BENCH}/resume.py")])
def test_resume_command_on_few_rows(command, checkout):
    printed = run(command.replace(".venv/bin/python", "python") + " --rows 9000", checkout, seconds=900)
    assert "beyond the lost shard" in printed


def test_the_peers_come_with_an_extra():
    assert '.venv/bin/pip install --constraint conf/constraints.txt ".[bench]"' in COMMANDS
    assert "shapiq" in (ROOT / "pyproject.toml").read_text()
