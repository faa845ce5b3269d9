"""A method that is ready to explain rows, with everything it needs; all that a worker gets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from spark_shap.core.sampler import Sampler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spark_shap.closed_forms import BackgroundFold
    from spark_shap.core.attribution import Attributions
    from spark_shap.core.game import Game
    from spark_shap.core.interactions import InteractionValues
    from spark_shap.core.ranking import RankRule
    from spark_shap.models.accepted import Accepted
    from spark_shap.models.bins import FeatureBins
    from spark_shap.models.frames import Layout, Rows
    from spark_shap.options import Options
    from spark_shap.tuning import Forecast

__all__ = ["Method", "Prepared", "WholeBackground"]


class Method(Protocol):
    """What explains rows."""

    @property
    def game(self) -> Game:
        """The model, and how it is called."""
        ...

    def explain(self, rows: Any, row_hashes: NDArray[np.uint64]) -> Attributions:
        """Explain n rows with the hashes of their keys."""
        ...

    def interactions(self, rows: Any, row_hashes: NDArray[np.uint64]) -> InteractionValues:
        """Return their pairwise interaction values."""
        ...

    def rows_in_memory(self, n_features: int) -> int:
        """Return how many rows to explain in one go."""
        ...


class WholeBackground(Protocol):
    """A background of any size that is elsewhere."""

    @property
    def n_rows(self) -> int:
        """Its rows."""
        ...

    def fold(self, how: BackgroundFold) -> Any:
        """Return the state of all rows, made where they are."""
        ...

    def collect(self) -> tuple[Rows, NDArray[np.float64] | None]:
        """Return all rows, and their weights."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A model, a background and a method, ready to explain rows.

    Attributes
    ----------
    method
        What explains.
    method_name, method_reason
        Which it is, and why it was chosen.
    sample
        A few background rows: what the model's input looks like.
    n_background
        Rows of the background.
    base_values
        (K,) weighted mean prediction of the background.
    output_names, output_space
        What is explained.
    options
        How.
    forecast
        What the pilot says of standard errors; None where nothing is sampled.
    rule, shows_values
        How reasons are found, or None; and whether explained rows carry the texts of their reasons' values.
    reference
        The background's name, where rows are compared with several.
    player_names
        Names of the M players: features, and groups of them; None for the features.
    bins
        Bins of the features' values that explained rows carry, for dependence curves; None for none.
    others
        The same model against the other backgrounds, in the same pass.
    accepted
        What the model accepts of some features, see `spark_shap.models.accepted`; all else is refused unasked.
    replayed
        Whether the model's answers are given in the order of questions that were asked before: all are asked again,
        those about rows that fail too.
    """

    method: Method
    method_name: str
    method_reason: str
    sample: Rows
    n_background: int
    base_values: NDArray[np.float64]
    output_names: tuple[str, ...]
    output_space: str
    options: Options
    forecast: Forecast | None = None
    rule: RankRule | None = None
    shows_values: bool = False
    reference: str | None = None
    player_names: tuple[str, ...] | None = None
    bins: FeatureBins | None = None
    others: tuple[Prepared, ...] = ()
    accepted: Accepted = field(default_factory=dict)
    replayed: bool = False

    @property
    def references(self) -> tuple[Prepared, ...]:
        """All backgrounds that rows are compared with, this one first."""
        return (self, *self.others)

    @property
    def reference_names(self) -> tuple[str, ...]:
        """Their names; none where there is only one."""
        return tuple(str(one.reference) for one in self.references) if self.others else ()

    @property
    def lines_a_row(self) -> int:
        """Lines that an explained row has in the wide layout: one a background and output."""
        return len(self.references) * len(self.output_names)

    @property
    def layout(self) -> Layout:
        """Names and dtypes of the features."""
        return self.sample.layout

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the M features that have values, groups of columns among them."""
        return self.layout.names if self.player_names is None else self.player_names

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns that the model receives."""
        return self.layout.names

    @property
    def own_columns(self) -> tuple[int | None, ...]:
        """Where the column of each feature stands; None for a group."""
        groups = self.options.groups or {}
        return tuple(None if name in groups else self.layout.names.index(name) for name in self.feature_names)

    @property
    def draws(self) -> bool:
        """Whether values may come from draws, which the hashes of the rows' keys seed."""
        return any(isinstance(one.method, Sampler) for one in self.references)

    @property
    def keeps_surrogate_values(self) -> bool:
        """Whether explained rows carry the exact part of their values, which corrects aggregates for noise."""
        return (
            self.options.audit == "aggregates" and isinstance(self.method, Sampler) and self.method.control is not None
        )

    @property
    def rows_in_memory(self) -> int:
        """Rows to explain in one go."""
        return min(one.method.rows_in_memory(len(one.feature_names)) for one in self.references)

    def explain(self, rows: Rows, row_hashes: NDArray[np.uint64]) -> Attributions:
        """Explain n rows with the hashes of their keys."""
        found = self.method.explain(rows, row_hashes)
        if self.rule is None or found.ranking is not None:
            return found
        return replace(found, ranking=self.rule.judge_exact(found.values, found.predictions))

    def interactions(self, rows: Rows, row_hashes: NDArray[np.uint64]) -> InteractionValues:
        """Return the pairwise interaction values of n rows with the hashes of their keys."""
        return self.method.interactions(rows, row_hashes)
