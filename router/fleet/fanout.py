"""One fan-out: a command on many nodes through ClusterShell, in a process of its own.  The request is JSON on stdin.

A program, started by its path and importing nothing of ours: it lives for one command, so that ClusterShell's task,
its memory and its children end with it.  The last line on stdout is the outcome as JSON; the exit code is 0 where each
node has ended well.  SIGTERM ends it early, with the outcome as it is then.

What the commands read is in `input` of the request, as base64: `shared`, and then what is in `nodes` for the node; it
is put together for a node when that begins.  With `progress` the end of each node is told on stderr; where that is
`json`, as a line on stdout with all that the node has said, and the outcome has no output.

ClusterShell's own clients give a text to a shell here, replace `%`, keep lines without bound and run on this machine
where the node set is empty.  Ours give lists of words, replace nothing, and are bounded.
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
"""Seconds after which a node that should have ended its command itself is given up on."""

_ALL_OUTPUT = 64 * 1024 * 1024
_SMALLEST_SHARE = 512
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")


class Ended(BaseException):
    """The deadline or SIGTERM came: the commands are ended, and what is known is told."""


@dataclass
class Node:
    """What is known of one node: its *code* is None until it has ended."""

    begun: float
    seconds: float = 0.0
    code: int | None = None
    gave_up: bool = False
    output: bytearray = field(default_factory=bytearray)
    octets: int = 0


class Collector(EventHandler):  # type: ignore[misc]  # it has no annotations
    """Keeps what each node says, so far and no further, and how it ended."""

    def __init__(self, limit: int, *, progress: bool | str) -> None:
        """Keep *limit* octets of each node; with *progress* its end is told, on stderr or as `json`."""
        self.nodes: dict[str, Node] = {}
        self._limit, self._progress = limit, progress

    def begin(self, node: str) -> None:
        """Note that the command is about to begin on *node*: noted later, its time could seem not to be up."""
        self.nodes[node] = Node(time.monotonic())

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:  # noqa: ANN401, ARG002 - ClusterShell's
        """Keep what *node* said, and count what is not kept."""
        known = self.nodes[node]
        known.octets += len(msg)
        known.output += msg[: max(0, self._limit - len(known.output))]

    def ev_hup(self, worker: Any, node: str, rc: int) -> None:  # noqa: ANN401, ARG002 - idem
        """Note how *node* ended."""
        known = self.nodes[node]
        known.code, known.seconds = rc, time.monotonic() - known.begun
        self._tell(node, f"exit code {rc}")

    def give_up(self, node: str) -> None:
        """Note that *node* did not end in time, and its command's process here was killed."""
        known = self.nodes.setdefault(node, Node(time.monotonic()))
        known.gave_up, known.seconds = True, time.monotonic() - known.begun
        self._tell(node, "timed out")

    def _tell(self, node: str, text: str) -> None:
        known = self.nodes[node]
        if self._progress == "json":
            said, known.output, known.octets = known.output.decode("utf-8", "replace"), bytearray(), 0
            code = None if known.gave_up else known.code
            line = {"node": node, "code": code, "seconds": round(known.seconds, 3), "output": said}
            sys.stdout.write(f"{json.dumps(line)}\n")
            sys.stdout.flush()
        elif self._progress:
            sys.stderr.write(f"{node}: {text}\n")
            sys.stderr.flush()


class _Raw:
    """Reads what comes as it comes: lines without an end would be kept whole, and looked through again and again."""

    def _start(self: Any) -> Any:  # noqa: ANN401 - a client of ClusterShell
        self.worker.eh.begin(self.key)
        # Now and not before: what thousands of nodes are sent would not fit in memory.
        self.streams[self.worker.SNAME_STDIN].wbuf = self.worker.input_of(self.key)
        return super()._start()  # type: ignore[misc]  # of the client that this is mixed into

    def _handle_read(self: Any, sname: str) -> None:
        self.worker.eh.ev_read(self.worker, self.key, sname, self._read(sname))


class LocalClient(_Raw, ExecClient):  # type: ignore[misc]  # it has no annotations
    """The command here, as if this were the node that `CLUSTERBUS_NODE_NAME` says."""

    def _build_cmd(self) -> tuple[list[str], dict[str, str]]:
        request = self.worker.request
        # A list: a text would be given to a shell.
        return _bounded(request["command"], request), {**request["environment"], "CLUSTERBUS_NODE_NAME": self.key}


