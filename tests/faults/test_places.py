"""A place that is full, or may not be written; rows that a model refuses; a task that is tried again."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from faults.programs import (
    Asked,
    Watched,
    Work,
    assert_same_tables,
    committed,
    complete,
    evaluations,
    explaining,
    numbers,
    program,
    run_row,
    save,
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


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


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


def test_other_rows_are_explained_as_if_none_were_refused(work: Work, plain: Path, tmp_path: Path) -> None:
    healthy = save(Watched(tmp_path / "calls", seconds=0.005), tmp_path / "model.pkl")
    complete(work, tmp_path / "out", model={"file": str(healthy)})
    whole, mine = table(tmp_path / "out", "attributions"), table(plain, "attributions")
    assert whole["id"].tolist() == work.data["id"].tolist()
    theirs = whole[whole["id"].isin(mine["id"])]
    for name in ("shap_values", "std_errors"):
        np.testing.assert_array_equal(numbers(mine, name), numbers(theirs, name))


def test_full_disk(work: Work, plain: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 40) as disk:
        out, filler = disk / "out", disk / "filler"
        with program(work, out) as one:
            one.wait_for(committed(0))
            with pytest.raises(OSError, match="No space left"):
                fill(filler)
            assert one.wait() == 1
            assert re.search("failed: .*No space left on device", one.said)
            assert "Traceback" not in one.said
        filler.unlink()
        asked = Asked(work.log)
        complete(work, out)
        assert_same_tables(out, plain)
        row = run_row(out)
        assert (row["attempts"], row["status"]) == (2, "complete")
        assert pd.isna(row["error"])
        assert evaluations(out, 1) > 0
        assert asked.rows() < evaluations(out, 2) + 65 * N_BAD * 10, "what was committed is not made again"


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


def test_read_only_from_the_start(work: Work, plain: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        assert again(disk, "ro")
        asked, before = Asked(work.log), work.log.stat().st_size
        with program(work, disk / "out") as one:
            assert one.wait() == 2
            assert "cannot be written: Read-only file system; name another output.path" in one.said
            assert "Traceback" not in one.said
        assert asked.rows() == 0
        assert work.log.stat().st_size == before, "it is found before anything is prepared"
        assert again(disk, "rw")
        complete(work, disk / "out")
        assert_same_tables(disk / "out", plain)
        assert run_row(disk / "out")["attempts"] == 1


def test_read_only_in_between(work: Work, plain: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        out = disk / "out"
        with program(work, out) as one:
            one.wait_for(committed(0))
            end = time.monotonic() + 60
            while not again(disk, "ro"):  # busy while a file is open
                assert time.monotonic() < end
                time.sleep(0.002)
            assert one.wait() == 1
            # Hadoop does not say why a folder cannot be made.
            assert re.search("failed: .*(Read-only file system|Mkdirs failed to create)", one.said)
        assert again(disk, "rw")
        complete(work, out)
        assert_same_tables(out, plain)
        assert run_row(out)["attempts"] == 2


def test_task_that_had_written(tmp_path: Path) -> None:
    """A worker dies when a part of its task's rows lies in the file; local[2,4] tries a task four times."""
    data = applicants(3 * N_ROWS)
    data["note"] = [os.urandom(500).hex() for _ in range(len(data))]  # goes through all buffers
    # A task has 3,000 rows and asks for 195,000. A worker hands on 256 rows, then 1,024: it has done so when it dies.
    model = Watched(tmp_path / "calls", seconds=0.02, dies_after=110_000)
    explain = {"shards": 2, "partitions": 2}
    work = Work(tmp_path, model, data, applicants={"keep": ["region", "note"]}, explain=explain)
    conf = {"spark.hadoop.parquet.block.size": 4096, "spark.hadoop.parquet.page.size": 1024}
    complete(work, tmp_path / "plain")
    work.conf = {**conf, "spark.hadoop.parquet.page.size.row.check.min": 1}
    (tmp_path / "calls.dies").touch()
    asked, sizes = Asked(work.log), list[int]()

    def died(out: Path) -> bool:
        files = list(out.glob("attributions/*/shard=*/_temporary/0/_temporary/*/*.parquet"))
        sizes.extend(file.stat().st_size for file in files if file.exists())
        return not (tmp_path / "calls.dies").exists()

    with program(work, tmp_path / "out", spark={"master": "local[2,4]"}) as one:
        one.wait_for(died)  # half a second before it does
        assert one.wait() == 0, one.said
    assert max(sizes) > 10_000, "the task had written"
    assert_same_tables(tmp_path / "out", tmp_path / "plain")
    row = run_row(tmp_path / "out")
    assert row["attempts"] == 1
    assert asked.rows() > row["model_evaluations"] + 100_000, "the task was tried again"


def test_workers_that_lack_the_package_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "without.py").write_text(
        "import sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'spark_shap':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "from pyspark.daemon import manager\n"
        "if __name__ == '__main__':\n"
        "    manager()\n"
    )
    conf = {"spark.python.daemon.module": "without"}
    work = Work(tmp_path, Watched(tmp_path / "calls"), applicants(100), conf=conf)
    with program(work, tmp_path / "out") as one:
        assert one.wait() == 1
        line = one.said.splitlines()[-1]
    assert line.startswith("failed: Spark: ModuleNotFoundError: No module named 'spark_shap"), one.said
    assert "install spark-shap on every node" in line
    assert "--py-files" in line
