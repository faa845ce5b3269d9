"""What is taken off the model's game: chosen on the driver, by what it leaves of the pilot's answers.

There are three, each dearer than the one before: a linear function of the features, small trees, both fitted to the
pilot's own answers, which are there anyway; and a surrogate fitted to evaluations that are made for it. Trees are
judged by answers that they were not fitted to; a line through thousands of answers needs no such care.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spark_shap.core.control import ControlVariate
from spark_shap.core.hybrids import Hybrids, Population, draw_hybrids, mix_numbers
from spark_shap.core.linear_control import LinearControl, Standardiser
from spark_shap.core.pilot import pilot_rows, pilot_slopes, run_pilot
from spark_shap.core.sampling import pairs_within
from spark_shap.core.strata import BackgroundStrata, bisection_order
from spark_shap.core.surrogate import Form, Surrogate, default_settings, fit_form, form_from, stored
from spark_shap.core.surrogate.refinement import fit_refinement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_shap.core.game import Answers
    from spark_shap.core.sampler import Sampler
    from spark_shap.core.sampling import SampledPairs
    from spark_shap.core.surrogate import FittedBefore
    from spark_shap.models.encoding import RowEncoder
    from spark_shap.models.frames import Rows

__all__ = ["Chosen", "Pilot", "Setting", "ask_pilot", "background_order", "choose_control"]

_PAYS = 0.8  # what is dearer must leave less than this share of what the cheaper leaves
_LEAST_HYBRIDS = 200
_LINE_IS_ENOUGH = 0.01  # of the variance left


class Pilot(NamedTuple):
    """Pilot rows with what was asked of them: positions among the background (n,), pairs, answers, totals (n, K)."""

    positions: NDArray[np.intp]
    hashes: NDArray[np.uint64]
    pairs: SampledPairs
    answers: Answers
    totals: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.positions)

    @property
    def differences(self) -> NDArray[np.float64]:
        """(n, P, K) the model's answers."""
        return self.answers.differences

    def part(self, rows: slice) -> Pilot:
        """Return a part of the rows."""
        pairs = self.pairs.take(rows)
        answers = replace(
            self.answers,
            predictions=self.answers.predictions[rows],
            differences=self.answers.differences[rows],
            sums=None if self.answers.sums is None else self.answers.sums[rows],
        )
        return Pilot(self.positions[rows], self.hashes[rows], pairs, answers, self.totals[rows])


class Setting(NamedTuple):
    """The sampler as it stands, the background in all the forms that are needed, the pilot, and where a fit is kept."""

    sampler: Sampler
    rows: Rows
    encoder: RowEncoder
    numbers: NDArray[np.float64]
    pilot: Pilot
    before: FittedBefore | None = None

    @property
    def weights(self) -> NDArray[np.float64]:
        """(B,) weights of the background."""
        return self.sampler.reference.weights


class Chosen(NamedTuple):
    """What is taken off.

    Attributes
    ----------
    control
        What it is.
    note
        What to say of it.
    judge
        The same, or one fitted to less, that has not seen the answers in `judged`.
    judged
        Pilot rows that say how much it leaves.
    """

    control: ControlVariate
    note: str
    judge: ControlVariate
    judged: Pilot


def ask_pilot(sampler: Sampler, rows: Rows) -> Pilot:
    """Ask the pilot's pairs of some background rows."""
    positions, hashes = pilot_rows(sampler.seed, len(rows))
    pairs, answers = run_pilot(sampler.game, rows.take(positions), hashes, len(rows))
    return Pilot(positions, hashes, pairs, answers, answers.predictions - sampler.reference.base_values)


def background_order(control: ControlVariate, rows: Rows) -> NDArray[np.intp]:
    """Return background rows in an order in which neighbours have like values."""
    # Rounded: an order must not hang on the last bit of a sum.
    return bisection_order(control.bind(rows).values().sum(axis=2).astype(np.float32).astype(np.float64))


def choose_control(setting: Setting, population: Rows | None, n_hybrids: int, refine_pairs: int) -> Chosen:
    """Return what is taken off the model's game: the best of what there is.

    Parameters
    ----------
    setting
        Background and pilot.
    population
        Rows like those that will be explained; None for the background's own.
    n_hybrids
        Model evaluations to fit a surrogate on; 0 for none.
    refine_pairs
        Pairs of the surrogate's finer part for each of the model's.
    """
    linear, pilot = _linear(setting), setting.pilot
    least = _left(linear, setting, pilot)
    why = ""
    if n_hybrids >= _LEAST_HYBRIDS:
        found = _bought(setting, population, n_hybrids)
        if not isinstance(found, str):
            what = f"a surrogate fitted to {n_hybrids:,} evaluations leaves"
            found, what, fine = _refined(found, what, setting, pilot, refine_pairs)
            if fine < _PAYS * least:
                return Chosen(found, what, found, pilot)
            found = f"{what}, and a linear control from the pilot {least:.1%} for less"
        why = f"no surrogate: {found}; "
    return _from_pilot(setting, Chosen(linear, why, linear, pilot), least, refine_pairs)