class RemoteClient(_Raw, SshClient):  # type: ignore[misc]  # it has no annotations
    """The command over ssh, which hands one text to the shell of the node: each word is quoted for it."""

    def _build_cmd(self) -> tuple[list[str], None]:
        request = self.worker.request
        variables = {**request["environment"], "CLUSTERBUS_NODE_NAME": self.key}
        words = ["env", *(f"{name}={value}" for name, value in variables.items()), *request["command"]]
        command, _ = super()._build_cmd()
        # With `||` the shell stays, and a command that had to be killed is an exit code: as a signal, ssh would tell
        # it as 255, which is what it says of a node that it cannot reach.
        return [*command[:-1], f"{shlex.join(_bounded(words, request))} || exit $?"], None


def _bounded(words: list[str], request: dict[str, Any]) -> list[str]:
    """Return *words* with the limit that the node itself keeps: what is killed here may live on there."""
    return ["timeout", "-k", str(request["grace"]), str(_seconds(request["timeout"])), *words]


class NodesWorker(ExecWorker):  # type: ignore[misc]  # it has no annotations
    """One client a node, whatever the words of the command are."""

    def __init__(self, request: dict[str, Any], nodes: NodeSet, collector: Collector) -> None:
        """Run what *request* says on *nodes*."""
        self.request = request
        given = request.get("input", {})
        self._shared, self._own = base64.b64decode(given.get("shared", "")), given.get("nodes", {})
        timeout = _seconds(request["timeout"]) + request["grace"] + _SLACK + request["connect_timeout"]
        super().__init__(nodes, collector, timeout=timeout, command="", stderr=False)

    def input_of(self, node: str) -> bytes:
        """Return what the command on *node* is to read."""
        return self._shared + base64.b64decode(self._own.get(node, ""))

    def _create_clients(self, **options: Any) -> None:  # noqa: ANN401 - ClusterShell's
        client = RemoteClient if self.request["transport"] == "ssh" else LocalClient
        timeout = options["timeout"]
        self._clients += [client(node, "", self, False, timeout, False, None) for node in self.nodes]  # noqa: FBT003 - idem

    def _on_node_timeout(self, node: str) -> None:
        super()._on_node_timeout(node)
        self.eh.give_up(node)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Do what *request* says, and return the outcome."""
    names = request["nodes"]
    if not names or not all(_HOST.fullmatch(each) for each in names):
        raise ValueError("a node set that is empty, or holds what is no name of a host")
    limit = max(_SMALLEST_SHARE, min(request["output"], _ALL_OUTPUT // len(names)))
    collector = Collector(limit, progress=request.get("progress", False))
    began = time.monotonic()
    facts: dict[str, Any] = {}
    task = _task(request)
    try:
        worker = NodesWorker(request, NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP), collector)
        worker.set_write_eof()
        task.schedule(worker)
        # Not the task's own limit: where that comes before a node's, it has all nodes' clients lose their engine.
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
    # Whatever a `clush.conf` or `defaults.conf` of this machine says.
    for name in ("stdout_msgtree", "stderr_msgtree", "auto_tree", "stdin"):
        task.set_default(name, False)  # noqa: FBT003 - ClusterShell's
    task.set_info("debug", False)  # noqa: FBT003 - idem
    task.set_info("fanout", request["fanout"])
    task.set_info("connect_timeout", request["connect_timeout"])
    task.set_info("ssh_path", shlex.quote(request["ssh"]))
    task.set_info("ssh_user", request["user"])
    # A node that dies in the middle is noticed, and no banner is taken for output.
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
    """Say whether *node* used up its time: 124 and 137 may be the command's own codes as well."""
    return node.seconds >= timeout and (node.gave_up or node.code in (TIMED_OUT, KILLED))


def _folded_output(nodes: dict[str, Node], limit: int) -> list[dict[str, Any]]:
    """Return what nodes said, once for those that said the same; all together at most four times *limit*."""
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
    # `timeout` of some systems takes whole seconds only.
    return max(1, math.ceil(seconds))


def _end(number: int, _: object) -> None:
    raise Ended("deadline" if number == signal.SIGALRM else "stopped")


def main() -> int:
    """Read the request, run it, tell the outcome."""
    request = json.load(sys.stdin)
    # Python ignores it, and what we start would inherit that: `yes | head` would never end.  What is caught instead is
    # as ever in what we start, and a command that reads nothing does not end us.
    signal.signal(signal.SIGPIPE, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    outcome = run(request)
    is_good = list(outcome["codes"]) == ["0"] and not any(
        outcome[each] for each in ("timed_out", "unfinished", "not_begun")
    )
    # In one line of its own, and in one piece.
    os.write(sys.stdout.fileno(), b"\n")
    sys.stdout.write(json.dumps(outcome))
    sys.stdout.write("\n")
    sys.stdout.flush()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
