"""The verdict as a plugin of Nagios and Icinga says it: one line with performance data, and the exit code.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from router.model.events import Severity
from router.terminal_text import counted

from ...expressions.sanitize import one_line, shortened
from .overview import Overview, State

_WORDS: Final[Mapping[State, tuple[str, int]]] = {
    "ok": ("OK", 0),
    "warning": ("WARNING", 1),
    "error": ("CRITICAL", 2),
    "unknown": ("UNKNOWN", 3),
}
_LONGEST: Final = 800
_LONGEST_PART: Final = 160
_NAMED: Final = 3


def line(overview: Overview, severity: Severity) -> tuple[str, int]:
    """Return the line and the exit code: CRITICAL from *severity* on, UNKNOWN where something cannot be read."""
    word, code = _WORDS[overview.verdict(severity)]
    said = "; ".join(_plain(each) for each in _said(overview)) or "all is well"
    return f"CLUSTERBUS {word} - {shortened(said, _LONGEST)} | {' '.join(_numbers(overview))}", code


def failure(reason: str) -> tuple[str, int]:
    """Return the line and the exit code where nothing could be read, because of *reason*."""
    return f"CLUSTERBUS UNKNOWN - {shortened(_plain(reason), _LONGEST)}", _WORDS["unknown"][1]


def _said(overview: Overview) -> Iterator[str]:
    if number := sum(overview.counts.values()):
        named = ", ".join(each.summary or each.rule for each in overview.alerts[:_NAMED])
        more = f" and {number - _NAMED:,} more" if number > _NAMED else ""
        yield f"{counted(number, 'alert')} open: {named}{more}"
    yield from (each.seen for each in overview.of("error"))
    yield from overview.unknown
    yield from overview.paused
    yield from (each.seen for each in overview.of("warning"))


def _numbers(overview: Overview) -> Iterator[str]:
    """Yield the performance data; what is not known is left out."""
    if overview.letters is not None:
        counts = overview.counts
        for name in ("critical", "error", "warning"):
            yield f"alerts_{name}={counts.get(name, 0)}"
        yield f"alerts_other={counts.get('notice', 0) + counts.get('info', 0)}"
        yield f"letters={overview.letters}"
        yield f"waiting={sum(each.waiting + each.running for each in overview.waiting)}"
        yield f"oldest_waiting={overview.oldest_waiting()}s"
    yield f"errors={len(overview.of('error'))}"
    yield f"warnings={len(overview.of('warning'))}"


def _plain(text: str) -> str:
    # A bar begins the performance data.
    return shortened(one_line(text).replace("|", "/").strip(), _LONGEST_PART)
