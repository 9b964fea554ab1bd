"""How GPFS is asked for facts: one mm command with `-Y` a part.

What cannot be asked, or not be read, is that part's reason and keeps no other back.  Each command has a time that it
may take, and all of them together have one; file systems that this is too short for are said to be left out.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ...facts import Answer, readings
from ...facts.readings import CLUSTER, DISKS, FILE_SYSTEMS, FILESETS, MANAGERS, NODE_CLASSES, STATES
from .commands import Commands
from .errors import CommandFailed, GpfsError, NotUnderstood
from .tables import Row, has_header, rows

log = logging.getLogger(__name__)

MOST = 64
"""File systems whose disks and filesets are asked for, at the most."""

LONGEST = 1000
"""Characters of a value at the most."""

_BETWEEN = re.compile(r"[,\s]+")
_COUNT = re.compile(r"([0-9]{1,9})(\*?)")

Within = Callable[[timedelta], Commands]
"""Gives commands each of which may take so long."""


def ask(
    within: Within, limit: timedelta, whole: timedelta, clock: Callable[[], float] = time.monotonic
) -> Mapping[str, Answer]:
    """Return the answer for each part, whatever fails; a command may take *limit*, all of them *whole*."""
    end = clock() + whole.total_seconds()

    def answer(part: str, read: Callable[[str], Mapping[str, Any]], *words: str) -> None:
        left = timedelta(seconds=end - clock())
        if left <= timedelta():
            answers[part] = Answer(None, f"{words[0]} was not asked: the others took all of {whole}")
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
    for part in (part for name in names[MOST:] for part in readings.of_file_system(name)):
        answers[part] = Answer(None, f"not asked: there are {len(names)} file systems, {MOST} are asked for")
    return answers


def gone(known: Sequence[str], answers: Mapping[str, Answer]) -> list[str]:
    """Return which of the *known* parts are of file systems that are no more, by what mmlsfs answered."""
    listed = answers[FILE_SYSTEMS].content if FILE_SYSTEMS in answers else None
    if listed is None:
        return []
    there = {part for name in listed for part in readings.of_file_system(name)}
    return [part for part in known if part.startswith((DISKS, FILESETS)) and part not in there]


def _names(answers: Mapping[str, Answer]) -> list[str]:
    """Return the file systems, by mmlsmgr where mmlsfs failed: not those that would be an option or a path."""
    listed, managed = answers[FILE_SYSTEMS].content, answers[MANAGERS].content
    names = listed if listed is not None else (managed or {}).get("file_systems", {})
    return [each for each in names if not each.startswith("-")]


def _answer(commands: Commands, read: Callable[[str], Mapping[str, Any]], words: Sequence[str]) -> Answer:
    failure = ""
    try:
        try:
            printed = commands.read(*words)
        except CommandFailed as error:
            # mmgetstate may fail because of one node, and tell of all the others.
            failure, printed = str(error), error.printed if read is states else ""
            if not printed:
                return Answer(None, failure)
        return Answer(read(printed), failure)
    except NotUnderstood as error:
        return Answer(None, failure or f"{' '.join(words)}: {error}")
    except GpfsError as error:
        return Answer(None, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts are asked for
        log.warning("answer can't be read", extra={"command": words[0], "reason": repr(error)})
        return Answer(None, f"{' '.join(words)}: cannot be read: {type(error).__name__}: {error}")


def cluster(printed: str) -> Mapping[str, Any]:
    """Read mmlscluster: the cluster, and its nodes with their roles."""
    found = []
    for row in _table(printed, "clusterNode", "daemonNodeName", "nodeNumber", "designation"):
        designation, others = _value(row, "designation") or "", _value(row, "otherNodeRoles") or ""
        quorum, manager = ("quorum" in designation.lower()), ("manager" in designation.lower())
        roles = [each for each, has in (("quorum", quorum), ("manager", manager)) if has]
        # A row that ends before it says nothing of the roles; that it has none is an empty text.
        is_told = "designation" not in row.lacks
        found.append(
            {
                "full_name": _value(row, "daemonNodeName"),
                "admin_name": _value(row, "adminNodeName"),
                "address": _value(row, "ipAddress"),
                "number": _number(row, "nodeNumber"),
                "quorum": quorum if is_told else None,
                "manager": manager if is_told else None,
                "roles": [*roles, *(each for each in _BETWEEN.split(others) if each)] if is_told else None,
            }
        )
    if not found:
        raise NotUnderstood("it names no node")
    about = next(iter(rows(printed, "clusterSummary")), None)
    name, identity = (_value(about, each) if about else None for each in ("clusterName", "clusterId"))
    return {"name": name, "id": identity, "nodes": found}


def states(printed: str) -> Mapping[str, Any]:
    """Read mmgetstate: the state of each node, by number, and how many quorum nodes are needed.

    What it says of the nodes that are up is left out: it follows from the states, and would change all the time.
    """
    nodes: dict[str, dict[str, object]] = {}
    needed, tiebreaker = [0], False
    for row in _table(printed, None, "nodeName", "nodeNumber", "state"):
        node: dict[str, object] = {"name": _value(row, "nodeName"), "state": _value(row, "state")}
        if remarks := _value(row, "remarks"):
            node["quorum"] = "quorum node" in remarks.lower()
        nodes[_value(row, "nodeNumber") or str(node["name"])] = node
        # Nodes that are down say 0; a star tells of tiebreaker disks.
        if count := _COUNT.fullmatch(_value(row, "quorum") or ""):
            needed.append(int(count[1]))
            tiebreaker = tiebreaker or bool(count[2])
    return {"nodes": nodes, "needed": max(needed) or None, "tiebreaker": tiebreaker}


def managers(printed: str) -> Mapping[str, Any]:
    """Read mmlsmgr: the cluster manager, and that of each file system that is mounted somewhere."""
    found = {
        str(_value(row, "filesystem")): _value(row, "manager")
        for row in rows(printed, "filesystemManager")
        if _value(row, "filesystem")
    }
    of_cluster = [_value(row, "manager") for row in _table(printed, "clusterManager", "manager")]
    return {"cluster": next(iter(of_cluster), None), "file_systems": found}


def file_systems(printed: str) -> Mapping[str, Any]:
    """Read mmlsfs: the attributes of each file system; of one that is told for several pools, the first."""
    found: dict[str, dict[str, str]] = {}
    for row in _table(printed, None, "deviceName", "fieldName", "data"):
        attributes = found.setdefault(str(_value(row, "deviceName")), {})
        if (name := _value(row, "fieldName")) and (value := _value(row, "data")) is not None:
            attributes.setdefault(name, value)
    return found


def node_classes(printed: str) -> Mapping[str, Any]:
    """Read mmlsnodeclass: the members of each class.

    Its columns are not known, but that the name is the first of them; the members are taken to be the second.
    """
    if not has_header(printed):
        return {}
    found: dict[str, list[str]] = {}
    for row in rows(printed):
        values = list(row.values.values())
        if values and values[0]:
            members = values[1] if len(values) > 1 else ""
            found.setdefault(_bounded(values[0]), []).extend(_bounded(each) for each in _BETWEEN.split(members) if each)
    return found


def disks(printed: str) -> Mapping[str, Any]:
    """Read mmlsdisk: each disk of a file system."""
    return {
        str(_value(row, "nsdName")): {
            "status": _value(row, "status"),
            "availability": _value(row, "availability"),
            "pool": _value(row, "storagePool"),
            "failure_group": _value(row, "failureGroup"),
            "metadata": _truth(row, "metadata"),
            "data": _truth(row, "data"),
        }
        for row in _table(printed, None, "nsdName", "status", "availability")
    }


def filesets(printed: str) -> Mapping[str, Any]:
    """Read mmlsfileset: each fileset of a file system; what changes with every file is left out."""
    return {
        str(_value(row, "filesetName")): {
            "id": _number(row, "id"),
            "status": _value(row, "status"),
            "path": _value(row, "path"),
            "comment": _value(row, "comment"),
            "inode_space": _number(row, "inodeSpace"),
            "afm_target": _value(row, "afmTarget"),
            "afm_state": _value(row, "afmState"),
        }
        for row in _table(printed, None, "filesetName", "status")
    }


def _table(printed: str, section: str | None, *columns: str) -> Iterator[Row]:
    """Yield the rows whose first of *columns* is there; raises NotUnderstood where there are no such columns."""
    if not has_header(printed, section):
        said = printed.strip()[:200]
        raise NotUnderstood(f"has printed no table{f' {section}' if section else ''}{': ' if said else ''}{said}")
    for row in rows(printed, section):
        if lacking := [each for each in columns if each not in row.values]:
            there = ", ".join(row.values)[:300]
            raise NotUnderstood(f"its table has no column {', '.join(lacking)}: there are {there}")
        if row.values[columns[0]]:
            yield row


def _value(row: Row, column: str) -> str | None:
    """Return a value as it can be kept, None where it is empty, `-` or not there."""
    value = row.values.get(column, "")
    return None if value in ("", "-", "--", "(undefined)") else _bounded(value)


def _bounded(value: str) -> str:
    return value[:LONGEST].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _number(row: Row, column: str) -> int | None:
    value = row.values.get(column, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 18 else None  # noqa: PLR2004 - 64 bits


def _truth(row: Row, column: str) -> bool | None:
    return {"yes": True, "no": False}.get(row.values.get(column, "").lower())
