"""Where a claim to a run lies: a file that is made only if it is not there, or a table of one row.

A session that has a file system claims by a file, one through Spark Connect by a table, and each can read what the
other has. A file that is half written, by a program that is at it or was killed there, reads as a text that is no
claim.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pyspark.errors import AnalysisException
from pyspark.sql import types as T

from spark_shap import schema
from spark_shap.dataframes import is_connect
from spark_shap.errors import InputError, MissingTableError
from spark_shap.io.files import HadoopPath, hadoop_path
from spark_shap.io.local_rows import local_rows
from spark_shap.io.sources import SPARK_ERRORS
from spark_shap.io.tables import read_table, replace_run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_shap.io.location import Location

__all__ = ["OtherStore", "Store", "other_store_of", "store_of"]

_FOLDER = "_claims"  # hidden from readers of folders
_SETTLE_SECONDS = 1.0
_CLAIM = T.StructType([T.StructField(schema.RUN_ID, T.StringType()), T.StructField("claim", T.StringType())])
_UNREADABLE: tuple[type[Exception], ...] = (InputError, *SPARK_ERRORS)


class OtherStore(Protocol):
    """Holds one text, or none, of programs with sessions of the other kind."""

    def read(self) -> str | None:
        """Return the text; empty where something is there that cannot be read at the moment."""
        ...

    def remove(self) -> None:
        """Leave none, where that can be done."""
        ...


class Store(OtherStore, Protocol):
    """Holds one text, or none."""

    def create(self, text: str) -> bool:
        """Write the text if there is none; whether it is there now."""
        ...

    def write(self, text: str) -> None:
        """Write the text in place of the one that is there."""
        ...


def store_of(spark: SparkSession, location: Location, run_id: str) -> Store:
    """Return the store of a run's claim."""
    if location.root is None or is_connect(spark):
        return _TableStore(spark, location, run_id)
    there = hadoop_path(spark, _file(location, run_id))
    uri = there.files.makeQualified(there.path).toUri()
    return _LocalStore(Path(uri.getPath())) if uri.getScheme() == "file" else _FileStore(spark, there)


def other_store_of(spark: SparkSession, location: Location, run_id: str) -> OtherStore | None:
    """Return the store that sessions of the other kind claim by: classic ones, or those through Spark Connect."""
    if location.root is None:
        return None
    return (_SeenFile if is_connect(spark) else _TableStore)(spark, location, run_id)


def _file(location: Location, run_id: str) -> str:
    return f"{location.path(_FOLDER)}/{run_id}.json"


@dataclass(frozen=True)
class _LocalStore:
    """A file of this machine, without Hadoop, which asks whether it is there and then makes it: two may pass."""

    path: Path

    def read(self) -> str | None:
        try:
            return self.path.read_text(errors="replace")
        except FileNotFoundError:
            return None

    def create(self, text: str) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x"):
                pass
            self.write(text)
        except FileExistsError:
            return False
        except FileNotFoundError:  # another program left, and took the empty folder with it
            return self.create(text)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}; name another output.path") from None
        return True

    def write(self, text: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.path)  # readers see the one or the other

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds claims to other runs
            self.path.parent.rmdir()


@dataclass(frozen=True)
class _FileStore:
    """A file of Hadoop's file systems."""

    spark: SparkSession
    place: HadoopPath

    def read(self) -> str | None:
        files, path, _ = self.place
        if not files.exists(path):
            return None
        try:
            stream = files.open(path)
            try:
                return bytes(stream.readAllBytes()).decode(errors="replace")
            finally:
                stream.close()
        except SPARK_ERRORS:
            return "" if files.exists(path) else None

    def create(self, text: str) -> bool:
        files, path, _ = self.place
        try:
            self._fill(files.create(path, False), text)
        except SPARK_ERRORS:
            if files.exists(path):
                return False
            raise
        return True

    def write(self, text: str) -> None:
        files, path, _ = self.place
        self._fill(files.create(path, True), text)

    def remove(self) -> None:
        files, path, _ = self.place
        files.delete(path, False)
        with suppress(*SPARK_ERRORS):  # it holds claims to other runs
            files.delete(path.getParent(), False)

    @staticmethod
    def _fill(stream: Any, text: str) -> None:
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()


@dataclass(frozen=True)
class _TableStore:
    """A row of a table, where a session gives no file system: who is still there after a moment has it."""

    spark: SparkSession
    location: Location
    run_id: str

    def read(self) -> str | None:
        try:
            rows = read_table(self.spark, self.location, schema.CLAIMS, self.run_id).collect()
        except MissingTableError:
            return None
        except _UNREADABLE:  # it is written anew at this moment
            return ""
        texts: list[str] = sorted(row["claim"] for row in rows)
        return texts[0] if texts else None

    def create(self, text: str) -> bool:
        if self.read() is not None:
            return False
        self.write(text)
        time.sleep(_SETTLE_SECONDS)
        return self.read() == text

    def write(self, text: str) -> None:
        self._replace([(self.run_id, text)])

    def remove(self) -> None:
        self._replace([])

    def _replace(self, rows: list[tuple[str, str]]) -> None:
        replace_run(local_rows(self.spark, rows, _CLAIM), self.location, schema.CLAIMS, self.run_id)


@dataclass(frozen=True)
class _SeenFile:
    """A file as a session sees it that gives no file system."""

    spark: SparkSession
    location: Location
    run_id: str

    def read(self) -> str | None:
        try:
            name = _file(self.location, self.run_id)
            return "".join(row[0] for row in self.spark.read.option("wholetext", "true").text(name).collect())
        except AnalysisException:  # not there
            return None
        except SPARK_ERRORS:
            return ""

    def remove(self) -> None:
        """Leave it: whoever looks at it later finds it as dead."""
