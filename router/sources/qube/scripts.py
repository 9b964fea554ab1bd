"""The files that a supervisor runs: generated, one a trigger, since it is not told which it was.  Pure."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...errors import SettingsError
from .triggers import Trigger

FIELDS = (
    *("name", "status", "user", "pgrp", "pid", "label", "prototype", "priority", "cluster", "account", "cpus"),
    *("hosts", "groups"),
)
"""What is asked of a job beside its id.  Not `package`, `data` and `env`, which are large and may hold secrets."""

_TEMPLATE = Path(__file__).with_name("callback.template")
_MARK = re.compile(r"@([A-Z_]+)@")
_PATH = re.compile(r"/[ -~]*\Z")
_NODE = re.compile(r"[a-z0-9-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a callback puts its record, and where it complains; an empty *node* is the host name's first label."""

    spool: Path
    node: str = ""
    log: Path = Path("/var/log/clusterbus-qube.log")
    syslog: Path = Path("/dev/log")
    run: Path = Path("/run/clusterbus")
    most_bytes: int = 1 << 30
    most_files: int = 100_000


def script(trigger: Trigger, place: Place) -> bytes:
    """Return the file for *trigger*: Python 2.7 and 3.6 or later, nothing but ASCII.

    Raises SettingsError where *place* can't be written in it.
    """
    for name, path in (("shim.spool", place.spool), ("qube.log", place.log)):
        if not _PATH.match(str(path)):
            raise SettingsError(f"{name}: {str(path)!r} is no absolute path of plain ASCII, which callbacks need")
    if not _NODE.match(place.node):
        raise SettingsError(f"qube.node: {place.node!r} is no name of a node: a-z, 0-9 and -, 63 at the most")
    values = {
        "TRIGGER": trigger.expression,
        "EVENT": trigger.event,
        "EVENT_LITERAL": repr(trigger.event),
        "SPOOL": repr(str(place.spool)),
        "NODE": repr(place.node),
        "LOG": repr(str(place.log)),
        "SYSLOG": repr(str(place.syslog)),
        "RUN": repr(str(place.run)),
        "MAX_BYTES": repr(place.most_bytes),
        "MAX_FILES": repr(place.most_files),
        "FIELDS": repr(FIELDS),
    }
    return _MARK.sub(lambda match: values[match[1]], _template()).encode("ascii")


@cache
def _template() -> str:
    return _TEMPLATE.read_text(encoding="ascii")
