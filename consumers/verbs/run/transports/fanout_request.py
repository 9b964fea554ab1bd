"""The process that runs one command on nodes, and what it reads: made of plain values."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from router import interpreter
from router.cluster.fleet.runner import PROGRAM
from router.settings.models import ConsumersSettings

from ....errors import Rejected
from ....processes import child_process

REMOTE = ("ssh", "pdsh")
"""The transports whose commands run on the nodes themselves."""

_OUTCOME = 64 * 1024 * 1024
"""Most octets of an outcome.  Its writer limits it already; this is a safety limit."""

_LONGEST_REMOTE = 120 * 1024
"""Most octets of a command for ssh, which passes it as one word: Linux allows 128 KiB."""

_LONGEST_LOCAL = 1024 * 1024
_LONGEST = timedelta(days=8)
_FOR_THE_END = timedelta(seconds=20)
"""Time that the process has after its deadline to kill its commands and write the outcome."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How nodes are reached: the settings of the same names, and the *agent* of ssh keys, if there is one.

    *pdsh* is the program with its options.
    """

    name: str
    ssh: str
    ssh_options: Sequence[str] = ()
    pdsh: Sequence[str] = ()
    recorded: str = ""
    agent: str = ""

    @classmethod
    def of(cls, settings: ConsumersSettings) -> Transport:
        """Return the transport of *settings*, with the agent of this process."""
        agent = os.environ.get("SSH_AUTH_SOCK", "")
        pdsh = [settings.pdsh, *settings.pdsh_options]
        return cls(settings.transport, settings.ssh, [*settings.ssh_options], pdsh, str(settings.recorded), agent)

    @property
    def program(self) -> str | None:
        """The program on this machine that reaches the nodes; None if each command itself runs here."""
        return {"ssh": self.ssh, "pdsh": next(iter(self.pdsh), "pdsh")}.get(self.name)

    @property
    def is_remote(self) -> bool:
        """Whether commands run on the nodes themselves."""
        return self.name in REMOTE


@dataclass(frozen=True, slots=True)
class NodeCommand:
    """The *words* to run on *nodes* as the user *login*, within the limits of `run`; they read *content*.

    *watch* is the file to which what happens on the nodes is appended meanwhile.
    """

    nodes: Sequence[str]
    words: Sequence[str]
    environment: Mapping[str, str]
    fanout: int
    connect_timeout: timedelta
    timeout: timedelta
    output: int
    grace: timedelta
    deadline: timedelta | None = None
    login: str | None = None
    user: child_process.User | None = None
    progress: bool = False
    watch: str = ""
    content: bytes = field(default=b"", repr=False)

    def check(self, transport: Transport) -> None:
        """Raise Rejected if no node can run the command."""
        words = (*self.words, *self.environment.values())
        size = sum(len(each.encode()) + each.count("'") * 4 + 3 for each in words)
        # The others pass it as it is.
        size += sum(each.count("%") for each in words) if transport.name == "pdsh" else 0
        limit = _LONGEST_REMOTE if transport.is_remote else _LONGEST_LOCAL
        if size > limit:
            raise Rejected(f"command {self.words[0]!r} has {size:,} octets, and the limit on nodes is {limit:,}")
        if self.content and transport.name == "pdsh":
            raise Rejected("copy needs the transport ssh: pdsh does not pass the content on")
        program = transport.program or self.words[0]
        if transport.name != "record" and shutil.which(program, path=child_process.PATH) is None:
            raise Rejected(f"command {program!r} cannot run: it does not exist on this machine, or is not executable")

    def process(self, transport: Transport, mark: str) -> tuple[child_process.Command, bytes]:
        """Return the process of the fan-out, whose children carry *mark*, and its standard input."""
        limit = deadline_of(len(self.nodes), self.fanout, self.timeout, self.connect_timeout, self.deadline)
        has_agent = transport.agent and transport.is_remote
        process = child_process.Command(
            words=interpreter.module(PROGRAM),
            environment=child_process.ENVIRONMENT | ({"SSH_AUTH_SOCK": transport.agent} if has_agent else {}),
            mark=mark,
            timeout=limit + _FOR_THE_END,
            grace=self.grace,
            output=_OUTCOME,
            user=self.user,
        )
        return process, json.dumps(self._request(transport, limit)).encode()

    def _request(self, transport: Transport, deadline: timedelta) -> dict[str, object]:
        return {
            "nodes": list(self.nodes),
            "command": list(self.words),
            "environment": dict(self.environment),
            "transport": transport.name,
            "fanout": self.fanout,
            "connect_timeout": max(1, math.ceil(self.connect_timeout.total_seconds())),
            "timeout": self.timeout.total_seconds(),
            "deadline": deadline.total_seconds(),
            "grace": math.ceil(self.grace.total_seconds()),
            "output": self.output,
            "user": self.login if transport.is_remote else None,
            "ssh": transport.ssh,
            "ssh_options": list(transport.ssh_options),
            "pdsh": list(transport.pdsh),
            "progress": self.progress,
            **({"watch": self.watch} if self.watch else {}),
            **({"input": {"shared": base64.b64encode(self.content).decode()}} if self.content else {}),
        }


def deadline_of(
    count: int, fanout: int, timeout: timedelta, connect_timeout: timedelta, deadline: timedelta | None
) -> timedelta:
    """Return the time for all of *count* nodes: the option *deadline*, or the longest time of all rounds."""
    if deadline is not None:
        return deadline
    rounds = max(1, math.ceil(count / fanout))
    return min(_LONGEST, rounds * (timeout + connect_timeout + timedelta(seconds=15)))
