"""Claims: at most one program makes a run at a time.

What a run commits is right whoever commits it (see `spark_shap.io.shards`), so a claim only saves work: it
tells a second program that a first one is at it, and lets it take over when the first one is dead. Programs with
classic sessions and those with Spark Connect claim in different places. Each writes its own claim and then looks for
the other's: of two at once at least one sees the other, and the one with Spark Connect gives way. The
program that holds a claim renews it; a claim that nobody renews is dead. No two clocks are compared: whoever
finds a claim of another machine watches whether it changes. Of a program on the same machine the system
knows whether it lives.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spark_shap.dataframes import is_connect
from spark_shap.errors import RunError
from spark_shap.io.claim_stores import other_store_of, store_of
from spark_shap.io.sources import SPARK_ERRORS
from spark_shap.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from spark_shap.io.claim_stores import OtherStore, Store
    from spark_shap.io.location import Location

__all__ = ["Claim", "Holder", "claimed", "holder_of"]

_log = logging.getLogger(__name__)
RENEW_SECONDS = 20.0
_PATIENCE = 3.5  # renewals missed
_GIVING_WAY_SECONDS = 15.0
_AWAY: tuple[type[Exception], ...] = (OSError, *SPARK_ERRORS)


@dataclass(frozen=True)
class Claim:
    """Who makes a run.

    Attributes
    ----------
    attempt
        Eight random letters and digits, new for every start of a run.
    host, pid
        Of the program.
    place
        Machine, start and process space: where the same, `pid` means the same.
    born
        When the program started, as its system counts.
    renewed
        How often the claim was renewed.
    """

    attempt: str
    host: str
    pid: int
    place: str
    born: str
    renewed: int = 0

    @property
    def who(self) -> str:
        """The program, for messages."""
        return f"process {self.pid} on {self.host}"


def new_claim() -> Claim:
    """Return a claim of this program."""
    return Claim(uuid.uuid4().hex[:8], socket.gethostname(), os.getpid(), _place(), _born(os.getpid()))


class Holder:
    """A claim that this program holds."""

    def __init__(self, store: Store, claim: Claim, run_id: str) -> None:
        self.attempt = claim.attempt
        self._store, self._claim, self._run_id = store, claim, run_id
        self._lock = threading.RLock()  # the claim is not looked at while it is renewed

    def check(self) -> None:
        """Raise `RunError` when another program has taken the run over."""
        with self._lock:
            text = self._store.read()
        found = _parsed(text)
        if text is None or (found is not None and found.attempt != self.attempt):
            who = "another program" if found is None else found.who
            raise RunError(
                f"run {self._run_id}: {who} has taken it over, since this one gave no sign of life for long; "
                "what was committed is kept; start the same command again to see the run complete"
            )

    def renew(self) -> None:
        """Give a sign of life."""
        with self._lock:
            self.check()
            self._claim = replace(self._claim, renewed=self._claim.renewed + 1)
            self._store.write(json.dumps(asdict(self._claim)))


@contextmanager
def claimed(spark: SparkSession, location: Location, run_id: str) -> Iterator[Holder]:
    """Hold the claim to a run.

    Raises
    ------
    RunError
        Another program makes this run.
    """
    store, other = store_of(spark, location, run_id), other_store_of(spark, location, run_id)
    dead = None if other is None else _wait_for_death(other, run_id)
    if other is not None and dead is not None:
        other.remove()
    claim = _acquire(store, run_id)
    if other is not None:
        try:
            _look_around(other, dead, run_id, patience=0 if is_connect(spark) else _GIVING_WAY_SECONDS)
        except BaseException:
            store.remove()
            raise
    holder, done = Holder(store, claim, run_id), threading.Event()
    thread = threading.Thread(target=_keep_renewing, args=(holder, done), daemon=True)
    thread.start()
    try:
        yield holder
    finally:
        done.set()
        thread.join(RENEW_SECONDS)
        # Best done: a claim that stays is found dead.
        with suppress(Exception):
            found = _parsed(store.read())
            if found is not None and found.attempt == claim.attempt:
                store.remove()


def holder_of(spark: SparkSession, location: Location, run_id: str) -> tuple[Claim, bool | None] | None:
    """Return the claim to a run, if there is one, and whether its program lives; None: that cannot be told at once."""
    stores = (store_of(spark, location, run_id), other_store_of(spark, location, run_id))
    claims = [claim for store in stores if store is not None and (claim := _parsed(store.read())) is not None]
    found = [(claim, _born(claim.pid) == claim.born if claim.place == _place() else None) for claim in claims]
    return next((one for one in found if one[1] is not False), found[0] if found else None)


def _keep_renewing(holder: Holder, done: threading.Event) -> None:
    while not done.wait(RENEW_SECONDS):
        try:
            holder.renew()
        except RunError:  # the run itself finds out before its next commit
            return
        except _AWAY as error:  # a file system that is away for a moment
            _log.debug("the claim was not renewed: %s", redact_text(str(error)))


def _acquire(store: Store, run_id: str) -> Claim:
    mine = new_claim()
    for _ in range(3):
        if store.create(json.dumps(asdict(mine))):
            return mine
        if _wait_for_death(store, run_id) is not None:
            store.remove()
    raise RunError(f"run {run_id}: several programs start it at once; start the same command again")


def _look_around(other: OtherStore, dead: str | None, run_id: str, *, patience: float) -> None:
    """Raise `RunError` when a program of the other kind holds a claim, and has not given way when patience ends."""
    end = time.monotonic() + patience
    while (text := other.read()) not in (None, dead):
        if time.monotonic() >= end:
            raise _taken(run_id, _parsed(text))
        time.sleep(0.5)


def _wait_for_death(store: OtherStore, run_id: str) -> str | None:
    """Return a claim that is dead; None where there is none, or it has gone; raise `RunError` where it lives."""
    first = store.read()
    claim = _parsed(first)
    if first is None:
        return None
    if claim is not None and claim.place == _place():
        if _born(claim.pid) != claim.born:
            return first
        raise _taken(run_id, claim)
    patience = RENEW_SECONDS * _PATIENCE
    who = "another program" if claim is None else claim.who
    _log.info("run %s: %s began it; waiting up to %.0f s to see whether that still lives", run_id, who, patience)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(1.0, RENEW_SECONDS / 4))
        text = store.read()
        if text is None:
            return None
        if text != first:
            raise _taken(run_id, _parsed(text) or claim)
    return first


def _taken(run_id: str, claim: Claim | None) -> RunError:
    who = "another program" if claim is None else claim.who
    return RunError(
        f"run {run_id}: {who} is making it at this moment, from the same inputs; let it finish, or end it and start "
        "the same command again: what it has committed is kept"
    )


def _parsed(text: str | None) -> Claim | None:
    try:
        return None if text is None else Claim(**json.loads(text))
    except (ValueError, TypeError):  # half written
        return None


def _place() -> str:
    """Return what two programs share that see the same processes."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts) if len(parts) > 1 else f"{parts[0]} {uuid.uuid4().hex}"


def _born(pid: int) -> str:
    """Return when a process started, in the system's ticks; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
