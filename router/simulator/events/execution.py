"""Runs the registered commands of one event, as the daemons of the nodes would: in parallel, with no environment.

Known: commands run by priority within one event and node; GPFS does not wait for asynchronous commands, and waits for
synchronous ones up to their timeout; instances overlap.  Decided here, because it is not known: the working directory
is `/`, and stdin is empty.  The environment, the targets of stdout and stderr, and the end of a synchronous command
after its timeout are switches of `Behaviour`.  At the end the simulator waits for all commands, and kills those that
still run after a bound.  At most 64 nodes run commands at the same time; the bound counts from the start on each node.
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

from ..cluster_state import CallbackState
from ..switches import Behaviour

NODES_AT_ONCE = 64

_DAEMON = {"PATH": "/usr/lpp/mmfs/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C", "MMMODE": "lc"}
"""The environment that the daemon may have (recalled)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command for one daemon to run; *program* is the real path of *callback*'s command."""

    node: str
    event: str
    callback: CallbackState
    program: Path
    arguments: Sequence[str]
    log: Path


@dataclass(frozen=True, slots=True)
class Run:
    """How a registered command ended on a node.

    *exit_code* is None if it could not be started or was killed; *reason* says why, and mentions a timeout.
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
    """Run the *calls* of each node in order, the nodes in parallel; return how each ended, in the same order."""
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
    """Start *call*; wait for it if it is synchronous, so that the next call of its node follows it."""
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
                    start_new_session=True,  # so that it can be killed with its children
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
    """Yield the target of a command's stdout and stderr."""
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
