"""Log lines: a fixed sentence and its facts, one line for each event, as key=value pairs (logfmt) or as JSON.

Both formats are those of router and consumers, with the same keys.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from typing import TextIO

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:)\S*@")
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+\Z")


FORMATS = ("logfmt", "json")

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The journal's priorities of levels; all lower levels have 7."""


class Lines(logging.Formatter):
    """Formats a log record as `timestamp=… level=… event="…" logger=… fact=…`, or as JSON with these keys."""

    def __init__(self, form: str = "logfmt", *, for_journal: bool = False) -> None:
        """Format as *form*, one of FORMATS; *for_journal* with the priority in front, as `<3>`."""
        super().__init__()
        self._form, self._for_journal = form, for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line, whatever its content."""
        line = self._line(record)
        if not self._for_journal:
            return line
        priority = next((number for lowest, number in _PRIORITIES if record.levelno >= lowest), 7)
        return f"<{priority}>{line}"

    def _line(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        facts: dict[str, object] = {
            "timestamp": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        facts.update((name, value) for name, value in vars(record).items() if name not in _OWN)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        if self._form == "json":
            plain = {
                name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in facts.items()
            }
            return without_passwords(_encoded(plain))
        return " ".join(f"{name}={_quoted(without_passwords(str(value)))}" for name, value in facts.items())


def without_passwords(text: str) -> str:
    """Return *text* with the password of every URL hidden, even a password with characters that need escaping.

    >>> without_passwords("no such host in amqp://nsd01:s3/cr@t@mq1/bus")
    'no such host in amqp://nsd01:***@mq1/bus'
    """
    return _PASSWORD.sub(r"\1***@", text)


def _quoted(text: str) -> str:
    return text if _PLAIN.match(text) else _encoded(text)


def _encoded(value: object) -> str:
    # JSON leaves one character as it is that a terminal obeys.
    return json.dumps(value).replace("\x7f", "\\u007f")


def _is_journal(stream: TextIO) -> bool:
    """Return whether *stream* goes to the journal: systemd names its device and inode."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up_logging(stream: TextIO, form: str = "logfmt") -> None:
    """Send our log lines to *stream* as *form*, without pika's own: the relay logs each of pika's failures itself."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(form, for_journal=_is_journal(stream)))
    ours = logging.getLogger("clusterbus.relay")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(logging.INFO)
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)
