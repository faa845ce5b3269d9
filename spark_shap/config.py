"""The configuration of a run: one YAML file, validated once, frozen after that.

`load_config` reports every problem at once, each with the dotted path of its key and the way out.
Relative paths are taken from the current directory (for data by Spark: on a cluster from its default file
system). No key names a link or transform: ``explain.output_space`` is the only choice of what is explained.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from spark_shap.errors import ConfigError
from spark_shap.fields import Groups, Limit, Name, Names, Report, Scalars, Tolerance, names_of
from spark_shap.groups import group_problems
from spark_shap.overrides import apply_overrides, problem_lines, read_yaml
from spark_shap.redaction import redact
from spark_shap.references import Reference, reference_problems
from spark_shap.sections import Section as _Section
from spark_shap.sections import Source as _Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["RunConfig", "config_json", "load_config"]

ModelFormat = Literal[
    "auto", "pickle", "xgboost", "lightgbm", "catboost", "onnx", "torch", "keras", "mlflow", "spark_ml"
]


class Applicants(_Source):
    """The rows to explain."""

    exactly_one = ("path", "table")

    key: Annotated[Names, Field(min_length=1)]
    keep: Names = ()
    weight: Name | None = None
    features: Annotated[Names, Field(min_length=1)] | None = None

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        key = names_of(data.get("key", ()))
        for name in ("key", "keep", "features"):
            values = names_of(data.get(name, ()))
            if not isinstance(values, tuple) or not isinstance(key, tuple):
                continue
            if twice := sorted({str(value) for value in values if values.count(value) > 1}):
                problems.append((name, f"names {twice[0]!r} twice; keep one"))
            if name != "key" and (also := [value for value in values if value in key]):
                problems.append((name, f"names {also[0]!r}, which is a key column already; remove it here"))
        return problems


class Model(_Section):
    """What is explained. Loading a file runs its code: only load files you trust, and give their sha256."""

    exactly_one = ("object", "file", "uri")

    object: Annotated[str, Field(pattern=r"^[^\W\d][\w.]*:[^\W\d][\w.]*$")] | None = None
    file: Name | None = None  # or a folder, of MLflow or Spark ML
    uri: Annotated[str, Field(pattern=r"^(models|runs):/.+$")] | None = None  # as MLflow resolves it
    format: ModelFormat = "auto"  # of the file; auto: by its content
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    output_names: Annotated[Names, Field(min_length=1)] | None = None

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        if "sha256" in data and not {"file", "uri"} & set(data):
            problems.append(("sha256", "is checked on the bytes of model.file or uri, and none is given; remove it"))
        if data.get("format", "auto") != "auto" and "file" not in data:
            problems.append(("format", "is that of model.file, and none is given; remove it"))
        return problems


class Explain(_Section):
    """How values are computed."""

    method: Literal["auto", "sampling", "exact", "linear", "tree"] = "auto"
    n_evaluations: Annotated[int, Field(ge=5)] = 512  # model calls a row, at most
    tolerance: Tolerance | None = None  # the standard error at which a row is done
    surrogate_evaluations: Annotated[int, Field(ge=0)] | None = None  # spent once; 0: the pilot's answers must do
    surrogate_pairs: Annotated[int, Field(ge=0)] = 4  # of its finer part, for each of the model's
    audit: Literal["rows", "aggregates"] = "rows"  # aggregates: as little as the summary needs
    target_error: Annotated[float, Field(gt=0, lt=1)] = 0.03  # of mean |SHAP|, and of top-4 rates
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # a bigint in the table of runs
    output_space: Literal["probability", "margin", "prediction"] | None = None
    memory_mb: Annotated[int, Field(ge=1)] = 256  # hybrid rows a worker
    partitions: Annotated[int, Field(ge=1)] | None = None
    shards: Annotated[int, Field(ge=1, le=10_000)] | None = None  # parts that are committed one by one
    groups: dict[Name, Names] | None = None  # features that are one player together

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems, groups = super()._cross_problems(data), data.get("groups")
        if isinstance(groups, dict):
            named = {name: names_of(members) for name, members in groups.items()}
            given = {name: members for name, members in named.items() if isinstance(members, tuple)}
            problems += [("groups", problem) for problem in group_problems(given, None)]
        return problems


class Output(_Section):
    """Where the tables go, and how many rows may be rejected."""

    exactly_one = ("path", "schema")

    path: Name | None = None
    catalog_schema: Name | None = Field(default=None, alias="schema")
    format: Literal["parquet", "delta"] = "parquet"
    layout: Literal["wide", "long"] = "wide"
    max_rejects: Limit = 0.01  # 1: one row
    evolve_schema: bool = False  # whether Delta tables that are there may get new columns
    report: Report = True  # an HTML file beside the tables, or a file's name
    sample: Annotated[int, Field(ge=0, le=100_000)] = 1000  # applicants whose features' values the report shows

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        # The one schema of a Parquet table in a catalog could not hold runs of different models.
        if "schema" in data and "path" not in data and data.get("format", "parquet") == "parquet":
            problems.append(("format", "tables in a catalog schema are Delta tables: set format: delta"))
        return problems

    def reject_limit(self, n_rows: int) -> int:
        """Return how many of `n_rows` rows may be rejected."""
        return self.max_rejects if isinstance(self.max_rejects, int) else int(self.max_rejects * n_rows)


class Summary(_Section):
    """The aggregates: always overall, and by these segments."""

    by: Groups = ()
    dependence: Annotated[int, Field(ge=2, le=100)] | None = None  # bins of each feature's curve


class Reasons(_Section):
    """The table of reasons: which features harm an applicant most."""

    harm: Literal["high", "low"]  # the side of the output that is bad for the applicant
    output: Name | None = None
    top: Annotated[int, Field(ge=1)] = 4  # reasons a row, at most
    codes: Name | None = None  # a file of code sets
    cutoff: float | None = None  # rows there or beyond have reasons
    where: Name | None = None  # and of these, rows of the attributions that satisfy a SQL predicate
    exclude: Names = ()
    max_p_swap: Annotated[float, Field(gt=0, le=0.5)] = 0.025
    max_evaluations: Annotated[int, Field(ge=0)] | None = None  # until a row's reasons are stable


class Spark(_Section):
    """Settings for a session that the command line makes; a session that exists keeps its own."""

    master: Name | None = None
    conf: Scalars = Field(default_factory=dict)


class RunConfig(_Section):
    """All of it. A stage gets only its own section."""

    applicants: Applicants
    reference: Reference = Reference()
    references: dict[Name, Reference] | None = None  # several, by name
    model: Model
    explain: Explain = Explain()
    output: Output
    summary: Summary = Summary()
    reasons: Reasons | None = None
    spark: Spark = Spark()

    @classmethod
    def _cross_problems(cls, data: dict[str, Any]) -> list[tuple[str, str]]:
        problems = super()._cross_problems(data)
        explain, output = (part if isinstance(part, dict) else {} for part in (data.get("explain"), data.get("output")))
        if explain.get("audit") == "aggregates" and output.get("layout") == "long":
            problems.append(("output", "layout: long has no room for what audit: aggregates keeps; set layout: wide"))
        if explain.get("audit") == "aggregates" and data.get("reasons") is not None:
            problems.append(
                ("reasons", "need every row's own values, which audit: aggregates does without; remove one")
            )
        summary = data.get("summary")
        if isinstance(summary, dict) and summary.get("dependence") is not None and output.get("layout") == "long":
            problems.append(("output", "layout: long has no room for summary.dependence's bins; set layout: wide"))
        problems += reference_problems(data)
        references = data.get("references")
        if explain.get("audit") == "aggregates" and isinstance(references, dict) and len(references) > 1:
            problems.append(("references", "audit: aggregates takes one reference a run; keep one"))
        return problems

    @property
    def populations(self) -> tuple[Reference, ...]:
        """The references by their names, the first one first; what the section `reasons` says of scores filled in."""
        named = self.references or {self.reference.name: self.reference}
        return tuple(one.completed(name, self.reasons) for name, one in named.items())

    @property
    def uses_delta(self) -> bool:
        """Whether any table is read or written as Delta."""
        sources = (self.applicants, *self.populations)
        return "delta" in (self.output.format, *(one.resolved_format for one in sources))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration in a YAML file with ``--set`` overrides applied.

    Parameters
    ----------
    path
        The file, relative to the current directory.
    overrides
        Each ``section.key=value``, the value a YAML scalar or list, ``null`` to unset.

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        Every problem found, one line each.
    """
    raw = apply_overrides(read_yaml(path), overrides)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as exc:
        problems = problem_lines(exc.errors(include_url=False), RunConfig)
    raise ConfigError(problems)


def config_json(config: RunConfig) -> str:
    """Return the configuration as canonical JSON: sorted keys, no spaces, secrets replaced by ``***``.

    The table of runs holds it and a run's identifier is made from it, so a changed password is no new run.
    """
    value = config.model_dump(mode="json", by_alias=True)
    return json.dumps(redact(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
