"""Subscription files as values that know their lines.  YAML, read as YAML 1.2 reads it: `on` and `off` are words.

A file is a stranger's until it is checked: it is bounded in size, in depth, and in what its aliases unfold to.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST = 262_144
"""Octets in a file at the most."""

MOST = 20_000
"""Values in a file at the most, aliases unfolded."""

DEEPEST = 20
"""Levels at the most."""

Place = tuple[str | int, ...]
"""The way to a value: keys and indices."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a file as YAML; line 0 is the file as a whole."""

    line: int
    place: Place
    message: str


_TAG: Final = "tag:yaml.org,2002:"
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "str": lambda text: text.encode().decode(),  # an escaped half of a surrogate pair is no text
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
}
_KINDS: Final = {yaml.MappingNode: {"map"}, yaml.SequenceNode: {"seq"}, yaml.ScalarNode: _READERS.keys()}


class _TooMuch(Exception):
    def __init__(self, mark: Any, message: str) -> None:  # noqa: ANN401 - the library has two kinds
        self.line = mark.line + 1 if mark else 1
        super().__init__(message)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the library's own attribute


for _kind, _shape, _initials in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,18}", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_shape})\\Z"), _initials)


@dataclass(frozen=True)
class Document:
    """One file, read: its value, where each part of it is, and what is wrong with it as YAML."""

    file: str
    value: object = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    flaws: Sequence[Flaw] = ()

    def line(self, place: Place) -> int:
        """Return the line of what is at *place*, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


Parser = Callable[[bytes, str], Document]
"""Reads the content of a file of that name."""


def read_all(paths: Sequence[Path] | Path, parsers: Mapping[str, Parser] | None = None) -> list[Document]:
    """Return all files that *paths* mean, a folder being all its `*.yaml` in the order of their names.

    *parsers* read files of other suffixes, and count in folders as well.
    """
    known: Mapping[str, Parser] = {".yaml": parse, **(parsers or {})}
    documents: dict[Path, Document] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        if path.is_dir():
            found = sorted(each for each in path.glob("*") if each.suffix in known and not each.name.startswith("."))
            if not found:
                named = " or ".join(f"*{suffix}" for suffix in known)
                documents[path] = _failed(str(path), 0, f"no file here is named {named}")
        else:
            found = [path]
        documents |= {each: read(each, known.get(each.suffix, parse)) for each in found if each not in documents}
    return list(documents.values())


def read(path: Path, parser: Parser | None = None) -> Document:
    """Return what is in the file *path*, by *parser* if not YAML; what is wrong with it is in the document's flaws."""
    try:
        # Not blocking: a pipe would keep us waiting for somebody to write to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return _failed(str(path), 0, "is no file")
            content = stream.read(LARGEST + 1)
    except OSError as error:
        return _failed(str(path), 0, f"cannot be read: {error.strerror}")
    if len(content) > LARGEST:
        return _failed(str(path), 0, f"has more than {LARGEST} octets: split it")
    return (parser or parse)(content, str(path))


def parse(content: bytes, file: str) -> Document:
    r"""Return what the YAML in *content* says; *file* is its name.

    >>> document = parse(b"on: quota\nmode: off", "a.yaml")
    >>> document.value, document.line(("mode",))
    ({'on': 'quota', 'mode': 'off'}, 2)
    """
    try:
        root = _compose(content)
        if root is None:
            return _failed(file, 1, "is empty: it needs `version: 1` and `subscriptions:`")
        reading = _Reading()
        value = reading.value(root, ())
    except _TooMuch as error:
        return _failed(file, error.line, str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _failed(file, mark.line + 1 if mark else 1, _problem(error, content))
    except yaml.reader.ReaderError as error:
        line = content[: error.position].count(b"\n") + 1
        return _failed(file, line, f"is no text: {error.reason}")
    except yaml.YAMLError as error:
        return _failed(file, 1, str(error))
    return Document(file, value, reading.lines, tuple(reading.flaws))


def _failed(file: str, line: int, message: str) -> Document:
    return Document(file, flaws=(Flaw(line, (), message),))


def _compose(content: bytes) -> yaml.Node | None:
    # Counted as events first: composing is recursive, and a deep file would end it in the middle.
    depth = 0
    for count, event in enumerate(yaml.parse(content, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or count > MOST:
            what = f"{DEEPEST} levels" if depth > DEEPEST else f"{MOST} values"
            raise _TooMuch(event.start_mark, f"has more than {what}")
    return yaml.compose(content, Loader=_Loader)


def _problem(error: yaml.MarkedYAMLError, content: bytes) -> str:
    problem, mark, begun = error.problem or "cannot be read", error.problem_mark, error.context_mark
    if mark is None:
        return f"no YAML: {problem}"
    if "'\\t'" in problem:
        return "a tab: YAML is indented with blanks"
    text = content.decode("utf-8", "replace").splitlines()
    shown = text[mark.line].strip()[:60] if mark.line < len(text) else "the end"
    within = f", {error.context} since line {begun.line + 1}" if begun and begun.line != mark.line else ""
    return f"no YAML: {problem} at column {mark.column + 1} of {shown!r}{within}"


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
        self.lines.setdefault(place, node.start_mark.line + 1)
        kind = node.tag.removeprefix(_TAG)
        line = node.start_mark.line + 1
        if kind not in _KINDS[type(node)]:
            self._wrong(line, place, f"has the tag {node.tag[:60]}: plain values only")
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, at)) for at, each in enumerate(node.value)]
        try:
            return _READERS.get(kind, str)(node.value)
        except ValueError:
            self._wrong(line, place, f"{node.value[:60]!r} is no {'text' if kind == 'str' else kind}")
            return None

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(line, place, "a key is no word; a template such as {{ ... }} has to be in quotes")
                continue
            name = key.value
            if name in seen:
                self._wrong(line, (*place, name), f"is here twice, first in line {seen[name]}")
                continue
            seen[name] = line
            self.lines[*place, name] = line
            yield name, self.value(value, (*place, name))

    def _wrong(self, line: int, place: Place, message: str) -> None:
        self.flaws.append(Flaw(line, place, message))
