"""What is to be said of each row: which features harm it most, as a caller asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

from spark_shap.core.ranking import RankRule
from spark_shap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["EXTRA_EVALUATIONS", "HARMS", "Reasons"]

HARMS = ("high", "low")
EXTRA_EVALUATIONS = 8  # a row may take so many times the budget until its reasons are stable


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Which features harm a row most.

    Attributes
    ----------
    harm
        ``"high"`` where a high output is bad for the applicant, ``"low"`` where a low one is.
    output
        Name of the output that is explained; None where there is only one.
    top
        Reasons a row, at most.
    exclude
        Features that may be no reason. They are written down, and so is how often they would have been one.
    cutoff
        Only rows whose prediction is there or beyond, on the side that harms, have reasons; None: all rows.
    codes
        YAML file of code sets, see `spark_shap.audit.code_file`; None for reasons without codes and texts.
    max_p_swap
        A reason is stable while the probability that it is none of the row's reasons is below this.
    max_evaluations
        Model evaluations that a row whose reasons are not stable may take in all; None for eight times
        `n_evaluations`, 0 for no more than any other row.
    """

    harm: str
    output: str | None = None
    top: int = 4
    exclude: tuple[str, ...] = ()
    cutoff: float | None = None
    codes: str | Path | None = None
    max_p_swap: float = 0.025
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.harm not in HARMS:
            raise UsageError(f"reasons.harm: {self.harm!r} is neither 'high' nor 'low', which of them harms a row")
        for name, least in (("top", 1), ("max_evaluations", 0)):
            value = getattr(self, name)
            if name == "max_evaluations" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise UsageError(f"reasons.{name}: {value!r} is not an integer of at least {least}")
        if isinstance(self.exclude, str):
            object.__setattr__(self, "exclude", (self.exclude,))
        number = isinstance(self.max_p_swap, Real) and not isinstance(self.max_p_swap, bool)
        if not number or not 0.0 < self.max_p_swap <= 0.5:
            raise UsageError(f"reasons.max_p_swap: {self.max_p_swap!r} is no probability above 0, up to 0.5")
        cutoff = self.cutoff
        if cutoff is not None and (not isinstance(cutoff, Real) or isinstance(cutoff, bool) or cutoff != cutoff):
            raise UsageError(f"reasons.cutoff: {cutoff!r} is no number")

    def rule(self, features: Sequence[str], outputs: Sequence[str], n_evaluations: int) -> RankRule:
        """Return the rule for a model's features and outputs, rows taking `n_evaluations` at least.

        Raises
        ------
        UsageError
            A feature or the output is not there, or no feature is left.
        """
        unknown = [name for name in self.exclude if name not in features]
        if unknown:
            raise UsageError(f"reasons.exclude: {unknown[0]!r} is no feature; they are {', '.join(features)}")
        if len(set(self.exclude)) == len(features):
            raise UsageError("reasons.exclude: it names every feature; leave one that may be a reason")
        if self.output is None and len(outputs) > 1:
            raise UsageError(f"reasons.output: name the output to explain, one of {', '.join(outputs)}")
        if self.output is not None and self.output not in outputs:
            raise UsageError(f"reasons.output: {self.output!r} is no output; they are {', '.join(outputs)}")
        most = EXTRA_EVALUATIONS * n_evaluations if self.max_evaluations is None else int(self.max_evaluations)
        return RankRule(
            output=0 if self.output is None else list(outputs).index(self.output),
            sign=1 if self.harm == "high" else -1,
            top=int(self.top),
            eligible=tuple(name not in self.exclude for name in features),
            cutoff=None if self.cutoff is None else float(self.cutoff),
            max_p_swap=float(self.max_p_swap),
            max_evaluations=most,
        )
