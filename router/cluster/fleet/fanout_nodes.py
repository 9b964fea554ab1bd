"""What a fan-out knows of each node: its output so far, and how its command ended; folded for the outcome."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ClusterShell.Event import EventHandler
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

from . import node_watch, ssh_endings
from .node_watch import NodeWatch

TIMED_OUT = 124
KILLED = 137
SMALLEST_SHARE = 512
"""The least octets that are kept of each node."""

ERRORS = "stderr"
"""ClusterShell's name of the stream."""


@dataclass
class Text:
    """The beginning of what a stream of a node printed, the end of it, and how many octets it had in all."""

    kept: bytearray = field(default_factory=bytearray)
    tail: bytes = b""
    octets: int = 0

    def add(self, chunk: bytes, limit: int) -> None:
        """Add *chunk*, and keep up to *limit* octets of the beginning."""
        self.octets += len(chunk)
        self.kept += chunk[: max(0, limit - len(self.kept))]
        self.tail = (self.tail + chunk)[-ssh_endings.LONGEST_MARK :]

    def take_mark(self, mark: str) -> int | None:
        """Return the exit code that is printed with *mark*, and remove both; None if they are not there."""
        found = ssh_endings.find_mark(self.tail, mark)
        if found is None:
            return None
        self.octets -= len(self.tail) - found[0]
        del self.kept[self.octets :]
        return found[1]

    def decoded(self) -> str:
        """Return what was kept, as text."""
        return self.kept.decode("utf-8", "replace")


@dataclass
class Node:
    """The state of one node; *code* is None until its command has ended.

    *refusal* says why ssh did not let us in; *lost*: ssh did not reach the node, or lost the connection; *may_run*: the
    command may run there although nothing waits for it here.
    """

    begun: float
    seconds: float = 0.0
    code: int | None = None
    gave_up: bool = False
    refusal: str = ""
    lost: bool = False
    may_run: bool = False
    output: Text = field(default_factory=Text)
    errors: Text = field(default_factory=Text)

    @property
    def state(self) -> str:
        """How the command has ended, for people who watch it."""
        if self.gave_up:
            return "timed out"
        if self.refusal or self.lost:
            return "refused" if self.refusal else "unreachable"
        return node_watch.FAILED if self.code else node_watch.SUCCEEDED


class Collector(EventHandler):  # type: ignore[misc]  # it has no annotations
    """Keeps the output of each node, up to a limit, and how its command ended."""

    def __init__(self, limit: int, mark: str, ended: Callable[[str, Node], None], watch: NodeWatch) -> None:
        """Keep *limit* octets of each stream of a node; call *ended* with each node whose command has ended.

        *mark* is what the shell of a node prints at the end of its command; empty if the commands run here.  All is
        passed on to *watch* as it happens.
        """
        self.nodes: dict[str, Node] = {}
        self._limit, self._mark, self._on_end, self._watch = limit, mark, ended, watch

    def begin(self, node: str) -> None:
        """Record that the command is about to start on *node*: recorded later, a timeout could go unnoticed."""
        self.nodes[node] = Node(time.monotonic())
        self._watch.change(node, node_watch.RUNNING)

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:  # noqa: ANN401, ARG002 - ClusterShell's
        """Keep the output of *node* up to the limit, and count all of it."""
        known = self.nodes[node]
        (known.errors if sname == ERRORS else known.output).add(msg, self._limit)
        self._watch.printed(node, "errors" if sname == ERRORS else "output", msg)

    def ev_hup(self, worker: Any, node: str, rc: int) -> None:  # noqa: ANN401, ARG002 - idem
        """Record how the command ended on *node*."""
        known = self.nodes[node]
        known.code, known.seconds = rc, time.monotonic() - known.begun
        if self._mark:
            self._read_ending(known, rc)
        self._end(node, known)

    def _read_ending(self, known: Node, rc: int) -> None:
        # A terminal on the node prints the mark on stdout, as it does all of stderr.
        codes = [each.take_mark(self._mark) for each in (known.errors, known.output)]
        if (code := next((each for each in codes if each is not None), None)) is not None:
            known.code = code
            return
        ending = ssh_endings.without_mark(rc, bytes(known.errors.kept), said_something=known.output.octets > 0)
        known.refusal, known.lost, known.may_run = ending.refusal, ending.lost, ending.may_run

    def give_up(self, node: str) -> None:
        """Record that *node* did not end in time and that its local process was killed."""
        known = self.nodes.setdefault(node, Node(time.monotonic()))
        known.gave_up, known.seconds = True, time.monotonic() - known.begun
        self._end(node, known)

    def _end(self, node: str, known: Node) -> None:
        self._watch.change(node, known.state, known.code if known.state == node_watch.FAILED else None)
        self._on_end(node, known)


def outcome(
    names: Sequence[str], nodes: Mapping[str, Node], timeout: float, limit: int, *, is_remote: bool
) -> dict[str, Any]:
    """Return what became of *names*: node sets by exit code, those that did not end, and what they printed.

    *timeout* is that of each node, in seconds; *limit* the most octets of one text.
    """
    codes: dict[int, list[str]] = defaultdict(list)
    refusals: dict[str, list[str]] = defaultdict(list)
    sets: dict[str, list[str]] = {
        name: [] for name in ("timed_out", "unfinished", "not_begun", "unreachable", "refused", "remote_may_run")
    }
    for name in names:
        node = nodes.get(name)
        if node is None:
            sets["not_begun"].append(name)
            continue
        if _is_late(node, timeout):
            sets["timed_out"].append(name)
        elif node.code is None or node.gave_up:
            sets["unfinished"].append(name)
        else:
            codes[node.code].append(name)
        if node.refusal:
            sets["refused"].append(name)
            refusals[node.refusal].append(name)
        elif node.lost:
            sets["unreachable"].append(name)
        if is_remote and (node.may_run or node.gave_up or node.code is None):
            sets["remote_may_run"].append(name)
    return {
        "codes": {str(code): _fold(found) for code, found in sorted(codes.items())},
        **{name: _fold(found) for name, found in sets.items()},
        "refusals": [{"nodes": _fold(found), "reason": reason} for reason, found in refusals.items()],
        "output": _folded(((name, node.output) for name, node in nodes.items()), limit),
        "errors": _folded(((name, node.errors) for name, node in nodes.items()), limit),
    }


def _is_late(node: Node, timeout: float) -> bool:
    """Return whether *node* timed out; the codes 124 and 137 alone prove nothing, as the command may return them."""
    return node.seconds >= timeout and (node.gave_up or node.code in (TIMED_OUT, KILLED))


def _folded(texts: Iterable[tuple[str, Text]], limit: int) -> list[dict[str, Any]]:
    """Return *texts* by node, identical ones once; at most four times *limit* octets in all."""
    same: dict[tuple[bytes, int], list[str]] = defaultdict(list)
    for name, text in texts:
        if text.octets:
            same[bytes(text.kept), text.octets].append(name)
    share = max(SMALLEST_SHARE, 4 * limit // max(1, len(same)))
    found = sorted(same.items(), key=lambda each: -len(each[1]))[: 4 * limit // SMALLEST_SHARE]
    return [
        {"nodes": _fold(names), "text": kept[:share].decode("utf-8", "replace"), "octets": octets}
        for (kept, octets), names in found
    ]


def _fold(names: list[str]) -> str:
    return str(NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP))
