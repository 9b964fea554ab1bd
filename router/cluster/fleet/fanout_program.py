"""One fan-out: runs a command on many nodes through ClusterShell, in its own process.  Reads the request from stdin.

The request is JSON.  This program is started by its path and imports none of our modules.  It runs one command, so that
ClusterShell's task, its memory and its children end with it.  The last line on stdout is the outcome as JSON.  The exit
code is 0 if the command ended with 0 on every node.  SIGTERM ends the program early, with the outcome so far.

The request's `input` holds what the commands read on stdin, as base64: `shared` for every node, followed by the node's
own entry in `nodes`.  The two are joined when the command starts on that node.  With `progress`, the end of each node
is reported on stderr.  With `progress` set to `json`, it is a line on stdout with all the output of the node, and the
outcome holds no output.

ClusterShell's own clients pass a text to a local shell, replace `%`, keep lines of unlimited length, and run the
command on this machine if the node set is empty.  Our clients pass lists of words, replace nothing, and limit output.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shlex
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ClusterShell.Event import EventHandler
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from ClusterShell.Task import Task, task_self, task_terminate
from ClusterShell.Worker.Exec import ExecClient, ExecWorker
from ClusterShell.Worker.Ssh import SshClient

TIMED_OUT = 124
KILLED = 137
_SLACK = 5
"""Seconds that a node may take to end its own command, before this program gives up on the node."""

_ALL_OUTPUT = 64 * 1024 * 1024
_SMALLEST_SHARE = 512
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")


class Ended(BaseException):
    """The deadline passed or SIGTERM came: the commands are ended, and the outcome so far is reported."""


@dataclass
class Node:
    """The state of one node; *code* is None until its command has ended."""

    begun: float
    seconds: float = 0.0
    code: int | None = None
    gave_up: bool = False
    output: bytearray = field(default_factory=bytearray)
    octets: int = 0


class Collector(EventHandler):  # type: ignore[misc]  # it has no annotations
    """Keeps the output of each node, up to a limit, and how its command ended."""

    def __init__(self, limit: int, *, progress: bool | str) -> None:
        """Keep *limit* octets of each node; with *progress*, report its end on stderr or as `json` on stdout."""
        self.nodes: dict[str, Node] = {}
        self._limit, self._progress = limit, progress

    def begin(self, node: str) -> None:
        """Record that the command is about to start on *node*: recorded later, a timeout could go unnoticed."""
        self.nodes[node] = Node(time.monotonic())

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:  # noqa: ANN401, ARG002 - ClusterShell's
        """Keep the output of *node* up to the limit, and count all of it."""
        known = self.nodes[node]
        known.octets += len(msg)
        known.output += msg[: max(0, self._limit - len(known.output))]

    def ev_hup(self, worker: Any, node: str, rc: int) -> None:  # noqa: ANN401, ARG002 - idem
        """Record how the command ended on *node*."""
        known = self.nodes[node]
        known.code, known.seconds = rc, time.monotonic() - known.begun
        self._report(node, f"exit code {rc}")

    def give_up(self, node: str) -> None:
        """Record that *node* did not end in time and that its local process was killed."""
        known = self.nodes.setdefault(node, Node(time.monotonic()))
        known.gave_up, known.seconds = True, time.monotonic() - known.begun
        self._report(node, "timed out")

    def _report(self, node: str, text: str) -> None:
        known = self.nodes[node]
        if self._progress == "json":
            output, known.output, known.octets = known.output.decode("utf-8", "replace"), bytearray(), 0
            code = None if known.gave_up else known.code
            line = {"node": node, "code": code, "seconds": round(known.seconds, 3), "output": output}
            sys.stdout.write(f"{json.dumps(line)}\n")
            sys.stdout.flush()
        elif self._progress:
            sys.stderr.write(f"{node}: {text}\n")
            sys.stderr.flush()


class _Raw:
    """Passes output on as it arrives: ClusterShell would keep an endless line in memory and rescan it."""

    def _start(self: Any) -> Any:  # noqa: ANN401 - a client of ClusterShell
        self.worker.eh.begin(self.key)
        # Only now: the input of thousands of nodes would not fit in memory.
        self.streams[self.worker.SNAME_STDIN].wbuf = self.worker.input_of(self.key)
        return super()._start()  # type: ignore[misc]  # defined by the client class

    def _handle_read(self: Any, sname: str) -> None:
        self.worker.eh.ev_read(self.worker, self.key, sname, self._read(sname))


class LocalClient(_Raw, ExecClient):  # type: ignore[misc]  # it has no annotations
    """Runs the command on this machine, in place of the node that `CLUSTERBUS_NODE_NAME` names."""

    def _build_cmd(self) -> tuple[list[str], dict[str, str]]:
        request = self.worker.request
        # A list of words: ClusterShell passes a text to a shell.
        return _bounded(request["command"], request), {**request["environment"], "CLUSTERBUS_NODE_NAME": self.key}


class RemoteClient(_Raw, SshClient):  # type: ignore[misc]  # it has no annotations
    """Runs the command over ssh, which passes one text to the shell of the node: each word is quoted."""

    def _build_cmd(self) -> tuple[list[str], None]:
        request = self.worker.request
        variables = {**request["environment"], "CLUSTERBUS_NODE_NAME": self.key}
        words = ["env", *(f"{name}={value}" for name, value in variables.items()), *request["command"]]
        command, _ = super()._build_cmd()
        # `||` keeps the shell alive, so that a killed command ends as an exit code.  ssh would report its signal as
        # 255, the code for an unreachable node.
        return [*command[:-1], f"{shlex.join(_bounded(words, request))} || exit $?"], None


def _bounded(words: list[str], request: dict[str, Any]) -> list[str]:
    """Return *words* with a timeout that the node enforces: killing ssh here may not end the command there."""
    return ["timeout", "-k", str(request["grace"]), str(_seconds(request["timeout"])), *words]


class NodesWorker(ExecWorker):  # type: ignore[misc]  # it has no annotations
    """Starts one client for each node."""

    def __init__(self, request: dict[str, Any], nodes: NodeSet, collector: Collector) -> None:
        """Run the command of *request* on *nodes*."""
        self.request = request
        given = request.get("input", {})
        self._shared, self._own = base64.b64decode(given.get("shared", "")), given.get("nodes", {})
        timeout = _seconds(request["timeout"]) + request["grace"] + _SLACK + request["connect_timeout"]
        super().__init__(nodes, collector, timeout=timeout, command="", stderr=False)

    def input_of(self, node: str) -> bytes:
        """Return what the command on *node* reads from stdin."""
        return self._shared + base64.b64decode(self._own.get(node, ""))

    def _create_clients(self, **options: Any) -> None:  # noqa: ANN401 - ClusterShell's
        client = RemoteClient if self.request["transport"] == "ssh" else LocalClient
        timeout = options["timeout"]
        self._clients += [
            client(node, "", self, False, timeout, False, None)  # noqa: FBT003 - ClusterShell's signature
            for node in self.nodes
        ]

    def _on_node_timeout(self, node: str) -> None:
        super()._on_node_timeout(node)
        self.eh.give_up(node)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run *request* and return its outcome.  Raises ValueError if its node set is unusable."""
    names = request["nodes"]
    if not names or not all(_HOST.fullmatch(each) for each in names):
        raise ValueError("the node set is empty, or holds an entry that is not a host name")
    limit = max(_SMALLEST_SHARE, min(request["output"], _ALL_OUTPUT // len(names)))
    collector = Collector(limit, progress=request.get("progress", False))
    began = time.monotonic()
    facts: dict[str, Any] = {}
    task = _task(request)
    try:
        worker = NodesWorker(request, NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP), collector)
        worker.set_write_eof()
        task.schedule(worker)
        # Not the task's own timeout: if it expires before a node's timeout, all clients lose their engine.
        signal.setitimer(signal.ITIMER_REAL, request["deadline"])
        task.resume()
    except Ended as ended:
        facts = {str(ended): True}
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        task_terminate()
    return {**_outcome(names, collector.nodes, request), **facts, "seconds": round(time.monotonic() - began, 3)}


def _task(request: dict[str, Any]) -> Task:
    task = task_self()
    # These override any `clush.conf` or `defaults.conf` of this machine.
    for name in ("stdout_msgtree", "stderr_msgtree", "auto_tree", "stdin"):
        task.set_default(name, False)  # noqa: FBT003 - ClusterShell's
    task.set_info("debug", False)  # noqa: FBT003 - idem
    task.set_info("fanout", request["fanout"])
    task.set_info("connect_timeout", request["connect_timeout"])
    task.set_info("ssh_path", shlex.quote(request["ssh"]))
    task.set_info("ssh_user", request["user"])
    # ssh notices a node that dies during the command, and prints no banner that could be taken for output.
    own = ["-oServerAliveInterval=15", "-oServerAliveCountMax=3", "-oLogLevel=ERROR"]
    task.set_info("ssh_options", shlex.join([*request["ssh_options"], *own]))
    return task


def _outcome(names: list[str], nodes: dict[str, Node], request: dict[str, Any]) -> dict[str, Any]:
    codes: dict[int, list[str]] = defaultdict(list)
    timed_out, unfinished, not_begun = [], [], []
    for name in names:
        node = nodes.get(name)
        if node is None:
            not_begun.append(name)
        elif _is_late(node, request["timeout"]):
            timed_out.append(name)
        elif node.code is None or node.gave_up:
            unfinished.append(name)
        else:
            codes[node.code].append(name)
    return {
        "codes": {str(code): _fold(found) for code, found in sorted(codes.items())},
        "timed_out": _fold(timed_out),
        "unfinished": _fold(unfinished),
        "not_begun": _fold(not_begun),
        "output": _folded_output(nodes, request["output"]),
    }


def _is_late(node: Node, timeout: float) -> bool:
    """Return whether *node* timed out; the codes 124 and 137 alone prove nothing, as the command may return them."""
    return node.seconds >= timeout and (node.gave_up or node.code in (TIMED_OUT, KILLED))


def _folded_output(nodes: dict[str, Node], limit: int) -> list[dict[str, Any]]:
    """Return the output of *nodes*, identical output once; at most four times *limit* octets in all."""
    same: dict[tuple[bytes, int], list[str]] = defaultdict(list)
    for name, node in nodes.items():
        if node.octets:
            same[bytes(node.output), node.octets].append(name)
    share = max(_SMALLEST_SHARE, 4 * limit // max(1, len(same)))
    found = sorted(same.items(), key=lambda each: -len(each[1]))[: 4 * limit // _SMALLEST_SHARE]
    return [
        {"nodes": _fold(names), "text": kept[:share].decode("utf-8", "replace"), "octets": octets}
        for (kept, octets), names in found
    ]


def _fold(names: list[str]) -> str:
    return str(NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP))


def _seconds(seconds: float) -> int:
    # On some systems `timeout` accepts whole seconds only.
    return max(1, math.ceil(seconds))


def _end(number: int, _: object) -> None:
    raise Ended("deadline" if number == signal.SIGALRM else "stopped")


def main() -> int:
    """Read the request, run it, print the outcome; return the exit code."""
    request = json.load(sys.stdin)
    # Python ignores SIGPIPE, and our children would inherit that: `yes | head` would never end.  A handler is reset in
    # children, and still protects this program from a command that does not read its input.
    signal.signal(signal.SIGPIPE, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    outcome = run(request)
    is_good = list(outcome["codes"]) == ["0"] and not any(
        outcome[each] for each in ("timed_out", "unfinished", "not_begun")
    )
    # The outcome starts on a new line, whatever was written before.
    os.write(sys.stdout.fileno(), b"\n")
    sys.stdout.write(json.dumps(outcome))
    sys.stdout.write("\n")
    sys.stdout.flush()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
