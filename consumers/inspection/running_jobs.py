"""What a running job does just now: the states of its nodes, and its output as it comes."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Self

from router.cluster.fleet.node_watch import RUNNING, SUCCEEDED

from ..processes.job_files import ERR, NODES, OUT, REQUEST, Job

WAITING, FAILED = "waiting", "failed"
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a command has printed on *stream*, or a new *state*; without *node*, of a command on this machine."""

    node: str = ""
    stream: str = ""
    text: str = ""
    state: str = ""
    code: int | None = None

    def __str__(self) -> str:
        """Return it as people read it."""
        if self.state:
            return f"--- {self.node} {self.state}{'' if self.code is None else f', exit code {self.code}'}"
        where = " ".join(filter(None, (self.node, "stderr" if self.stream == "errors" else "")))
        return f"{where}: {self.text}" if where else self.text


def states_of(job: Job) -> dict[str, str]:
    """Return the nodes of *job* in each state, as folded sets: waiting, running, succeeded, failed.

    Empty for a command on this machine, and where nobody wrote the states down.
    """
    about = job.read(REQUEST).get("about", {})
    latest: dict[str, str] = {}
    with suppress(FileNotFoundError), (job.path / NODES).open("rb") as file:
        for entry in _entries(file):
            if "state" in entry:
                latest[entry["node"]] = entry["state"]
    if not latest:
        return {}
    # Import ClusterShell only if it is used.
    from router.cluster.fleet.node_sets import fold, unfold  # noqa: PLC0415

    found: dict[str, list[str]] = {name: [] for name in (WAITING, RUNNING, SUCCEEDED, FAILED)}
    for node in unfold(str(about.get("nodes", ""))) or tuple(latest):
        state = latest.get(node, WAITING)
        found[state if state in found else FAILED].append(node)
    return {name: fold(nodes) for name, nodes in found.items() if nodes}


class LiveOutput:
    """Reads what a job prints, as it comes; files are kept open, so that nothing is missed when they are removed."""

    def __init__(self, job: Job) -> None:
        """Read from the beginning of the output of *job*."""
        self._job = job
        self._files: dict[str, IO[bytes]] = {}
        self._decoders = {name: getincrementaldecoder("utf-8")("replace") for name in (OUT, ERR)}
        self._rest: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def read(self, *, is_last: bool = False) -> Iterator[Line]:
        """Yield the lines since the last call; with *is_last*, also those that do not end with a newline."""
        nodes = self._open(NODES)
        if nodes:
            yield from self._of_nodes(nodes)
        # Steps may run here and on nodes.
        if not self._job.read(REQUEST).get("about", {}).get("nodes"):
            for name, stream in ((OUT, "output"), (ERR, "errors")):
                if file := self._open(name):
                    yield from self._split("", stream, self._decoders[name].decode(file.read()))
        if is_last:
            yield from self._unfinished({node for node, _ in self._rest})

    def _unfinished(self, nodes: Container[str]) -> Iterator[Line]:
        """Yield what *nodes* have printed since their last newline."""
        for key in [each for each in self._rest if each[0] in nodes]:
            if text := self._rest.pop(key):
                yield Line(*key, text)

    def _of_nodes(self, file: IO[bytes]) -> Iterator[Line]:
        for entry in _entries(file):
            node = str(entry["node"])
            if "state" in entry:
                yield from self._unfinished({node})
                yield Line(node, state=str(entry["state"]), code=entry.get("code"))
            else:
                yield from self._split(node, str(entry["stream"]), str(entry["text"]))

    def _split(self, node: str, stream: str, text: str) -> Iterator[Line]:
        *lines, rest = (self._rest.get((node, stream), "") + text).split("\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], ""
        self._rest[node, stream] = rest
        for line in lines:
            yield Line(node, stream, line.rstrip("\r"))

    def _open(self, name: str) -> IO[bytes] | None:
        if name not in self._files:
            with suppress(FileNotFoundError):
                self._files[name] = (self._job.path / name).open("rb")
        return self._files.get(name)


def _entries(file: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """Yield the complete lines of *file* that are left, and stay before one that is still being written."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), 1)
            return
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "node" in entry:
                yield entry
