"""How a prepared method reaches the workers: as bytes, loaded once a process.

* Classic sessions: a broadcast of cloudpickle bytes. Spark's own pickling of a broadcast object fails
  for classes defined in a notebook, and objects in the closure are unpickled for every task.
* Connect, where there is no broadcast: inside the function while small, since it is sent again with
  every task; above that a file artifact named by its content, because a message holds 128 MB at most
  and an artifact's name cannot be used twice for different content.
"""

from __future__ import annotations

import ctypes
import pickle
import sys
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Protocol, cast

from spark_shap.dataframes import is_connect
from spark_shap.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from spark_shap.prepare import Prepared

__all__ = ["Carrier", "dumps", "keep_freed_memory", "load", "ship", "ship_module"]

_INLINE_BYTES = 2**20
_CACHE_SIZE = 4
_KEEP_BYTES = 2**30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_cache: OrderedDict[str, Prepared] = OrderedDict()


class Carrier(Protocol):
    """Brings bytes to a worker."""

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hex."""
        ...

    def read(self) -> bytes:
        """Return the bytes, on a worker."""
        ...


@dataclass(frozen=True)
class _Inline:
    digest: str
    payload: bytes

    def read(self) -> bytes:
        return self.payload


@dataclass(frozen=True)
class _Broadcast:
    digest: str
    broadcast: Any

    def read(self) -> bytes:
        return cast("bytes", self.broadcast.value)


@dataclass(frozen=True)
class _Artifact:
    digest: str
    name: str

    def read(self) -> bytes:
        from pyspark import SparkFiles

        return Path(SparkFiles.get(self.name)).read_bytes()


def dumps(prepared: Prepared) -> bytes:
    """Return a prepared method as bytes, classes of notebooks and scripts included.

    Raises
    ------
    ModelError
        The model cannot be pickled.
    """
    from pyspark import cloudpickle

    for name in {str(getattr(part, "__module__", None)) for part in _parts(_model(prepared))} & sys.modules.keys():
        ship_module(name)
    try:
        return cast("bytes", cloudpickle.dumps(prepared))  # type: ignore[no-untyped-call]  # pyspark's copy is untyped
    except Exception as error:  # a model's own __reduce__ may raise anything
        raise ModelError(
            f"model: it cannot be sent to the workers ({error}); pass an estimator or a function that can be pickled, "
            "without open files, sessions or locks"
        ) from error


def ship(spark: SparkSession, payload: bytes) -> Carrier:
    """Make bytes available to all workers of a session."""
    digest = sha256(payload).hexdigest()
    if not is_connect(spark):
        return _Broadcast(digest, spark.sparkContext.broadcast(payload))
    if len(payload) <= _INLINE_BYTES:
        return _Inline(digest, payload)
    name = f"spark-shap-{digest[:32]}.pkl"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(payload)
        spark.addArtifacts(str(path), file=True)
    return _Artifact(digest, name)


def load(carrier: Carrier) -> Prepared:
    """Return the prepared method; a worker process unpickles it once."""
    if carrier.digest in _cache:
        _cache.move_to_end(carrier.digest)
        return _cache[carrier.digest]
    keep_freed_memory()
    prepared = cast("Prepared", pickle.loads(carrier.read()))  # our own bytes, made by `dumps`
    _one_thread(prepared)
    _cache[carrier.digest] = prepared
    while len(_cache) > _CACHE_SIZE:
        _cache.popitem(last=False)
    return prepared


def _model(prepared: Prepared) -> Any:
    """Return the user's object behind the predictor."""
    game: Any = prepared.method.game
    function = game.predict.function
    if isinstance(function, MethodType):
        return function.__self__
    # Our own wrappers hold the estimator or the module.
    return getattr(function, "model", function) if type(function).__module__.startswith("spark_shap.") else function


def _parts(model: Any) -> Iterator[Any]:
    """Yield a model and the estimators in it, fitted clones included."""
    waiting, seen = [model], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, (list, tuple)):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, partial):
            waiting.extend([part.func, *part.args, *part.keywords.values()])
        elif part is model or hasattr(part, "get_params") or hasattr(part, "forward") or isinstance(part, FunctionType):
            yield part
            waiting.extend(getattr(part, "__dict__", {}).values())


def _one_thread(prepared: Prepared) -> None:
    """Make scikit-learn style estimators use one thread: executors already run a worker on every core.

    OpenMP and BLAS obey ``OMP_NUM_THREADS``, which Spark sets to ``spark.task.cpus``; ``n_jobs`` does not,
    and to LightGBM even an ``n_jobs`` of None means all cores. CatBoost listens to arguments of its calls alone,
    which a pipeline around it does not pass. Adapters of networks know how their libraries are told.
    """
    game: Any = prepared.method.game
    if hasattr(game.predict.function, "limit_threads"):
        game.predict.function.limit_threads()
        return
    for part in _parts(_model(prepared)):
        if type(part).__module__.startswith("catboost."):
            for name in ("predict", "predict_proba"):
                if hasattr(part, name):
                    setattr(part, name, partial(getattr(part, name), thread_count=1))
        greedy = type(part).__module__.startswith("lightgbm.")
        if hasattr(part, "get_params") and (greedy or getattr(part, "n_jobs", None) not in (None, 1)):
            part.n_jobs = 1


def keep_freed_memory() -> None:
    """Stop glibc from handing every freed block back to the system.

    Blocks of hybrid rows are a few megabytes and are made again and again; mapping their pages anew each
    time took as long as filling them (22 of 43 microseconds a row of 128 pairs and 23 features).
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def ship_module(name: str) -> None:
    """Send a module of the user's own along with the method, by value.

    A function is pickled by the name of its module, which workers do not have unless it is installed.
    """
    import importlib

    from pyspark import cloudpickle

    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "spark_shap":
        return
    module = sys.modules.get(name) or importlib.import_module(name)
    place = getattr(module, "__file__", None)
    if place and not {"site-packages", "dist-packages"} & set(Path(place).parts):
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]  # as above
