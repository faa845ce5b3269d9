"""Hiding secrets in what is written down: configurations, messages and log lines.

A secret is told by where it stands: the password of a URL, the value of an argument or a setting with a telling
name, a token with a telling form. What is hidden reads ``***``.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["is_secret", "redact", "redact_text", "redact_texts"]

_SECRET_KEY = re.compile(r"password|passwd|pwd|passphrase|secret|token|credential|key|sas", re.IGNORECASE)
_NAMES = (
    r"password|passwd|pwd|passphrase|secret|token|credential|signature|"
    r"(?:account|access|api|private|shared|storage|sas)[._\-]?key|sas[._\-]?token"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&'\"]+)"
_REPLACED: tuple[tuple[re.Pattern[str], str], ...] = (
    # Secret keys of S3 may hold slashes, and people put them into URLs as they are.
    (re.compile(r"\b(s3[an]?://)[^\s:@/]+:[^\s@]+@", re.IGNORECASE), r"\1***@"),
    # user:secret@host; abfss://container@account has no colon and is no secret.
    (re.compile(r"(://)[^/\s@:]*:[^/\s]*@"), r"\1***@"),
    (re.compile(r"\b(https?://)[^/\s@]+@", re.IGNORECASE), r"\1***@"),  # a token instead of a name
    (re.compile(r"\b(jdbc:oracle:\w+:)[^\s@]+@", re.IGNORECASE), r"\1***@"),
    (re.compile(r"([?&](?:sig|x-amz-[a-z\-]+)=)[^\s,;&'\"]+", re.IGNORECASE), r"\1***"),
    (re.compile(rf"((?:{_NAMES})[\w.\-]*=){_VALUE}", re.IGNORECASE), r"\1***"),
    (re.compile(rf"((['\"])[^'\"\s]*(?:{_NAMES})[^'\"\s]*\2\s*:\s*){_VALUE}", re.IGNORECASE), r"\1***"),
    (re.compile(r"\b((?:bearer|basic)\s+)(?=\S*\d)[A-Za-z0-9._~+/\-]{12,}=*", re.IGNORECASE), r"\1***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bdapi[0-9a-f]{32}\b|\bgh[pousr]_\w{36,}\b"), "***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), "***"),
)


def is_secret(key: str) -> bool:
    """Whether a setting's name says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None


def redact_text(text: str) -> str:
    """Return a text with ``***`` for what looks like a secret."""
    for pattern, shown in _REPLACED:
        text = pattern.sub(shown, text)
    return text


def redact(config: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration with ``***`` for secrets.

    Secrets are values of ``spark.conf`` whose key looks like one, and what `redact_text` finds anywhere.
    """
    out: dict[str, Any] = redact_texts(config)
    conf = out["spark"]["conf"]
    out["spark"]["conf"] = {key: "***" if is_secret(key) else item for key, item in conf.items()}
    return out


def redact_texts(value: Any) -> Any:
    """Return a value with ``***`` for what `redact_text` finds in its texts, at any depth."""
    if isinstance(value, dict):
        return {key: redact_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_texts(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value
