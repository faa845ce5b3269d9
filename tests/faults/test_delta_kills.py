"""A run into Delta tables is killed and resumed; the independent reader `deltalake` finds every row once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from conftest import DELTA_CONF
from faults.programs import N_SHARDS, Asked, Watched, Work, complete, found, numbers, program
from portfolio import FEATURES, applicants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.delta, pytest.mark.slow]

deltalake = pytest.importorskip("deltalake")
PLAIN = {"loan amount": "loan_amount", "rate.pct": "rate_pct"}  # others need column mapping, which deltalake cannot


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("delta")
    data = applicants(160).rename(columns=PLAIN)
    data.loc[40:43, "age"] = 99
    features = {"keep": ["region"], "features": [PLAIN.get(name, name) for name in FEATURES]}
    model = Watched(folder / "calls", seconds=0.2, nan_at=99)
    return Work(
        folder, model, data, applicants=features, output={"max_rejects": 0.1, "format": "delta"}, conf=DELTA_CONF
    )


def table(out: Path, name: str) -> pd.DataFrame:
    rows = deltalake.DeltaTable(str(out / name)).to_pyarrow_table().to_pandas()
    order = [one for one in ("id", "output", "segment_by", "segment", "feature") if one in rows]
    return rows.sort_values(order, ignore_index=True)


def lines(out: Path) -> int:
    return int((table(out, "shards")["part"] >= 0).sum())


@pytest.fixture(scope="module")
def plain(work: Work) -> Path:
    out = work.folder / "plain"
    complete(work, out)
    return out


def commit(name: str, version: int) -> Callable[[Path], bool]:
    return lambda out: found(out, f"{name}/_delta_log/{version:020d}.json")


@pytest.mark.parametrize(
    ("seen", "there"),
    [
        (lambda out: found(out, "attributions/_delta_log") and found(out, "_staging/*/*/_SUCCESS"), {0}),
        (commit("attributions", 1), {1}),
        (commit("shards", 3), {2}),  # rejected keys, the copy and one shard came before
        (commit("summary", 0), {N_SHARDS}),
    ],
    ids=["first shard", "written, not committed", "committed", "before the commit"],
)
def test_killed_driver(work: Work, plain: Path, tmp_path: Path, seen: Callable[[Path], bool], there: set[int]) -> None:
    out = tmp_path / "out"
    with program(work, out) as first:
        first.wait_for(seen)
        first.kill()
    committed = lines(out)
    assert committed in there, "it was killed where it should be"
    assert table(out, "runs")["status"].tolist() == ["started"]
    asked = Asked(work.log)
    complete(work, out)
    mine, theirs = table(out, "attributions"), table(plain, "attributions")
    assert mine["id"].tolist() == theirs["id"].tolist()
    assert mine["id"].is_unique
    for name in ("shap_values", "std_errors"):
        np.testing.assert_array_equal(numbers(mine, name), numbers(theirs, name))
    pd.testing.assert_frame_equal(table(out, "rejects"), table(plain, "rejects"), check_exact=True)
    pd.testing.assert_frame_equal(table(out, "summary"), table(plain, "summary"), rtol=1e-12)
    (row,) = table(out, "runs").to_dict("records")
    assert (row["status"], row["attempts"], row["rows_explained"]) == ("complete", 2, 156)
    parts = table(out, "shards")
    again = parts["shard"][(parts["part"] >= 0) & parts["attempt"].str.startswith("00002")]
    assert len(again) == N_SHARDS - committed
    evaluations = mine["n_evaluations"][mine["shard"].isin(again)].sum()
    assert evaluations <= asked.rows() <= evaluations + 65 * 2 * 4
