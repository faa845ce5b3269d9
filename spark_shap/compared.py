"""A reference population with the method against it, as a run uses it."""

from __future__ import annotations

import logging
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_shap.backgrounds import population_rows
from spark_shap.choice import choose
from spark_shap.identity import background_identity, rows_fingerprint
from spark_shap.models.accepted import refused_values
from spark_shap.models.frames import Background, background_rows
from spark_shap.models.scoring import refused_rows
from spark_shap.options import Options
from spark_shap.prepare import Prepared, block_rows, prepare
from spark_shap.reasons import Reasons
from spark_shap.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from spark_shap.config import RunConfig
    from spark_shap.io.kept_work import KeptWork
    from spark_shap.models.accepted import Accepted
    from spark_shap.models.loading import LoadedModel
    from spark_shap.models.predictor import Predictor
    from spark_shap.populations import Drawn
    from spark_shap.references import Reference

__all__ = ["Alike", "Compared", "Given", "compare_with"]

_log = logging.getLogger(__name__)


class Alike(NamedTuple):
    """Applicants like those to explain, and in words why they are so few, where they are."""

    rows: pd.DataFrame
    note: str


class Given(NamedTuple):
    """What a method is prepared from beside its background: the model, applicants like those to explain, how many.

    And what the model accepts of them, and what an attempt that did not end may have kept.
    """

    loaded: LoadedModel
    predictor: Predictor
    alike: Alike
    n_rows: int
    accepted: Accepted
    kept: KeptWork


class Compared(NamedTuple):
    """A reference as it is used: its rows, their fingerprint and sum of weights, and the method against it."""

    reference: Reference
    drawn: Drawn
    prepared: Prepared
    fingerprint: str
    weight: float


class _KeptSurrogate(NamedTuple):
    """Where the surrogate of a reference is kept, by all that it is made of."""

    given: Given
    options: Options
    background: pd.DataFrame
    weights: NDArray[np.float64] | None

    def find(self) -> bytes | None:
        """See `spark_shap.core.surrogate.FittedBefore`."""
        return self.given.kept.find(self._name)

    def keep(self, fit: Callable[[], bytes]) -> None:
        """See `spark_shap.core.surrogate.FittedBefore`."""
        self.given.kept.keep(self._name, fit)

    def _name(self) -> str:
        given, predictor = self.given, self.given.predictor
        what = (
            given.loaded.fingerprint,
            (predictor.output_space, predictor.output_names),
            replace(self.options, reasons=None),
            given.n_rows,
            rows_fingerprint(self.background, self.weights),
            rows_fingerprint(given.alike.rows, None),
        )
        return sha256(repr(what).encode()).hexdigest()


def _options(config: RunConfig) -> Options:
    explain = config.explain
    return Options(
        explain.method,
        explain.n_evaluations,
        explain.seed,
        explain.memory_mb,
        explain.tolerance,
        explain.surrogate_evaluations,
        explain.surrogate_pairs,
        explain.audit,
        None if config.reasons is None else Reasons(**config.reasons.model_dump(exclude={"where"})),
        explain.groups,
    )


def compare_with(config: RunConfig, reference: Reference, drawn: Drawn, given: Given) -> Compared:
    """Return a reference with the method against it, its rows as they are used."""
    options, predictor = _options(config), given.predictor
    background, weights, whole = drawn.background, drawn.weights, drawn.whole
    rows = background_rows(background)
    if whole is not None and choose(given.loaded.model, predictor, rows.layout, whole.n_rows, options).reading is None:
        background, weights = whole.rows(None)
        rows, whole = background_rows(background), None
    if reference.is_of_applicants:
        # A sample of the applicants may hold some of those that will be rejected.
        refused: dict[int, Any] = dict(refused_values(rows, given.accepted))
        if not refused:
            refused = refused_rows(predictor, rows, block_rows(Background(rows), options.memory_mb))
        if refused:
            first = refused[min(refused)]
            _log.warning(
                "%d of %d sampled reference rows are left out: %s", len(refused), len(rows), redact_text(str(first))
            )
            kept = np.setdiff1d(np.arange(len(rows)), list(refused))
            background, weights = background.iloc[kept], None if weights is None else weights[kept]
            rows = background_rows(background)
    prepared = prepare(
        predictor,
        rows,
        weights,
        model=given.loaded.model,
        options=options,
        population=population_rows(given.alike.rows, rows),
        n_rows=given.n_rows,
        whole=whole,
        before=_KeptSurrogate(given, options, background, weights),
    )
    prepared = replace(prepared, reference=reference.name, accepted=given.accepted)
    if given.alike.note and prepared.draws:
        prepared = replace(prepared, method_reason=f"{prepared.method_reason}; {given.alike.note}")
    used = drawn._replace(background=background, weights=weights, whole=whole)
    return Compared(reference, used, prepared, *background_identity(whole, prepared, background, weights))
