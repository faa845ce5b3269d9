"""The Java that a local session starts: how, and with which archive of classes."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

from spark_shap.errors import MissingDependencyError

__all__ = ["archive_path", "java_options", "java_program"]

# The model runs in Python, and the JVM mostly starts up: compiling its code lightly halved its share of the processor
# in a job of half a minute. Spark's classes take 150 MB; by default the heap is swept several times on the way there.
_LIGHT = ("-XX:TieredStopAtLevel=1", "-XX:+UseParallelGC", "-XX:MetaspaceSize=256m")
# An archive that does not fit is not used, and nothing is said.
_SHARED = ("-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")


def java_program() -> Path:
    """Return the Java that Spark will start.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise MissingDependencyError(
            "Java is not found: Spark needs Java 17; install it (Debian: apt-get install openjdk-17-jre-headless) or "
            "set JAVA_HOME"
        )
    return Path(found)


def java_options(*, record: Path | None = None) -> str:
    """Return the options of a local session's JVM.

    Parameters
    ----------
    record
        Where to write an archive of the classes that were loaded, when the JVM ends. Without it the archive that was
        made before is used, where there is one.
    """
    log = Path(str(files("spark_shap.engine") / "log4j2.properties")).resolve().as_uri()  # since a path may have spaces
    options = [*_LIGHT, f"-Dlog4j2.configurationFile={log}"]
    if record is not None:
        options.append(f"-XX:ArchiveClassesAtExit={record}")
    elif (archive := archive_path()).exists():
        options += [f"-XX:SharedArchiveFile={archive}", *_SHARED]
    return " ".join(shlex.quote(option) for option in options)


def archive_path() -> Path:
    """Return where the archive for this Java and this Spark is, or would be.

    Java takes an archive only with the very files that it was made with; a name by all of them makes a new one
    necessary after an update.
    """
    import pyspark

    java = java_program().resolve()
    jars = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent, "jars")
    made_with = [f"{java} {java.stat().st_size} {java.stat().st_mtime_ns}", str(jars)]
    made_with += [f"{jar.name} {jar.stat().st_size} {jar.stat().st_mtime_ns}" for jar in sorted(jars.glob("*.jar"))]
    digest = hashlib.sha256("\n".join(made_with).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "spark-shap" / f"classes-{digest}.jsa"
