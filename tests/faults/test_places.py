"""A place that takes no more, or may not be written; rows that a model refuses."""

from __future__ import annotations

import resource
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from faults.programs import (
    Asked,
    Watched,
    Work,
    assert_same_tables,
    complete,
    explaining,
    program,
    run_row,
    table,
)
from portfolio import applicants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS, N_BAD = 2000, 20


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """2,000 rows, of which the model refuses 1 %, and with them every block that they are in."""
    folder = tmp_path_factory.mktemp("places")
    data = applicants(N_ROWS)
    data["age"] = data["age"].clip(20, 70)
    data.loc[7 :: N_ROWS // N_BAD, "age"] = 99
    model = Watched(folder / "calls", seconds=0.005, raises_at=99)
    # A reference of its own: a sample of the applicants would hold some that the model refuses.
    applicants(60, seed=1).to_parquet(folder / "reference.parquet")
    reference = {"path": str(folder / "reference.parquet")}
    return Work(folder, model, data, reference=reference, output={"max_rejects": N_BAD})


@pytest.fixture(scope="module")
def plain(work: Work) -> Path:
    complete(work, work.folder / "plain")
    return work.folder / "plain"


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A file system in memory; only root may make one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("making a small file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def again(disk: Path, *options: str) -> bool:
    command = ["mount", "-o", ",".join(["remount", *options]), str(disk)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def test_rejects_of_several_shards(work: Work, plain: Path, tmp_path: Path) -> None:
    bad = work.data.loc[work.data["age"] == 99, "id"].tolist()
    assert table(plain, "rejects")["id"].tolist() == bad
    assert len(bad) == N_BAD
    assert len(table(plain, "attributions")) == N_ROWS - N_BAD
    lines = pd.read_parquet(plain / "shards")
    assert (lines.loc[lines["part"] >= 0, "n_rejected"] > 0).sum() > 1
    assert set(table(plain, "rejects")["message"]) == {"no age 99"}
    assert set(table(plain, "rejects")["error_class"]) == {"RuntimeError"}
    out = tmp_path / "out"
    with program(work, out) as one:
        one.wait_for(explaining(2))
        one.kill()
    complete(work, out)
    assert_same_tables(out, plain)
    assert (run_row(out)["rows_rejected"], run_row(out)["attempts"]) == (N_BAD, 2)


def test_files_that_may_not_grow(work: Work, plain: Path, tmp_path: Path) -> None:
    """A quota, for those who are not root."""
    out = tmp_path / "out"
    with program(work, out) as one:
        one.wait_for(explaining(1))
        for pid in one.all():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        assert one.wait() == 1
        assert "File too large" in one.said
    complete(work, out)
    assert_same_tables(out, plain)
    assert run_row(out)["attempts"] == 2


def test_read_only_from_the_start(work: Work, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 10) as disk:
        assert again(disk, "ro")
        asked = Asked(work.log)
        with program(work, disk / "out") as one:
            assert one.wait() == 2
            assert "cannot be written: Read-only file system; name another output.path" in one.said
            assert "Traceback" not in one.said
        assert asked.rows() == 0
