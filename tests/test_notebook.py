"""The notebook: it has the form that Databricks reads, and it runs as a plain script, twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "jobs" / "notebooks" / "portfolio_audit.py"


def test_form_of_a_notebook():
    lines = NOTEBOOK.read_text().splitlines()
    assert lines[0] == "# Databricks notebook source"
    cells = "\n".join(lines[1:]).split("\n# COMMAND ----------\n")
    assert len(cells) >= 12
    for cell in cells:
        own = [line for line in cell.strip().splitlines() if line]
        magic = [line for line in own if line.startswith("# MAGIC")]
        assert magic in ([], own)  # a cell is of one kind
        if magic:
            assert re.match(r"# MAGIC %(md|pip)\b", magic[0])


@pytest.mark.slow
def test_from_a_table_to_the_report(tmp_path):
    values = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    for evaluations, expected in (("65", "this is the first audit here"), ("129", "since run ")):
        values["AUDIT_EVALUATIONS"] = evaluations  # another run of the same portfolio
        done = subprocess.run(
            [sys.executable, NOTEBOOK],
            cwd=tmp_path,
            env=values,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "1,000 explained, 0 rejected" in done.stdout
        assert expected in done.stdout
        (page,) = re.findall(r"report in (.*html)", done.stdout)
        assert "<html" in (tmp_path / page).read_text()[:500]
