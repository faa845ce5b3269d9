"""Log lines: text for people, objects for programs, secrets in neither."""

from __future__ import annotations

import json
import logging
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from spark_shap.cli import main
from spark_shap.logs import RUN_ID, details, start_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger("spark_shap.somewhere")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process logs as it did before."""
    handlers, level, ours = list(logging.root.handlers), logging.root.level, logging.getLogger("spark_shap").level
    token = RUN_ID.set(None)
    yield
    RUN_ID.reset(token)
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("spark_shap").setLevel(ours)


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_objects(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(logging.INFO, "json")
    log.info("first\nline of %d", 1)
    RUN_ID.set("abc")
    log.warning("zweite «%s»", "Zeile", extra=details(shard=3, rows=10, rejected=0, seconds_left=1.5))
    warnings.warn("of Python", stacklevel=1)
    log.debug("not shown")
    first, second, third = objects(capsys)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first.pop("time"))).total_seconds() < 60
    assert first == {"level": "info", "message": "first\nline of 1"}
    second.pop("time")
    assert second == {
        "level": "warning",
        "message": "zweite «Zeile»",
        "run_id": "abc",
        "shard": 3,
        "rows": 10,
        "rejected": 0,
        "seconds_left": 1.5,
    }
    assert "of Python" in third["message"]


def test_a_stack_trace_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(logging.INFO, "json")
    try:
        raise ValueError("https://me:hunter2@host/x")
    except ValueError:
        log.exception("went wrong")
    (line,) = objects(capsys)
    assert line["message"].startswith("went wrong\nTraceback")
    assert line["message"].endswith("ValueError: https://***@host/x")


def test_text_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    for handler in list(logging.root.handlers):  # pytest's own
        logging.root.removeHandler(handler)
    start_logging(logging.INFO)
    log.info("reads %s", "abfss://x@y/z?sig=hunter2")
    err = capsys.readouterr().err
    assert err.endswith(" reads abfss://x@y/z?sig=***\n")


def test_errors_are_objects_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("{applicants: {path: a.csv}}")
    assert main(["run", "--config", str(tmp_path / "run.yaml"), "--log-format", "json", "--quiet"]) == 2
    lines = objects(capsys)
    assert {line["message"] for line in lines} >= {"config: applicants.key: is required", "config: model: is required"}
    assert {(line["level"], line["exit_code"]) for line in lines} == {("error", 2)}
