r"""Text for a terminal: visible characters, styles, widths in columns, tables.  No I/O.

Text has no markup.  A character that is invisible or would control the terminal becomes Python's escape for it, such
as `\x1b`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

# Unicode calls these printable, but they are invisible: fillers, joiners, variation selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_LONG_WORD = re.compile(r"\S{201,}")
_LONGEST = 1200
_GAP = 2
_INDENT = 4
_LEAST = 20
"""The least width of the last column: with less room, it starts on a new line."""


@dataclass(frozen=True, slots=True)
class Styled:
    """A text and its style: any of the words `bold`, `dim`, `red`, `green`, `yellow` and `cyan`."""

    text: str
    style: str = ""


Part = str | Styled


def visible(text: str, *, keep: str = "") -> str:
    r"""Return *text* with an escape for each invisible character, except those in *keep*.

    >>> print(visible("a\x1b[31m\u202eb\n\udc80é"))
    a\x1b[31m\u202eb\n\udc80é
    """
    if text.isprintable() and not _BLANK.search(text):
        return text
    return "".join(
        each
        if each in keep or (each.isprintable() and not _BLANK.match(each))
        else each.encode("unicode_escape").decode()
        for each in text
    )


def brief(text: str) -> str:
    """Return *text*, a message about what people wrote, without the middle of what is too long to be read.

    The beginning and the end stay: there is what is wrong, and what is meant.

    >>> brief("no contact 'on-cal'; did you mean on-call?"), len(brief("x" * 5000)), len(brief("word " * 1000))
    ("no contact 'on-cal'; did you mean on-call?", 181, 1001)
    """
    text = _LONG_WORD.sub(lambda found: f"{found[0][:120]}…{found[0][-60:]}", text)
    return text if len(text) <= _LONGEST else f"{text[:600]}…{text[-400:]}"


def counted(number: int, noun: str) -> str:
    """Return *number* and *noun*, which takes an `s` in the plural; `y` after a consonant becomes `ies`.

    >>> counted(1, "node"), counted(1500, "node"), counted(2, "delivery")
    ('1 node', '1,500 nodes', '2 deliveries')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def encoded(value: object, **options: Any) -> str:  # noqa: ANN401 - those of json.dumps
    r"""Return *value* as JSON in printable ASCII, on one line unless *options* (of `json.dumps`) say otherwise.

    >>> print(encoded({"a": "\x7f\u202e"}))
    {"a": "\u007f\u202e"}
    """
    return json.dumps(value, **{"default": str, **options}).replace("\x7f", "\\u007f")


def cell(value: object) -> Styled:
    """Return *value* as visible text: None as an empty text, a dict or list as JSON."""
    if isinstance(value, Styled):
        return Styled(visible(value.text), value.style)
    if isinstance(value, (dict, list)):
        return Styled(visible(encoded(value, ensure_ascii=False)))
    return Styled("" if value is None else visible(str(value)))


def line(parts: Iterable[Part], *, styles: bool) -> str:
    """Return *parts* as one visible line, with or without *styles*."""
    return "".join(
        f"\x1b[{';'.join(_CODES[word] for word in each.style.split())}m{visible(each.text)}\x1b[0m"
        if isinstance(each, Styled) and each.style and styles
        else visible(each.text if isinstance(each, Styled) else each)
        for each in parts
    )


def width_of(text: str) -> int:
    """Return the number of terminal columns that visible *text* takes.

    >>> width_of("gpfs1"), width_of("語"), width_of("e\N{COMBINING ACUTE ACCENT}")
    (5, 2, 1)
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def clipped(parts: Iterable[Part], room: int) -> Iterator[Part]:
    """Yield as much of *parts* as fits into *room* columns, with a mark if something is left out."""
    for each in parts:
        whole = cell(each)
        (text,) = _cut(whole.text, room)
        yield Styled(text, whole.style)
        room -= width_of(text)
        if text != whole.text or room < 1:
            return


def aligned(cells: Sequence[Sequence[Styled]], limit: int, *, cut: bool) -> Iterator[list[Part]]:
    """Yield the lines of the table *cells* on a terminal with *limit* columns.

    A row that is too wide continues on the next line, indented.  Only its last cell is wrapped, or *cut* with a mark.
    """
    widths = [max(width_of(row[at].text) for row in cells) for at in range(len(cells[0]))]
    starts = _starts(widths, limit)
    for row in cells:
        now: list[Part] = []
        column = 0
        for at, each in enumerate(row):
            room = max(limit - starts[at], _LEAST)
            pieces = [each.text] if at < len(row) - 1 else _cut(each.text, room) if cut else _broken(each.text, room)
            for number, piece in enumerate(pieces):
                if number or (at and starts[at] < starts[at - 1] + widths[at - 1]):
                    yield now
                    now, column = [], 0
                now += [" " * (starts[at] - column), Styled(piece, each.style)]
                column = starts[at] + width_of(piece)
        yield now


def _starts(widths: Sequence[int], limit: int) -> list[int]:
    """Return where each column begins; a column that does not fit begins on a new line."""
    starts, last = [0], len(widths) - 1
    for at, width in enumerate(widths[1:], 1):
        start = starts[-1] + widths[at - 1] + _GAP
        fits = start + (min(width, _LEAST) if at == last else width) <= limit
        starts.append(start if fits else _INDENT)
    return starts


def _broken(text: str, room: int) -> list[str]:
    """Return *text* in pieces that fit into *room* columns, wrapped after a space if possible; nothing is left out."""
    pieces, begin = list[str](), 0
    while (end := _fitting(text, begin, room)) < len(text):
        blank = text.rfind(" ", begin + (end - begin) // 2, end) + 1
        pieces.append(text[begin : blank or end])
        begin = blank or end
    return [*pieces, text[begin:]]


def _cut(text: str, room: int) -> list[str]:
    if _fitting(text, 0, room) == len(text):
        return [text]
    return [f"{text[: _fitting(text, 0, room - 1)]}…"]


def _fitting(text: str, begin: int, room: int) -> int:
    """Return the end of what fits into *room* columns of *text*, from *begin* on; it is at least one character."""
    used = 0
    for at in range(begin, len(text)):
        used += _width(text[at])
        if used > room and at > begin:
            return at
    return len(text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
