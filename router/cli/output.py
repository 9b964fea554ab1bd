"""What commands print: rows, lines, JSON, errors and questions.  All output of ours goes through this module.

On a terminal, tables are aligned and have styles.  Elsewhere each row is one line, with tabs between its cells.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import NoReturn, TextIO, TypeVar

from .. import redaction
from ..terminal_text import Part, Styled, aligned, cell, clipped, encoded, line, visible
from . import journal

__all__ = [
    "SEVERITIES",
    "Live",
    "Part",
    "Styled",
    "ask",
    "block",
    "confirm",
    "fail",
    "fault",
    "fields",
    "has_styles",
    "note",
    "rows",
    "say",
    "show",
    "verdicts",
]

Item = TypeVar("Item")

SEVERITIES = {"info": "dim", "notice": "cyan", "warning": "yellow", "error": "red", "critical": "bold red"}
_VERDICTS = {"ok": "green", "warning": "yellow", "error": "red"}


def say(found: object, *, as_json: bool, text: str | Iterable[str] | None = None) -> None:
    """Print *found* as JSON; or, for people, *text*: one line or several."""
    if as_json:
        _write(sys.stdout, f"{encoded(found)}\n")
    else:
        for each in [str(found)] if text is None else [text] if isinstance(text, str) else text:
            show(each)


def show(*parts: Part, err: bool = False) -> None:
    """Print *parts* as one line, with *err* on stderr."""
    stream = sys.stderr if err else sys.stdout
    _write(stream, f"{line(parts, styles=has_styles(stream))}\n")


def block(text: str, *, err: bool = False) -> None:
    """Print *text*, keeping its line breaks and tabs."""
    _write(sys.stderr if err else sys.stdout, visible(text, keep="\n\t").rstrip("\n") + "\n")


def note(text: str) -> None:
    """Print one line on stderr, separate from the result."""
    show(text, err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print *message* on stderr and exit with *code*; secrets that this process knows are removed from the message."""
    fault(message)
    raise SystemExit(code)


def fault(text: str) -> None:
    """Print *text*, an error of the program, on stderr without the secrets that this process knows."""
    shown = visible(redaction.redact(text), keep="\n\t").rstrip("\n")
    is_logged = journal.is_journal(sys.stderr)
    _write(sys.stderr, f"{journal.marked(shown, journal.ERROR) if is_logged else shown}\n")


def confirm(question: str) -> None:
    """Ask *question* on stderr, and exit with code 1 unless the answer is yes."""
    _write(sys.stderr, f"{visible(question)} [y/N]: ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        fail("aborted")


def ask(question: str, default: str | None = None) -> str:
    """Ask *question* on stderr; return the answer without blanks around it, or *default* if there is none.

    Without a default, an empty answer is asked for again.  Exits with code 1 at the end of the input.
    """
    while True:
        _write(sys.stderr, f"{visible(question)}{f' [{visible(default)}]' if default else ''}: ")
        if not (given := sys.stdin.readline()):
            fail("aborted")
        if (answer := given.strip()) or default is not None:
            return answer or default or ""


def rows(
    found: Iterable[Item],
    columns: Mapping[str, Callable[[Item], object]],
    *,
    as_json: bool = False,
    facts: Callable[[Item], object] = asdict,  # type: ignore[assignment]  # by default, items are dataclasses
    empty: str = "",
    cut: bool = False,
) -> None:
    """Print each of *found*: as JSON with its *facts*, otherwise as a row of *columns*.

    On a terminal, columns are aligned under their names; only the last column is wrapped, or *cut* with a mark.
    Elsewhere there are no names, and nothing is cut.  If *found* is empty, *empty* is printed on stderr.
    """
    if as_json:
        for each in found:
            say(facts(each), as_json=True)
        return
    cells = [[column(each) for column in columns.values()] for each in found]
    if cells:
        names = [[Styled(name, "bold") for name in columns]] if sys.stdout.isatty() else []
        _table([*names, *cells], cut=cut)
    elif empty:
        note(empty)


def fields(found: Iterable[tuple[str, object]]) -> None:
    """Print names with their values, one on each line."""
    _table([*found])


def verdicts(found: Iterable[tuple[str, str, str, str]]) -> None:
    """Print verdicts (`ok`, `warning`, `error`), each with the part, what was found, and advice if there is any."""
    cells: list[list[object]] = []
    for verdict, part, seen, advice in found:
        cells.append([Styled(verdict, _VERDICTS[verdict]), part, seen])
        if not sys.stdout.isatty():
            cells[-1].append(advice)
        elif advice:
            cells.append(["", "", Styled(f"→ {advice}", "bold")])
    _table(cells)


def has_styles(stream: TextIO) -> bool:
    """Return whether *stream* is a terminal that supports styles, and `NO_COLOR` is not set."""
    return _is_live(stream) and not os.environ.get("NO_COLOR")


class Live:
    """Lines at the bottom of the terminal that are replaced by later ones; without a terminal, nothing is shown."""

    def __init__(self, *, err: bool = False) -> None:
        """Show on stdout, with *err* on stderr."""
        self._stream, self._err = sys.stderr if err else sys.stdout, err
        self._lock, self._lines = threading.Lock(), list[Sequence[Part]]()

    def show(self, *parts: Part) -> None:
        """Print a line that stays, above the lines that are replaced."""
        with self._lock:
            self._erase()
            show(*parts, err=self._err)
            self._draw()

    def replace(self, lines: Iterable[Sequence[Part]]) -> None:
        """Show *lines* instead of the previous ones."""
        if _is_live(self._stream):
            with self._lock:
                self._erase()
                self._lines = [*lines][: max(1, _size(self._stream).lines - 1)]
                self._draw()

    def _erase(self) -> None:
        if self._lines:
            _write(self._stream, f"\x1b[{len(self._lines)}F\x1b[J")

    def _draw(self) -> None:
        room, styles = _size(self._stream).columns - 1, has_styles(self._stream)
        _write(self._stream, "".join(f"{line(clipped(each, room), styles=styles)}\n" for each in self._lines))


def _table(found: Sequence[Sequence[object]], *, cut: bool = False) -> None:
    cells = [[cell(each) for each in row] for row in found]
    if not cells:
        return
    if sys.stdout.isatty():
        styles = has_styles(sys.stdout)
        lines = aligned(cells, _size(sys.stdout).columns, cut=cut)
        text = "".join(f"{line(each, styles=styles).rstrip(' ')}\n" for each in lines)
    else:
        text = "".join("\t".join(each.text for each in row) + "\n" for row in cells)
    _write(sys.stdout, text)


def _is_live(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _size(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return os.terminal_size((size.columns or 80, size.lines or 24))


def _write(stream: TextIO, text: str) -> None:
    # Characters that the terminal's encoding lacks are printed as escapes too.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
