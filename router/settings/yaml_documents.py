"""YAML files as plain values that know their lines: the one reader for settings and for subscriptions.

A file means what the core schema of YAML 1.2 says: `on`, `no` and `1:30` are texts, `0123` is the number 123.
Refused: a key that appears twice, merge keys (`<<`), tags, numbers that are not finite or longer than 64 bits.
A file is untrusted until it is checked: it is bounded in size, in depth, and in what its aliases unfold to.
No message repeats a word of the file, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from .. import redaction
from ..errors import SettingsError
from ..terminal_text import brief
from . import bounded_files

MOST = 20_000
"""Values in a file at most, aliases unfolded."""

DEEPEST = 20
"""Levels at most."""

Place = tuple[str | int, ...]
"""The way to a value: keys and indices."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a file as YAML; line 0 is the file as a whole."""

    line: int
    place: Place
    message: str


@dataclass(frozen=True)
class Document:
    """One file: its value, the line of each part of it, and what is wrong with it as YAML.

    An empty file has the value None, no lines and no flaws.
    """

    file: str
    value: object = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    flaws: Sequence[Flaw] = ()

    def line(self, place: Place) -> int:
        """Return the line of *place*, or of the nearest value around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def flaw_lines(self, kind: str) -> list[str]:
        """Return a line for each flaw, with the place; *kind* says what a file is that is wrong as a whole."""
        return [f"{self._where(each, kind)}: {brief(each.message)}" for each in self.flaws]

    def _where(self, flaw: Flaw, kind: str) -> str:
        where = f"{self.file}:{flaw.line}" if flaw.line else f"{kind} {self.file}"
        return f"{where}: {brief(redaction.redact(dotted(flaw.place)))}" if flaw.place else where


def dotted(place: Place) -> str:
    """Return *place* as people read it: they count from 1.

    >>> dotted(("events", "tierMoved", "variables", 0))
    'events.tierMoved.variables.1'
    """
    return ".".join(str(each + 1) if isinstance(each, int) else each for each in place)


def read(path: Path) -> Document:
    """Return the YAML file *path*; raises nothing: what is wrong with the file is in the document's flaws."""
    try:
        return parse(bounded_files.read(path), str(path))
    except SettingsError as error:
        return failed(str(path), 0, str(error))


