from __future__ import annotations

import numpy as np
import pandas as pd

from spark_shap.models.bins import fit_bins
from spark_shap.models.frames import background_rows


def test_every_value_is_in_the_bin_that_its_label_says():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": np.where(rng.random(500) < 0.1, np.nan, rng.lognormal(size=500)),
            "count": rng.integers(0, 3, 500),
            "purpose": rng.choice(["car", "house", "tv", "boat", "art"], 500, p=[0.4, 0.3, 0.2, 0.05, 0.05]),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 500), unit="D"),
            "known": rng.random(500) < 0.5,
        }
    )
    rows = background_rows(frame)
    bins = fit_bins(rows, [0, None, 1, 2, 3, 4], 4)
    found = bins.encode(rows)
    assert (found[:, 1] == -1).all()
    for place in np.unique(found[:, 0]):
        label, low, high = bins.label(0, int(place))
        inside = frame["amount"][found[:, 0] == place]
        if label == "missing":
            assert inside.isna().all()
        else:
            assert inside.gt(-np.inf if low is None else low).all()
            assert inside.le(np.inf if high is None else high).all()
            assert abs(len(inside) - 450 / 4) < 15
    assert [bins.label(2, place)[0] for place in range(3)] == ["up to 0", "above 0 up to 1", "above 1"]
    assert np.array_equal(found[:, 2], frame["count"])
    assert [bins.label(3, place)[0] for place in range(4)] == ["car", "house", "tv", "other"]
    assert (frame["purpose"][found[:, 3] == 3].isin(["boat", "art"])).all()
    assert bins.label(4, 0)[0].startswith("up to 2020-")
    assert {bins.label(5, int(place))[0] for place in np.unique(found[:, 5])} == {"True", "False"}


def test_values_beyond_the_sample_are_in_the_outer_bins():
    rows = background_rows(pd.DataFrame({"x": np.arange(100.0)}))
    bins = fit_bins(rows, [0], 10)
    others = background_rows(pd.DataFrame({"x": [-1e9, 1e9, np.nan]}))
    assert bins.encode(others).ravel().tolist() == [0, 9, 10]
