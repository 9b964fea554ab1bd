"""Start jobs or find existing ones, wait for them, cancel them, and record lost ones."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

from router import interpreter

from . import cleanup
from .child_process import PATH, Command
from .job_files import CANCEL, LOG, REQUEST, RESULT, STATE, Job, JobError, Jobs, now

ENDED = ("finished", "timeout", "cancelled", "stopped", "refused", "lost")
"""How a job can end.  Only `finished` and `timeout` say something about its command."""

_ROOT = Path(__file__).parents[2]
_CANCELLING = timedelta(seconds=20)

log = logging.getLogger(__name__)


class Runner:
    """Starts the jobs of one handler, and finds jobs that were started earlier."""

    def __init__(self, jobs: Jobs) -> None:
        """Run jobs in the folder *jobs*."""
        self._jobs = jobs

    def attach(self, command: Command, feed: bytes, about: Mapping[str, object]) -> Job:
        """Return the job of *command*'s mark: a new one, or one that any process started before.  It may have ended."""
        self._jobs.make()
        job_id = id_of(command.mark)
        request = _request(command) | {"about": dict(about), "asked": now().isoformat()}
        job, is_new = self._jobs.new(job_id, request, feed)
        if is_new:
            log.info("job started", extra={"job": job.id, **about})
        if job.state() == "starting":
            _start(job)
        return job

    def wait(self, job: Job, patience: timedelta, stopping: Flag) -> Mapping[str, Any] | None:
        """Return the result of *job* as soon as it exists; None if it does not after *patience*, or on *stopping*.

        If the wrapper ended without a result, the job is lost: its result says so, and its processes are killed.
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


def id_of(mark: str) -> str:
    """Return the id of the job of the attempt *mark*: always the same, and unique to this attempt.

    >>> id_of("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.restart-disk.-.1")
    'restart-disk-fd29db7f82aea348'
    """
    words = mark.split(".")
    subscription = next((each for each in words[1:2] if each.replace("-", "").isalnum()), "job")
    return f"{subscription[:63]}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def cancel(job: Job, by: str) -> bool:
    """Cancel *job* on behalf of *by* and record who did; return False if the job had already ended.

    Raises JobError if the job does not end.
    """
    if job.read(RESULT):
        return False
    job.write(CANCEL, {"by": by, "cancelled": now().isoformat()})
    _wake(job)
    deadline = time.monotonic() + job.read(REQUEST)["grace"] + _CANCELLING.total_seconds()
    while time.monotonic() < deadline:
        # No wrapper runs this job, so end it here.
        if job.state() in ("lost", "starting"):
            settle(job, {"ended": "cancelled", **job.read(CANCEL)})
        if result := job.read(RESULT):
            return bool(result["ended"] == "cancelled")
        time.sleep(0.02)
    raise JobError(f"job {job.id} does not end: check its wrapper, process {job.read(STATE).get('pid')} on this host")


def settle(job: Job, result: Mapping[str, object]) -> None:
    """Write *result* for a job without a wrapper and kill its processes; do nothing if a wrapper runs it."""
    with job.locked() as is_ours:
        if is_ours and not job.read(RESULT):
            left = cleanup.end(job.read(REQUEST)["mark"])
            facts = {"left_behind": left} if left else {}
            job.write(RESULT, {**result, **facts, "at": now().isoformat()})
            return
    time.sleep(0.01)


def _wake(job: Job) -> None:
    """Make the wrapper check for a cancellation at once; without permission to signal it, it checks within a moment."""
    begun = job.read(STATE)
    if begun and cleanup.is_alive(begun["owner"]):
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
    """Start a wrapper for *job*; the job's lock ensures that only one runs it.  Raises OSError if it cannot start."""
    with (job.path / LOG).open("ab") as log_file:
        ended = subprocess.run(
            interpreter.module("consumers.processes.job_wrapper", str(job.path.absolute())),
            env={"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_file,
            start_new_session=True,
            timeout=60,
            check=False,
        )
    if ended.returncode:
        tail = job.head(LOG, 65536).decode("utf-8", "replace").strip().splitlines()[-1:]
        raise OSError(f"job {job.id}: its wrapper cannot start: {' '.join(tail)}")
