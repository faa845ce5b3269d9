"""Check Python and Java, then make the environment that ``jobs/demo.py`` and ``tests/run.py`` run in.

Standard library only, in a syntax that every Python from 2.7 on can parse: one that is too old gets a
sentence instead of a SyntaxError. As a script: make the default environment, print its executables' folder.

The environment is ``.venv`` in the checkout (``.venv-spark35`` and ``.venv-spark43`` for the other sets), or
the folder that the variable SPARK_SHAP_VENV names. It is made anew when what it was made from has changed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETS = {  # Spark release, or what else a set is for: constraints, folder, extras
    "4.2": ("constraints.txt", ".venv", "local,connect,sklearn,shap,fast,boosters,report,test,lint"),
    # Without Delta and lint: Delta's extra asks for 4.x, and the code is checked once, on the default set.
    "3.5": ("constraints-spark35.txt", ".venv-spark35", "spark,connect,sklearn,shap,fast,report,test"),
    "4.3": ("constraints-spark43.txt", ".venv-spark43", "spark,connect,sklearn,shap,fast,report,test"),
    # On the default Spark, with libraries that are too large for every run of the tests (PyTorch's alone take 5 GB).
    "models": ("constraints.txt", ".venv-models", "spark,fast,models,test"),
}
# Written first without a digest and last with it: a folder without this file is not ours to remove.
MARKER = "spark-shap-environment"


def prepare(spark="4.2"):
    """Return the executables' folder of a Spark release's environment, made if missing or out of date."""
    check_python(spark)
    _check_java()
    folder = os.path.abspath(os.environ.get("SPARK_SHAP_VENV") or os.path.join(ROOT, SETS[spark][1]))
    digest = _digest(spark)
    if not _is_made(folder, digest):
        _make_once(folder, spark, digest)
    return os.path.join(folder, "bin")


def variables(folder):
    """Return the process environment for programs of that folder: Spark's workers run its Python too."""
    # A SPARK_HOME or PYTHONPATH from elsewhere would mix another Spark or other packages into the pinned set.
    values = {k: v for k, v in os.environ.items() if k not in ("SPARK_HOME", "PYTHONPATH", "PYTHONHOME")}
    python = os.path.join(folder, "python")
    values.update(PYSPARK_PYTHON=python, PYSPARK_DRIVER_PYTHON=python)
    values["PATH"] = folder + os.pathsep + values.get("PATH", os.defpath)
    return values


def check_python(spark="4.2"):
    """Exit with one line if this Python is too old (or, for Spark 3.5, too new)."""
    only_311 = spark == "3.5"  # its release of pyspark imports distutils, which Python 3.12 no longer has
    version = sys.version_info[:2]
    if version >= (3, 11) and not (only_311 and version > (3, 11)):
        return
    names = ["python3.11"] if only_311 else ["python3.13", "python3.12", "python3.11"]
    found = [name for name in names if _runs(name)]
    needed = "with Spark 3.5 needs Python 3.11" if only_311 else "needs Python 3.11 or newer"
    way_out = "Run it with: " + " ".join(found[:1] + sys.argv) if found else "Install it and run this with it."
    this = ".".join(str(part) for part in sys.version_info[:3])
    _fail("spark-shap %s; this is %s at %s. %s" % (needed, this, sys.executable, way_out), 2)


def _check_java():
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else "java"  # where Spark looks
    where = "JAVA_HOME=%s" % home if home else "the PATH"
    way_out = "Install Java 17 and set JAVA_HOME to its folder, or put its java first on the PATH."
    try:
        printed = subprocess.check_output([java, "-version"], stderr=subprocess.STDOUT)
    except (OSError, subprocess.CalledProcessError):
        _fail("spark-shap needs Java 17 or newer for Spark; found none at %s. %s" % (where, way_out), 2)
    found = re.search(r'version "(?:1\.)?(\d+)', printed.decode("utf-8", "replace"))  # Java 8 is "1.8"
    if found and int(found.group(1)) < 17:
        this = "%s has Java %s" % (where, found.group(1))
        _fail("spark-shap needs Java 17 or newer for Spark; %s. %s" % (this, way_out), 2)


def _digest(spark):
    import tomllib  # in here: it came with Python 3.11

    constraints, _, extras = SETS[spark]
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    with open(os.path.join(ROOT, "conf", constraints)) as file:
        pins = file.read()
    # The tools' own settings are no part of it; the checkout's place is: the editable install points there.
    made_from = [ROOT, spark, extras, pins, project["build-system"], project["project"]]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _is_made(folder, digest):
    try:
        with open(os.path.join(folder, MARKER)) as file:
            # The second: a venv points to the Python that made it, which may have been uninstalled since.
            return file.read() == digest and os.path.exists(os.path.join(folder, "bin", "python"))
    except IOError:
        return False


def _make_once(folder, spark, digest):
    import fcntl  # in here: only where Spark runs

    parent = os.path.dirname(folder)
    if not os.path.isdir(parent):
        os.makedirs(parent)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs at once: one makes it, the other waits
        if not _is_made(folder, digest):
            _make(folder, spark, digest)


def _make(folder, spark, digest):
    if os.path.isdir(folder) and os.listdir(folder):
        if not os.path.exists(os.path.join(folder, MARKER)):
            way_out = "Move it away, or set SPARK_SHAP_VENV to the folder to use instead."
            _fail("spark-shap: %s was made by something else and is left alone. %s" % (folder, way_out), 2)
        shutil.rmtree(folder)
    size = "some minutes and 7 GB" if spark == "models" else "about a minute and 2 GB"
    what = "the tests of models" if spark == "models" else "Spark %s" % spark
    sys.stderr.write("spark-shap: making %s for %s: %s, once\n" % (folder, what, size))
    sys.stderr.flush()
    marker = os.path.join(folder, MARKER)
    constraints, _, extras = SETS[spark]
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    pip += ["--disable-pip-version-check", "--constraint", os.path.join(ROOT, "conf", constraints)]
    pip += ["--editable", "%s[%s]" % (ROOT, extras)]
    try:
        if not os.path.isdir(folder):
            os.mkdir(folder)
        open(marker, "w").close()
        _call([sys.executable, "-m", "venv", folder])
        _call(pip)
        with open(marker, "w") as file:
            file.write(digest)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            _fail("interrupted; the unfinished environment is removed", 130)
        raise


def _call(command):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    process = subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode:
        sys.stderr.write("\n".join(printed.strip().splitlines()[-15:]) + "\n")
        _fail("spark-shap: no environment; the lines above are the last of: %s" % " ".join(command), 1)


def _runs(name):
    try:
        with open(os.devnull, "w") as nowhere:
            return subprocess.call([name, "-c", ""], stdout=nowhere, stderr=nowhere) == 0
    except OSError:
        return False


def _fail(message, code):
    sys.stderr.write(message + "\n")
    sys.exit(code)


if __name__ == "__main__":
    print(prepare())
