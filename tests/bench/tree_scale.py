"""The tree engine with backgrounds on Spark, with a wide forest, and as a whole Spark job."""

from __future__ import annotations

import json
import pickle
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from job import PeakMemory
from tree_engines import N_BACKGROUND

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 100_000
_BACKGROUND_ROWS = 20_000
_WIDE_ROWS = 20_000
_WIDE = {"n_features": 500, "depth": 8}


def write_table(folder: Path, name: str, n_rows: int) -> None:
    """Write a generated table: rows of the first one, drawn with replacement and blurred by a tenth."""
    table, rng = pd.read_parquet(folder / "table.parquet").drop(columns="id"), np.random.default_rng(n_rows)
    writer = None
    for start in range(0, n_rows, _CHUNK):
        drawn = table.iloc[rng.integers(0, len(table), min(_CHUNK, n_rows - start))]
        blurred = (drawn * np.exp(0.1 * rng.normal(size=drawn.shape))).round()
        frame = blurred.assign(bad=drawn["bad"].to_numpy(), id=np.arange(start, start + len(drawn)))
        chunk = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", chunk.schema)
        writer.write_table(chunk, row_group_size=50_000)
    if writer is not None:
        writer.close()


def backgrounds(folder: Path, sizes: list[int]) -> None:
    """Print, by size of a Spark background: seconds of the explainer and of the fold in it, and seconds a row."""
    from spark_shap import Explainer
    from spark_shap.engine import background as module
    from spark_shap.engine.session import make_session
    from spark_shap.engine.shipping import dumps, keep_freed_memory

    keep_freed_memory()
    model = pickle.loads((folder / "LightGBM.pkl").read_bytes())
    spark = make_session("local[2]", {}, delta=False)
    folding, fold = [0.0], module.fold_background

    def timed_fold(*arguments: Any) -> Any:
        start = time.perf_counter()
        state = fold(*arguments)
        folding[0] = time.perf_counter() - start
        return state

    module.fold_background = timed_fold
    made, out = {}, {}
    for size in [sizes[0], *sizes]:  # the first twice: the session warms up
        table = spark.read.parquet(str(folder / f"background-{size}.parquet")).drop("bad")
        start = time.perf_counter()
        made[size] = Explainer(model, table, background_size="all", background_key="id", output_space="margin")
        out[size] = {"seconds": time.perf_counter() - start, "fold": folding[0]}
        out[size]["bytes"] = len(dumps(made[size].prepared))
    spark.stop()
    frame = pd.read_parquet(folder / f"background-{sizes[-1]}.parquet").drop(columns=["id", "bad"])
    x = frame.iloc[np.resize(np.arange(len(frame)), _BACKGROUND_ROWS)]
    for size in sizes:
        out[size]["row"] = np.inf
    for _ in range(7):
        for size, explainer in made.items():
            start = time.process_time()
            explainer(x)
            out[size]["row"] = min(out[size]["row"], (time.process_time() - start) / len(x))
    print(json.dumps(out))


def wide_forest(folder: Path, n_trees: int) -> None:
    """Fit a forest of deep trees on 500 features, and write what a worker gets; print what that took."""
    from xgboost import XGBRegressor

    from spark_shap import Explainer
    from spark_shap.engine.shipping import dumps

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6000, _WIDE["n_features"])).astype(np.float32), rng.normal(size=6000)
    given = {"learning_rate": 0.01, "reg_lambda": 0.0, "min_child_weight": 0.0, "max_bin": 32, "colsample_bytree": 0.1}
    model = XGBRegressor(n_estimators=n_trees, max_depth=_WIDE["depth"], **given, n_jobs=1).fit(x, y)
    start = time.process_time()
    explainer = Explainer(model, x[:N_BACKGROUND])
    seconds = time.process_time() - start
    payload = dumps(explainer.prepared)
    (folder / "wide.pkl").write_bytes(payload)
    facts = {"seconds": seconds, "bytes": len(payload), "peak": _peak(), "method": explainer.method}
    tables: Any = explainer.prepared.method
    rows = pd.DataFrame(rng.normal(size=(_WIDE_ROWS, x.shape[1])).astype(np.float32), columns=explainer.feature_names)
    rows.assign(id=np.arange(_WIDE_ROWS)).to_parquet(folder / "wide.parquet", row_group_size=2000)
    print(json.dumps({**facts, "tables": tables.form.tables.nbytes, "leaves": int(_leaves(model))}))


