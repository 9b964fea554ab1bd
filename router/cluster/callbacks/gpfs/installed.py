"""The callbacks registered with GPFS, read from `mmlscallback -Y` or, if that is not available, from its plain text.

The form of both is known.  Not known are the column names of `-Y` (several names are accepted for each column), and
the words for values other than command, event and parms in the text.  Output that cannot be read for certain is an
error: a plan from an incomplete list would register a callback twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite

from ...gpfs.commands import Commands
from ...gpfs.errors import CommandFailed, NotUnderstood
from ...gpfs.tables import Row, has_header, rows

COMMAND = "mmlscallback"

# The first name of each is the one that `-Y` is assumed to print.  All are in lower case.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "identifier": ("identifier", "callbackidentifier", "callbackid", "callback", "callbackname", "name", "id"),
    "command": ("command", "commandpathname", "commandpath", "cmd"),
    "events": ("event", "events", "eventlist"),
    "priority": ("priority",),
    "sync": ("sync", "synchronous", "mode"),
    "timeout": ("timeout",),
    "onerror": ("onerror", "action"),
    "nodes": ("node", "nodes", "nodelist", "nodenames", "n"),
    "parms": ("parms", "parm", "parameters", "parameterstring"),
}
_FIELDS = {name: field for field, names in _NAMES.items() for name in names}
_LINE = re.compile(r"\s*([A-Za-z]+)\s*=(?:\s(.*)|)$")
_UNSET = frozenset(("", "-", "-1", "none", "(undefined)", "undefined", "default"))
_YES = frozenset(("yes", "true", "1", "sync", "synchronous"))


@dataclass(frozen=True, slots=True)
class Registered:
    """One callback as registered; empty *nodes* means all nodes, *timeout* is in seconds, and None means not set."""

    identifier: str
    command: str
    events: tuple[str, ...]
    parms: str = ""
    nodes: tuple[str, ...] = ()
    priority: float | None = None
    sync: bool = False
    timeout: int | None = None
    onerror: str | None = None

    def arguments(self) -> list[str]:
        """Return the arguments for mmaddcallback.

        >>> Registered("test1", "/tmp/myscript.sh", ("startup",)).arguments()
        ['test1', '--command', '/tmp/myscript.sh', '--event', 'startup']
        """
        words = [self.identifier, "--command", self.command, "--event", ",".join(self.events)]
        words += ["--priority", f"{self.priority:g}"] if self.priority is not None else []
        words += ["--sync"] if self.sync else []
        # GPFS accepts these with --sync only, even if it lists them without.
        words += ["--timeout", str(self.timeout)] if self.sync and self.timeout is not None else []
        words += ["--onerror", self.onerror] if self.sync and self.onerror is not None else []
        words += ["-N", ",".join(self.nodes)] if self.nodes else []
        return [*words, *(["--parms", self.parms] if self.parms else [])]


def read(commands: Commands) -> list[Registered]:
    """Return the user callbacks, in the order of GPFS's list.

    Raises CommandFailed, CommandMissing, and NotUnderstood if the output cannot be read for certain.
    """
    try:
        text = commands.read(COMMAND, "-Y")
    except CommandFailed:
        # Release 4.2 has no -Y.  If the cause is another, this command fails too.
        return from_text(commands.read(COMMAND))
    if not has_header(text):
        return from_text(commands.read(COMMAND)) if text.strip() else []
    try:
        return from_rows(rows(text))
    except NotUnderstood:
        return from_text(commands.read(COMMAND))


def from_rows(found: Iterable[Row]) -> list[Registered]:
    """Return the callbacks in the rows of `-Y`.  Raises NotUnderstood."""
    return [
        _registered({field: value for column, value in row.values.items() if (field := _FIELDS.get(column.lower()))})
        for row in found
    ]


def from_text(text: str) -> list[Registered]:
    r"""Return the callbacks in the plain text of mmlscallback.  Raises NotUnderstood.

    >>> from_text("test1\n        command       = /tmp/myScript\n        event         = startup\n")[0].events
    ('startup',)
    """
    blocks: list[dict[str, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        field = _FIELDS.get(match[1].lower()) if match else None
        if match is None:
            blocks.append({"identifier": line.strip()})
        elif not blocks:
            raise NotUnderstood(f"{COMMAND}: line {number}, {line.strip()[:80]!r}, appears before any identifier")
        elif field:
            blocks[-1][field] = match[2] or ""
    return [_registered(each) for each in blocks]


def _registered(fields: Mapping[str, str]) -> Registered:
    values = {field: value.strip() for field, value in fields.items()}
    missing = [each for each in ("identifier", "command", "events") if not values.get(each)]
    if missing:
        known = values.get("identifier", "")[:80] or "a callback"
        raise NotUnderstood(
            f"{COMMAND}: {known} has no {' and no '.join(missing)}: this release of GPFS may print a different list"
        )
    sync = values.get("sync", "").lower()
    return Registered(
        identifier=values["identifier"],
        command=values["command"],
        events=_list(values["events"]),
        parms=_unquoted(values.get("parms", "")),
        nodes=() if values.get("nodes", "").lower() in ("all", *_UNSET) else _list(values["nodes"]),
        priority=_number(values, "priority"),
        sync=sync in _YES,
        timeout=None if (seconds := _number(values, "timeout")) is None else int(seconds),
        onerror=None if (action := values.get("onerror", "")).lower() in _UNSET else action,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(each for each in re.split(r"[,\s]+", text) if each)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _number(values: Mapping[str, str], field: str) -> float | None:
    text = values.get(field, "")
    if text.lower() in _UNSET:
        return None
    try:
        number = float(text)
    except ValueError:
        number = inf
    if not isfinite(number):
        raise NotUnderstood(f"{COMMAND}: {values['identifier']}: {field} is {text[:40]!r}, not a number")
    # -1 means not set, as in the sample output.
    return None if number == -1 else number
