"""Every error the package raises on purpose.

::

    SparkShapError
    ├── ConfigError            the configuration file or a --set override (exit code 2)
    ├── UsageError             an argument of the Python interface or the command line (exit code 2)
    │   └── MethodError        a method, output space or transform that cannot do what was asked
    ├── InputError             applicants, background or their columns
    │   └── MissingTableError  a table, or a run in it, that is not there
    ├── ModelError             the model cannot be loaded, raises, or returns the wrong thing
    ├── MissingDependencyError Java or an optional package is missing
    └── RunError               a run that started and failed (exit code 1)
        └── TooManyRejectsError

A message says what value, at which place, and the way out.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "InputError",
    "MethodError",
    "MissingDependencyError",
    "MissingTableError",
    "ModelError",
    "RunError",
    "SparkShapError",
    "TooManyRejectsError",
    "UsageError",
]


class SparkShapError(Exception):
    """Base of all errors of this package."""


class UsageError(SparkShapError, ValueError):
    """An argument has a value that cannot work."""


class MethodError(UsageError):
    """The named method, output space or transform cannot explain this model."""


class ConfigError(SparkShapError):
    """The configuration cannot be used.

    Parameters
    ----------
    problems
        One line a problem, each starting with the path of the key (``explain.n_evaluations: ...``).
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class InputError(SparkShapError):
    """Applicants or background cannot be used as they are."""


class MissingTableError(InputError):
    """There is no such table, or no such run in it; one that is there and cannot be read is another matter."""


class ModelError(SparkShapError):
    """The model cannot be loaded, raises, or returns something that is no prediction."""


class MissingDependencyError(SparkShapError):
    """An optional package, or Java, is needed and not there."""


class RunError(SparkShapError):
    """A run that had started could not be finished."""


class TooManyRejectsError(RunError):
    """More rows could not be explained than the run allows."""
