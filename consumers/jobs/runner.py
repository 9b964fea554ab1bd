"""Jobs as their handlers see them: begun or found again, waited for, given up as lost, cancelled."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

from .. import children
from ..processes import PATH, Command
from .folders import CANCEL, LOG, REQUEST, RESULT, STATE, Job, JobError, Jobs, now

ENDED = ("through", "timeout", "cancelled", "stopped", "refused", "lost")
"""How a job can have ended; what is not `through` or `timeout` says nothing of its command."""

_ROOT = Path(__file__).parents[2]
_TIDY = timedelta(hours=1)
_CANCELLING = timedelta(seconds=20)

log = logging.getLogger(__name__)


class Runner:
    """Begins the jobs of one handler, and finds them again."""

    def __init__(self, jobs: Jobs, keep: timedelta) -> None:
        """Run jobs in the folder *jobs*, whose old ones are removed *keep* after their end."""
        self._jobs, self._keep = jobs, keep
        self._tidied: float | None = None

    def attach(self, command: Command, feed: bytes, about: Mapping[str, object]) -> Job:
        """Return the job of *command*'s mark, begun now or by an earlier call, whoever made it; it may have ended."""
        self._jobs.make()
        job_id = id_of(command.mark)
        request = _request(command) | {"about": dict(about), "asked": now().isoformat()}
        job, is_new = self._jobs.new(job_id, request, feed)
        if is_new:
            log.info("job begins", extra={"job": job.id, **about})
            self._tidy()
        if job.state() == "starting":
            _start(job)
        return job

    def wait(self, job: Job, patience: timedelta, stopping: Flag) -> Mapping[str, Any] | None:
        """Return the result of *job* as soon as it is there; None where it is not after *patience*.

        A job whose wrapper is gone without one gets its result here: it is lost, and what it left running is ended.
        """
        deadline, pause = time.monotonic() + patience.total_seconds(), 0.01
        while True:
            if result := job.read(RESULT):
                return result
            if job.state() == "lost":
                settle(job, {"ended": "lost"})
            elif time.monotonic() >= deadline or stopping.wait(pause):
                return job.read(RESULT) or None
            pause = min(2 * pause, 0.1)

    def _tidy(self) -> None:
        if self._tidied is None or time.monotonic() - self._tidied > _TIDY.total_seconds():
            self._tidied = time.monotonic()
            if removed := self._jobs.tidy(self._keep):
                log.info("old jobs removed", extra={"jobs": removed})


def id_of(mark: str) -> str:
    """Return the name of the job of the attempt *mark*: always the same, and no other attempt's.

    >>> id_of("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.restart-disk.-.1")
    'restart-disk-fd29db7f82aea348'
    """
    words = mark.split(".")
    subscription = next((each for each in words[1:2] if each.replace("-", "").isalnum()), "job")
    return f"{subscription[:63]}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def cancel(job: Job, by: str) -> bool:
    """End *job* on behalf of *by*, and have that recorded; False where it had ended already.

    Raises JobError where it does not end.
    """
    if job.read(RESULT):
        return False
    job.write(CANCEL, {"by": by, "cancelled": now().isoformat()})
    _wake(job)
    deadline = time.monotonic() + job.read(REQUEST)["grace"] + _CANCELLING.total_seconds()
    while time.monotonic() < deadline:
        # Where nobody is at it, we are the one who ends it.
        if job.state() in ("lost", "starting"):
            settle(job, {"ended": "cancelled", **job.read(CANCEL)})
        if result := job.read(RESULT):
            return bool(result["ended"] == "cancelled")
        time.sleep(0.02)
    raise JobError(f"job {job.id} does not end: its wrapper is process {job.read(STATE).get('pid')} of this machine")


def settle(job: Job, result: Mapping[str, object]) -> None:
    """Write *result* for a job that has no wrapper, and end what it left running; nothing where it has one."""
    with job.locked() as is_ours:
        if is_ours and not job.read(RESULT):
            left = children.end(job.read(REQUEST)["mark"])
            facts = {"left_behind": left} if left else {}
            job.write(RESULT, {**result, **facts, "at": now().isoformat()})
            return
    time.sleep(0.01)


def _wake(job: Job) -> None:
    """Have the wrapper look at once; it would within a moment anyway, so it matters little where we may not."""
    begun = job.read(STATE)
    if begun and children.is_alive(begun["owner"]):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(begun["pid"], signal.SIGTERM)


def _request(command: Command) -> dict[str, object]:
    return {
        "words": list(command.words),
        "environment": dict(command.environment),
        "mark": command.mark,
        "timeout": command.timeout.total_seconds(),
        "grace": command.grace.total_seconds(),
        "output": command.output,
        "user": asdict(command.user) if command.user else None,
    }


def _start(job: Job) -> None:
    """Have a wrapper look after *job*, if it has none: the job's lock sees to it that there is one.  Raises OSError."""
    with (job.path / LOG).open("ab") as said:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "consumers.jobs.wrapper", str(job.path)],
            env={"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
            timeout=60,
            check=False,
        )
    if ended.returncode:
        tail = job.head(LOG, 65536).decode("utf-8", "replace").strip().splitlines()[-1:]
        raise OSError(f"job {job.id}: its wrapper cannot be started: {' '.join(tail)}")
