"""How our programs log: a fixed sentence, with the facts next to it.

Modules log with the standard library: `log.warning("sentence", extra={...})`.  Only this module decides the format of a
line: text for people on a terminal, JSON or logfmt for log collectors.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from .. import redaction
from ..terminal_text import encoded, visible
from . import journal
from .output import fault, has_styles

if TYPE_CHECKING:
    import structlog

Format = Literal["auto", "console", "logfmt", "json"]

_OURS = ("router", "consumers")
_NOISY = ("pika",)
_LONG = ("exception", "stack")


def configure(*, form: Format = "auto", level: str = "INFO") -> None:
    """Send all logs to stderr; *form* `auto` is `console` on a terminal, and `json` elsewhere.

    Our modules log from *level*, libraries from WARNING: below that, some log each call with its URL.  Secrets that
    this process knows are removed from each line, and from the traceback of a program that crashes.
    """
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OnDemand(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _NOISY:
        # pika logs each step of each connection attempt; we log what matters, once.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _end_with_traceback
    threading.excepthook = _end_thread


class _OnDemand(logging.Formatter):
    """Creates the real formatter for the first record: importing structlog takes longer than most commands run."""

    def __init__(self, form: Format) -> None:
        """Format as *form*; for the journal, with priorities."""
        super().__init__()
        self._form, self._real = form, None
        self._is_journal = journal.is_journal(sys.stderr)

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as text."""
        if self._real is None:
            self._real = _formatter(self._form)
        text = self._real.format(record)
        return journal.marked(text, journal.priority(record.levelno)) if self._is_journal else text

    _real: logging.Formatter | None


def _formatter(form: Format) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - see _OnDemand

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Without the values of local variables, which structlog shows by default: they may contain passwords.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    last: list[structlog.typing.Processor]
    match form:
        case "json":
            render = structlog.processors.JSONRenderer(encoded, default=str)
            last = [structlog.processors.ExceptionRenderer(tracebacks), _redacted, render]
        case "logfmt":
            order = ("timestamp", "level", "event", "logger")
            last = [
                structlog.processors.format_exc_info,
                _redacted,
                _one_line,
                structlog.processors.LogfmtRenderer(key_order=order),
            ]
        case _:
            styles = has_styles(sys.stderr)
            plain = structlog.dev.plain_traceback
            render_line = structlog.dev.ConsoleRenderer(colors=styles, exception_formatter=plain)
            last = [structlog.processors.format_exc_info, _redacted, _visible, render_line]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )


def _visible(_: object, __: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return *facts* as visible text; only tracebacks have more than one line."""
    return {visible(name): visible(str(value), keep="\n\t" if name in _LONG else "") for name, value in facts.items()}


def _one_line(_: object, __: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return *facts* as visible text on one line; in names, spaces and equals signs become underscores."""
    return {visible(name).replace(" ", "_").replace("=", "_"): visible(str(value)) for name, value in facts.items()}


def _redacted(_: object, __: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: found if name == "exc_info" else _without_secrets(found) for name, found in facts.items()}


def _without_secrets(found: object) -> object:
    if isinstance(found, Mapping):
        return {redaction.redact(str(name)): _without_secrets(each) for name, each in found.items()}
    if isinstance(found, (list, tuple, set, frozenset)):
        return [_without_secrets(each) for each in found]
    return found if found is None or isinstance(found, (bool, int, float)) else redaction.redact(str(found))


def _end_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        _end_with_traceback(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _end_with_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    fault("".join(traceback.format_exception(kind, error, trace)))
