"""Fitted surrogates that are kept: the same to the last bit, refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from games import credit_like

from spark_shap.core.players import Players
from spark_shap.core.surrogate import Surrogate, SurrogateSettings, fit_form, form_from, stored

SETTINGS = SurrogateSettings(n_trees=20, depth=5)


def data(kind="linked"):
    x = credit_like(3000, 6)
    margin = 4.0 * x[:, :1] - 3.0 * x[:, 1:2] + x[:, 2:3] * x[:, 3:4]
    x[::7, 4] = np.nan
    answers = {"linked": 1.0 / (1.0 + np.exp(-margin)), "two": np.hstack([margin, margin**2])}
    return x, answers[kind]


def fit(x, targets):
    return fit_form(x, targets, settings=SETTINGS, seed=3)


def bound(form, n_features, players=None):
    background = credit_like(50, n_features, seed=2)
    return Surrogate.bind(replace(form, players=players), background, np.ones(50))


@pytest.mark.parametrize("kind", ["linked", "two"])
def test_a_kept_surrogate_is_the_fitted_one_to_the_last_bit(kind):
    x, targets = data(kind)
    fitted = fit(x, targets)
    assert (fitted.link is not None) == (kind == "linked")
    found = form_from(stored(fitted), 6, targets.shape[1])
    rows = credit_like(200, 6, seed=1)
    rows[::9, 4] = np.nan
    for players in (None, Players(np.array([0, 0, 1, 2, 3, 3]))):
        mine, theirs = (bound(form, 6, players) for form in (found, fitted))
        for one in ("predict", "fine_predict", "values", "interactions"):
            np.testing.assert_array_equal(*(getattr(g, one)(g.encode(rows)) for g in (mine, theirs)))


@pytest.mark.parametrize(
    "change",
    [
        {"features": lambda a: a + np.int32(90)},  # beyond the rows' features: a kernel would read what is not there
        {"features": lambda a: -1 - a},
        {"features": lambda a: a.astype(np.int64)},
        {"leaves": lambda a: a[:, :-1]},
        {"leaves": lambda a: a[:-1]},
        {"cuts": lambda a: a[:, :-1]},
        {"heights": lambda a: a[:-1]},
        {"heights_rows": lambda a: a + np.eye(6, dtype=int)[0] - np.eye(6, dtype=int)[1]},
        {"borders_rows": lambda a: a - 1},
        {"borders": lambda a: np.tile(a, 9), "borders_rows": lambda a: 9 * a},
        {"units": lambda a: a[:-1]},
        {"linked": lambda a: ~a},
        {"offset": lambda a: np.array([{}] * len(a))},  # only a pickle holds objects
    ],
)
def test_what_does_not_fit_together_is_refused(change):
    x, targets = data()
    kept = stored(fit(x, targets))
    with np.load(BytesIO(kept)) as arrays:
        there = {name: change.get(name, np.asarray)(arrays[name]) for name in arrays}
    damaged = BytesIO()
    np.savez(damaged, **there)
    assert form_from(kept, 6, 1) is not None
    assert form_from(damaged.getvalue(), 6, 1) is None


def test_what_is_no_archive_or_of_other_rows_is_refused():
    x, targets = data()
    kept = stored(fit(x, targets))
    assert form_from(kept, 7, 1) is None
    assert form_from(kept, 6, 2) is None
    for damaged in (b"", b"no archive", kept[:-40], kept[: len(kept) // 2] + b"\0" * 99 + kept[len(kept) // 2 + 99 :]):
        assert form_from(damaged, 6, 1) is None
