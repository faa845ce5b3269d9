"""Spark's classes in a file: made by the command, and what a session starts with from then on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_shap.engine.java import archive_path, java_options

SESSION = """
from spark_shap.engine.session import make_session
spark = make_session("local[1]", {}, delta=False)
assert spark.range(3).count() == 3
spark.stop()
"""


def test_without_an_archive_java_starts_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert archive_path().parent == tmp_path / "spark-shap"
    assert "Archive" not in java_options()
    archive_path().parent.mkdir()
    archive_path().touch()
    assert f"-XX:SharedArchiveFile={archive_path()}" in java_options()


@pytest.mark.slow
def test_sessions_start_with_the_archive(tmp_path: Path) -> None:
    log = tmp_path / "classes.log"
    places = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    values = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "a cache"), "PYTHONPATH": os.pathsep.join(places)}

    def start(*command: str, **more: str) -> str:
        called = [sys.executable, *command]
        return subprocess.run(called, env=values | more, check=True, capture_output=True, text=True).stdout

    said = start("-m", "spark_shap.cli", "class-archive")
    (archive,) = (tmp_path / "a cache").rglob("*.jsa")
    assert said.startswith(f"{archive}: ")
    start("-c", SESSION, JAVA_TOOL_OPTIONS=f"-Xlog:class+load:file='{log}'")
    loaded = [line for line in log.read_text().splitlines() if "org.apache.spark" in line]
    shared = [line for line in loaded if "shared objects file (top)" in line]
    assert len(shared) > 0.5 * len(loaded) > 1000
    assert start("-m", "spark_shap.cli", "class-archive") == said  # it is there already
