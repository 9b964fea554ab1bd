"""One round over many nodes: a command on each, with its own input, and what each of them answered.

The command runs in a fan-out's process (`fanout`), so that this one has no ClusterShell, and none of its children.
"""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any, Literal

from . import PROGRAM
from .errors import RoundLost
from .node_sets import unfold

UNREACHABLE = 255
"""What ssh says of a node that it cannot reach."""

_ENDED = (124, 137)
"""How `timeout` tells of a command that it ended, and killed."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT = 16 * 1024
_GRACE = 5
_ROUND = 15
"""Seconds that a node may need beyond its timeout, until it is given up on."""

_FOR_THE_END = 20
_TOLD = 2000


@dataclass(frozen=True, slots=True)
class Reach:
    """How nodes are reached: by ssh, or `local`, which runs each node's command here."""

    transport: Literal["ssh", "local"] = "ssh"
    fanout: int = 64
    timeout: timedelta = timedelta(minutes=2)
    connect_timeout: timedelta = timedelta(seconds=10)
    ssh: str = "ssh"
    ssh_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What *node* said, and the *failure* in words where its command did not end with 0.

    Of one that is *late* the command was ended before it was through, so what it said may be half of it.
    """

    node: str
    output: str = ""
    failure: str = ""
    late: bool = False


def ask(
    names: Sequence[str],
    command: Sequence[str],
    reach: Reach,
    *,
    shared: bytes = b"",
    own: Mapping[str, bytes] | None = None,
    told: Callable[[Answer], None] = lambda _: None,
) -> dict[str, Answer]:
    """Run *command* on the nodes *names*, each reading *shared* and then its *own*; return the answer of each.

    *told* is called with each answer when it is there.  Raises RoundLost, and ValueError where *names* are none.
    """
    if not names:
        raise ValueError("a round over no nodes")
    found: dict[str, Answer] = {}
    outcome: Mapping[str, Any] = {}
    deadline = _deadline(len(names), reach)
    with _process(reach, deadline) as (process, errors):
        request = json.dumps(_request(names, command, reach, deadline, shared, own or {})).encode()
        for line in _lines(process, request):
            if "codes" in line:
                outcome = line
            elif line["code"] is not None:
                answer = _answer(line, reach)
                found[answer.node] = answer
                told(answer)
        errors.seek(0)
        said = errors.read()[-_TOLD:].decode("utf-8", "replace").strip()
    if not outcome:
        raise RoundLost(f"the process that asks the nodes ended with {process.returncode} and told nothing: {said}")
    late = _late(outcome, reach)
    for name in names:
        if name in late or name not in found:
            said_there = found[name].output if name in found else ""
            answer = Answer(name, said_there, late.get(name, "it was broken off"), late=True)
            if name not in found:
                told(answer)
            found[name] = answer
    return {name: found[name] for name in names}


def _request(
    names: Sequence[str],
    command: Sequence[str],
    reach: Reach,
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


def _deadline(count: int, reach: Reach) -> float:
    one = reach.timeout.total_seconds() + reach.connect_timeout.total_seconds() + _ROUND
    return math.ceil(count / reach.fanout) * one


@contextmanager
def _process(reach: Reach, deadline: float) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    agent = os.environ.get("SSH_AUTH_SOCK")
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    if agent and reach.transport == "ssh":
        environment["SSH_AUTH_SOCK"] = agent
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-I", str(PROGRAM)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        # It ends itself at its deadline; this is for what goes wrong there.
        watch = threading.Timer(deadline + _FOR_THE_END, process.kill)
        watch.start()
        try:
            yield process, errors
        except BaseException:
            # A stop of ours is told on, so that its commands end with it.
            process.send_signal(signal.SIGTERM)
            raise
        finally:
            watch.cancel()


def _lines(process: subprocess.Popen[bytes], request: bytes) -> Iterator[dict[str, Any]]:
    """Give *process* its *request* and return what it tells; where it broke off in a line, that is left out."""
    assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
    assert process.stdout is not None  # noqa: S101 - idem
    try:
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        pass  # how it ended is told by its code
    for line in process.stdout:
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                break
    process.wait()


def _late(outcome: Mapping[str, Any], reach: Reach) -> dict[str, str]:
    """Return the nodes that *outcome* knows of as not through, and why."""
    why = {
        "timed_out": _not_through(reach),
        "unfinished": "it was broken off",
        "not_begun": "it was not begun before the deadline",
    }
    return {name: reason for word, reason in why.items() for name in unfold(outcome[word])}


def _answer(line: Mapping[str, Any], reach: Reach) -> Answer:
    node, code, output = line["node"], line["code"], line["output"]
    if code in _ENDED and line["seconds"] >= reach.timeout.total_seconds():
        return Answer(node, output, _not_through(reach), late=True)
    return Answer(node, output, _failure(code, output, reach) if code else "")


def _not_through(reach: Reach) -> str:
    return f"it was not through after {reach.timeout.total_seconds():g} s"


def _failure(code: int, output: str, reach: Reach) -> str:
    last = output.strip()[-_TOLD:].replace("\n", "; ")
    if code == UNREACHABLE and reach.transport == "ssh":
        return f"it cannot be reached: {last or 'ssh says nothing more'}"
    return f"its command ended with {code}{': ' if last else ''}{last}"
