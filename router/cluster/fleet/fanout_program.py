"""One fan-out: runs a command on many nodes through ClusterShell, in its own process.  Reads the request from stdin.

The request is JSON.  This program imports only modules beside it.  It runs one command, so that ClusterShell's task,
its memory and its children end with it.  The last line on stdout is the outcome as JSON.  The exit code is 0 if the
command ended with 0 on every node.  SIGTERM ends the program early, with the outcome so far.

What happens on the nodes meanwhile is appended to the file `watch` of the request, if it names one (`node_watch`).

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
from typing import Any
from uuid import uuid4

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from ClusterShell.Task import Task, task_self, task_terminate
from ClusterShell.Worker.Exec import ExecClient, ExecWorker
from ClusterShell.Worker.Ssh import SshClient

from . import ssh_endings
from .fanout_nodes import SMALLEST_SHARE, Collector, Node, Text, outcome
from .node_watch import NodeWatch

_SLACK = 5
"""Seconds that a node may take to end its own command, before this program gives up on the node."""

_ALL_OUTPUT = 64 * 1024 * 1024
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")


class Ended(BaseException):
    """The deadline passed or SIGTERM came: the commands are ended, and the outcome so far is reported."""


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
        command, _ = super()._build_cmd()
        return [*command[:-1], _marked(self)], None


class PdshClient(_Raw, ExecClient):  # type: ignore[misc]  # it has no annotations
    """Runs the command through pdsh, started for this node alone: so each node has its own limits, output and end."""

    def _build_cmd(self) -> tuple[list[str], dict[str, str]]:
        request = self.worker.request
        login = ["-l", request["user"]] if request["user"] else []
        limits = ["-t", str(request["connect_timeout"]), "-f", "1"]
        # pdsh passes no input on, and reports any exit code but 0 on stderr: the mark has it.
        text = f"exec </dev/null; ({_marked(self)}); exit 0"
        # pdsh replaces %h and others also in what is quoted.
        command = text.replace("%", "%%")
        words = [*request["pdsh"], "-N", "-S", *limits, *login, "-w", self.key, command]
        return words, {"PDSH_SSH_ARGS_APPEND": " ".join(["-oBatchMode=yes", *_ssh_options(request)])}


_CLIENTS = {"ssh": RemoteClient, "pdsh": PdshClient, "local": LocalClient}


def _marked(client: Any) -> str:  # noqa: ANN401 - a client of ClusterShell
    """Return the text for the shell of the node of *client*: its command, with each word quoted, and then the mark."""
    request = client.worker.request
    variables = {**request["environment"], "CLUSTERBUS_NODE_NAME": client.key}
    words = ["env", *(f"{name}={value}" for name, value in variables.items()), *request["command"]]
    # The shell stays alive, so that a killed command ends as an exit code.  ssh would report its signal as 255.
    return ssh_endings.marked(shlex.join(_bounded(words, request)), client.worker.mark)


def _ssh_options(request: dict[str, Any]) -> list[str]:
    # ssh notices a node that dies during the command, and prints no banner that could be taken for output.
    return [*request["ssh_options"], "-oServerAliveInterval=15", "-oServerAliveCountMax=3", "-oLogLevel=ERROR"]


def _bounded(words: list[str], request: dict[str, Any]) -> list[str]:
    """Return *words* with a timeout that the node enforces: killing ssh here may not end the command there."""
    return ["timeout", "-k", str(request["grace"]), str(_seconds(request["timeout"])), *words]


class NodesWorker(ExecWorker):  # type: ignore[misc]  # it has no annotations
    """Starts one client for each node."""

    def __init__(self, request: dict[str, Any], nodes: NodeSet, collector: Collector, mark: str) -> None:
        """Run the command of *request* on *nodes*; the shells of nodes print *mark* at its end."""
        self.request, self.mark = request, mark
        given = request.get("input", {})
        self._shared, self._own = base64.b64decode(given.get("shared", "")), given.get("nodes", {})
        timeout = _seconds(request["timeout"]) + request["grace"] + _SLACK + request["connect_timeout"]
        super().__init__(nodes, collector, timeout=timeout, command="", stderr=True)

    def input_of(self, node: str) -> memoryview:
        """Return what the command on *node* reads from stdin.

        It is a view, because ClusterShell cuts off what has been written after each write: of a text of many megabytes,
        it would copy the rest each time, for each node.
        """
        own = base64.b64decode(self._own.get(node, ""))
        return memoryview(self._shared + own if own else self._shared)

    def _create_clients(self, **options: Any) -> None:  # noqa: ANN401 - ClusterShell's
        client = _CLIENTS[self.request["transport"]]
        timeout = options["timeout"]
        self._clients += [
            client(node, "", self, True, timeout, False, None)  # noqa: FBT003 - ClusterShell's signature
            for node in self.nodes
        ]

    def _on_node_timeout(self, node: str) -> None:
        super()._on_node_timeout(node)
        self.eh.give_up(node)


def _print_line(name: str, node: Node) -> None:
    line = {
        "node": name,
        "code": None if node.gave_up else node.code,
        "seconds": round(node.seconds, 3),
        "output": node.output.decoded(),
        "errors": node.errors.decoded(),
        "refusal": node.refusal,
        "lost": node.lost,
    }
    node.output, node.errors = Text(), Text()
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def _print_text(name: str, node: Node) -> None:
    sys.stderr.write(f"{name}: {'timed out' if node.gave_up else f'exit code {node.code}'}\n")
    sys.stderr.flush()


def _print_nothing(name: str, node: Node) -> None:
    pass


_REPORTS = {"json": _print_line, True: _print_text, False: _print_nothing}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run *request* and return its outcome.  Raises ValueError if its node set is unusable."""
    names = request["nodes"]
    if not names or not all(_HOST.fullmatch(each) for each in names):
        raise ValueError("the node set is empty, or holds an entry that is not a host name")
    limit = max(SMALLEST_SHARE, min(request["output"], _ALL_OUTPUT // len(names)))
    # A command cannot know the mark of its own end.
    mark = uuid4().hex if request["transport"] != "local" else ""
    watch = NodeWatch(request.get("watch", ""), mark)
    collector = Collector(limit, mark, _REPORTS[request.get("progress", False)], watch)
    began = time.monotonic()
    facts: dict[str, Any] = {}
    task = _task(request)
    try:
        worker = NodesWorker(request, NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP), collector, mark)
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
    found = outcome(names, collector.nodes, request["timeout"], request["output"], is_remote=bool(mark))
    return {**found, **facts, "seconds": round(time.monotonic() - began, 3)}


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
    task.set_info("ssh_options", shlex.join(_ssh_options(request)))
    return task


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
    found = run(request)
    is_good = list(found["codes"]) == ["0"] and not any(
        found[each] for each in ("timed_out", "unfinished", "not_begun")
    )
    # The outcome starts on a new line, whatever was written before.
    os.write(sys.stdout.fileno(), b"\n")
    sys.stdout.write(json.dumps(found))
    sys.stdout.write("\n")
    sys.stdout.flush()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
