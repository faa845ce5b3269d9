"""Fitted surrogates as arrays, for those who keep one instead of fitting it again.

What is stored are arrays and nothing that runs when it is read; what does not fit together is refused, since kernels
go by these numbers without looking.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spark_shap.core.surrogate.additive import Additive
from spark_shap.core.surrogate.binning import Binning
from spark_shap.core.surrogate.links import Link
from spark_shap.core.surrogate.model import Form
from spark_shap.core.surrogate.trees import ObliviousTrees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spark_shap.core.arrays import AnyArray

__all__ = ["FittedBefore", "form_from", "stored"]

_MOST_BORDERS = 254  # bins are 8-bit numbers, and one is for missing values
_MOST_DEPTH = 8
_UNREADABLE = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile)


class FittedBefore(Protocol):
    """Where the surrogate of a model, a background, a population and options is kept."""

    def find(self) -> bytes | None:
        """Return it as `stored` made it, if it is there."""
        ...

    def keep(self, fit: Callable[[], bytes]) -> None:
        """Keep it."""
        ...


def stored(form: Form) -> bytes:
    """Return a fitted surrogate, without its players, as an archive of arrays."""
    arrays = {
        **_joined("borders", form.binning.borders),
        **_joined("knots", form.additive.knots),
        **_joined("heights", form.additive.heights),
        "features": form.trees.features,
        "cuts": form.trees.cuts,
        "leaves": form.trees.leaves,
        "units": form.units,
        "offset": form.offset,
        "linked": np.array([form.link is not None]),
    }
    out = BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def form_from(fit: bytes, n_features: int, n_outputs: int) -> Form | None:
    """Return what `stored` was given; None where that is damaged, or a surrogate of other rows and answers."""
    try:
        with np.load(BytesIO(fit), allow_pickle=False) as arrays:
            return _form(arrays, n_features, n_outputs)
    except _UNREADABLE:
        return None


def _form(arrays: Mapping[str, AnyArray], n_features: int, n_outputs: int) -> Form:
    linked = bool(arrays["linked"][0])
    n_columns = n_outputs * (1 + linked)
    features, cuts, leaves = arrays["features"], arrays["cuts"], arrays["leaves"]
    borders, knots, heights = (_apart(name, arrays, n_features) for name in ("borders", "knots", "heights"))
    n_trees, depth = features.shape
    _check(depth <= _MOST_DEPTH and cuts.shape == features.shape and leaves.shape == (n_trees, 2**depth, n_columns))
    _check([one.dtype.name for one in (features, cuts, leaves)] == ["int32", "uint8", "int16"])
    _check(bool(((features >= 0) & (features < n_features)).all()))
    _check(all(one.ndim == 1 and len(one) <= _MOST_BORDERS for one in borders))
    _check(all(own.shape == (len(at) + 1, n_columns) for at, own in zip(knots, heights, strict=True)))
    _check(all(one.dtype == np.float64 for one in (*borders, *knots)) and heights[0].dtype == np.int32)
    _check(all(one.shape == (n_columns,) and one.dtype == np.float64 for one in (arrays["units"], arrays["offset"])))
    return Form(
        Binning(borders),
        Additive(knots, heights),
        ObliviousTrees(features, cuts, leaves),
        arrays["units"],
        arrays["offset"],
        Link(n_outputs) if linked else None,
    )


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError("arrays that do not fit together")


def _joined(name: str, parts: Sequence[AnyArray]) -> dict[str, AnyArray]:
    return {name: np.concatenate(parts), f"{name}_rows": np.array([len(part) for part in parts], dtype=np.int64)}


def _apart(name: str, arrays: Mapping[str, AnyArray], n_parts: int) -> tuple[AnyArray, ...]:
    whole, lengths = arrays[name], arrays[f"{name}_rows"]
    _check(lengths.shape == (n_parts,) and bool((lengths >= 0).all()) and int(lengths.sum()) == len(whole))
    return tuple(np.split(whole, np.cumsum(lengths)[:-1]))
