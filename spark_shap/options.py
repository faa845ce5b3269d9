"""How to explain: the choices of a caller, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from spark_shap.core.players import Players
from spark_shap.core.precision import Tolerance
from spark_shap.errors import MethodError, UsageError
from spark_shap.groups import group_problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_shap.reasons import Reasons

__all__ = ["AUDITS", "METHODS", "MethodName", "Options", "grouping_of", "parse_tolerance"]

MethodName = Literal["auto", "sampling", "exact", "linear", "tree"]
METHODS: tuple[str, ...] = get_args(MethodName)
AUDITS = ("rows", "aggregates")
_PERCENT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*%\s*")


@dataclass(frozen=True)
class Options:
    """How to explain.

    Attributes
    ----------
    method
        One of `METHODS`.
    n_evaluations
        Model evaluations a row, at most, for sampled rows.
    seed
        Any integer.
    memory_mb
        Megabytes of hybrid rows that one worker may hold.
    tolerance
        Standard error at which a row is done: a number in units of the output, or a text such as ``"2%"``,
        a share of the row's prediction less the base value. None spends `n_evaluations` on every row.
    surrogate_evaluations
        Model evaluations that are spent once on fitting a surrogate, None for a number that suits the job. With 0
        what is taken off the model is fitted to the pilot's answers, which every job has.
    surrogate_pairs
        Pairs that the surrogate's finer part is asked for each pair of the model, where it has one.
    audit
        ``"rows"`` when every row's values matter, ``"aggregates"`` when only the summary does.
    reasons
        What is to be said of each row, or None.
    groups
        Features that are one player together, by the group's name; None for none.
    """

    method: str = "auto"
    n_evaluations: int = 512
    seed: int = 0
    memory_mb: int = 256
    tolerance: float | str | None = None
    surrogate_evaluations: int | None = None
    surrogate_pairs: int = 4
    audit: str = "rows"
    reasons: Reasons | None = None
    groups: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.method not in METHODS:
            raise MethodError(f"method: {self.method!r} is not known; choose one of {', '.join(map(repr, METHODS))}")
        for name, least in (
            ("n_evaluations", 5),
            ("memory_mb", 1),
            ("surrogate_evaluations", 0),
            ("surrogate_pairs", 0),
        ):
            value = getattr(self, name)
            if name == "surrogate_evaluations" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise MethodError(f"{name}: {value!r} is not an integer of at least {least}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)):
            raise MethodError(f"seed: {self.seed!r} is not an integer")
        if self.audit not in AUDITS:
            raise MethodError(f"audit: {self.audit!r} is not known; choose one of {', '.join(map(repr, AUDITS))}")
        if self.reasons is not None and self.audit == "aggregates":
            raise MethodError("audit: 'aggregates' makes no row's own values good enough for reasons; use 'rows'")
        parse_tolerance(self.tolerance)


def parse_tolerance(value: float | str | None) -> Tolerance | None:
    """Return the tolerance that a number or a percentage means.

    Raises
    ------
    MethodError
        It is neither, or not positive.
    """
    if value is None:
        return None
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value)) and float(found[1]) > 0:
        return Tolerance(float(found[1]) / 100, is_share=True)
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if number and 0 < float(value) < float("inf"):
        return Tolerance(float(value))
    raise MethodError(
        f"tolerance: {value!r} is neither a positive number, in units of the output, nor a percentage such as '2%', a "
        "share of the row's prediction less the base value"
    )


def grouping_of(
    groups: Mapping[str, Sequence[str]] | None, features: Sequence[str]
) -> tuple[Players | None, tuple[str, ...]]:
    """Return which player each feature is, and the players' names: a group stands where its first feature stood.

    Raises
    ------
    UsageError
        The groups are none of these features, with every problem.
    """
    if not groups:
        return None, tuple(features)
    problems = group_problems(groups, features)
    if problems:
        raise UsageError("\n".join(f"groups.{problem}" for problem in problems))
    owner = {member: name for name, members in groups.items() for member in members}
    number: dict[str, int] = {}
    of_column = np.array([number.setdefault(owner.get(name, name), len(number)) for name in features])
    return Players(of_column), tuple(number)
