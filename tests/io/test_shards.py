"""Lines of shards, claims to runs, and what other programs leave."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spark_shap import schema
from spark_shap.errors import InputError, RunError
from spark_shap.io import claims
from spark_shap.io.claim_stores import other_store_of
from spark_shap.io.claims import claimed, holder_of, new_claim
from spark_shap.io.location import Location
from spark_shap.io.runs import find_run
from spark_shap.io.shards import (
    Shard,
    attempt_name,
    attempts_of,
    commit_shard,
    forget_shards,
    read_shards,
    remove_others,
    shard_name,
)
from spark_shap.io.tables import replace_shard, tagged

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(root=str(tmp_path / "out put"))


def shard(location: Location, part: int, attempt: int = 1, program: str = "abc") -> Shard:
    name = attempt_name(attempt, program)
    return Shard(
        part=part,
        n_parts=6,
        shard=shard_name(location, part, 6, name),
        n_rows=1,
        n_explained=1,
        n_rejected=0,
        attempt=name,
        committed_at=datetime(2026, 1, attempt, tzinfo=UTC),
    )


def test_lines_written_at_once_are_all_there(spark: SparkSession, location: Location) -> None:
    parts = [shard(location, part) for part in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: commit_shard(spark, location, "r1", one), parts))
    assert read_shards(spark, location, "r1") == dict(enumerate(parts))
    forget_shards(spark, location, "r1")
    assert read_shards(spark, location, "r1") == {}


def test_a_line_that_comes_late_does_not_win(spark: SparkSession, location: Location) -> None:
    late, mine = shard(location, 0, 1, "zzz"), shard(location, 0, 2, "aaa")
    commit_shard(spark, location, "r1", mine)
    commit_shard(spark, location, "r1", replace(late, committed_at=datetime(2026, 2, 1, tzinfo=UTC)))
    found = read_shards(spark, location, "r1")
    assert found == {0: mine}
    assert attempts_of(found) == 2
    assert attempts_of({}) == 0


def test_what_is_not_committed_is_removed_and_nothing_else(spark: SparkSession, location: Location) -> None:
    rows = tagged(spark.range(3), "r1")
    kept, other = shard(location, 0, 2), shard(location, 0, 1)
    for run in ("r1", "r2"):
        for one in (kept, other):
            replace_shard(tagged(spark.range(3), run), location, schema.ATTRIBUTIONS, run, one.shard)
    folder = Path(location.path(schema.ATTRIBUTIONS))
    half = folder / "run_id=r1" / "shard=00003of00006-00001abc" / "_temporary" / "0"
    half.mkdir(parents=True)  # as a job that was killed leaves it
    remove_others(spark, location, "r1", {0: kept})
    assert rows.count() == 3
    assert [path.name for path in (folder / "run_id=r1").iterdir()] == [f"shard={kept.shard}"]
    assert len(list((folder / "run_id=r2").iterdir())) == 2


def test_a_claim_is_held_by_one(spark: SparkSession, location: Location) -> None:
    with claimed(spark, location, "r1") as holder:
        with (
            pytest.raises(RunError, match=r"run r1: process \d+ on \S+ is making it at this moment"),
            claimed(spark, location, "r1"),
        ):
            pass
        with claimed(spark, location, "r2"):
            holder.check()
    assert not list(Path(location.path("_claims")).glob("*"))


@pytest.mark.parametrize("taken", [None, "other"])
def test_a_program_that_lost_its_claim_finds_out(spark: SparkSession, location: Location, taken: str | None) -> None:
    with claimed(spark, location, "r1") as holder:
        holder.check()
        (file,) = Path(location.path("_claims")).glob("*.json")
        if taken is None:
            file.unlink()
        else:
            file.write_text(json.dumps({**json.loads(file.read_text()), "attempt": taken, "pid": 1}))
        with pytest.raises(RunError, match=r"run r1: .* has taken it over"):
            holder.check()
        with pytest.raises(RunError, match="has taken it over"):
            holder.renew()
    assert file.exists() is (taken is not None), "another's claim stays"


def dead_claim() -> str:
    code = "import json; from dataclasses import asdict; from spark_shap.io.claims import new_claim\n"
    code += "print(json.dumps(asdict(new_claim())))"
    root = str(Path(__file__).parents[2])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout


def test_a_dead_program_on_this_machine_is_replaced_at_once(spark: SparkSession, location: Location) -> None:
    text = dead_claim()
    folder = Path(location.path("_claims"))
    folder.mkdir(parents=True)
    (folder / "r1.json").write_text(text)
    start = datetime.now(UTC)
    with claimed(spark, location, "r1") as holder:
        assert holder.attempt != json.loads(text)["attempt"]
    assert (datetime.now(UTC) - start).total_seconds() < 5


@pytest.mark.parametrize("text", ["", '{"attempt": "x'])
def test_half_a_claim_is_waited_for_and_replaced(
    spark: SparkSession, location: Location, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.1)
    folder = Path(location.path("_claims"))
    folder.mkdir(parents=True)
    (folder / "r1.json").write_text(text)
    with claimed(spark, location, "r1") as holder:
        holder.check()


def test_a_place_that_takes_no_claim_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"file/_claims/r1\.json: cannot be written: Not a directory; name another"),
        claimed(spark, Location(root=str(tmp_path / "file")), "r1"),
    ):
        pass


def test_a_program_with_spark_connect_is_seen(spark: SparkSession, location: Location) -> None:
    other = other_store_of(spark, location, "r1")  # where it claims
    assert other.create(json.dumps(asdict(new_claim())))
    with pytest.raises(RunError, match="is making it at this moment"), claimed(spark, location, "r1"):
        pass
    assert holder_of(spark, location, "r1")[1] is True
    assert not list(Path(location.path("_claims")).glob("*"))
    other.write(dead_claim())
    assert holder_of(spark, location, "r1")[1] is False
    with claimed(spark, location, "r1") as holder:
        holder.check()
        assert other.read() is None
        assert holder_of(spark, location, "r1")[1] is True


class Late:
    """The claim of a program with Spark Connect, which appears when one has looked for it first."""

    def __init__(self, *texts: str | None) -> None:
        self.texts = [None, *texts]

    def read(self) -> str | None:
        return self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]


def test_of_two_at_once_the_one_with_spark_connect_gives_way(
    spark: SparkSession, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(asdict(new_claim()))
    monkeypatch.setattr(claims, "other_store_of", lambda *place: Late(text, text, None))
    with claimed(spark, location, "r1") as holder:
        holder.check()
    monkeypatch.setattr(claims, "_GIVING_WAY_SECONDS", 0.5)
    monkeypatch.setattr(claims, "other_store_of", lambda *place: Late(text))  # it had looked before
    with pytest.raises(RunError, match="is making it at this moment"), claimed(spark, location, "r1"):
        pass
    assert not list(Path(location.path("_claims")).glob("*"))


@pytest.mark.parametrize("table", [schema.RUNS, schema.SHARDS])
def test_a_table_that_cannot_be_read_is_not_taken_for_none(spark: SparkSession, location: Location, table: str) -> None:
    read = {schema.RUNS: find_run, schema.SHARDS: read_shards}[table]
    assert not read(spark, location, "r1")
    folder = Path(location.path(table)) / "run_id=r1"
    folder.mkdir(parents=True)
    assert not read(spark, location, "r1"), "a job that was killed left a folder"
    (folder / "part.parquet").write_text("no rows")
    with pytest.raises(InputError, match=f"table '{table}' cannot be read .*; mend it, or name another place"):
        read(spark, location, "r1")