def parse(content: bytes, file: str) -> Document:
    r"""Return what the YAML in *content* says; *file* is its name.

    >>> document = parse(b"on: quota\nmode: off", "a.yaml")
    >>> document.value, document.line(("mode",))
    ({'on': 'quota', 'mode': 'off'}, 2)
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        octet, line = content[error.start], content.count(b"\n", 0, error.start) + 1
        return failed(file, line, f"octet 0x{octet:02X} is not UTF-8: save the file as UTF-8")
    try:
        root = yaml.compose(text, Loader=_Loader)
        reading = _Reading()
        value = None if root is None else reading.value(root, ())
    except _TooMuch as error:
        return failed(file, error.line, str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return failed(file, mark.line + 1 if mark else 1, _problem(error, text))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return failed(file, line, f"the character U+{error.character:04X} is not allowed in YAML")
    return Document(file, value, reading.lines, tuple(reading.flaws))


def failed(file: str, line: int, message: str) -> Document:
    """Return the document of a *file* without a value, because of *message* at *line*."""
    return Document(file, flaws=(Flaw(line, (), message),))


_TAG: Final = "tag:yaml.org,2002:"
_SHAPES: Final[Mapping[str, tuple[re.Pattern[str], Sequence[str]]]] = {
    # The core schema: the shape of each kind of plain value, and the characters that it can begin with.
    "null": (re.compile(r"(?:null|Null|NULL|~|)\Z"), ["n", "N", "~", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    "int": (re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")),
    "float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the library's own attribute

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = self._depth = 0

    def get_event(self) -> yaml.Event:
        """Return the next event; raises _TooMuch before a deep file exhausts the stack, since nodes are nested."""
        event: yaml.Event = super().get_event()  # type: ignore[no-untyped-call]  # the library's stubs lack the types
        self._depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if self._depth > DEEPEST or self._count > MOST:
            what = f"{DEEPEST} levels" if self._depth > DEEPEST else f"{MOST} values"
            raise _TooMuch(event.start_mark, f"has more than {what}")
        self._count += 1
        return event


for _kind, (_shape, _initials) in _SHAPES.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _shape, _initials)


def _text(written: str) -> str:
    return written.encode().decode()  # raises ValueError for half of a surrogate pair, which an escape can write


def _int(written: str) -> int:
    number = int(written, 0) if written.startswith(("0o", "0x")) else int(written)
    if not -(2**63) <= number < 2**63:
        raise ValueError(written)
    return number


def _float(written: str) -> float:
    if not abs(number := float(written)) < float("inf"):
        raise ValueError(written)
    return number


_READERS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "str": (_text, "is not valid Unicode text"),
    "null": (lambda _: None, "is not null"),
    "bool": (lambda written: written.lower() == "true", "is neither true nor false"),
    "int": (_int, "is not an integer of at most 64 bits; put text in quotes"),
    "float": (_float, "is not a finite number; put text in quotes"),
}
_KINDS: Final = {yaml.MappingNode: {"map"}, yaml.SequenceNode: {"seq"}, yaml.ScalarNode: _READERS.keys()}


class _TooMuch(Exception):
    def __init__(self, mark: Any, message: str) -> None:  # noqa: ANN401 - the library has two kinds
        self.line = mark.line + 1 if mark else 1
        super().__init__(message)


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    mark, begun = error.problem_mark, error.context_mark
    problem = redaction.yaml_problem(error.problem or "cannot be read")
    if mark is None:
        return f"not valid YAML: {problem}"
    if "'\\t'" in problem:
        return f"a tab at column {mark.column + 1}: use spaces, not tabs, in YAML"
    # Without the line itself, which may hold a secret.
    where = f"column {mark.column + 1}" if mark.line < len(text.splitlines()) else "the end"
    within = ""
    if begun and begun.line != mark.line:
        within = f", {redaction.yaml_problem(error.context or '')} since line {begun.line + 1}"
    return f"not valid YAML: {problem} at {where}{within}"


class _Reading:
    """From nodes to values, with lines and flaws."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.flaws: list[Flaw] = []
        self._count = 0

    def value(self, node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - what a file holds
        """Return the value of *node*, which is at *place*."""
        self._count += 1
        if self._count > MOST or len(place) > DEEPEST:
            raise _TooMuch(node.start_mark, f"has more than {MOST} values, through an alias that repeats itself")
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        kind = node.tag.removeprefix(_TAG)
        if kind not in _KINDS[type(node)]:
            self._wrong(line, place, "has a tag (!word): only plain values are allowed")
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, at)) for at, each in enumerate(node.value)]
        return self._scalar(node, kind, place)

    def _scalar(self, node: yaml.Node, kind: str, place: Place) -> object:
        reader, wrong = _READERS.get(kind, _READERS["str"])
        try:
            if kind not in _SHAPES or _SHAPES[kind][0].match(node.value):
                return reader(node.value)
        except ValueError:
            pass
        self._wrong(node.start_mark.line + 1, place, wrong)
        return None

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(line, place, "a key must be a word; put a template such as {{ ... }} in quotes")
                continue
            name = key.value
            if name == "<<" and key.style is None:
                self._wrong(line, place, "merge keys (<<) are not YAML 1.2: write the fields out")
                continue
            if name in seen:
                self._wrong(line, (*place, name), f"appears twice, first on line {seen[name]}")
                continue
            seen[name] = line
            self.lines[*place, name] = line
            yield name, self.value(value, (*place, name))

    def _wrong(self, line: int, place: Place, message: str) -> None:
        self.flaws.append(Flaw(line, place, message))
