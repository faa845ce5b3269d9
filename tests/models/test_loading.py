"""Models from modules and files: what is loaded, what is refused, and when code runs."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from spark_shap.errors import ModelError, UsageError
from spark_shap.models.fingerprint import fingerprint_bytes, fingerprint_object
from spark_shap.models.loading import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = """\
import collections
called = []
class Holder:
    def predict(self, X):
        return X[:, 0]
holder = Holder()
nothing = None
def make():
    called.append(1)
    return holder
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with modules, which are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != ""])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scoring_module.py").write_text(MODULE, encoding="utf-8")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_module"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def fitted() -> LogisticRegression:
    return LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])


def refused(**where: str) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(**where)  # type: ignore[arg-type]  # plain strings
    return str(caught.value)


@pytest.mark.usefixtures("folder")
def test_object_of_a_module_in_the_current_directory() -> None:
    loaded = load_model(object="scoring_module:holder.predict")
    assert loaded.model(np.array([[3.0, 4.0]])) == [3.0]
    assert loaded.uri == "scoring_module:holder.predict"


@pytest.mark.usefixtures("folder")
def test_factory_is_not_called() -> None:
    loaded = load_model(object="scoring_module:make")
    assert sys.modules["scoring_module"].called == []
    assert loaded.model is sys.modules["scoring_module"].make


def test_fingerprint_of_an_object_sees_its_module_change(folder: Path) -> None:
    first = load_model(object="scoring_module:make").fingerprint
    assert load_model(object="scoring_module:make").fingerprint == first
    (folder / "scoring_module.py").write_text(MODULE + "# changed\n", encoding="utf-8")
    assert load_model(object="scoring_module:make").fingerprint != first


def test_objects_that_are_not_there(folder: Path) -> None:
    (folder / "broken_module.py").write_text("raise ValueError('no licence')", encoding="utf-8")
    (folder / "needy_module.py").write_text("import sklearn.nothing_here", encoding="utf-8")
    assert "no 'hodler' in scoring_module; did you mean holder?" in refused(object="scoring_module:hodler")
    assert "no 'zzz' in scoring_module; it has: Holder, called" in refused(object="scoring_module:zzz")
    assert "no module 'scoring_modul' on the path" in refused(object="scoring_modul:make")
    assert "importing broken_module raised ValueError: no licence" in refused(object="broken_module:f")
    assert "needs the package 'sklearn': pip install scikit-learn" in refused(object="needy_module:f")
    assert "write it as module:attribute" in refused(object="scoring_module")


@pytest.mark.usefixtures("folder")
def test_objects_that_are_no_models() -> None:
    assert "is a class; name a fitted model" in refused(object="scoring_module:Holder")
    assert "is None" in refused(object="scoring_module:nothing")
    assert "is <module 'collections'" in refused(object="scoring_module:collections")


@pytest.mark.parametrize("kind", ["joblib", "joblib compressed", "cloudpickle", "pickle"])
def test_files(tmp_path: Path, fitted: LogisticRegression, kind: str) -> None:
    path = tmp_path / "model.bin"
    if kind.startswith("joblib"):
        joblib.dump(fitted, path, compress=3 if "compressed" in kind else 0)
    else:
        path.write_bytes((cloudpickle if kind == "cloudpickle" else pickle).dumps(fitted))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_model(file=path, sha256=digest.upper())
    assert np.array_equal(loaded.model.coef_, fitted.coef_)
    assert (loaded.uri, loaded.fingerprint) == (str(path), digest)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_checksum_is_checked_before_any_code_runs(tmp_path: Path) -> None:
    path, mark = tmp_path / "bomb.pkl", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    message = refused(file=str(path), sha256="0" * 64)
    assert f"its sha256 is {hashlib.sha256(path.read_bytes()).hexdigest()}, not {'0' * 64}" in message
    assert not mark.exists()
    load_model(file=path)
    assert mark.exists()  # the bomb works, so its silence above meant something


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.joblib").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.joblib").touch()
    (tmp_path / "cut.joblib").write_bytes(pickle.dumps(list(range(100)))[:50])
    for name, message in [
        ("nope.joblib", "no such file"),
        (".", "is a folder"),
        ("text.joblib", "cannot be unpickled"),
        ("empty.joblib", "cannot be unpickled"),
        ("cut.joblib", "cannot be unpickled"),
    ]:
        assert message in refused(file=str(tmp_path / name))


def test_missing_package_is_named_with_its_command(tmp_path: Path) -> None:
    for module, command in [("sklearn_gone", "sklearn_gone"), ("nosuchpackage.sub", "nosuchpackage")]:
        path = tmp_path / "model.pkl"
        path.write_bytes(b"c" + module.encode() + b"\nModel\n.")
        message = refused(file=str(path))
        assert f"needs the package {command!r}: pip install {command}" in message


def test_name_that_exists_only_where_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"c__main__\nMyModel\n.")
    assert "save it with cloudpickle" in refused(file=str(path))


def test_plain_pickles_load_without_joblib(
    tmp_path: Path, fitted: LogisticRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted.coef_))
    (tmp_path / "model.z").write_bytes(b"x\x9c....")
    monkeypatch.setitem(sys.modules, "joblib", None)  # as if not installed
    assert np.array_equal(load_model(file=tmp_path / "model.pkl").model, fitted.coef_)
    assert "pip install joblib" in refused(file=str(tmp_path / "model.z"))


def test_exactly_one_source() -> None:
    with pytest.raises(UsageError, match="not both"):
        load_model()
    with pytest.raises(UsageError, match="not both"):
        load_model(object="a:b", file="c")


def test_fingerprints(fitted: LogisticRegression) -> None:
    assert fingerprint_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert fingerprint_bytes(b"a", b"bc") != fingerprint_bytes(b"ab", b"c")
    assert fingerprint_object(fitted) == fingerprint_object(fitted)
    other = LogisticRegression(C=0.1).fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    assert fingerprint_object(fitted) != fingerprint_object(other)
    with pytest.raises(ModelError, match="model generator: cannot be pickled"):
        fingerprint_object(i for i in range(3))


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from sklearn.linear_model import LogisticRegression as L\n"
        "from spark_shap.models.fingerprint import fingerprint_object as f\n"
        "print(f(L().fit([[0.0], [1.0], [2.0]], [0, 0, 1])))\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in "ab"]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_fingerprinting_loads_no_pyspark_when_cloudpickle_is_there() -> None:
    code = (
        "import sys\n"
        "from spark_shap.models.fingerprint import fingerprint_object\n"
        "from spark_shap.models.loading import load_model\n"
        "fingerprint_object([1])\n"
        "assert 'pyspark' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
