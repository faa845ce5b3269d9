"""The package as a whole: what an import loads, what is public, what the scripts refuse."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import spark_shap
from spark_shap.data import german_credit_path

ROOT = Path(__file__).parents[1]
SCRIPTS = ["jobs/demo.py", "tests/run.py", "conf/environment.py"]


def fresh(code: str) -> str:
    """Run code in a new process of this Python and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def loaded(modules: str, suspects: str) -> str:
    return fresh(f"import sys, {modules}; print(*sorted({suspects!r}.split() & sys.modules.keys()))")


def old_python() -> str:
    """Return a Python that is too old, of those on the PATH that run."""
    for name in ("python3.10", "python3.9", "python3.8", "python3.7", "python3.6", "python2.7"):
        path = shutil.which(name)
        # A pyenv shim is on the PATH for versions that are switched off.
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("no Python older than 3.11 on the PATH")


def refused(command: list[str], **env: str) -> str:
    """Run a command that must refuse with exit code 2 and one line; return the line."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


def test_importing_the_package_and_its_core_loads_neither_spark_nor_frames() -> None:
    assert loaded("spark_shap, spark_shap.core", "pyspark pandas pyarrow pydantic") == ""


def test_every_module_of_the_core_does_without_spark_and_frames() -> None:
    modules = ", ".join(f"spark_shap.core.{path.stem}" for path in (ROOT / "spark_shap/core").glob("[a-z]*.py"))
    assert loaded(modules, "pyspark pandas pyarrow pydantic") == ""


def test_the_explainer_does_without_spark() -> None:
    assert loaded("spark_shap.explainer", "pyspark") == ""


def test_public_names_are_all_there_and_no_others() -> None:
    assert dir(spark_shap) == sorted(spark_shap.__all__)
    assert all(hasattr(spark_shap, name) for name in spark_shap.__all__)
    with pytest.raises(AttributeError, match="'spark_shap' has no attribute 'Explainr'"):
        spark_shap.Explainr  # noqa: B018  # the access is what is tested


def test_package_works_from_a_zip(tmp_path: Path) -> None:
    """spark-submit --py-files ships the folder as a zip, which has no metadata and no files on disk."""
    archive = shutil.make_archive(str(tmp_path / "spark_shap"), "zip", ROOT, "spark_shap")
    start = f"import sys; sys.path.insert(0, {archive!r}); import spark_shap, spark_shap.data as d; "
    assert fresh(start + "print(spark_shap.__file__, spark_shap.__version__)") == (
        f"{archive}/spark_shap/__init__.py {spark_shap.__version__}"
    )
    refusal = "try: d.german_credit_path()\nexcept spark_shap.InputError as error: print(error)"
    assert "inside a zip file" in fresh(start + "\n" + refusal)


def test_german_credit_is_whole() -> None:
    rows = pd.read_csv(german_credit_path())
    assert rows.shape == (1000, 22)
    assert rows["application_id"].is_unique
    assert rows["bad"].sum() == 300
    assert rows.drop(columns=["application_id", "bad"]).select_dtypes("number").shape[1] == 7


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_old_python_is_refused_in_one_line(script: str) -> None:
    line = refused([old_python(), str(ROOT / script)])
    assert re.match(r"spark-shap needs Python 3\.11 or newer; this is \d+\.\d+\.\d+ at /", line)


@pytest.mark.parametrize("script", SCRIPTS)
def test_missing_java_is_refused_in_one_line(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / script)]
    way_out = "Install Java 17 and set JAVA_HOME to its folder, or put its java first on the PATH."
    need = "spark-shap needs Java 17 or newer for Spark; "
    assert refused(command, PATH=str(tmp_path), JAVA_HOME="") == f"{need}found none at the PATH. {way_out}"
    home = str(tmp_path / "jdk")
    assert refused(command, JAVA_HOME=home) == f"{need}found none at JAVA_HOME={home}. {way_out}"


def test_an_old_java_is_refused_in_one_line(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_412\"' >&2\n")
    java.chmod(0o755)
    line = refused([sys.executable, str(ROOT / "jobs/demo.py")], PATH=f"{tmp_path}:/bin", JAVA_HOME="")
    assert "the PATH has Java 8" in line


def test_a_folder_made_by_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    line = refused([sys.executable, str(ROOT / "conf/environment.py")], SPARK_SHAP_VENV=str(tmp_path))
    assert f"{tmp_path} was made by something else" in line
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "venv"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "SPARK_SHAP_VENV": str(place)}
    command = [sys.executable, str(ROOT / "conf/environment.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **offline})
    assert done.returncode == 1
    assert "No matching distribution found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.exists()


def test_no_file_names_a_package_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing says which files belong to the project")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    hosts = re.compile(
        r"py[p]i\.org|python[h]osted\.org|index[-]url|extra[-]index|mav[e]n\.org|/[s]imple/|anacond[a]\.org"
    )
    texts = {name: (ROOT / name).read_text(errors="replace") for name in names if (ROOT / name).is_file()}
    assert texts
    assert [name for name, text in texts.items() if hosts.search(text)] == []
