"""Run one job, detached from the process that started it: `python -m consumers.processes.job_wrapper FOLDER`.

The wrapper writes its state before it starts the command, and the result last.  So a job starts at most once, and a
job without a result whose wrapper is gone is lost.  The wrapper holds the job's lock as long as it lives.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import IO, Any

from . import cleanup
from .job_files import CANCEL, ERR, INPUT, OUT, REQUEST, RESULT, STATE, Job, now

_CHUNK = 65536
_TICK = 0.25
"""Longest pause in seconds between two checks for the end of the command or a cancellation."""

_UNKILLABLE = timedelta(seconds=10)
_PERSISTENCE = timedelta(minutes=30)
"""How long to retry writing a result: an administrator often notices and clears a full disk."""

log = logging.getLogger(__name__)


class Wrapper:
    """Runs the command of one job, within its limits."""

    def __init__(self, job: Job) -> None:
        """Prepare to run *job*, which this process has locked and which was never started."""
        self._job, self._request = job, job.read(REQUEST)
        self._asked = False
        self._why = ""
        self._octets = {OUT: 0, ERR: 0}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Start the command, wait for its end, and write the result."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        facts: dict[str, object] = {"owner": cleanup.owner(), "host": os.uname().nodename, "pid": os.getpid()}
        facts["begun"] = now().isoformat()
        self._job.write(STATE, facts)
        began = time.monotonic()
        result = self._result(facts)
        result |= {"seconds": round(time.monotonic() - began, 3), "at": now().isoformat()}
        persist(self._job, result)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        self._asked = True

    def _result(self, facts: dict[str, object]) -> dict[str, object]:
        if by := self._job.read(CANCEL):
            return {"ended": "cancelled", **by}
        with ExitStack() as stack:
            try:
                process = self._begin(stack)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                text = (error.strerror if isinstance(error, OSError) else None) or str(error)
                return {"ended": "refused", "error": text, "errno": getattr(error, "errno", None)}
            with suppress(OSError):
                self._job.write(STATE, {**facts, "command_pid": process.pid})
            left = self._wait_for_end(process)
        code = process.returncode
        result: dict[str, object] = {"ended": self._why or "finished", "octets": sum(self._octets.values())}
        result["error_octets"] = self._octets[ERR]
        if code is not None:
            result |= {"exit": code} if code >= 0 else {"signal": -code}
        if left:
            result["left_behind"] = left
        return result | (self._job.read(CANCEL) if self._why == "cancelled" else {})

    def _begin(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        request, user = self._request, self._request.get("user")
        feed = stack.enter_context((self._job.path / INPUT).open("rb"))
        process = subprocess.Popen(
            request["words"],
            stdin=feed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**request["environment"], cleanup.VARIABLE: request["mark"]},
            start_new_session=True,
            umask=0o022,
            user=user["user"] if user else None,
            group=user["group"] if user else None,
            extra_groups=user["groups"] if user else None,
        )
        for name, pipe in ((OUT, process.stdout), (ERR, process.stderr)):
            assert pipe is not None  # noqa: S101 - for mypy: PIPE was passed
            kept = stack.enter_context((self._job.path / name).open("xb", buffering=0))
            stack.callback(pipe.close)
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, (name, kept))
        return process

    def _wait_for_end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait until the command has ended or cannot be killed; return how many processes it left behind."""
        self._watch(process)
        # Call this before `wait`: until then no other process can get this process id.
        left = cleanup.end(self._request["mark"], process.pid)
        deadline = time.monotonic() + 1
        while self._selector.get_map() and time.monotonic() < deadline and self._serve(0):
            pass
        if cleanup.has_ended(process.pid):
            process.wait()
        return left

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._request["timeout"]
        steps = iter(((signal.SIGTERM, self._request["grace"]), (signal.SIGKILL, _UNKILLABLE.total_seconds())))
        tick, looked = 0.002, 0.0
        while not cleanup.has_ended(process.pid):
            tick = 0.002 if self._serve(tick) else min(tick * 2, _TICK)
            at = time.monotonic()
            is_first = False
            if not self._why and (at >= deadline or self._asked or at >= looked + _TICK):
                looked = at
                self._why = self._reason(is_late=at >= deadline)
                is_first = bool(self._why)
            if is_first or (self._why and at >= deadline):
                step = next(steps, None)
                if step is None:
                    return
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, step[0])
                deadline = at + step[1]

    def _reason(self, *, is_late: bool) -> str:
        """Return why the command must end now, or an empty text."""
        if (self._job.path / CANCEL).exists():
            return "cancelled"
        # A signal without a cancellation means that the machine shuts down.
        return "stopped" if self._asked else "timeout" if is_late else ""

    def _serve(self, patience: float) -> bool:
        """Keep available output, up to the limit.  A failed write does not end the command."""
        if not self._selector.get_map():
            time.sleep(patience)
            return False
        ready = self._selector.select(patience)
        for key, _ in ready:
            name, kept = key.data
            self._keep(key.fileobj, name, kept)  # type: ignore[arg-type]  # what was registered
        return bool(ready)

    def _keep(self, pipe: IO[bytes], name: str, kept: IO[bytes]) -> None:
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._selector.unregister(pipe)
            return
        room = max(0, self._request["output"] - self._octets[name])
        self._octets[name] += len(chunk)
        with suppress(OSError):
            kept.write(chunk[:room])


def persist(job: Job, result: Mapping[str, object]) -> None:
    """Write the *result* of *job*; a full disk is waited for."""
    deadline = time.monotonic() + _PERSISTENCE.total_seconds()
    while True:
        try:
            job.write(RESULT, result)
        except OSError:
            log.exception("result cannot be written, will try again")
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)
        else:
            return


def detach() -> bool:
    """Continue in a new session as a child of init; return True there, and False in the calling process."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    return True


def main(arguments: list[str] | None = None) -> Any:  # noqa: ANN401 - an exit code, or nothing
    """Run the job in the folder named by *arguments*, if it was never started."""
    folder = (sys.argv[1:] if arguments is None else arguments)[0]
    job = Job(Path(folder))
    if not detach():
        return 0
    with job.locked() as is_ours:
        # A wrapper that ended early may have run the command in part, so a job is never started a second time.
        if is_ours and not (job.path / STATE).exists() and not (job.path / RESULT).exists():
            Wrapper(job).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
