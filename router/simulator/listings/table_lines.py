"""Lines of `-Y` output: `command:section:HEADER:version:reserved:reserved:field:...:`, values percent-encoded.  Pure.

Known: that form, which characters are encoded, and that blanks stay.  Seen in public samples, and produced here with
`Behaviour.rows`: rows without their last empty fields, rows with extra fields, and repeated headers.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..switches import Behaviour

_ENCODED = "!#$&'()*+,/:;=?@[]"
_MORE = ("", "more")


class Plain(str):
    """A value that is printed without encoding, as samples show it."""

    __slots__ = ()


class Table(NamedTuple):
    """The *columns* of one section of a command's output, separated by blanks."""

    command: str
    section: str
    columns: str

    @property
    def header(self) -> str:
        """The line that names the columns."""
        columns = self.columns.split()
        return ":".join((self.command, self.section, "HEADER", "version", "reserved", "reserved", *columns, ""))

    def lines(self, rows: Iterable[Sequence[str]], behaviour: Behaviour) -> str:
        """Return the header and *rows* as text.

        >>> Table("mmlsmgr", "clusterManager", "manager").lines([["a:b"]], Behaviour()).splitlines()[1]
        'mmlsmgr:clusterManager:0:1:::a%3Ab:'
        """
        return f"{self.header}\n{self.rows(rows, behaviour)}"

    def rows(self, rows: Iterable[Sequence[str]], behaviour: Behaviour) -> str:
        """Return *rows* as text, without a header before them."""
        lines = []
        for place, row in enumerate(rows):
            cells = [each if isinstance(each, Plain) else encoded(each, behaviour) for each in row]
            if behaviour.rows == "ragged":
                cells = _ragged(cells, place)
                if place and place % 4 == 0:
                    lines.append(self.header)
            lines.append(":".join((self.command, self.section, "0", "1", "", "", *cells, "")))
        return "".join(f"{each}\n" for each in lines)


def _ragged(cells: list[str], place: int) -> list[str]:
    if place % 2 == 1:
        return [*cells, *_MORE]
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def encoded(value: str, behaviour: Behaviour) -> str:
    """Return *value* percent-encoded: characters that would break a line, and others that GPFS encodes."""
    special = _ENCODED + ("%" if behaviour.percent == "encoded" else "")
    return "".join(f"%{ord(each):02X}" if each in special else each for each in value)


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return *rows*, the title first, as lines for people; each column is as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def text(lines: Iterable[str]) -> str:
    """Return *lines* as one text."""
    return "".join(f"{each}\n" for each in lines)
