"""Where the tables of runs are."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from spark_shap.dataframes import quoted
from spark_shap.errors import UsageError

__all__ = ["Location", "absolute"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


@dataclass(frozen=True)
class Location:
    """Where the tables are: folders under a root path, or Delta tables of a catalog schema.

    Attributes
    ----------
    root
        Path or URL of the folder that holds one folder a table; a relative path is made absolute.
    catalog_schema
        ``schema`` or ``catalog.schema``, instead of a root.
    format
        ``"parquet"`` or ``"delta"``; a catalog schema holds Delta tables.
    """

    root: str | None = None
    catalog_schema: str | None = None
    format: Literal["parquet", "delta"] = "parquet"

    def __post_init__(self) -> None:
        """Refuse what is no place for tables."""
        if (self.root is None) == (self.catalog_schema is None):
            raise UsageError("a location needs a root path or a catalog schema, and not both")
        if self.catalog_schema is not None and self.format != "delta":
            # A Parquet table in a catalog has one schema, and runs of different models have several.
            raise UsageError(f"{self.catalog_schema}: tables in a catalog schema are Delta tables: use delta")
        if self.root is not None:
            # Delta's SQL takes absolute paths only.
            object.__setattr__(self, "root", absolute(self.root))

    def __str__(self) -> str:
        """Return the path or schema."""
        return str(self.root or self.catalog_schema)

    def path(self, table: str) -> str:
        """Return the folder of a table under the root."""
        return f"{str(self.root).rstrip('/')}/{table}"

    def identifier(self, table: str) -> str:
        """Return what SQL calls a table: its quoted name, or the format and path."""
        if self.catalog_schema is None:
            return f"{self.format}.{quoted(self.path(table))}"
        return ".".join(quoted(part) for part in [*self.catalog_schema.split("."), table])


def absolute(path: str) -> str:
    """Return a path without a scheme as an absolute one."""
    return path if _SCHEME.match(path) else os.path.abspath(path)
