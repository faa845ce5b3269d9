"""Fitted surrogates that are kept: the same to the last bit, found for the same arguments, refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from games import credit_like

from spark_shap.core.players import Players
from spark_shap.core.surrogate import SurrogateSettings, fit_surrogate, fitting
from spark_shap.core.surrogate.kept import digest_of, form_from, stored

SETTINGS = SurrogateSettings(n_trees=20, depth=5)


class Shelf(dict):
    """Where fits are kept, and how often one was asked for."""

    asked = 0

    def find(self, digest):
        self.asked += 1
        return self.get(digest)

    def keep(self, digest, fit):
        self[digest] = fit


def data(kind="linked"):
    x = credit_like(3000, 6)
    margin = 4.0 * x[:, :1] - 3.0 * x[:, 1:2] + x[:, 2:3] * x[:, 3:4]
    x[::7, 4] = np.nan
    answers = {"linked": 1.0 / (1.0 + np.exp(-margin)), "two": np.hstack([margin, margin**2])}
    return x, answers[kind]


def fit(x, targets, before=None, **changes):
    how = {"background": x[:50], "weights": np.ones(50), "settings": SETTINGS, "seed": 3} | changes
    return fit_surrogate(x, targets, before=before, **how)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(fitting, "WORTH_KEEPING", 100)


@pytest.mark.parametrize("kind", ["linked", "two"])
def test_a_kept_fit_is_the_fit_to_the_last_bit(small, monkeypatch, kind):
    x, targets = data(kind)
    shelf = Shelf()
    fitted = fit(x, targets, shelf)
    assert fitted.refines == (kind == "linked")
    monkeypatch.setattr(fitting, "_new_form", None)  # nothing is fitted any more
    found = fit(x, targets, shelf)
    assert (shelf.asked, len(shelf)) == (2, 1)
    rows = credit_like(200, 6, seed=1)
    for one in ("predict", "fine_predict", "values", "interactions"):
        mine, theirs = (getattr(g, one)(g.encode(rows)) for g in (found, fitted))
        np.testing.assert_array_equal(mine, theirs)
    # Background and players are no part of the fit: both come anew.
    players = Players(np.array([0, 0, 1, 2, 3, 3]))
    grouped = fit(x, targets, shelf, background=x[50:80], weights=np.ones(30), players=players)
    assert grouped.values(grouped.encode(rows)).shape[:2] == (200, 4)


def test_another_argument_is_another_fit():
    x, targets = data()
    names = {
        digest_of(x, targets, SETTINGS, 3),
        digest_of(x, targets, SETTINGS, 4),
        digest_of(x, targets, replace(SETTINGS, penalty=1.0), 3),
        digest_of(x[:-1], targets[:-1], SETTINGS, 3),
        digest_of(np.where(np.arange(6) == 5, np.nextafter(x, 9.0), x), targets, SETTINGS, 3),
        digest_of(x, 1.0 - targets, SETTINGS, 3),
    }
    assert len(names) == 6
    assert digest_of(np.asfortranarray(x), targets.copy(), SETTINGS, 3) in names


def test_small_fits_are_not_looked_for():
    x, targets = data()
    shelf = Shelf()
    fit(x, targets, shelf)
    assert (shelf.asked, len(shelf)) == (0, 0)


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
    kept = stored(fit(x, targets).form)
    with np.load(BytesIO(kept)) as arrays:
        there = {name: change.get(name, np.asarray)(arrays[name]) for name in arrays}
    damaged = BytesIO()
    np.savez(damaged, **there)
    assert form_from(kept, 6, 1) is not None
    assert form_from(damaged.getvalue(), 6, 1) is None


def test_what_is_no_archive_or_of_other_rows_is_made_anew(small):
    x, targets = data()
    shelf = Shelf()
    g = fit(x, targets, shelf)
    (name, kept), *_ = shelf.items()
    assert form_from(kept, 7, 1) is None
    assert form_from(kept, 6, 2) is None
    for damaged in (b"", b"no archive", kept[:-40], kept[: len(kept) // 2] + b"\0" * 99 + kept[len(kept) // 2 + 99 :]):
        shelf[name] = damaged
        rows = g.encode(x[:9])
        np.testing.assert_array_equal(fit(x, targets, shelf).values(rows), g.values(rows))
        assert shelf[name] == kept
