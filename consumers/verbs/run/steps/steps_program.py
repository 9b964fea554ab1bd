"""The process of one job of steps: `python -m consumers.verbs.run.steps.steps_program FOLDER`.

It runs detached and holds the job's lock, as `job_wrapper` does.  Started for a job whose process is gone, it ends what
that process left behind and runs the clean-up; the interrupted step is *lost*.  So whoever finds such a job starts it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ....processes import cleanup
from ....processes.job_files import CANCEL, ERR, INPUT, NODES, OUT, REQUEST, RESULT, STATE, Job, now
from ....processes.job_wrapper import detach, persist
from .journal import NAME, Journal, entries
from .sequence import CANCELLED, LATE, STOPPED, Progress, Result, Turn
from .step_execution import Execution, Stop
from .steps_request import StepsRequest

_LOOK = 0.2
"""Seconds between two looks for a cancellation."""

log = logging.getLogger(__name__)


class StopOfJob(Stop):
    """Set when the job is cancelled, this process gets a signal, or the deadline of all steps has passed."""

    def __init__(self, job: Job, deadline: float | None) -> None:
        """Watch *job* until *deadline*, a time of the monotonic clock."""
        super().__init__()
        self._cancel, self._deadline, self._looked, self._signalled = job.path / CANCEL, deadline, 0.0, False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        self._signalled = True

    def is_set(self) -> bool:
        """Return whether the steps must end, and note why."""
        if not self.why and (self._signalled or time.monotonic() >= self._looked + _LOOK):
            self._looked = time.monotonic()
            self.why = self._reason()
        return bool(self.why)

    def _reason(self) -> str:
        if self._cancel.exists():
            return CANCELLED
        # A signal without a cancellation means that the machine shuts down.
        if self._signalled:
            return STOPPED
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return LATE if is_late else ""


class StepsProgram:
    """Runs the steps of one job, which this process has locked."""

    def __init__(self, job: Job) -> None:
        """Read what *job* is to do, and what has been done."""
        self._job, asked = job, job.read(REQUEST)
        self._request = StepsRequest.model_validate(asked["sequence"])
        self._mark, self._limit, self._began = asked["mark"], asked["output"], time.monotonic()
        self._entries: list[Mapping[str, Any]] = entries(job)
        limit = self._request.deadline
        self._stop = StopOfJob(job, None if limit is None else self._began + limit.total_seconds())
        feed = (job.path / INPUT).read_bytes()
        self._execution = Execution(self._request, self._mark, feed, self._show, str(job.path / NODES))
        self._journal: Journal | None = None

    def run(self, ready: int) -> None:
        """Run what is left, and write the result; close *ready* once this process is known to run the job."""
        before = self._job.read(STATE)
        if before:
            cleanup.end_leftovers(self._mark)
        facts = {"owner": cleanup.owner(), "host": os.uname().nodename, "pid": os.getpid()}
        self._job.write(STATE, {**facts, "begun": before.get("begun", now().isoformat())})
        os.close(ready)
        if before:
            # A person's word counts more than what was found afterwards.
            if self._stop.is_set() and self._stop.why == CANCELLED:
                self._note({"stopped": CANCELLED})
            self._note({"found": facts["owner"]})
        while (turn := self._next()) is not None:
            self._take(turn)
        # During clean-up, it breaks nothing off, but after a failure there must be no other attempt.
        if (self._job.path / CANCEL).exists():
            self._note({"stopped": CANCELLED})
        self._finish()

    @property
    def _progress(self) -> Progress:
        return Progress.of(self._request.order, self._entries)

    def _next(self) -> Turn | None:
        progress = self._progress
        turn = progress.next_turn()
        if turn and turn.part != "always" and not progress.stopped and self._stop.is_set():
            self._note({"stopped": self._stop.why})
            turn = self._progress.next_turn()
        return turn

    def _take(self, turn: Turn) -> None:
        is_noted = self._note({"begun": turn.part, "name": turn.name})
        self._show_progress()
        self._show(f"--- {turn.name}\n".encode(), is_error=False)
        if not is_noted and turn.part == "steps":
            result: Result = {
                "state": "failed",
                "failure": "OSError",
                "reason": "not begun: the journal cannot be written",
            }
        else:
            # Clean-up is never broken off: it has limits of its own.
            stop = self._stop if turn.part == "steps" else Stop()
            step = self._request.step(turn.part, turn.name)
            result = self._execution.run(step, self._results(), stop)
        if result["state"] in {"cancelled", "lost"} or (result.get("failure") == LATE and self._stop.why == LATE):
            self._note({"stopped": self._stop.why or STOPPED})
        self._note({"ended": turn.part, "name": turn.name, "result": result})

    def _results(self) -> dict[str, Result]:
        """Return the results that templates may read: of this attempt, and of what earlier ones have done."""
        progress = self._progress
        own = {turn.name: result for turn, result in progress.results.items() if turn.part != "before"}
        return {**progress.order.done, **own}

    def _note(self, entry: Mapping[str, object]) -> bool:
        """Write *entry* to the journal; return whether it is on disk.  It counts for this process in any case."""
        self._entries.append(entry)
        try:
            self._journal = self._journal or Journal(self._job.path / NAME)
            self._journal.append(entry)
        except OSError:
            log.exception("journal cannot be written")
            return False
        return True

    def _show(self, chunk: bytes, *, is_error: bool) -> None:
        """Append *chunk* to what people see of the job, up to its limit."""
        with suppress(OSError), (self._job.path / (ERR if is_error else OUT)).open("ab") as file:
            file.write(chunk[: max(0, self._limit - file.tell())])

    def _show_progress(self) -> None:
        """Write what each step is doing, for people."""
        with suppress(OSError):
            self._job.write(STATE, {**self._job.read(STATE), "progress": self._progress.states()})

    def _finish(self) -> None:
        progress = self._progress
        end = progress.end
        result: dict[str, object] = {"ended": end.ended, **progress.listed()}
        if end.ended == "finished":
            result["exit"] = 1 if end.failure else 0
        if end.failure:
            result |= {"failure": end.failure, "reason": end.reason}
        if end.is_hopeless:
            result["hopeless"] = True
        if end.ended == CANCELLED:
            result |= self._job.read(CANCEL)
        persist(self._job, result | {"seconds": round(time.monotonic() - self._began, 3), "at": now().isoformat()})


def _program(job: Job) -> StepsProgram:
    try:
        return StepsProgram(job)
    except Exception as error:
        # What has begun is tried again: it has to clean up.
        if not job.read(STATE):
            name = type(error).__name__
            persist(job, {"ended": "refused", "failure": name, "reason": f"the steps cannot begin: {name}: {error}"})
        raise


def main(arguments: list[str] | None = None) -> Any:  # noqa: ANN401 - an exit code, or nothing
    """Run the job in the folder named by *arguments*, or clean up after the process that ran it."""
    job = Job(Path((sys.argv[1:] if arguments is None else arguments)[0]))
    waiting, ready = os.pipe()
    if not detach():
        os.close(ready)
        # Returns when the other process is known to run the job, or has ended.
        os.read(waiting, 1)
        return 0
    os.close(waiting)
    with job.locked() as is_ours:
        if is_ours and not (job.path / RESULT).exists():
            _program(job).run(ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())
