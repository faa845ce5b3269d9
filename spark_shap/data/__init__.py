"""The data that ships with the package: 1,000 German credit applications (source and licence: README.md)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from spark_shap.errors import InputError

__all__ = ["german_credit_path"]


def german_credit_path() -> Path:
    """Return the path of ``german_credit.csv``.

    1,000 rows: the key ``application_id``, 20 features, ``bad`` (1: the credit turned out bad).

    Raises
    ------
    InputError
        The package was imported from inside a zip file, where Spark cannot read.
    """
    path = resources.files(__name__).joinpath("german_credit.csv")
    if not isinstance(path, Path):
        raise InputError(f"{path} is inside a zip file: install the spark-shap wheel to use its data")
    return path
