"""Log lines: a fixed sentence and its facts, as key=value, one event a line."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TextIO

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+\Z")


class KeyValues(logging.Formatter):
    """Formats a log record as `time=… level=… event="…" fact=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line, whatever is in it."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        facts: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        facts.update((name, value) for name, value in vars(record).items() if name not in _OWN)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in facts.items())


def _quoted(text: str) -> str:
    return text if _PLAIN.match(text) else json.dumps(text)


def set_up_logging(stream: TextIO) -> None:
    """Send our log lines to *stream*; pika's own are left out, since each failure of its has a sentence of ours."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(KeyValues())
    ours = logging.getLogger("clusterbus.relay")
    ours.handlers[:] = [handler]
    ours.propagate = False
    ours.setLevel(logging.INFO)
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)
