"""Log lines for people, and for programs: one JSON object a line.

Both hide what looks like a secret, whoever wrote the line. `details` hands numbers to a line, as fields of the
object.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from spark_shap.redaction import redact_text

__all__ = ["RUN_ID", "LogFormat", "details", "start_logging"]

LogFormat = Literal["text", "json"]
RUN_ID: ContextVar[str | None] = ContextVar("run_id", default=None)  # of the run that is being made
_DETAILS = "spark_shap_details"


def details(**fields: float | str | None) -> dict[str, Any]:
    """Return the argument `extra` of a logging call that gives a line fields of its own."""
    return {_DETAILS: fields}


def start_logging(level: int, log_format: LogFormat = "text") -> None:
    """Send log lines to standard error.

    Parameters
    ----------
    level
        Of this package's lines; other packages' are shown from warnings on.
    log_format
        ``"text"``: time and message. ``"json"``: objects with time (UTC, ISO 8601), level, message, run_id as soon as
        it is known, and the line's own fields; warnings of Python are lines as well.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    # A platform that has its own handlers keeps them, unless objects were asked for.
    logging.basicConfig(handlers=[handler], force=log_format == "json")
    logging.captureWarnings(log_format == "json")
    logging.getLogger("spark_shap").setLevel(level)


class _Text(logging.Formatter):
    """Time and message."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": redact_text(message),
        }
        if (run_id := RUN_ID.get()) is not None:
            line["run_id"] = run_id
        return json.dumps({**line, **getattr(record, _DETAILS, {})}, ensure_ascii=False)
