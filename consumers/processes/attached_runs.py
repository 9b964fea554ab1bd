"""Commands that their consumer waits for, shown among the jobs while they run: people can watch and cancel them.

A command that ends at once leaves no trace here: its folder is made when it has run for a moment.  Nothing is synced,
because the folder means nothing after the consumer has ended; a run that was cancelled keeps it, with the result.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Self
from uuid import uuid4

from . import cleanup
from .child_process import Command, Ended
from .job_files import CANCEL, ERR, NEW, OUT, REQUEST, RESULT, STATE, Job, JobError, Jobs, now
from .job_runner import id_of, log_facts, request_of

FOLDER = ".attached"
"""The folder of these runs, in that of the jobs."""

_SHOWN_AFTER = 0.25
"""Seconds that a command runs before it is shown, and between two looks for a cancellation."""

log = logging.getLogger(__name__)


def attached(jobs: Jobs) -> Jobs:
    """Return the folder of the runs that consumers wait for, beside the detached *jobs*."""
    return Jobs(jobs.path / FOLDER)


def of_all_kinds(jobs: Jobs) -> list[Job]:
    """Return the attached runs, and then the *jobs*, each newest first.  Raises JobsUnusable."""
    detached = jobs.all()
    return [*attached(jobs).all(), *detached]


def cancelled_before(jobs: Jobs, mark: str) -> Mapping[str, Any]:
    """Return the result of the run *mark* if somebody cancelled it after its consumer had ended; otherwise nothing."""
    result = Job(attached(jobs).path / id_of(mark)).read(RESULT)
    return result if result.get("ended") == "cancelled" else {}


class AttachedRun:
    """One run of a command, as others see it; `child_process.run` tells it what the command prints."""

    def __init__(self, jobs: Jobs, command: Command, about: Mapping[str, object]) -> None:
        """Show the run of *command* in the folder of *jobs*; *about* has the facts of its delivery."""
        self._jobs, self._command, self._about = jobs, command, about
        self.job = Job(attached(jobs).path / id_of(command.mark))
        self._looks_at = time.monotonic() + _SHOWN_AFTER
        self._texts: dict[bool, bytearray] = {False: bytearray(), True: bytearray()}
        self._files: dict[bool, IO[bytes]] = {}
        self._is_shown = self._is_unusable = False

    def __enter__(self) -> Self:
        """Show nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder, unless it has the result of a run that was cancelled."""
        self.close()
        if self._is_shown and not (self.job.path / RESULT).exists():
            shutil.rmtree(self.job.path, ignore_errors=True)

    def close(self) -> None:
        """Close the files, and leave the folder."""
        for file in self._files.values():
            file.close()

    def keep(self, chunk: bytes, *, is_error: bool) -> None:
        """Show *chunk* of the output, or of stderr."""
        if file := self._files.get(is_error):
            with suppress(OSError):
                file.write(chunk[: max(0, self._command.output - file.tell())])
        elif not self._is_unusable:
            kept = self._texts[is_error]
            kept += chunk[: max(0, self._command.output - len(kept))]

    def cancelled_by(self) -> str:
        """Return who has cancelled the run; empty if nobody has.  Looks at the disk now and then only."""
        at = time.monotonic()
        if at < self._looks_at:
            return ""
        self._looks_at = at + _SHOWN_AFTER
        self.show()
        if not self._is_shown or not (self.job.path / CANCEL).exists():
            return ""
        return str(self.job.read(CANCEL).get("by", "an unknown user"))

    def show(self) -> None:
        """Make the folder, unless it is there.  Where that fails, the run goes on unseen."""
        if self._is_shown or self._is_unusable:
            return
        try:
            self._make()
        except (OSError, JobError) as error:
            self._is_unusable = True
            log.warning("run cannot be shown", extra={**log_facts(self.job.id, self._about), "reason": str(error)})
            return
        self._is_shown = True

    def _make(self) -> None:
        self._jobs.make()
        folder = self.job.path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder / f"{NEW}{uuid4().hex}"
        fresh.mkdir(mode=0o700)
        begun = {"owner": cleanup.owner(), "host": os.uname().nodename, "begun": now().isoformat()}
        request = {**request_of(self._command, self._about), "environment": {}, "attached": True}
        (fresh / REQUEST).write_text(json.dumps(request))
        (fresh / STATE).write_text(json.dumps(begun))
        for is_error, name in ((False, OUT), (True, ERR)):
            file = self._files[is_error] = (fresh / name).open("wb", buffering=0)
            file.write(self._texts[is_error])
        # The same attempt, of a consumer that has died.
        shutil.rmtree(self.job.path, ignore_errors=True)
        fresh.rename(self.job.path)

    def write_cancelled(self, ended: Ended, by: str) -> None:
        """Keep the folder with the result of the run, which *by* has cancelled."""
        code = ended.code
        facts = {} if code is None else {"exit": code} if code >= 0 else {"signal": -code}
        octets = {"octets": ended.octets + ended.error_octets, "error_octets": ended.error_octets}
        result = {"ended": "cancelled", **facts, **octets, **self.job.read(CANCEL), "by": by}
        with suppress(OSError):
            self.job.write(RESULT, {**result, "seconds": round(ended.seconds, 3), "at": now().isoformat()})
