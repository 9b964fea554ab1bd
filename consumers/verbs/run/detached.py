"""Run commands as jobs: start a job or find it again, and ask to be called again while it runs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...deliveries import Report
from ...errors import Rejected
from ...processes import child_process
from ...processes.child_process import Command
from ...processes.job_files import ERR, OUT, REQUEST, STATE, Job, Jobs, now
from ...processes.job_runner import Runner, cancellation, log_facts
from ..interface import Surroundings

AT_FIRST = timedelta(seconds=2)
"""How long each call waits for a job, since most jobs are quick."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)

log = logging.getLogger(__name__)

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
    def host(self) -> str:
        """The machine that the job ran on, empty if it did not begin."""
        return str(self.job.read(STATE).get("host", ""))

    @property
    def command(self) -> child_process.Ended:
        """How the command of the job ended, as if it had run here."""
        result = self.result
        # Jobs of earlier releases count all that was printed in one number.
        errors = result.get("error_octets", len(self.errors))
        return child_process.Ended(
            code=result.get("exit", -result["signal"] if "signal" in result else None),
            timed_out=result["ended"] == "timeout",
            output=bytearray(self.output),
            octets=max(len(self.output), result.get("octets", 0) - errors),
            errors=bytearray(self.errors),
            error_octets=errors,
            seconds=result.get("seconds", 0.0),
            left=result.get("left_behind", 0),
        )

    @property
    def cancelled(self) -> str:
        """Who cancelled the job, as a reason; empty if nobody did."""
        is_cancelled = self.result["ended"] == "cancelled"
        return cancellation(self.result.get("by"), self.job.id) if is_cancelled else ""

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

        Raises Rejected if the job can never run, OSError if it could not run this time.
        """
        job = self._runner.attach(command, feed, about)
        result = self._runner.wait(job, AT_FIRST, self._stopping)
        if result is None:
            return None if self._stopping.is_set() else _later(job)
        facts = {**log_facts(job.id, about), "code": result.get("exit"), "how": result["ended"]}
        log.debug("command has ended", extra=facts)
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
