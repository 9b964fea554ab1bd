"""Runs one job, detached from whoever began it: `python -m consumers.jobs.wrapper FOLDER`.

It writes that it is there before it begins the command, and how that ended as the last thing of all: so a job is begun
once at most, and one without a result whose wrapper is gone is lost.  It holds the job's lock as long as it lives.
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

from .. import children
from .folders import CANCEL, ERR, INPUT, OUT, REQUEST, RESULT, STATE, Job, now

_CHUNK = 65536
_TICK = 0.25
"""Seconds between two looks at whether it is over, or to be cancelled."""

_UNKILLABLE = timedelta(seconds=10)
_PERSISTENCE = timedelta(minutes=30)
"""How long a result that cannot be written is tried again: a full disk is often noticed and cleared."""

log = logging.getLogger(__name__)


class Wrapper:
    """Runs the command of one job, within its bounds."""

    def __init__(self, job: Job) -> None:
        """Run *job*, which is locked by us and was never begun."""
        self._job, self._request = job, job.read(REQUEST)
        self._asked = False
        self._why = ""
        self._octets = {OUT: 0, ERR: 0}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Begin it, see it through, and write how it ended."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        facts: dict[str, object] = {"owner": children.owner(), "host": os.uname().nodename, "pid": os.getpid()}
        facts["begun"] = now().isoformat()
        self._job.write(STATE, facts)
        began = time.monotonic()
        result = self._result(facts)
        result |= {"seconds": round(time.monotonic() - began, 3), "at": now().isoformat()}
        _persist(self._job, result)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal's
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
            left = self._see_through(process)
        code = process.returncode
        result: dict[str, object] = {"ended": self._why or "through", "octets": sum(self._octets.values())}
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
            env={**request["environment"], children.VARIABLE: request["mark"]},
            start_new_session=True,
            umask=0o022,
            user=user["user"] if user else None,
            group=user["group"] if user else None,
            extra_groups=user["groups"] if user else None,
        )
        for name, pipe in ((OUT, process.stdout), (ERR, process.stderr)):
            assert pipe is not None  # noqa: S101 - for the reader: it was asked for
            kept = stack.enter_context((self._job.path / name).open("xb", buffering=0))
            stack.callback(pipe.close)
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, (name, kept))
        return process

    def _see_through(self, process: subprocess.Popen[bytes]) -> int:
        """Return, when the command has ended or cannot be made to, how many processes it left behind."""
        self._watch(process)
        # Not waited for yet, so that its number is still its own.
        left = children.end(self._request["mark"], process.pid)
        deadline = time.monotonic() + 1
        while self._selector.get_map() and time.monotonic() < deadline and self._serve(0):
            pass
        if _has_ended(process):
            process.wait()
        return left

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._request["timeout"]
        steps = iter(((signal.SIGTERM, self._request["grace"]), (signal.SIGKILL, _UNKILLABLE.total_seconds())))
        tick, looked = 0.002, 0.0
        while not _has_ended(process):
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
        """Return why it is to be ended now, if it is."""
        if (self._job.path / CANCEL).exists():
            return "cancelled"
        # Asked by a signal alone, it is the machine that goes down, not somebody who wants it undone.
        return "stopped" if self._asked else "timeout" if is_late else ""

    def _serve(self, patience: float) -> bool:
        """Keep what the command says, so far; what can't be written is no reason to end it."""
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


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _persist(job: Job, result: Mapping[str, object]) -> None:
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
    """Go on as a process of a session of its own, adopted by init; False in the one that was called."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    return True


def main(arguments: list[str] | None = None) -> Any:  # noqa: ANN401 - an exit code, or nothing
    """Run the job of the folder that was named, if nobody has begun it."""
    folder = (sys.argv[1:] if arguments is None else arguments)[0]
    job = Job(Path(folder))
    if not detach():
        return 0
    with job.locked() as is_ours:
        # Begun by one who did not live to end it: what it has done is not known, so it is not done again.
        if is_ours and not (job.path / STATE).exists() and not (job.path / RESULT).exists():
            Wrapper(job).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
