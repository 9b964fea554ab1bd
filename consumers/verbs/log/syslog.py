"""Send events as syslog lines, to the daemon of this machine or by UDP to another machine.

One event is one datagram and one line of at most 2 KiB: the type, the attributes, and each variable as `name="value"`,
quoted and escaped, so that no value looks like a second line or another variable.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Literal

from router.model.events import Event, Severity, Value
from router.settings.field_types import Checked, whole

from ...config.field_types import Closed
from ...deliveries import Delivery

LONGEST = 2048
"""Most octets of a line; every syslog accepts this length."""

_PATIENCE = 2.0
"""Seconds to wait for a daemon that does not read."""

_LOCAL = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
FACILITIES: Mapping[str, int] = {name: at for at, name in enumerate(_LOCAL)} | {f"local{n}": 16 + n for n in range(8)}
LEVELS: Mapping[Severity, int] = {"critical": 2, "error": 3, "warning": 4, "notice": 5, "info": 6}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UDP = re.compile(r"udp (\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})")
# Characters that JSON does not escape: DEL, C1, and those that are invisible or change the direction of writing.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_ANOTHER = {errno.ECONNREFUSED, errno.ENOTCONN, errno.ENOENT, errno.ECONNRESET, errno.EPIPE, errno.EBADF}
"""Socket errors after the daemon was restarted."""


def _facility(value: str) -> str:
    if value not in FACILITIES:
        raise ValueError(f"{value!r} is not a facility; write one of {', '.join(FACILITIES)}")
    return value


def _address(value: str) -> str:
    if not value.startswith("/"):
        _udp(value)
    return value


def _udp(value: str) -> tuple[str, int]:
    found = _UDP.fullmatch(value)
    if not found:
        raise ValueError(
            f"{value!r} is not an address: write /dev/log, or udp 192.0.2.1:514 by number, since resolving"
            " a name would block all events"
        )
    host, port = found[1].strip("[]"), int(found[2])
    if not 0 < port < 65536:  # noqa: PLR2004 - what a port is
        raise ValueError(f"{port} is not a port: write 1 to 65535")
    return str(ipaddress.ip_address(host)), port


class SyslogTarget(Closed):
    """The destination of syslog lines: a local socket, or `udp HOST:PORT`."""

    facility: Annotated[str, Checked(_facility, {"enum": list(FACILITIES)})] = "daemon"
    """The facility of the lines, such as `local3`."""
    address: Annotated[str, Checked(_address, whole(rf"/[\s\S]*|{_UDP.pattern}"))] = "/dev/log"
    """A socket such as /dev/log, or `udp 192.0.2.1:514`."""
    format: Literal["local", "rfc5424"] | None = None
    """By default `local` for a local socket, `rfc5424` for UDP."""


class Syslog:
    """Sends syslog lines; any thread may use it."""

    def __init__(self, target: SyslogTarget) -> None:
        """Send to *target*; the socket is opened when the first line is sent."""
        self._target = target
        self._format = target.format or ("local" if target.address.startswith("/") else "rfc5424")
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def append(self, deliveries: Iterable[Delivery]) -> None:
        """Send the events of *deliveries*, one line each.

        Raises OSError.  Some lines may have been sent then, and will appear twice if all are sent again.
        """
        host = socket.gethostname()
        facility = FACILITIES[self._target.facility]
        with self._lock:
            deadline = time.monotonic() + _PATIENCE
            for delivery in deliveries:
                self._send(line(delivery.event, facility, self._format, host), deadline)

    def close(self) -> None:
        """Close the socket; the next line opens it again."""
        with self._lock:
            self._drop()

    def _send(self, octets: bytes, deadline: float) -> None:
        for is_last in (False, True):
            try:
                self._open(deadline).send(octets)
            except OSError as error:
                self._drop()
                if is_last or error.errno not in _ANOTHER:
                    reason = f"syslog: {error.strerror or error}"
                    raise OSError(error.errno or errno.ETIMEDOUT, reason, self._where) from error
            else:
                return

    @property
    def _where(self) -> str:
        return self._target.address

    def _open(self, deadline: float) -> socket.socket:
        if self._socket is None:
            local = self._where.startswith("/")
            host, port = ("", 0) if local else _udp(self._where)
            family = socket.AF_UNIX if local else socket.AF_INET6 if ":" in host else socket.AF_INET
            opened = socket.socket(family, socket.SOCK_DGRAM)
            try:
                opened.connect(self._where if local else (host, port))
            except OSError:
                opened.close()
                raise
            self._socket = opened
        # A timeout of zero would make the socket non-blocking.
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None


def line(event: Event, facility: int, form: str, host: str) -> bytes:
    """Return *event* as a syslog line in the format *form*, sent by *host*."""
    priority = facility * 8 + LEVELS[event.severity]
    if form == "rfc5424":
        moment = event.moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        # The byte order mark declares UTF-8.
        head = f"<{priority}>1 {moment} {_word(host, 255)} clusterbus {os.getpid()} {_word(event.name, 32)} - \ufeff"
    else:
        at = _local(event.moment)
        head = f"<{priority}>{_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S} clusterbus[{os.getpid()}]: "
    return _bounded(head.encode(), _text(event).encode("utf-8", "replace"))


def _local(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except (OverflowError, OSError, ValueError):
        # In the first or the last hours that there are: in another zone it would be outside of all years.
        return moment


def _text(event: Event) -> str:
    facts: dict[str, Value] = {"id": event.id, "node": event.node, "cluster": event.cluster, "severity": event.severity}
    about = {"subject": event.subject} if event.subject else {}
    named = {**facts, **about, **{f"data.{name}": value for name, value in event.data.items() if value is not None}}
    return " ".join(
        [_word(event.type, 200), *(f"{_word(name, 110)}={_quoted(value)}" for name, value in named.items())]
    )


def _quoted(value: Value) -> str:
    # Cut first: the rest cannot fit into the line, and escaping a megabyte is slow.
    text = value[: LONGEST + 1] if isinstance(value, str) else value[:LONGEST] if isinstance(value, list) else value
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _word(text: str, limit: int) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text[:limit]) or "-"


def _bounded(head: bytes, text: bytes) -> bytes:
    if len(head) + len(text) <= LONGEST:
        return head + text
    mark = b" [cut]"
    kept = text[: LONGEST - len(head) - len(mark)].decode("utf-8", "ignore")
    return head + kept.encode() + mark
