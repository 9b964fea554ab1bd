"""Runs the registered commands of one event, as the daemons of the nodes would: side by side, each in a bare world.

Known: by priority within one event and node; asynchronous ones are not waited for, synchronous ones up to their
timeout; instances overlap.  Not known, and decided here: the working directory `/`, and stdin is empty.  Switches of
`Behaviour` are the environment, where stdout and stderr go, and what becomes of a synchronous command past its timeout.
The simulator itself waits for all of them at the end, and kills what still runs after a bound.  No more than 64 nodes
run their commands at the same time: each of thousands gets its turn, and the bound counts from there.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from .behaviours import Behaviour
from .state import CallbackState

NODES_AT_ONCE = 64

_DAEMON = {"PATH": "/usr/lpp/mmfs/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C", "MMMODE": "lc"}
"""What the daemon's environment might have (recalled)."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one daemon is to run: *program* is where *callback*'s command really lies."""

    node: str
    event: str
    callback: CallbackState
    program: Path
    arguments: Sequence[str]
    log: Path


@dataclass(frozen=True, slots=True)
class Run:
    """How a registered command ended on a node.

    *exit_code* is None where it could not be started or was killed; *reason* says why, and tells of a timeout.
    """

    node: str
    identifier: str
    exit_code: int | None
    reason: str = ""


@dataclass(slots=True)
class _Started:
    call: Call
    process: "subprocess.Popen[bytes] | None"
    reasons: list[str] = field(default_factory=list)


Ended = tuple[CallbackState, Run]


def run(calls: Sequence[Callable[[], Sequence[Call]]], behaviour: Behaviour, bound: timedelta) -> list[Ended]:
    """Run the *calls* of each node in their order, the nodes side by side; return how they ended, in that order."""
    if not calls:
        return []
    with ThreadPoolExecutor(max_workers=min(len(calls), NODES_AT_ONCE)) as nodes:
        ended = nodes.map(lambda each: _run_all(each(), behaviour, bound), calls)
        return [each for of_a_node in ended for each in of_a_node]


def _run_all(calls: Sequence[Call], behaviour: Behaviour, bound: timedelta) -> list[Ended]:
    deadline = time.monotonic() + bound.total_seconds()
    started = [_start(each, behaviour, deadline) for each in calls]
    return [(each.call.callback, _ended(each, deadline, bound)) for each in started]


def _start(call: Call, behaviour: Behaviour, deadline: float) -> _Started:
    """Start *call*; a synchronous one is waited for, so that the next one of its node follows it."""
    try:
        with call.log.open("ab") as log:
            _announce(call, log)
            with _output(behaviour, log) as output:
                process = subprocess.Popen(
                    [call.callback.command, *call.arguments],
                    executable=call.program,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=_DAEMON if behaviour.environment == "daemon" else {},
                    start_new_session=True,  # so that it can be killed with all that it started
                )
    except OSError as error:
        return _Started(call, None, [f"cannot be started: {error.strerror}"])
    started = _Started(call, process)
    if call.callback.sync:
        _wait_for_sync(started, process, behaviour, deadline)
    return started


def _announce(call: Call, log: IO[bytes]) -> None:
    kind = "Sync" if call.callback.sync else "Async"
    moment = datetime.now(UTC).strftime("%Y-%m-%d_%H:%M:%S.%f%z")
    log.write(
        f"{moment}: [I] Calling user exit script {call.callback.identifier}: event {call.event}, "
        f"{kind} command {call.callback.command}.\n".encode()
    )
    log.flush()


@contextlib.contextmanager
def _output(behaviour: Behaviour, log: IO[bytes]) -> Iterator[IO[bytes] | int]:
    """Give what a command's stdout and stderr are."""
    if behaviour.output == "broken_pipe":
        reader, writer = os.pipe()
        os.close(reader)
        try:
            yield writer
        finally:
            os.close(writer)
    else:
        yield log if behaviour.output == "log" else subprocess.DEVNULL


def _wait_for_sync(
    started: _Started, process: "subprocess.Popen[bytes]", behaviour: Behaviour, deadline: float
) -> None:
    patience = max(0.0, deadline - time.monotonic())
    limit = started.call.callback.timeout
    try:
        process.wait(timeout=patience if limit is None else min(patience, limit))
    except subprocess.TimeoutExpired:
        if limit is not None:
            started.reasons.append(f"timeout of {limit} s passed")
            if behaviour.past_timeout == "killed":
                _kill(process)


def _ended(started: _Started, deadline: float, bound: timedelta) -> Run:
    node, identifier = started.call.node, started.call.callback.identifier
    process = started.process
    if process is None:
        return Run(node, identifier, None, "; ".join(started.reasons))
    try:
        code: int | None = process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        code = None
        started.reasons.append(f"killed: it still ran after {bound.total_seconds():g} s")
    if code is not None and code < 0:
        started.reasons.append(f"ended by signal {-code}")
        code = None
    return Run(node, identifier, code, "; ".join(started.reasons))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
