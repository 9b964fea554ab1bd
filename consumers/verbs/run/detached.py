"""Run commands as jobs: start a job or find it again, and ask to be called again while it runs."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...deliveries import Report
from ...errors import Rejected
from ...processes.child_process import Command
from ...processes.job_files import ERR, OUT, REQUEST, Job, Jobs, now
from ...processes.job_runner import Runner
from ..interface import Surroundings

AT_FIRST = timedelta(seconds=2)
"""How long each call waits for a job, since most jobs are quick."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)

HOPELESS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
HOPELESS |= {errno.E2BIG, errno.EISDIR}
"""Errors after which a command cannot run in a later attempt either."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended job with its request and output."""

    job: Job
    result: Mapping[str, Any]
    about: Mapping[str, Any]
    output: bytes
    errors: bytes

    @property
    def lost(self) -> str:
        """Why the end of the command is unknown; empty if it is known."""
        match self.result["ended"]:
            case "lost":
                return f"job {self.job.id} is lost: its wrapper was killed"
            case "stopped":
                return f"job {self.job.id} was stopped by a signal to its wrapper: a shutdown, or a manual kill"
            case _:
                return ""


class Detached:
    """Runs the commands of one handler as jobs."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Keep jobs in the folder `consumers.jobs`; stop waiting when the consumer stops."""
        settings = surroundings.settings.consumers
        self._runner = Runner(Jobs(settings.jobs))
        self._stopping = surroundings.stopping

    def run(self, command: Command, feed: bytes, about: Mapping[str, object]) -> Ended | Report | None:
        """Return the ended job of *command*, or a report that asks to be called again; None on a stop.

        Raises Rejected if the job was cancelled or can never run, OSError if it could not run this time.
        """
        job = self._runner.attach(command, feed, about)
        result = self._runner.wait(job, AT_FIRST, self._stopping)
        if result is None:
            return None if self._stopping.is_set() else _later(job)
        if result["ended"] == "cancelled":
            raise Rejected(f"cancelled by {result.get('by', 'an unknown user')} (job {job.id})", {"job": job.id})
        if result["ended"] == "refused":
            reason = f"command {command.words[0]!r} cannot run: {result['error']}"
            if result["errno"] in HOPELESS or result["errno"] is None:
                raise Rejected(reason)
            raise OSError(result["errno"], reason)
        asked = job.read(REQUEST)
        outputs = (job.head(name, asked["output"]) for name in (OUT, ERR))
        return Ended(job, result, asked["about"], *outputs)


def _later(job: Job) -> Report:
    """Return a report that asks to be called again; the wait grows with the age of the job."""
    age = now() - datetime.fromisoformat(job.read(REQUEST)["asked"])
    pause = min(_LATEST, max(_SOONEST, age / 4))
    return Report(again=pause, reason=f"job {job.id} runs", result={"job": job.id})