def _leaves(model: Any) -> int:
    return int((model.get_booster().trees_to_dataframe()["Feature"] == "Leaf").sum())


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def wide_rows(folder: Path) -> None:
    """Explain a table on Spark by the bytes that reach its workers; print rows a second and their peak memory."""
    from spark_shap.engine.explain import explain_frame
    from spark_shap.engine.session import make_session
    from spark_shap.engine.worker import Columns

    prepared = pickle.loads((folder / "wide.pkl").read_bytes())
    spark = make_session("local[2]", {"spark.driver.memory": "4g"}, delta=False)
    memory = PeakMemory()
    memory.start()
    rows = spark.read.parquet(str(folder / "wide.parquet"))
    start = time.perf_counter()
    found = explain_frame(rows, prepared, columns=Columns(("id",), ()), partitions=2)
    found.write.format("noop").mode("overwrite").save()
    rate = _WIDE_ROWS / (time.perf_counter() - start)
    memory.done.set()
    print(json.dumps({"rate": rate, "peak": memory.peak}))


def _explain(prepared: Any, rows: Any) -> float:
    """Return wall seconds of the rows, in the engine's portions, after a few that warm up."""
    size = prepared.rows_in_memory
    hashes = np.zeros(size, dtype=np.uint64)
    prepared.explain(rows.take(slice(0, 256)), hashes[:256])
    start = time.perf_counter()
    for place in range(0, len(rows), size):
        part = rows.take(slice(place, place + size))
        prepared.explain(part, hashes[: len(part)])
    return time.perf_counter() - start


def bare_engine(folder: Path, n_rows: int, part: int) -> None:
    """Print rows a second on arrays in memory, of one half of the rows beside the other half.

    Once of the engine as the job calls it, which also predicts, and once of the look-ups alone.
    """
    from spark_shap import Explainer
    from spark_shap.engine.shipping import keep_freed_memory
    from spark_shap.models.conform import conform

    keep_freed_memory()
    model = pickle.loads((folder / "LightGBM.pkl").read_bytes())
    reference = pd.read_parquet(folder / "table.parquet").drop(columns=["id", "bad"]).astype(float)
    prepared = Explainer(model, reference.sample(N_BACKGROUND, random_state=0), output_space="margin").prepared
    frame = pd.read_parquet(folder / "large.parquet").drop(columns=["id", "bad"])
    rows, _ = conform(frame.iloc[part * n_rows // 2 : (part + 1) * n_rows // 2], prepared.layout)
    method: Any = prepared.method
    numbers = method.form.to_numbers(rows)
    (folder / f"ready-{part}").touch()
    while not (folder / f"ready-{1 - part}").exists():
        time.sleep(0.01)
    rate = len(rows) / _explain(prepared, rows)
    start = time.perf_counter()
    for place in range(0, len(rows), prepared.rows_in_memory):
        method.form.tables.values(numbers[place : place + prepared.rows_in_memory])
    print(json.dumps({"rate": rate, "tables": len(rows) / (time.perf_counter() - start)}))


def whole_job(folder: Path, compiler: str) -> None:
    """Run the job twice, in a session that is cold and then warm; print seconds by stage."""
    from spark_shap.config import RunConfig
    from spark_shap.engine.session import make_session
    from spark_shap.pipeline import run

    conf = {"spark.driver.extraJavaOptions": "-XX:+UseParallelGC"} if compiler == "full" else {}
    spark = make_session("local[2]", conf, delta=False)
    memory = PeakMemory()
    memory.start()
    out: dict[str, Any] = {}
    for kind in ("cold", "warm"):
        config = RunConfig.model_validate(
            {
                "applicants": {"path": str(folder / "large.parquet"), "key": ["id"]},
                "reference": {"path": str(folder / "table.parquet"), "size": N_BACKGROUND},
                "model": {"file": str(folder / "LightGBM.pkl")},
                "explain": {"output_space": "margin"},
                "output": {"path": str(folder / f"out-{compiler}-{kind}"), "report": False},
            }
        )
        result = run(spark, config)
        out[kind] = {**result.seconds, "method": result.record.method}
    memory.done.set()
    print(json.dumps({**out, "memory": memory.peak}))
