"""Runs one command on many nodes, with input for each node, and returns the answer of each node.

The command runs in a separate process (`fanout_program`), so that ClusterShell's task, its memory and its children end
with it.
"""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from ... import interpreter
from ...settings.models import NodesSettings
from . import fanout_lines
from .errors import RoundLost
from .fanout_lines import NodeEnded, Outcome
from .node_sets import unfold

PROGRAM = f"{__package__}.fanout_program"
"""The module of the program that runs one command on many nodes, as a separate process."""

_ENDED = (124, 137)
"""The exit codes of `timeout` for a command that it terminated or killed."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT = 16 * 1024
_GRACE = 5
_ROUND = 15
"""Seconds beyond its timeout after which the fan-out gives up on a node."""

_KILL_MARGIN = 20
_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Answer:
    """The output of *node*, and the *failure* as text if its command did not end with 0.

    *late* means that the command was interrupted before it finished, so that the output may be incomplete.
    """

    node: str
    output: str = ""
    failure: str = ""
    late: bool = False


def ask(
    names: Sequence[str],
    command: Sequence[str],
    reach: NodesSettings,
    *,
    shared: bytes = b"",
    own: Mapping[str, bytes] | None = None,
    on_answer: Callable[[Answer], None] = lambda _: None,
) -> dict[str, Answer]:
    """Run *command* on the nodes *names*, reached by the settings *reach*, and return the answer of each.

    Each command reads *shared* and then the node's entry in *own* from stdin.  *on_answer* is called with each answer
    as it arrives.  Raises RoundLost if the process ends without an outcome, and ValueError if *names* is empty.
    """
    if not names:
        raise ValueError("names is empty: there are no nodes to run the command on")
    found: dict[str, Answer] = {}
    outcome: Outcome | None = None
    deadline = _deadline(len(names), reach)
    with _process(reach, deadline) as (process, errors):
        request = json.dumps(_request(names, command, reach, deadline, shared, own or {})).encode()
        for line in _lines(process, request, set(names)):
            if isinstance(line, Outcome):
                outcome = line
            elif line.code is not None:
                answer = _answer(line, line.code, reach)
                found[answer.node] = answer
                on_answer(answer)
        errors.seek(0)
        stderr = errors.read()[-_SHOWN:].decode("utf-8", "replace").strip()
    if outcome is None:
        raise RoundLost(
            f"the process that runs the command on the nodes ended with {process.returncode} and no outcome: {stderr}"
        )
    late = _late(outcome, reach)
    for name in names:
        if name in late or name not in found:
            output = found[name].output if name in found else ""
            answer = Answer(name, output, late.get(name, "its command was interrupted"), late=True)
            if name not in found:
                on_answer(answer)
            found[name] = answer
    return {name: found[name] for name in names}


def _request(
    names: Sequence[str],
    command: Sequence[str],
    reach: NodesSettings,
    deadline: float,
    shared: bytes,
    own: Mapping[str, bytes],
) -> dict[str, object]:
    return {
        "nodes": list(names),
        "command": list(command),
        "environment": {"LANG": "C.UTF-8"},
        "transport": reach.transport,
        "fanout": reach.fanout,
        "connect_timeout": max(1, math.ceil(reach.connect_timeout.total_seconds())),
        "timeout": reach.timeout.total_seconds(),
        "deadline": deadline,
        "grace": _GRACE,
        "output": _OUTPUT,
        "user": None,
        "ssh": reach.ssh,
        "ssh_options": list(reach.ssh_options),
        "progress": "json",
        "input": {
            "shared": base64.b64encode(shared).decode(),
            "nodes": {name: base64.b64encode(text).decode() for name, text in own.items()},
        },
    }


def _deadline(count: int, reach: NodesSettings) -> float:
    one = reach.timeout.total_seconds() + reach.connect_timeout.total_seconds() + _ROUND
    return math.ceil(count / reach.fanout) * one


@contextmanager
def _process(reach: NodesSettings, deadline: float) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    agent = os.environ.get("SSH_AUTH_SOCK")
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    if agent and reach.transport == "ssh":
        environment["SSH_AUTH_SOCK"] = agent
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            interpreter.module(PROGRAM),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        # The process ends itself at its deadline; the timer kills it if it does not.
        watch = threading.Timer(deadline + _KILL_MARGIN, process.kill)
        watch.start()
        try:
            yield process, errors
        except BaseException:
            # Pass our own interruption on, so that the commands end too.
            process.send_signal(signal.SIGTERM)
            raise
        finally:
            watch.cancel()


def _lines(process: subprocess.Popen[bytes], request: bytes, names: Collection[str]) -> Iterator[NodeEnded | Outcome]:
    """Send *request* to *process* and yield the lines that it prints about *names*; leaves out an incomplete last line.

    Raises RoundLost if a line cannot be read.
    """
    assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
    assert process.stdout is not None  # noqa: S101 - idem
    try:
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        pass  # the exit code says how it ended
    while line := process.stdout.readline(fanout_lines.LONGEST + 1):
        if line.strip() and (line.endswith(b"\n") or len(line) > fanout_lines.LONGEST):
            try:
                yield fanout_lines.read(line, names)
            except fanout_lines.InvalidLine as error:
                raise RoundLost(
                    f"the process that runs the command on the nodes printed an invalid line: {error}"
                ) from error
    process.wait()


def _late(outcome: Outcome, reach: NodesSettings) -> dict[str, str]:
    """Return the nodes whose command did not finish according to *outcome*, and why."""
    why = (
        (outcome.timed_out, _timed_out(reach)),
        (outcome.unfinished, "its command was interrupted"),
        (outcome.not_begun, "its command did not start before the deadline"),
    )
    return {name: reason for names, reason in why for name in unfold(names)}


def _answer(line: NodeEnded, code: int, reach: NodesSettings) -> Answer:
    node, output = line.node, line.output
    if code in _ENDED and line.seconds >= reach.timeout.total_seconds():
        return Answer(node, output, _timed_out(reach), late=True)
    return Answer(node, output, _failure(line, code) if code or line.refusal else "")


def _timed_out(reach: NodesSettings) -> str:
    return f"its command did not finish within {reach.timeout.total_seconds():g} s"


def _failure(line: NodeEnded, code: int) -> str:
    if line.refusal:
        return f"its login is refused: {line.refusal}"
    # What a command printed last on stderr is why it failed.
    last = (line.errors.strip() or line.output.strip())[-_SHOWN:].replace("\n", "; ")
    if line.lost:
        return f"it cannot be reached: {last or 'ssh printed no reason'}"
    return f"its command ended with {code}{': ' if last else ''}{last}"
