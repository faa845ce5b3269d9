"""What is taken off the model where nothing is spent on a surrogate: a line, or trees from the pilot's own answers."""

from __future__ import annotations

import numpy as np
import pytest
from games import credit_like, interacting

from spark_shap import Explainer
from spark_shap.core.linear_control import LinearControl
from spark_shap.core.surrogate import Surrogate


def explainer(model, n_features=8, n_background=200, **how):
    how = {"method": "sampling", "n_evaluations": 129, "surrogate_evaluations": 0, **how}
    return Explainer(model, credit_like(n_background, n_features), **how)


def line(x):
    return 2.0 * x[:, 0] - x[:, 1] + 0.3 * x[:, 2]


def test_a_line_is_taken_off_what_is_one():
    found = explainer(line)
    assert isinstance(found.prepared.method.control.surrogate, LinearControl)
    assert "a linear control from the pilot leaves" in found.method_reason
    x = credit_like(20, 8, seed=5)
    assert found(x).values[:, :3] == pytest.approx(
        (x - found.prepared.sample.to_input().mean(axis=0))[:, :3] * [2, -1, 0.3], abs=2e-2
    )


def test_trees_are_taken_off_what_is_not_and_cost_no_evaluation_more():
    asked = []

    def model(x):
        asked.append(len(x))
        return interacting(x)

    found = explainer(model)
    assert isinstance(found.prepared.method.control.surrogate, Surrogate)
    assert "small trees fitted to the pilot's answers leave" in found.method_reason
    # The background, and the pilot: 48 rows with 64 pairs each.
    assert sum(asked) == 200 + 48 * (2 * 64 + 1)


@pytest.mark.parametrize("surrogate_evaluations", [0, 4000])
def test_the_forecast_is_not_made_of_answers_that_were_fitted(surrogate_evaluations):
    found = explainer(interacting, surrogate_evaluations=surrogate_evaluations, surrogate_pairs=0)
    forecast = found.prepared.forecast
    predicted = np.median(forecast.scale) / np.sqrt(64)
    actual = np.median(found(credit_like(300, 8, seed=5)).std_errors)
    assert actual == pytest.approx(predicted, rel=0.25)


def test_a_pilot_of_few_rows_keeps_to_the_line():
    assert isinstance(explainer(interacting, n_background=4).prepared.method.control.surrogate, LinearControl)


def test_a_constant_model_is_explained_by_nothing():
    found = explainer(lambda x: np.full(len(x), 0.25))
    assert not found(credit_like(5, 8, seed=5)).values.any()


def test_hybrids_that_the_model_refuses_are_not_fitted():
    def model(x):
        answers = interacting(x)
        answers[x[:, 0] > np.quantile(credit_like(200, 8)[:, 0], 0.97)] = np.nan
        return answers

    background = credit_like(200, 8)
    background[:, 0] = np.minimum(background[:, 0], np.quantile(background[:, 0], 0.97))
    found = Explainer(model, background, method="sampling", n_evaluations=129, surrogate_evaluations=0)
    assert np.isfinite(found(background[:20]).values).all()
