"""Lines of `-Y` output: `command:section:HEADER:version:reserved:reserved:field:...:`, values percent-encoded.  Pure.

Known: that form, which characters are encoded, and that blanks stay.  Seen in public samples, and made here where
`Behaviour.rows` says so: rows without their last empty fields, rows with fields behind the last column, headers that
come again.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..behaviours import Behaviour

_ENCODED = "!#$&'()*+,/:;=?@[]"
_MORE = ("", "more")


class Plain(str):
    """A value that is printed as it is, where samples show it so."""

    __slots__ = ()


class Table(NamedTuple):
    """The *columns* of one section of a command's output, with blanks between them."""

    command: str
    section: str
    columns: str

    def lines(self, rows: Iterable[Sequence[str]], behaviour: Behaviour) -> str:
        """Return header and *rows*.

        >>> Table("mmlsmgr", "clusterManager", "manager").lines([["a:b"]], Behaviour()).splitlines()[1]
        'mmlsmgr:clusterManager:0:1:::a%3Ab:'
        """
        columns = self.columns.split()
        header = ":".join((self.command, self.section, "HEADER", "version", "reserved", "reserved", *columns, ""))
        lines = [header]
        for place, row in enumerate(rows):
            cells = [each if isinstance(each, Plain) else encoded(each, behaviour) for each in row]
            if behaviour.rows == "ragged":
                cells = _ragged(cells, place)
                if place and place % 4 == 0:
                    lines.append(header)
            lines.append(":".join((self.command, self.section, "0", "1", "", "", *cells, "")))
        return "".join(f"{each}\n" for each in lines)


def _ragged(cells: list[str], place: int) -> list[str]:
    if place % 2 == 1:
        return [*cells, *_MORE]
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def encoded(value: str, behaviour: Behaviour) -> str:
    """Return *value* with the characters encoded that would break a line, and those that GPFS encodes beside them."""
    special = _ENCODED + ("%" if behaviour.percent == "encoded" else "")
    return "".join(f"%{ord(each):02X}" if each in special else each for each in value)


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return *rows*, their title first, as lines for people: a column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def text(lines: Iterable[str]) -> str:
    """Return *lines* as they are printed."""
    return "".join(f"{each}\n" for each in lines)
