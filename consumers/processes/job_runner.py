"""Start jobs or find existing ones, wait for them, cancel them, and record lost ones."""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
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
from .child_process import PATH, Command, User
from .job_files import CANCEL, LOG, REQUEST, RESULT, STATE, Job, JobError, Jobs, now

ENDED = ("finished", "timeout", "cancelled", "stopped", "refused", "lost")
"""How a job can end.  Only `finished` and `timeout` say something about its command."""

_ROOT = Path(__file__).parents[2]
_WRAPPER = "consumers.processes.job_wrapper"
_CANCELLING = timedelta(seconds=20)

log = logging.getLogger(__name__)


class Runner:
    """Starts the jobs of one handler, and finds jobs that were started earlier."""

    def __init__(self, jobs: Jobs) -> None:
        """Run jobs in the folder *jobs*."""
        self._jobs = jobs

    def attach(self, command: Command, feed: bytes, about: Mapping[str, object]) -> Job:
        """Return the job of *command*'s mark: a new one, or one that any process started before.  It may have ended."""
        return self.known(command.mark) or self.begin(request_of(command, about), feed)

    def known(self, mark: str) -> Job | None:
        """Return the job of *mark* if any process started it on this machine; one that no wrapper runs gets one."""
        job = self._jobs.of(id_of(mark))
        if job and job.state() == "starting":
            start(job)
        return job

    def begin(self, request: Mapping[str, Any], feed: bytes) -> Job:
        """Return a new job for *request*, with *feed* as its input, or the one that another process started first."""
        self._jobs.make()
        job, is_new = self._jobs.new(id_of(request["mark"]), request, feed)
        if is_new:
            log.info("job started", extra=log_facts(job.id, request["about"]))
        if job.state() == "starting":
            start(job)
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


def log_facts(job_id: str, about: Mapping[str, object]) -> dict[str, object]:
    """Return which run a line of the log is about: the job, the event and its subscription.

    >>> log_facts("a-1", {"subscription": "a", "event": "01KAG", "attempt": 1, "command": ["date"]})
    {'job': 'a-1', 'subscription': 'a', 'id': '01KAG', 'attempt': 1}
    """
    names = {"subscription": "subscription", "event": "id", "attempt": "attempt", "nodes": "nodes"}
    return {"job": job_id, **{name: about[key] for key, name in names.items() if key in about}}


def id_of(mark: str) -> str:
    """Return the id of the job of the attempt *mark*: always the same, and unique to this attempt.

    >>> id_of("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB.restart-disk.-.1")
    'restart-disk-fd29db7f82aea348'
    """
    words = mark.split(".")
    subscription = next((each for each in words[1:2] if each.replace("-", "").isalnum()), "job")
    return f"{subscription[:63]}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def cancellation(by: object, job_id: str) -> str:
    """Return why the delivery of a job that *by* has cancelled is a dead letter; None: nobody knows who."""
    return f"cancelled by {by or 'an unknown user'} (job {job_id})"


def cancel(job: Job, by: str) -> bool:
    """Cancel *job* on behalf of *by* and record who did; return False if the job had already ended.

    Raises JobError if the job does not end.
    """
    try:
        return _cancel(job, by)
    except FileNotFoundError:
        # The consumer that waited for its command has removed the folder.
        return False


def _cancel(job: Job, by: str) -> bool:
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
    """Write *result* for a job without a wrapper and kill its processes; do nothing if a wrapper runs it.

    A job of steps gets another wrapper instead, which cleans up and writes the result.
    """
    if "program" in job.read(REQUEST):
        start(job)
    else:
        close(job, result)


def close(job: Job, result: Mapping[str, object]) -> None:
    """Write *result* for a job without a wrapper and kill its processes, whatever the job may have to clean up."""
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
    # A consumer that waits for the command itself looks often enough.
    if "pid" in begun and cleanup.is_alive(begun["owner"]):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(begun["pid"], signal.SIGTERM)


def request_of(command: Command, about: Mapping[str, object]) -> dict[str, Any]:
    """Return the request for a job that runs *command*, with the facts *about* its delivery."""
    return {
        "words": list(command.words),
        "environment": dict(command.environment),
        "mark": command.mark,
        "timeout": command.timeout.total_seconds(),
        "grace": command.grace.total_seconds(),
        "output": command.output,
        "user": asdict(command.user) if command.user else None,
        "about": dict(about),
        "asked": now().isoformat(),
    }


def start(job: Job) -> None:
    """Start a wrapper for *job*, or the program that its request names; its lock ensures that only one runs it.

    It runs as the owner of the folder, also if root starts it: who can write a request must not act as root.  Raises
    OSError if it cannot start.
    """
    owner = _owner(job)
    with (job.path / LOG).open("ab") as log_file:
        if owner:
            os.fchown(log_file.fileno(), owner.user, owner.group)
        ended = subprocess.run(
            interpreter.module(job.read(REQUEST).get("program", _WRAPPER), str(job.path.absolute())),
            env={"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_file,
            start_new_session=True,
            timeout=60,
            check=False,
            user=owner.user if owner else None,
            group=owner.group if owner else None,
            extra_groups=owner.groups if owner else None,
        )
    if ended.returncode:
        tail = job.head(LOG, 65536).decode("utf-8", "replace").strip().splitlines()[-1:]
        raise OSError(f"job {job.id}: its wrapper cannot start: {' '.join(tail)}")


def _owner(job: Job) -> User | None:
    """Return the user whose *job* it is; None if that is the user of this process."""
    found = job.path.stat()
    if found.st_uid == os.geteuid():
        return None
    try:
        return User.named(pwd.getpwuid(found.st_uid).pw_name)
    except KeyError:
        return User(found.st_uid, found.st_gid, ())
