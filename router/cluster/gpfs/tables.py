"""Parses the output of mm commands with `-Y` into rows with named columns.  Pure.

    mmlsmgr:filesystemManager:HEADER:version:reserved:reserved:filesystem:manager:managerIP:
    mmlsmgr:filesystemManager:0:1:::gpfs1:filer2:10.10.21.2:

Columns are found by the header of the same command and section, because releases move them.  One output may hold
several sections and repeat a header.  Other lines, such as banners, are skipped.  Rows may be shorter or longer than
their header.  Only a newline ends a row: a value may hold every other character that Unicode takes for a line end.
Values are percent-encoded only: a `+` is a plus (seen in public samples of several commands).  It is not known whether
a percent sign is encoded too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from .errors import NotUnderstood

# Encoded bytes beyond ASCII are decoded together, others one by one.
_ENCODED = re.compile(r"%[0-7][0-9A-Fa-f]|(?:%[89A-Fa-f][0-9A-Fa-f])+")

UNSET = frozenset(("", "-", "--", "(undefined)"))
"""What mm commands print where there is no value."""

_BETWEEN = re.compile(r"[,\s]+")
_HEADER = "HEADER"
_FIXED = 6
"""Fields before the values: command, section, `HEADER` or a number, version, and two reserved fields."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of *section* (may be empty): *values* by column; *more* holds values beyond the last column.

    *lacks* holds the columns that are missing because the row is too short.
    """

    command: str
    section: str
    values: Mapping[str, str]
    more: tuple[str, ...] = ()
    lacks: frozenset[str] = frozenset()

    def words(self, column: str) -> list[str]:
        """Return the words of the list in *column*, each once; none if it is missing."""
        words = _BETWEEN.split(self.values.get(column, ""))
        return [each for each in dict.fromkeys(words) if each not in UNSET]


def rows(text: str, section: str | None = None) -> list[Row]:
    """Return the rows of *text*, or only those of *section*; never raises.

    A missing column has an empty value.  If several columns have the same name, the first counts.

    >>> header = "mmlsmgr:clusterManager:HEADER:version:reserved:reserved:manager:"
    >>> rows(f"{header}{chr(10)}mmlsmgr:clusterManager:0:1:::filer%3A1:")[0].values["manager"]
    'filer:1'
    """
    return [each for each in _rows(text) if section is None or each.section == section]


def has_header(text: str, section: str | None = None) -> bool:
    """Return whether *text* has a header: without one, an empty table looks the same as no table."""
    return any(section in (None, name) for (_, name), _ in _headers(text))


def table(text: str, section: str | None, *columns: str) -> list[Row]:
    """Return the rows of *section*, or of all sections, with a value in the first of *columns*.

    Sections without that column are about something else.  Raises NotUnderstood if no header has the first of
    *columns*, or one that has it lacks another.
    """
    headers = [values for (_, name), values in _headers(text) if section in (None, name)]
    if not headers:
        output = text.strip()[:200]
        raise NotUnderstood(f"it printed no table{f' {section}' if section else ''}{': ' if output else ''}{output}")
    for header in [each for each in headers if columns[0] in each] or headers[:1]:
        if lacking := [each for each in columns if each not in header]:
            raise NotUnderstood(
                f"its table has no column {', '.join(lacking)}; its columns are {', '.join(header)[:300]}"
            )
    return [each for each in rows(text, section) if each.values.get(columns[0])]


def decoded(text: str) -> str:
    """Return *text* with percent-encoding removed; bytes that are not UTF-8 stay as they are.

    >>> decoded("Mon Oct 12 14%3A24%3A41 100%")
    'Mon Oct 12 14:24:41 100%'
    >>> decoded("--daName %daName")
    '--daName %daName'
    """
    return _ENCODED.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    try:
        # `unquote` leaves a plus alone.
        return unquote(match[0], errors="strict")
    except UnicodeDecodeError:
        return match[0]


def _lines(text: str) -> Iterator[tuple[tuple[str, str], str, list[str]]]:
    """Yield command and section, the word `HEADER` or another, and the values of each line of a table."""
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) < _FIXED:
            continue
        values = fields[_FIXED:]
        if values and values[-1] == "":
            values.pop()  # each line ends with a colon
        yield (fields[0], fields[1]), fields[2], values


def _headers(text: str) -> Iterator[tuple[tuple[str, str], list[str]]]:
    return ((key, values) for key, word, values in _lines(text) if word == _HEADER)


def _rows(text: str) -> Iterator[Row]:
    columns: dict[tuple[str, str], list[str]] = {}
    for key, word, values in _lines(text):
        if word == _HEADER:
            # A public sample has a header of the command `fs`, and rows of mmlsfs.
            columns[key] = columns["", key[1]] = values
        elif named := columns.get(key) or columns.get(("", key[1])):
            yield _row(key, named, [decoded(each) for each in values])


def _row(key: tuple[str, str], columns: list[str], values: list[str]) -> Row:
    padded = values + [""] * (len(columns) - len(values))
    named: dict[str, str] = {}
    for column, value in zip(columns, padded, strict=False):
        named.setdefault(column, value)
    lacks = frozenset(columns[len(values) :]) - frozenset(columns[: len(values)])
    return Row(*key, named, tuple(values[len(columns) :]), lacks)
