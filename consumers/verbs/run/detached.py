"""Commands that run as jobs: how a handler begins one, finds it again, and asks to be called again meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...deliveries import Report
from ...errors import Rejected
from ...jobs.folders import ERR, OUT, REQUEST, Job, Jobs, now
from ...jobs.runner import Runner
from ...processes import Command
from .. import Surroundings

AT_FIRST = timedelta(seconds=2)
"""How long a job is waited for at each call: most are quick."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)

HOPELESS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
HOPELESS |= {errno.E2BIG, errno.EISDIR}
"""Why a command cannot be run, and will not be the next time either."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended, with what it was asked with and what it said."""

    job: Job
    result: Mapping[str, Any]
    about: Mapping[str, Any]
    output: bytes
    errors: bytes

    @property
    def lost(self) -> str:
        """Why nothing is known of how its command ended; empty where that is known."""
        match self.result["ended"]:
            case "lost":
                return f"job {self.job.id} is lost: its wrapper was killed"
            case "stopped":
                return f"job {self.job.id} was ended by a signal to its wrapper, as this machine went down or by hand"
            case _:
                return ""


class Detached:
    """Runs the commands of one handler as jobs."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Keep them where the settings say; wait no longer than the consumer does."""
        settings = surroundings.settings.consumers
        self._runner = Runner(Jobs(settings.jobs), settings.keep_jobs)
        self._stopping = surroundings.stopping

    def run(self, command: Command, feed: bytes, about: Mapping[str, object]) -> Ended | Report | None:
        """Return how the job of *command* has ended, or the report that asks to be called again; None in a stop.

        Raises Rejected where it was cancelled or can never be run, OSError where it could not be this time.
        """
        job = self._runner.attach(command, feed, about)
        result = self._runner.wait(job, AT_FIRST, self._stopping)
        if result is None:
            return None if self._stopping.is_set() else _later(job)
        if result["ended"] == "cancelled":
            raise Rejected(f"cancelled by {result.get('by', 'nobody knows whom')} (job {job.id})", {"job": job.id})
        if result["ended"] == "refused":
            reason = f"command {command.words[0]!r} cannot be run: {result['error']}"
            if result["errno"] in HOPELESS or result["errno"] is None:
                raise Rejected(reason)
            raise OSError(result["errno"], reason)
        asked = job.read(REQUEST)
        said = (job.head(name, asked["output"]) for name in (OUT, ERR))
        return Ended(job, result, asked["about"], *said)


def _later(job: Job) -> Report:
    """Return the report that asks for another look: the later, the longer it has run."""
    age = now() - datetime.fromisoformat(job.read(REQUEST)["asked"])
    pause = min(_LATEST, max(_SOONEST, age / 4))
    return Report(again=pause, reason=f"job {job.id} runs", result={"job": job.id})
