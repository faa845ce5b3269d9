"""Single files out: to this machine's disk, or through Hadoop to the file system of the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from spark_shap.dataframes import is_connect
from spark_shap.errors import InputError
from spark_shap.io.files import hadoop_path, hadoop_reason
from spark_shap.io.sources import SPARK_ERRORS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["write_text"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


def write_text(spark: SparkSession, path: str, text: str) -> None:
    """Write text to a file in place of what is there; folders on the way are made.

    Parameters
    ----------
    spark
        Session whose file systems a path with a scheme (``hdfs:``, ``s3a:``, ...) names.
    path
        Without a scheme, or with ``file:``, on this machine.
    text
        Written as UTF-8.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if not _SCHEME.match(path) or path.startswith("file:"):
        _write_here(Path(unquote(urlsplit(path).path) if path.startswith("file:") else path), text)
    elif is_connect(spark):
        raise InputError(f"{path}: Spark Connect cannot write a single file there; name a file on this machine")
    else:
        _write_there(spark, path, text)


def _write_here(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; name another file") from None


def _write_there(spark: SparkSession, path: str, text: str) -> None:
    try:
        files, there, _ = hadoop_path(spark, path)
        stream = files.create(there, True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()
    except SPARK_ERRORS as error:
        raise InputError(f"{path}: cannot be written: {hadoop_reason(error)}; name another file") from None
