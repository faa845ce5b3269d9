"""Memory of Python workers, as the system counts it, whatever the shape of the input."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.programs import Work, complete, program, python_workers, run_row, table
from sklearn.linear_model import LinearRegression

pytestmark = pytest.mark.slow

HEAVY = 90  # percent of the rows in one segment


def peak(work: Work, name: str, **sections: Any) -> float:
    """Make a run; return the largest resident memory of any of its Python workers, in MB."""
    most = 0
    with program(work, work.folder / name, **sections) as one:
        while one.process.poll() is None:
            for pid in python_workers(one.process.pid):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                most = max(most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
            time.sleep(0.3)
        assert one.wait() == 0, one.said
    return most / 1024


def numbers_of(n_rows: int, n_features: int, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(n_rows, n_features)).round(4)
    data = pd.DataFrame(values, columns=names_of(n_features))
    return data.assign(id=np.arange(n_rows), region="here")


def names_of(n_features: int) -> list[str]:
    return [f"x{index}" for index in range(n_features)]


def linear_work(folder: Path, data: pd.DataFrame, n_features: int, **sections: Any) -> Work:
    folder.mkdir()
    small = numbers_of(200, n_features, seed=1)[names_of(n_features)]
    model = LinearRegression().fit(small, small @ np.arange(n_features))
    sections["applicants"] = {"features": names_of(n_features), "keep": ["region"], **sections.get("applicants", {})}
    return Work(folder, model, data, explain={"shards": 1, **sections.pop("explain", {})}, **sections)


class Bent:
    """A model that has to be sampled."""

    def __init__(self, n_features: int) -> None:
        self.weights = np.linspace(-1, 1, n_features)

    def __call__(self, rows: pd.DataFrame) -> Any:
        return np.tanh(rows.to_numpy(dtype=float) @ self.weights)


def test_a_partition_of_two_million_rows(tmp_path: Path) -> None:
    peaks = []
    for n_rows in (200_000, 2_000_000):
        work = linear_work(tmp_path / str(n_rows), numbers_of(n_rows, 5), 5, explain={"partitions": 1})
        peaks.append(peak(work, "out"))
        assert run_row(work.folder / "out")["rows_explained"] == n_rows
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_a_segment_with_most_of_the_rows(tmp_path: Path) -> None:
    peaks = []
    for heavy in (25, HEAVY):
        data = numbers_of(400_000, 5)
        data["region"] = np.where(data["id"] % 100 < heavy, "large", "small " + (data["id"] % 7).astype(str))
        work = linear_work(tmp_path / str(heavy), data, 5)
        peaks.append(peak(work, "out"))
        summary = table(work.folder / "out", "summary")
        rows = summary[(summary["segment"] == "large") & (summary["feature"] == "x0")]
        assert rows["n_rows"].tolist() == [4_000 * heavy]
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_rows_of_500_features(tmp_path: Path) -> None:
    explain = {"n_evaluations": 129, "memory_mb": 64, "partitions": 1}
    peaks = []
    for n in (500, 2_000):
        (tmp_path / str(n)).mkdir()
        applicants = {"features": names_of(500)}
        work = Work(
            tmp_path / str(n), Bent(500), numbers_of(n, 500), applicants=applicants, explain={"shards": 1, **explain}
        )
        peaks.append(peak(work, "out"))
        assert run_row(work.folder / "out")["method"] == "sampling"
    assert peaks[1] < 1.1 * peaks[0], peaks
    assert peaks[1] < 800, peaks


def test_strings_of_100_kilobytes(tmp_path: Path) -> None:
    """In a kept column and in a feature, 800 MB in one partition, with the JVM of 1 GB that Spark starts by itself.

    Spark reads 4,096 rows at once else, and files whose pages hold 1,024 of them as a whole.
    """
    conf = {"spark.driver.memory": "1g", "spark.sql.parquet.columnarReaderBatchSize": 64}
    peaks = []
    for n_rows in (1_500, 4_000):
        data = numbers_of(n_rows, 5)
        data["note"] = [f"{index:06d}" * 17_000 for index in range(n_rows)]
        data["story"] = [f"{index % 50:06d}" * 17_000 for index in range(n_rows)]
        work = Work(
            tmp_path, Longest(), data, applicants={"features": ["x0", "x1", "story"], "keep": ["note"]}, conf=conf
        )
        data.to_parquet(tmp_path / "applicants.parquet", index=False, write_batch_size=64, row_group_size=256)
        explain = {"n_evaluations": 9, "surrogate_evaluations": 0, "partitions": 1, "shards": 1}
        peaks.append(peak(work, f"out{n_rows}", explain=explain, reference={"size": 50}))
        row = run_row(tmp_path / f"out{n_rows}")
        assert row["rows_explained"] == n_rows
        assert "prepared with 657 applicants, which hold 64 MB" in row["method_reason"]
    assert peaks[1] < 1.2 * peaks[0], peaks
    assert peaks[1] < 800, peaks


@pytest.mark.parametrize(
    ("page_rows", "more"),
    [(64, {}), (4_096, {"spark.driver.memory": "2g"})],
    ids=["rows read at once", "a page of a file"],
)
def test_a_jvm_that_dies_of_memory_says_what_helps(tmp_path: Path, page_rows: int, more: dict[str, Any]) -> None:
    """400 MB of texts in a heap of 512 MB, the least that Spark starts with."""
    data = numbers_of(4_000, 3)
    data["story"] = [f"{index % 50:06d}" * 17_000 for index in range(len(data))]
    explain = {"n_evaluations": 9, "surrogate_evaluations": 0, "partitions": 1, "shards": 1}
    features = {"features": ["x0", "x1", "story"]}
    heap = {"spark.driver.memory": "512m"}
    work = Work(tmp_path, Longest(), data, applicants=features, explain=explain, reference={"size": 20}, conf=heap)
    data.to_parquet(
        tmp_path / "applicants.parquet",
        index=False,
        use_dictionary=False,
        write_batch_size=page_rows,
        row_group_size=4_096,
    )
    with program(work, tmp_path / "out") as one:
        assert one.wait() == 1
        line = one.said.splitlines()[-1]
    assert line.startswith("failed: "), one.said
    assert line.count("Java ran out of memory: raise spark.driver.memory (local)") == 1, one.said
    assert "lower spark.sql.parquet.columnarReaderBatchSize" in line
    log = Path(line.rsplit("Spark's log: ", 1)[1].rstrip(")"))
    assert re.search("java.lang.OutOfMemoryError|Cannot reserve additional contiguous bytes", log.read_text())
    log.unlink()
    work.conf = heap | {"spark.sql.parquet.columnarReaderBatchSize": 64} | more
    complete(work, tmp_path / "out")
    assert run_row(tmp_path / "out")["rows_explained"] == len(data)


class Longest:
    def __call__(self, rows: pd.DataFrame) -> Any:
        return rows["x0"].to_numpy() + rows["x1"].to_numpy() * rows["story"].str.len().to_numpy() / 1e5


def test_arrow_batches_of_one_row(tmp_path: Path) -> None:
    work = linear_work(tmp_path / "work", numbers_of(2_000, 5), 5)
    plain = peak(work, "plain")
    work.conf = {"spark.sql.execution.arrow.maxRecordsPerBatch": 1}
    assert peak(work, "single") < 1.1 * plain
    one, other = (table(work.folder / name, "attributions") for name in ("single", "plain"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
