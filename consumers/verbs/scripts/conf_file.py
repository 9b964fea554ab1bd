"""Parse a `handlers.conf`, which maps programs to events.  Pure text functions.

# programs of this folder and their events
notify.py     = softQuotaExceeded usageUnderSoftQuota    # event types,
check-disk.pl = disk                                     # a category,
everything    = "#"                                      # a pattern; quote it if it begins with #
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r'\s*(?:(#.*)|"([^"]*)"(?=\s|\Z)|(\S+))')
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\uffff]")
_LONGEST_NAME = 255
_MOST_PATTERNS = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A line that maps the program *name* to *patterns*, each written as in the field `on` of a subscription."""

    number: int
    name: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mistake in the line *number*."""

    number: int
    message: str


def parse(content: bytes) -> tuple[Sequence[Line], Sequence[Wrong]]:
    r"""Return the lines of a `handlers.conf`, and all mistakes in it.

    >>> parse(b"notify.py = quota disk # both\n")[0]
    [Line(number=1, name='notify.py', patterns=('quota', 'disk'))]
    >>> parse(b"notify.py quota\n")[1]
    [Wrong(number=1, message="'notify.py quota' is not `file = pattern`")]
    """
    found: dict[str, Line] = {}
    wrong: list[Wrong] = []
    for number, text in texts(content, wrong):
        line = _line(number, text)
        if isinstance(line, Line) and line.name in found:
            first = found[line.name].number
            line = Wrong(number, f"{line.name} appears twice, first in line {first}: put all its patterns there")
        if isinstance(line, Line):
            found[line.name] = line
        else:
            wrong.append(line)
    return list(found.values()), wrong


def texts(content: bytes, wrong: list[Wrong]) -> Iterator[tuple[int, str]]:
    """Yield the lines of *content* that are not empty and no comments; add those that are no text to *wrong*."""
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            wrong.append(Wrong(number, "is not UTF-8 text"))
            continue
        if text and not text.startswith("#"):
            yield number, text


def _line(number: int, text: str) -> Line | Wrong:
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not equals:
        return Wrong(number, f"{text[:60]!r} is not `file = pattern`")
    if message := wrong_name(name):
        return Wrong(number, message)
    patterns: list[str] = []
    for comment, quoted, plain in (match.groups() for match in _TOKEN.finditer(rest)):
        if comment:
            break
        if plain is not None and '"' in plain:
            return Wrong(number, f"wrong quotes in {plain[:60]!r}: put the whole pattern in quotes")
        patterns.append(plain if plain is not None else quoted)
    if not patterns:
        hint = ': # begins a comment; write "#" in quotes for all events' if rest.startswith("#") else ""
        return Wrong(number, f"{name} has no pattern{hint}")
    if len(patterns) > _MOST_PATTERNS:
        return Wrong(number, f"{name} has more than {_MOST_PATTERNS} patterns")
    return Line(number, name, tuple(dict.fromkeys(patterns)))


def wrong_name(name: str) -> str:
    """Return why *name* cannot be that of a file in the folder; empty if it can."""
    if not name:
        return "no file name before the ="
    if "/" in name or name in {".", ".."}:
        return f"{name[:60]!r} is outside the folder: write the name of a file in it, without a path"
    if len(name.encode()) > _LONGEST_NAME or _NOT_PRINTABLE.search(name):
        return f"{name[:60]!r} is not a valid file name"
    return ""
