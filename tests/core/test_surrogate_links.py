"""Links: when a surrogate of probabilities is fitted to margins, and that both ways agree."""

from __future__ import annotations

import numpy as np
import pytest
from games import credit_like

from spark_shap.core.surrogate import SurrogateSettings, fit_surrogate
from spark_shap.core.surrogate.links import Link, link_of


def logistic(margin):
    return 1.0 / (1.0 + np.exp(-margin))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_probabilities_of_margins_are_the_probabilities(n_outputs):
    rng = np.random.default_rng(0)
    share = 0.01 + rng.random((200, 4, n_outputs + (n_outputs == 1)))
    probabilities = (share / share.sum(axis=-1, keepdims=True))[..., :n_outputs]
    link = Link(n_outputs)
    assert link.probabilities(link.margins(probabilities)) == pytest.approx(probabilities, abs=1e-12)


def test_margins_of_one_output_are_log_odds_and_of_several_sum_to_zero():
    assert Link(1).margins(np.array([[0.5], [0.8]])) == pytest.approx(np.array([[0.0], [np.log(4.0)]]))
    margins = Link(3).margins(np.array([[0.2, 0.3, 0.5]]))
    assert margins.sum() == pytest.approx(0.0, abs=1e-12)
    assert margins[0, 2] - margins[0, 0] == pytest.approx(np.log(2.5))


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_certain_answers_have_finite_margins(n_outputs):
    certain = np.array([[0.0], [1.0]]) if n_outputs == 1 else np.array([[0.0, 1.0], [1.0, 0.0]])
    margins = Link(n_outputs).margins(certain)
    assert np.isfinite(margins).all()
    assert Link(n_outputs).probabilities(margins) == pytest.approx(certain, abs=3e-3)


def test_huge_margins_do_not_overflow():
    with np.errstate(over="raise", invalid="raise"):
        assert Link(3).probabilities(np.array([[900.0, -900.0, 0.0]])) == pytest.approx(np.array([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("targets", "n_outputs"),
    [
        ([[0.1], [0.9]], 1),
        ([[0.1, 0.9], [0.6, 0.4]], 2),
        ([[0.1], [1.1]], None),
        ([[-0.1], [0.9]], None),
        ([[0.1, 0.8], [0.6, 0.4]], None),  # two outputs in [0, 1] that are no distribution
    ],
)
def test_only_probabilities_have_a_link(targets, n_outputs):
    link = link_of(np.array(targets))
    assert (None if link is None else link.n_outputs) == n_outputs


def fitted(answers):
    x = credit_like(6000, 5)
    targets = answers(x)
    settings = SurrogateSettings(n_trees=60, depth=6)
    g = fit_surrogate(x[:5000], targets[:5000], background=x[:50], weights=np.ones(50), settings=settings, seed=0)
    return g, x[5000:], targets[5000:]


def test_a_saturated_sum_is_fitted_by_its_margin_which_is_far_closer():
    g, x, wanted = fitted(lambda x: logistic(4.0 * x[:, :1] - 3.0 * x[:, 1:2] + 2.0 * x[:, 2:3]))
    assert g.refines
    rows = g.encode(x)
    fine, exact = ((one - wanted).var() / wanted.var() for one in (g.fine_predict(rows), g.predict(rows)))
    assert fine < 0.01
    assert fine < 0.5 * exact


def test_steps_between_probabilities_are_fitted_as_they_are():
    g, x, wanted = fitted(lambda x: np.where(x[:, :1] > 1.0, 0.9, np.where(x[:, 1:2] > 0.0, 0.4, 0.1)))
    assert not g.refines
    assert g.fine_predict(g.encode(x)) is not None
    assert np.array_equal(g.fine_predict(g.encode(x)), g.predict(g.encode(x)))
    assert (g.predict(g.encode(x)) - wanted).var() < 0.05 * wanted.var()


def test_several_classes_are_fitted_by_their_margins():
    def classes(x):
        powers = np.exp(np.stack([2.0 * x[:, 0], -2.0 * x[:, 1], x[:, 2] + x[:, 3]], axis=1))
        return powers / powers.sum(axis=1, keepdims=True)

    g, x, wanted = fitted(classes)
    assert g.refines
    fine = g.fine_predict(g.encode(x))
    assert fine.sum(axis=1) == pytest.approx(1.0)
    assert ((fine - wanted).var(axis=0) / wanted.var(axis=0)).max() < 0.03
