"""A standalone cluster of Spark on this machine: a master and two workers, each with a host name of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyspark

if TYPE_CHECKING:
    from collections.abc import Iterator

SPARK = Path(pyspark.__file__).parent


class Cluster(NamedTuple):
    address: str
    workers: tuple[int, ...]  # process ids


def free_port(host: str) -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


def wait_for(log: Path, text: str) -> None:
    for _ in range(240):
        if text in log.read_text():
            return
        time.sleep(0.25)
    raise AssertionError(log.read_text())


def environment(**variables: str) -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_HOME")}
    return {
        **values,
        "SPARK_HOME": str(SPARK),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        **variables,
    }


@contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """A cluster whose processes start in a folder without the package."""
    port = free_port("127.0.0.1")
    address = f"spark://127.0.0.1:{port}"
    processes = []

    def daemon(name: str, *arguments: str) -> Path:
        log = folder / f"{name}.log"
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
        with log.open("w") as file:
            processes.append(subprocess.Popen(command, stdout=file, stderr=file, cwd=folder, env=environment()))
        return log

    try:
        web = str(free_port("127.0.0.1"))
        log = daemon("master", "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", web)
        wait_for(log, "I have been elected leader")
        for number in (1, 2):
            host = f"127.0.0.{number}"
            options = ["--host", host, "--cores", "1", "--memory", "1200m", "--webui-port", str(free_port(host))]
            options += ["--work-dir", str(folder / f"work{number}")]
            daemon(f"worker{number}", "worker.Worker", *options, address)
        for number in (1, 2):
            wait_for(folder / f"worker{number}.log", "Successfully registered with master")
        yield Cluster(address, tuple(process.pid for process in processes[1:]))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