def _from_pilot(setting: Setting, linear: Chosen, least: float, refine_pairs: int) -> Chosen:
    """Return small trees fitted to the pilot's answers where they beat the linear control, else that."""
    pilot, half = setting.pilot, len(setting.pilot) // 2
    fitted, judged = pilot.part(slice(0, half)), pilot.part(slice(half, None))
    by_line = f"{linear.note}a linear control from the pilot leaves {least:.1%} of the variance"
    hybrids = _pilot_hybrids(setting, fitted)
    if least < _LINE_IS_ENOUGH or len(hybrids.numbers) < _LEAST_HYBRIDS:
        return linear._replace(note=by_line)
    what = "small trees fitted to the pilot's answers leave"
    judge, what, fine = _refined(_bound(setting, _form(setting, hybrids)), what, setting, judged, refine_pairs)
    if not fine < _PAYS * _left(linear.control, setting, judged):
        return linear._replace(note=by_line)
    whole = _bound(setting, _form(setting, _pilot_hybrids(setting, pilot)))
    return Chosen(_refined(whole, "", setting, judged, refine_pairs)[0], linear.note + what, judge, judged)


def _refined(
    found: ControlVariate, what: str, setting: Setting, pilot: Pilot, refine_pairs: int
) -> tuple[ControlVariate, str, float]:
    """Return the control with its finer part, if there is one, what to say of it, and the share that it leaves."""
    share = fine = _left(found, setting, pilot)
    what = f"{what} {share:.1%} of the variance"
    if refine_pairs and isinstance(found.surrogate, Surrogate) and found.surrogate.refines:
        n_pairs = refine_pairs * pairs_within(setting.sampler.n_evaluations)
        strata = BackgroundStrata.build(background_order(found, setting.rows), setting.weights)
        found = replace(found, refinement=fit_refinement(found.surrogate, n_pairs, strata, setting.sampler.seed))
        fine = _left(found, setting, pilot)
        what += f"; its finer part, sampled itself, {fine:.1%}"
    return found, what, fine


def _linear(setting: Setting) -> ControlVariate:
    pilot, standardise = setting.pilot, Standardiser.of(setting.numbers)
    scaled = standardise(setting.numbers)
    game = setting.sampler.game
    slopes = pilot_slopes(game, pilot.pairs, pilot.answers, scaled[pilot.positions], scaled)
    control = LinearControl(standardise, slopes, scaled, setting.weights, game.players)
    return ControlVariate(control, setting.encoder)


def _bought(setting: Setting, population: Rows | None, n_hybrids: int) -> ControlVariate | str:
    """Return a surrogate fitted to evaluations made for it, or why there is none."""
    before, shape = setting.before, (setting.numbers.shape[1], setting.sampler.game.n_outputs)
    kept = None if before is None else before.find()
    form = None if kept is None else form_from(kept, *shape)
    if form is None:
        hybrids = _hybrids(setting, population, n_hybrids)
        if isinstance(hybrids, str):
            return hybrids
        form = _form(setting, hybrids)
    if before is not None:
        before.keep(partial(stored, form))
    return _bound(setting, form)


def _hybrids(setting: Setting, population: Rows | None, n_hybrids: int) -> Hybrids | str:
    """Return hybrid rows with the model's answers, or why there are none to fit a surrogate to."""
    sampler, encoder = setting.sampler, setting.encoder
    if population is None:
        # Not the pilot's rows: what is judged on them must not have been fitted on them.
        others = np.setdiff1d(np.arange(len(setting.rows)), setting.pilot.positions)
        if not len(others):
            return "too few background rows to fit and to judge one"
        population = setting.rows.take(others)
    hybrids = draw_hybrids(
        sampler.game,
        sampler.reference.strata,
        setting.numbers,
        Population(population, encoder(population)),
        n_evaluations=n_hybrids,
        seed=sampler.seed,
    )
    if len(hybrids.numbers) < _LEAST_HYBRIDS or not np.ptp(hybrids.predictions, axis=0).any():
        return "the model refuses most hybrid rows, or says the same of all"
    return hybrids


def _pilot_hybrids(setting: Setting, pilot: Pilot) -> Hybrids:
    """Return the hybrid rows of the pilot's pairs and what the model said of them."""
    index, members = pilot.pairs.draw(slice(None), slice(None))
    on = setting.sampler.game.spread(members)
    numbers = mix_numbers(setting.numbers[pilot.positions], setting.numbers[index], on)
    sums, differences = pilot.answers.sums, pilot.differences
    if sums is None:
        sums = np.full(differences.shape, np.nan)
    predictions = [(part / 2).reshape(-1, part.shape[2]) for part in (sums + differences, sums - differences)]
    return Hybrids(np.concatenate(numbers), np.concatenate(predictions)).usable()


def _form(setting: Setting, hybrids: Hybrids) -> Form:
    settings = default_settings(len(hybrids.numbers))
    return fit_form(hybrids.numbers, hybrids.predictions, settings=settings, seed=setting.sampler.seed)


def _bound(setting: Setting, form: Form) -> ControlVariate:
    """Return a fitted surrogate as a control against the background."""
    form = replace(form, players=setting.sampler.game.players)
    return ControlVariate(Surrogate.bind(form, setting.numbers, setting.weights), setting.encoder)


def _left(control: ControlVariate, setting: Setting, pilot: Pilot) -> float:
    """Return the share of the variance of the pilot's answers that a control leaves."""
    index, members = pilot.pairs.draw(slice(None), slice(None))
    own = control.bind(setting.rows.take(pilot.positions)).differences(slice(None), index, members)
    variance = [float(np.nanvar(one, axis=(0, 1)).sum()) for one in (pilot.differences - own, pilot.differences)]
    return max(variance[0], 1e-300) / max(variance[1], 1e-300)
