"""What every section of a configuration is: strict, frozen, checked as a whole; and sources of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from spark_shap.fields import Name  # noqa: TC001 - pydantic reads it
from spark_shap.overrides import custom_error, raised_again

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler
    from pydantic_core import InitErrorDetails

__all__ = ["Format", "Section", "Source", "suffix_format"]

Format = Literal["csv", "parquet", "delta"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet", ".delta": "delta"}


class Section(BaseModel):
    """Strict, frozen, unknown keys refused; checks between keys are reported along with those of each key."""

    # Strict: YAML has types, and a silent true -> 1 is a wrong run.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
    exactly_one: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _validate_together(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        data = {} if data is None else data  # a section whose keys are all commented out
        errors: list[InitErrorDetails] = []
        try:
            value = handler(data)
        except ValidationError as exc:
            errors = [raised_again(error) for error in exc.errors(include_url=False)]
        if isinstance(data, dict):
            found = cls._cross_problems({key: item for key, item in data.items() if item is not None})
            errors += [custom_error("together", message, (key,)) for key, message in found]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return value

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        # (key, message) of what is wrong between keys, from values that are not validated yet.
        given = [key for key in cls.exactly_one if key in data]
        if len(given) > 1:
            return [(given[1], f"cannot be given together with {given[0]}; keep one (null unsets the other)")]
        if cls.exactly_one and not given:
            return [(cls.exactly_one[0], f"is required: give {' or '.join(cls.exactly_one)}")]
        return []


class Source(Section):
    """Rows to read: a path with a format, or a table."""

    path: Name | None = None
    table: Name | None = None
    format: Format | None = None
    where: Name | None = None

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        if "table" in data and "format" in data and "path" not in data:
            problems.append(("format", "is for a path; a table knows its own: remove it"))
        path = data.get("path")
        if isinstance(path, str) and "format" not in data and suffix_format(path) is None:
            problems.append(("format", f"cannot be told from the name {path!r}: give csv, parquet or delta"))
        return problems

    @property
    def resolved_format(self) -> Format | None:
        """The format of the path, from its suffix where none is given; None for a table."""
        return self.format or (suffix_format(self.path) if self.path else None)


def suffix_format(path: str) -> Format | None:
    """Return the format that a path's suffix names, or None."""
    name = path.rstrip("/").lower()
    return next((fmt for suffix, fmt in _SUFFIXES.items() if name.endswith(suffix)), None)
