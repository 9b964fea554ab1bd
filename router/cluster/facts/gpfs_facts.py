"""Reads facts from GPFS: one mm command with `-Y` for each part.

If a command fails or its output cannot be read, the part holds the reason and the other parts are still read.  Each
command has a time limit, and all commands together have one.  Parts that this limit leaves out say so.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ...database import plain_text
from ..gpfs.commands import Commands
from ..gpfs.errors import CommandFailed, GpfsError, NotUnderstood
from ..gpfs.node_classes import node_classes as classes_in
from ..gpfs.node_roles import designated, other_roles
from ..gpfs.tables import UNSET, Row, has_header, rows, table
from . import parts
from .parts import CLUSTER, DISKS, FILE_SYSTEMS, FILESETS, MANAGERS, NODE_CLASSES, POOLS, QUOTAS, STATES, Answer
from .usage import pools, quotas

log = logging.getLogger(__name__)

MOST = 64
"""The maximum number of file systems whose disks and filesets are read."""

_REASONS = 3
"""The maximum number of reasons of one part: clusters have thousands of nodes."""

LONGEST = 1000
"""The maximum number of characters of a value."""

_COUNT = re.compile(r"([0-9]{1,9})(\*?)")

Within = Callable[[timedelta], Commands]
"""Makes commands with a time limit for each."""

Read = Callable[[str], Answer]
"""Reads what a command printed; the answer has a reason if some of it is not understood.  Raises NotUnderstood."""


def ask(
    within: Within,
    limit: timedelta,
    whole: timedelta,
    clock: Callable[[], float] = time.monotonic,
    *,
    usage: bool = False,
) -> Mapping[str, Answer]:
    """Return an answer for each part, also if commands fail.  One command may take *limit*, all together *whole*.

    The *usage* of pools and quotas is read last, if at all: it takes longest.
    """
    end = clock() + whole.total_seconds()

    def answer(part: str, read: Read, *words: str) -> None:
        left = timedelta(seconds=end - clock())
        if left <= timedelta():
            answers[part] = Answer(
                None, f"{words[0]} did not run: the other commands used up the limit of {whole} for all"
            )
            return
        answers[part] = _answer(within(min(limit, left)), read, words)

    answers: dict[str, Answer] = {}
    answer(CLUSTER, cluster, "mmlscluster", "-Y")
    answer(MANAGERS, managers, "mmlsmgr", "-Y")
    answer(FILE_SYSTEMS, file_systems, "mmlsfs", "all", "-Y")
    answer(STATES, states, "mmgetstate", "-a", "-Y")
    answer(NODE_CLASSES, node_classes, "mmlsnodeclass", "--user", "-Y")
    names = _names(answers)
    for name in names[:MOST]:
        answer(f"{DISKS}{name}", disks, "mmlsdisk", name, "-Y")
    for name in names[:MOST]:
        answer(f"{FILESETS}{name}", filesets, "mmlsfileset", name, "-Y")
    for name in names[:MOST] if usage else ():
        answer(f"{POOLS}{name}", pools, "mmdf", name, "-Y")
        answer(f"{QUOTAS}{name}", quotas, "mmrepquota", "-j", name, "-Y")
    for part in (part for name in names[MOST:] for part in parts.of_file_system(name)):
        answers[part] = Answer(None, f"not read: there are {len(names)} file systems, and the limit is {MOST}")
    return answers


def gone(known: Sequence[str], answers: Mapping[str, Answer]) -> list[str]:
    """Return those of the *known* parts whose file system no longer exists, according to mmlsfs."""
    listed = answers[FILE_SYSTEMS].content if FILE_SYSTEMS in answers else None
    if listed is None:
        return []
    there = {part for name in listed for part in (*parts.of_file_system(name), *parts.usage_of_file_system(name))}
    return [part for part in known if part.startswith((DISKS, FILESETS, POOLS, QUOTAS)) and part not in there]


def _names(answers: Mapping[str, Answer]) -> list[str]:
    """Return the file systems, from mmlsmgr if mmlsfs failed; without names that a command would take as an option."""
    listed, managed = answers[FILE_SYSTEMS].content, answers[MANAGERS].content
    names = listed if listed is not None else (managed or {}).get("file_systems", {})
    return [each for each in names if not each.startswith("-")]


def _answer(commands: Commands, read: Read, words: Sequence[str]) -> Answer:
    failure = ""
    try:
        try:
            printed = commands.read(*words)
        except CommandFailed as error:
            # mmgetstate may fail because of one node and still report all others.
            failure, printed = str(error), error.printed if read is states else ""
            if not printed:
                return Answer(None, failure)
        found = read(printed)
        part = f"{' '.join(words)}: {found.reason}" if found.reason else ""
        return replace(found, reason="; ".join(each for each in (failure, part) if each))
    except NotUnderstood as error:
        return Answer(None, failure or f"{' '.join(words)}: {error}")
    except GpfsError as error:
        return Answer(None, str(error))
    except Exception as error:  # noqa: BLE001 - any failure: the other parts must still be read
        log.warning("cannot read the output of a command", extra={"command": words[0], "reason": repr(error)})
        return Answer(None, f"{' '.join(words)}: cannot be read: {type(error).__name__}: {error}")


def cluster(printed: str) -> Answer:
    """Read mmlscluster: the cluster, and its nodes with their roles."""
    found, reasons = [], dict[str, None]()
    for row in table(printed, "clusterNode", "daemonNodeName", "nodeNumber", "designation"):
        roles, reason = _roles(row)
        reasons |= {reason: None} if reason else {}
        # A row that ends before this column does not give the roles; an empty value means no roles.
        has_roles = "designation" not in row.lacks
        found.append(
            {
                "full_name": _value(row, "daemonNodeName"),
                "admin_name": _value(row, "adminNodeName"),
                "address": _value(row, "ipAddress"),
                "number": _number(row, "nodeNumber"),
                "quorum": "quorum" in designated(row) if has_roles else None,
                "manager": "manager" in designated(row) if has_roles else None,
                "roles": roles,
            }
        )
    if not found:
        raise NotUnderstood("its output names no node")
    about = next(iter(rows(printed, "clusterSummary")), None)
    name, identity = (_value(about, each) if about else None for each in ("clusterName", "clusterId"))
    return Answer({"name": name, "id": identity, "nodes": found}, "; ".join([*reasons][:_REASONS]))


def _roles(row: Row) -> tuple[list[str] | None, str]:
    """Return all roles of a node, or None and the reason why they are not known."""
    if "designation" in row.lacks:
        return None, f"the row of {_value(row, 'daemonNodeName')} ends before its roles"
    try:
        return [_bounded(each) for each in dict.fromkeys([*designated(row), *other_roles(row)])], ""
    except NotUnderstood as error:
        return None, f"roles of {_value(row, 'daemonNodeName')} are not known: {error}"


def states(printed: str) -> Answer:
    """Read mmgetstate: the state of each node, by number, and how many quorum nodes are needed.

    The count of active nodes is left out: it follows from the states and would change all the time.
    """
    nodes: dict[str, dict[str, object]] = {}
    needed, tiebreaker = [0], False
    for row in table(printed, None, "nodeName", "nodeNumber", "state"):
        node: dict[str, object] = {"name": _value(row, "nodeName"), "state": _value(row, "state")}
        if remarks := _value(row, "remarks"):
            node["quorum"] = "quorum node" in remarks.lower()
        nodes[_value(row, "nodeNumber") or str(node["name"])] = node
        # Nodes that are down report 0; a star means tiebreaker disks.
        if count := _COUNT.fullmatch(_value(row, "quorum") or ""):
            needed.append(int(count[1]))
            tiebreaker = tiebreaker or bool(count[2])
    return Answer({"nodes": nodes, "needed": max(needed) or None, "tiebreaker": tiebreaker})


def managers(printed: str) -> Answer:
    """Read mmlsmgr: the cluster manager, and the manager of each file system that is mounted on some node."""
    # Without a mounted file system, there may be no table of them.
    section = "filesystemManager"
    mounted = table(printed, section, "filesystem", "manager") if has_header(printed, section) else ()
    of_cluster = [_value(row, "manager") for row in table(printed, "clusterManager", "manager")]
    found = {str(_value(row, "filesystem")): _value(row, "manager") for row in mounted}
    return Answer({"cluster": next(iter(of_cluster), None), "file_systems": found})


def file_systems(printed: str) -> Answer:
    """Read mmlsfs: the attributes of each file system; if one is listed for several pools, its first value."""
    found: dict[str, dict[str, str]] = {}
    for row in table(printed, None, "deviceName", "fieldName", "data"):
        attributes = found.setdefault(str(_value(row, "deviceName")), {})
        if (name := _value(row, "fieldName")) and (value := _value(row, "data")) is not None:
            attributes.setdefault(name, value)
    return Answer(found)


def node_classes(printed: str) -> Answer:
    """Read mmlsnodeclass: the nodes of each class."""
    found, reason = classes_in(printed)
    return Answer({_bounded(name): [_bounded(each) for each in nodes] for name, nodes in found.items()}, reason)


def disks(printed: str) -> Answer:
    """Read mmlsdisk: each disk of a file system."""
    found = {
        str(_value(row, "nsdName")): {
            "status": _value(row, "status"),
            "availability": _value(row, "availability"),
            "pool": _value(row, "storagePool"),
            "failure_group": _value(row, "failureGroup"),
            "metadata": _truth(row, "metadata"),
            "data": _truth(row, "data"),
        }
        for row in table(printed, None, "nsdName", "status", "availability")
    }
    return Answer(found)


def filesets(printed: str) -> Answer:
    """Read mmlsfileset: each fileset of a file system, without values that change with every file."""
    found = {
        str(_value(row, "filesetName")): {
            "id": _number(row, "id"),
            "status": _value(row, "status"),
            "path": _value(row, "path"),
            "comment": _value(row, "comment"),
            "inode_space": _number(row, "inodeSpace"),
            "afm_target": _value(row, "afmTarget"),
            "afm_state": _value(row, "afmState"),
        }
        for row in table(printed, None, "filesetName", "status")
    }
    return Answer(found)


def _value(row: Row, column: str) -> str | None:
    """Return a value, shortened so that it can be stored; None if it is empty, `-` or missing."""
    value = row.values.get(column, "")
    return None if value in UNSET else _bounded(value)


def _bounded(value: str) -> str:
    return plain_text(value[:LONGEST])


def _number(row: Row, column: str) -> int | None:
    value = row.values.get(column, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 18 else None  # noqa: PLR2004 - 64 bits


def _truth(row: Row, column: str) -> bool | None:
    return {"yes": True, "no": False}.get(row.values.get(column, "").lower())
