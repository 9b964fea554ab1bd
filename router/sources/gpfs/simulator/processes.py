"""Runs the registered commands of one event, as the daemons of the nodes would: side by side, each in a bare world.

Known: by priority within one event and node; asynchronous ones are not waited for, synchronous ones up to their
timeout; instances overlap.  Not known, and decided here: the environment is empty, the working directory `/`, stdin
is empty, and stdout and stderr go to the node's log; a synchronous command past its timeout runs on.  The simulator
itself waits for all of them at the end, and kills what still runs after a bound.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .state import CallbackState

_NODES_AT_ONCE = 64


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


def run(calls: Mapping[str, Sequence[Call]], bound: timedelta) -> list[Run]:
    """Run the *calls* of each node in their order, the nodes side by side; return how they ended, in that order."""
    if not calls:
        return []
    deadline = time.monotonic() + bound.total_seconds()
    with ThreadPoolExecutor(max_workers=min(len(calls), _NODES_AT_ONCE)) as nodes:
        started = list(nodes.map(lambda each: _start_all(each, deadline), calls.values()))
    return [_ended(each, deadline, bound) for of_a_node in started for each in of_a_node]


def _start_all(calls: Sequence[Call], deadline: float) -> list[_Started]:
    return [_start(each, deadline) for each in calls]


def _start(call: Call, deadline: float) -> _Started:
    """Start *call*; a synchronous one is waited for, so that the next one of its node follows it."""
    kind = "Sync" if call.callback.sync else "Async"
    moment = datetime.now(UTC).strftime("%Y-%m-%d_%H:%M:%S.%f%z")
    try:
        with call.log.open("ab") as log:
            log.write(
                f"{moment}: [I] Calling user exit script {call.callback.identifier}: event {call.event}, "
                f"{kind} command {call.callback.command}.\n".encode()
            )
            log.flush()
            process = subprocess.Popen(
                [call.callback.command, *call.arguments],
                executable=call.program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={},
                start_new_session=True,  # so that it can be killed with all that it started
            )
    except OSError as error:
        return _Started(call, None, [f"cannot be started: {error.strerror}"])
    started = _Started(call, process)
    if call.callback.sync:
        _wait_for_sync(started, process, deadline)
    return started


def _wait_for_sync(started: _Started, process: "subprocess.Popen[bytes]", deadline: float) -> None:
    patience = max(0.0, deadline - time.monotonic())
    limit = started.call.callback.timeout
    try:
        process.wait(timeout=patience if limit is None else min(patience, limit))
    except subprocess.TimeoutExpired:
        if limit is not None:
            started.reasons.append(f"timeout of {limit} s passed")


def _ended(started: _Started, deadline: float, bound: timedelta) -> Run:
    node, identifier = started.call.node, started.call.callback.identifier
    process = started.process
    if process is None:
        return Run(node, identifier, None, "; ".join(started.reasons))
    try:
        code: int | None = process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        code = None
        started.reasons.append(f"killed: it still ran after {bound.total_seconds():g} s")
    if code is not None and code < 0:
        started.reasons.append(f"ended by signal {-code}")
        code = None
    return Run(node, identifier, code, "; ".join(started.reasons))
