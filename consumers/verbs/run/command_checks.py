"""What is wrong with a command of a subscription, anywhere and on this machine: its words, program, user and nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import trust
from router.settings.models import ConsumersSettings

from ...config.event_samples import Remark
from ...config.field_types import check_user
from ...processes import executables, shell_words
from ...processes.child_process import User, search_path
from ...processes.service_unit import runs_as

_PROGRAMS = ("ssh", "pdsh")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Planned:
    """A command that is to run here, or on *nodes*; *source* is the file that is copied there instead."""

    command: Sequence[str]
    nodes: str | None
    user: str | None
    environment: Mapping[str, str]
    source: Path | None = None

    def remarks(self) -> Iterator[Remark]:
        """Yield mistakes: an invalid node set, or words that only a shell replaces."""
        for at, message in shell_words.problems(self.command):
            yield Remark(("command", at), message, warning=True)
        if is_literal(self.nodes) and not self._has_groups:
            yield from self._about_node_set()
        elif self._has_groups and not is_literal(self.nodes):
            message = "groups and operators (@ ! & ^ *) are not allowed together with a template: write the node names"
            yield Remark(("nodes",), message)

    def remarks_here(self, settings: ConsumersSettings) -> Iterator[Remark]:
        """Yield what is missing here: the program, the user, groups of nodes, the way to the nodes."""
        transport = settings.transport
        if self.command and (self.nodes is None or transport == "local"):
            problem = executables.problem(self.command[0], runs_as(self.user), search_path(self.environment))
            if problem:
                yield Remark(("command",), problem, warning=True)
        if self.source and (problem := source_problem(self.source, runs_as())):
            yield Remark(("copy", "from"), problem, fault=True)
        if is_literal(self.nodes) and self._has_groups:
            yield from self._about_node_set()
        if self.nodes is not None and transport in _PROGRAMS:
            problem = executables.problem(getattr(settings, transport), runs_as())
            if problem:
                yield Remark(("nodes",), f"nodes are unreachable: {problem}", warning=True)
        if self.source and transport == "pdsh":
            message = "copy needs consumers.transport: ssh, since pdsh does not pass the content on"
            yield Remark(("copy",), message, fault=True)
        if self.user is not None and (transport == "local" or self.nodes is None):
            try:
                check_user(self.user)
            except ValueError as error:
                yield Remark(("user",), str(error))

    @property
    def _has_groups(self) -> bool:
        """Whether the node set has groups or operators outside of templates, so that groups.conf says what it means."""
        return not {*"@!&^*"}.isdisjoint(_TEMPLATE.sub("", self.nodes or ""))

    def _about_node_set(self) -> Iterator[Remark]:
        # Import ClusterShell only if it is used.
        from ...errors import Rejected  # noqa: PLC0415
        from .node_targets import GroupsUnknown, names_of  # noqa: PLC0415

        try:
            names_of(self.nodes or "", is_ours=True)
        except Rejected as error:
            yield Remark(("nodes",), str(error).removeprefix("nodes: "))
        except GroupsUnknown as error:
            yield Remark(("nodes",), str(error).removeprefix("nodes: "), warning=True)


def is_literal(nodes: str | None) -> bool:
    """Return whether the node set *nodes* has no templates, so that it may use groups."""
    return nodes is not None and "{{" not in nodes and "{%" not in nodes


LARGEST_COPY = 64 * 1024 * 1024


def source_problem(path: Path, user: User | None = None) -> str:
    """Return why *user*, by default that of this process, cannot copy the file *path* to nodes; empty if it can."""
    try:
        facts = path.stat()
    except OSError as error:
        return f"{path} cannot be copied: {error.strerror}"
    if not path.is_file():
        return f"{path} cannot be copied: it is not a regular file"
    if facts.st_size > LARGEST_COPY:
        return f"{path} has {facts.st_size:,} octets, and copy takes at most {LARGEST_COPY:,}: use a shared file system"
    if problem := trust.problem(path):
        return problem
    return "" if executables.access(path, os.R_OK, user) else f"{path} cannot be read by the consumer's user"
