"""The command ``spark-shap class-archive``: Spark's classes in a file, so that local sessions start sooner.

A local job of some seconds is mostly Java reading, checking and linking classes. Java keeps them as they are in memory
in an archive (class data sharing), written once when a JVM ends that has run a job; `make_session` uses it from
then on.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from spark_shap.engine.java import archive_path, java_options
from spark_shap.engine.session import make_session
from spark_shap.errors import RunError

__all__ = ["make_archive"]

_log = logging.getLogger(__name__)
_MOST_SECONDS = 600


def make_archive() -> Path:
    """Make the archive for this Java and this Spark, unless it is there; return its path.

    Raises
    ------
    RunError
        Java did not write it.
    """
    path = archive_path()
    if path.exists():
        _log.info("%s is there already", path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    _log.info("running the demo once, to see which classes Spark loads")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, "classes.jsa")
        command = [sys.executable, "-m", __name__, str(made)]  # a JVM of its own, which has to end
        done = subprocess.run(  # noqa: S603 - this interpreter, this module
            command, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS
        )
        if done.returncode or not made.exists():
            told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise RunError(f"Java wrote no archive of classes: {told[-1] if told else 'it said nothing'}")
        made.replace(path)
    return path


def _record(path: Path) -> None:
    """Run the demo in a JVM that writes the archive when it ends, and wait for that."""
    from spark_shap.demo import demo_config
    from spark_shap.pipeline import run

    spark = make_session("local[2]", {"spark.driver.extraJavaOptions": java_options(record=path)}, delta=False)
    with tempfile.TemporaryDirectory() as folder:
        run(spark, demo_config(folder))
    gateway = spark.sparkContext._gateway
    spark.stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()  # Spark's JVM ends when this does
        gateway.proc.wait(_MOST_SECONDS)


if __name__ == "__main__":
    _record(Path(sys.argv[1]))
