"""Which values of features a model accepts, where its stages say so and would end a whole job over others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_shap.models.values import is_missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_shap.models.frames import Rows

__all__ = ["Accepted", "refused_values"]

Accepted = dict[str, frozenset[str] | None]


def refused_values(rows: Rows, accepted: Mapping[str, frozenset[str] | None]) -> dict[int, str]:
    """Return why rows are not accepted, by position.

    Parameters
    ----------
    rows
        n rows.
    accepted
        By feature, the texts that it may be; None where it may be anything but missing. Numbers are not compared with
        texts.
    """
    found: dict[int, str] = {}
    for name, texts in accepted.items():
        if name not in rows.layout.names:
            continue
        column: Any = rows.columns[rows.layout.names.index(name)]
        missing = np.asarray(is_missing(column))
        found |= {int(row): f"feature {name!r} is missing, which the model refuses" for row in np.flatnonzero(missing)}
        if texts is None or not all(isinstance(value, str) for value in np.asarray(column, dtype=object)[~missing]):
            continue
        values = np.asarray(column, dtype=object)
        unknown = ~missing & ~np.isin(values.astype(str), list(texts))
        found |= {
            int(row): f"feature {name!r}: value {values[row]!r} is none of the {len(texts)} that the model knows"
            for row in np.flatnonzero(unknown)
        }
    return found
