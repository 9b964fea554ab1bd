"""The folders of a subscription together: which program of which folder an event starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.catalogue import Catalogues, EventType
from router.topics import matches

from ...errors import ConsumerError
from ...kinds import Kinds, Remark, named
from ...patterns import narrow, select
from . import mapping, trust

CONF = "handlers.conf"
LARGEST = 65536
"""Octets in a `handlers.conf` at the most."""


class ConfUnusable(ConsumerError):
    """What a `handlers.conf` says now cannot be used; what it said before is not used instead."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: where it is, what starts it, and the line that says so."""

    path: Path
    patterns: tuple[str, ...]
    types: tuple[EventType, ...]
    place: str

    @property
    def name(self) -> str:
        """What its outcome is recorded by."""
        return self.path.name

    def words(self) -> Sequence[str]:
        """Return the command that runs it, as it is now; raises trust.Refused."""
        with trust.folder(self.path.parent) as directory:
            return trust.words(directory, self.path)


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of the folder with that index; *missing* where it is not there, as yet."""

    folder: int
    message: str
    warning: bool = False
    missing: bool = False


class Folders:
    """What several folders map, read anew when a map has changed.  Safe in several threads."""

    def __init__(self, paths: Sequence[Path], catalogues: Catalogues) -> None:
        """Look at nothing yet."""
        self._paths, self._catalogues = tuple(paths), catalogues
        # One value that is replaced as a whole: threads may read it twice, but never half of it.
        self._read: tuple[object, Sequence[Program], str] | None = None

    def programs(self, topic: str) -> list[Program]:
        """Return what an event of *topic* starts, in the order of folders and lines.  Raises ConfUnusable."""
        signature = [_signature(each) for each in self._paths]
        read = self._read
        if read is None or read[0] != signature:
            found, told = survey(self._paths, self._catalogues)
            wrong = "; ".join(each.message for each in told if not each.warning)
            read = self._read = (signature, found, wrong)
        if read[2]:
            raise ConfUnusable(read[2])
        return [each for each in read[1] if any(matches(pattern, topic) for pattern in each.patterns)]


def survey(paths: Iterable[Path], catalogues: Catalogues) -> tuple[list[Program], list[Told]]:
    """Return the programs that the folders *paths* map, and what is to be said of them."""
    found: dict[str, Program] = {}
    told: list[Told] = []
    for at, path in enumerate(paths):
        try:
            content = _content(path)
        except trust.Refused as error:
            told.append(Told(at, str(error), missing=isinstance(error, trust.Missing)))
            continue
        lines, wrong = mapping.parse(content)
        told += [Told(at, f"{path / CONF}:{each.number}: {each.message}") for each in wrong]
        for line in lines:
            program, remarks = _program(path, line, catalogues)
            told += [Told(at, f"{program.place}: {message}", warning) for message, warning in remarks]
            if line.name in found:
                other = found[line.name].place
                told.append(Told(at, f"{program.place}: {line.name} is taken by {other}: rename one of them"))
            found.setdefault(line.name, program)
    return list(found.values()), told


def remarks(paths: Sequence[Path], kinds: Kinds) -> Iterator[Remark]:
    """Yield what is wrong with the folders *paths*, or may not have been meant, for a subscription to *kinds*."""
    found, told = survey(paths, kinds.catalogues)
    for each in told:
        message = f"{each.message}: make it before an event comes" if each.missing else each.message
        yield Remark(("folders", each.folder), message, warning=each.warning or each.missing)
    for program in found:
        place = ("folders", paths.index(program.path.parent))
        try:
            program.words()
        except trust.Refused as error:
            yield Remark(place, f"{program.place}: {error}")
        if program.types and kinds.samples and not any(each.type in kinds.samples for each in program.types):
            names = named(each.type for each in program.types)
            message = f"{program.place}: the subscription is not on {names}, so {program.name} never runs"
            yield Remark(place, message, warning=True)


def _content(path: Path) -> bytes:
    with trust.folder(path) as directory, trust.file(directory, path / CONF) as descriptor:
        content = os.pread(descriptor, LARGEST + 1, 0)
    if len(content) > LARGEST:
        raise trust.Refused(f"{path / CONF} has more than {LARGEST} octets")
    return content


def _program(path: Path, line: mapping.Line, catalogues: Catalogues) -> tuple[Program, Sequence[tuple[str, bool]]]:
    selected = [select(each, catalogues) for each in line.patterns]
    wrong = [(each.mistake, False) for each in selected if each.mistake]
    wrong += [(each.warning, True) for each in selected if each.warning]
    patterns = narrow(pattern for each in selected for pattern in each.patterns)
    types: Mapping[str, EventType] = {kind.type: kind for each in selected for kind in each.types}
    program = Program(path / line.name, patterns, tuple(types.values()), f"{path / CONF}:{line.number}")
    return program, wrong


def _signature(path: Path) -> object:
    """Return what is another where the map in *path*, or who may change it, has changed."""
    try:
        outer, conf = path.stat(), (path / CONF).stat()
    except OSError as error:
        return error.errno
    whose = (outer.st_dev, outer.st_ino, outer.st_mode, outer.st_uid)
    return (*whose, conf.st_dev, conf.st_ino, conf.st_size, conf.st_mtime_ns, conf.st_ctime_ns)
