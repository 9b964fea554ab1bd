"""Generates the files that a supervisor runs: one for each trigger, because Qube does not pass the trigger.  Pure."""

import re
from dataclasses import dataclass
from pathlib import Path

from ....errors import SettingsError
from .triggers import Trigger

FIELDS = (
    *("name", "status", "user", "pgrp", "pid", "label", "prototype", "priority", "cluster", "account", "cpus"),
    *("hosts", "groups"),
)
"""The fields read from a job besides its id.  Not `package`, `data` and `env`: they are large and may hold secrets."""

_TEMPLATE = Path(__file__).with_name("callback.template")
_MARK = re.compile(r"@([A-Z_]+)@")
_PATH = re.compile(r"/[ -~]*\Z")
_NODE = re.compile(r"[a-z0-9-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a callback stores records and reports problems; an empty *node* means the first label of the host name."""

    spool: Path
    node: str = ""
    log: Path = Path("/var/log/clusterbus-qube.log")
    syslog: Path = Path("/dev/log")
    run: Path = Path("/run/clusterbus")
    most_bytes: int = 1 << 30
    most_files: int = 100_000


def script(trigger: Trigger, place: Place) -> bytes:
    """Return the file for *trigger*, in plain ASCII, for Python 2.7 and for 3.6 or later.

    Raises SettingsError if a value of *place* cannot be written into the file.
    """
    for name, path in (("shim.spool", place.spool), ("qube.log", place.log)):
        if not _PATH.match(str(path)):
            raise SettingsError(f"{name}: {str(path)!r} must be an absolute path of printable ASCII characters")
    if not _NODE.match(place.node):
        raise SettingsError(f"qube.node: {place.node!r} is not a node name: use a-z, 0-9 and -, at most 63 characters")
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
    return _MARK.sub(lambda match: values[match[1]], _TEMPLATE.read_text(encoding="ascii")).encode("ascii")
