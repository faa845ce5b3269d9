"""kill -9 of the driver in each stage of a run; the same command, started again, completes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pytest
from faults.programs import (
    N_SHARDS,
    Asked,
    Watched,
    Work,
    assert_same_tables,
    committed,
    complete,
    evaluations,
    explaining,
    found,
    numbers,
    program,
    run_row,
    table,
    tables_in,
    written,
)
from portfolio import applicants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


class Stage(NamedTuple):
    name: str
    seen: Callable[[Path], bool]
    committed: int  # shards
    jvm: bool = True  # killed along with the driver's Python


def summing(out: Path) -> bool:
    return found(out, "summary/.spark-staging-*") and committed(N_SHARDS - 1)(out)


def summed(out: Path) -> bool:
    return found(out, "summary/run_id=*/*.parquet")


def reasoned(out: Path) -> bool:
    return found(out, "reasons/run_id=*/*.parquet")


def cleared(out: Path) -> bool:
    return summed(out) and not found(out, "_staging/run_id=*")


STAGES = [
    Stage("staging", lambda out: found(out, "_staging/run_id=*/copy=*/_temporary"), 0),
    Stage("staged", lambda out: found(out, "_staging/run_id=*/copy=*/_SUCCESS"), 0, jvm=False),
    Stage("explaining", explaining(0), 0),
    Stage("explaining, Python alone", explaining(1), 1, jvm=False),
    Stage("written, not committed", written(1), 1),
    Stage("written, not committed, Python alone", written(0), 0, jvm=False),
    Stage("committed", committed(1), 2),
    Stage("aggregating", summing, N_SHARDS),
    Stage("aggregated", summed, N_SHARDS),
    Stage("reasons", reasoned, N_SHARDS),
    Stage("before the commit", cleared, N_SHARDS, jvm=False),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("driver")
    data = applicants(160)
    data.loc[40:43, "age"] = 99
    model = Watched(folder / "calls", seconds=0.2, nan_at=99)
    sections = {
        "output": {"max_rejects": 0.1},
        "explain": {"surrogate_evaluations": 600},
        "summary": {"dependence": 3},
        "reasons": {"harm": "high", "max_evaluations": 0},
    }
    return Work(folder, model, data, **sections)


@pytest.fixture(scope="module")
def plain(work: Work) -> Path:
    complete(work, work.folder / "plain")
    return work.folder / "plain"


@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_killed_driver(work: Work, plain: Path, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with program(work, out) as first:
        first.wait_for(stage.seen)
        first.kill(jvm=stage.jvm)
    assert not found(out, "runs/run_id=*/*.parquet") or run_row(out)["status"] == "started"
    there = sum(committed(part)(out) for part in range(N_SHARDS))
    assert there == stage.committed, "it was killed where it should be"
    asked = Asked(work.log)
    said = complete(work, out)
    assert "waiting" not in said
    assert_same_tables(out, plain)
    assert tables_in(out) >= {"summary", "dependence", "reasons", "reason_rates", "sample", "rejects"}
    row = run_row(out)
    assert (row["status"], row["attempts"], row["rows_rejected"]) == ("complete", 2, 4)
    assert evaluations(out, 1) + evaluations(out, 2) == row["model_evaluations"]
    assert (evaluations(out, 2) > 0) is (there < N_SHARDS)
    # Rejected rows are looked at twice, for the reason.
    assert evaluations(out, 2) <= asked.rows() <= evaluations(out, 2) + 65 * 2 * 4
    assert not list(out.glob("attributions/*/shard=*/_temporary")), "nothing is left lying about"
    before = asked.rows()
    if stage.name == "committed":
        assert "nothing was explained again" in complete(work, out)
        assert asked.rows() == before


def test_two_drivers_at_once(work: Work, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = Asked(work.log)
    with program(work, out) as one, program(work, out) as other:
        codes = [one.wait(), other.wait()]
    assert sorted(codes) == [0, 1], one.said + other.said
    loser = one if codes[0] else other
    assert "is making it at this moment, from the same inputs; let it finish" in loser.said
    assert loser.said.count("Traceback") == 0
    assert_same_tables(out, plain)
    assert run_row(out)["attempts"] == 1
    assert asked.rows() <= run_row(out)["model_evaluations"] + 65 * 2 * 4
    assert not list(out.glob("_claims/*"))


def test_two_runs_into_one_place_at_once(work: Work, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with program(work, out) as one, program(work, out, explain={"seed": 8}) as other:
        assert (one.wait(), other.wait()) == (0, 0), one.said + other.said
    runs = pd.read_parquet(out / "runs")
    assert sorted(runs["status"]) == ["complete", "complete"]
    assert runs["rows_explained"].tolist() == [156, 156]
    assert runs["attempts"].tolist() == [1, 1]
    rows = table(out, "attributions")
    assert rows.groupby("run_id", observed=True)["id"].apply(sorted).map(len).tolist() == [156, 156]
    first = table(plain, "runs")["run_id"][0]
    mine = rows[rows["run_id"] == first].reset_index(drop=True)
    np.testing.assert_array_equal(numbers(mine, "shap_values"), numbers(table(plain, "attributions"), "shap_values"))
