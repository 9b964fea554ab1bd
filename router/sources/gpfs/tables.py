"""What mm commands print with `-Y`: rows, by the names of their columns.  Pure.

    mmlsmgr:filesystemManager:HEADER:version:reserved:reserved:filesystem:manager:managerIP:
    mmlsmgr:filesystemManager:0:1:::gpfs1:filer2:10.10.21.2:

Columns are found by the header of the same command and section, since releases move them; one output may hold several
sections, and repeat a header.  What is no such line is left out (banners).  Rows may be shorter than their header, or
longer.  Values are percent-encoded, and nothing else: a `+` is a plus (seen in public samples of several commands).
Whether a percent sign itself is, is not known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

# Bytes beyond ASCII belong together, the others stand by themselves.
_ENCODED = re.compile(r"%[0-7][0-9A-Fa-f]|(?:%[89A-Fa-f][0-9A-Fa-f])+")

_FIXED = 6
"""Fields before the values: command, section, `HEADER` or a number, version, and two that are reserved."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of *section* (may be empty): *values* by column, and what stands behind the last column in *more*.

    *lacks* are the columns that the row is too short for.
    """

    command: str
    section: str
    values: Mapping[str, str]
    more: tuple[str, ...] = ()
    lacks: frozenset[str] = frozenset()


def rows(text: str, section: str | None = None) -> list[Row]:
    """Return the rows of *text*, those of *section* where one is named; never raises.

    A column that the row is too short for is an empty text; of columns with one name the first counts.

    >>> header = "mmlsmgr:clusterManager:HEADER:version:reserved:reserved:manager:"
    >>> rows(f"{header}{chr(10)}mmlsmgr:clusterManager:0:1:::filer%3A1:")[0].values["manager"]
    'filer:1'
    """
    return [each for each in _rows(text) if section is None or each.section == section]


def has_header(text: str, section: str | None = None) -> bool:
    """Say whether *text* has a header at all: without one, an empty table can't be told from no table."""
    return any(
        len(fields) >= _FIXED and fields[2] == "HEADER" and section in (None, fields[1])
        for line in text.splitlines()
        if (fields := line.split(":"))
    )


def decoded(text: str) -> str:
    """Return *text* without the encoding; bytes beyond ASCII are UTF-8, and what is no UTF-8 was never encoded.

    >>> decoded("Mon Oct 12 14%3A24%3A41 100%")
    'Mon Oct 12 14:24:41 100%'
    >>> decoded("--daName %daName")
    '--daName %daName'
    """
    return _ENCODED.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    try:
        # This one leaves a plus alone.
        return unquote(match[0], errors="strict")
    except UnicodeDecodeError:
        return match[0]


def _rows(text: str) -> Iterator[Row]:
    columns: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < _FIXED:
            continue
        key, values = (fields[0], fields[1]), fields[_FIXED:]
        if values and values[-1] == "":
            values.pop()  # each line ends with a colon
        if fields[2] == "HEADER":
            # A public sample has a header of the command `fs`, and rows of mmlsfs.
            columns[key] = columns["", fields[1]] = values
        elif named := columns.get(key) or columns.get(("", fields[1])):
            yield _row(key, named, [decoded(each) for each in values])


def _row(key: tuple[str, str], columns: list[str], values: list[str]) -> Row:
    padded = values + [""] * (len(columns) - len(values))
    named: dict[str, str] = {}
    for column, value in zip(columns, padded, strict=False):
        named.setdefault(column, value)
    lacks = frozenset(columns[len(values) :]) - frozenset(columns[: len(values)])
    return Row(*key, named, tuple(values[len(columns) :]), lacks)
