"""Find the programs in the folders of a subscription that an event starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from router import network_folders
from router.model.catalogue import Catalogues, EventType
from router.model.topics import matches
from router.sources.event_selectors import narrow, select

from ...config.event_samples import Kinds, Remark, named
from ...processes import executables
from ...processes.child_process import PATH, User
from . import conf_file, qcb_file, qube_conf, trust

CONF = "handlers.conf"
LARGEST = 65536
"""Most octets in a `handlers.conf`."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its path, the patterns that start it, and the place of its line."""

    path: Path
    patterns: tuple[str, ...]
    types: tuple[EventType, ...]
    place: str

    @property
    def name(self) -> str:
        """The name under which its outcome is recorded."""
        return self.path.name

    @property
    def names_actions(self) -> bool:
        """Whether it is a list of actions rather than a program."""
        return self.path.suffix == ".qcb"

    def calls(self) -> Sequence[qcb_file.Call]:
        """Return the actions that the file names; raises trust.Refused."""
        with trust.folder(self.path.parent) as directory, trust.file(directory, self.path) as descriptor:
            content = os.pread(descriptor, qcb_file.LARGEST + 1, 0)
        try:
            return qcb_file.parse(content)
        except qcb_file.Unreadable as error:
            raise trust.Refused(f"{self.path} {error}") from error

    def words(self, user: User | None = None, search: str = PATH) -> Sequence[str]:
        """Check the program and return the command that runs it as *user*; raises trust.Refused.

        *search* is the PATH that it will have.
        """
        with trust.folder(self.path.parent) as directory:
            return trust.words(directory, self.path, user, search)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about the folder with index *folder*; *missing* if something does not exist yet."""

    folder: int
    message: str
    warning: bool = False
    missing: bool = False


class Folders:
    """The programs of several folders, reloaded when a `handlers.conf` changes.  Any thread may use it."""

    def __init__(self, paths: Sequence[Path], catalogues: Catalogues) -> None:
        """Remember *paths*; the first call of `programs` reads them."""
        self._paths, self._catalogues = tuple(paths), catalogues
        # One value that is replaced as a whole: two threads may load it at once, but never see half of it.
        self._read: tuple[object, Sequence[Program], str] | None = None

    def programs(self, topic: str) -> tuple[list[Program], str]:
        """Return the programs that an event of *topic* starts, in order of folders and lines, and what is wrong.

        What is wrong is a folder or a line that cannot be used; its previous contents are not used instead.
        """
        signature = [_signature(each) for each in self._paths]
        read = self._read
        if read is None or read[0] != signature:
            found, findings = survey(self._paths, self._catalogues)
            wrong = "; ".join(each.message for each in findings if not each.warning)
            read = self._read = (signature, found, wrong)
        return [each for each in read[1] if any(matches(pattern, topic) for pattern in each.patterns)], read[2]


def survey(paths: Iterable[Path], catalogues: Catalogues) -> tuple[list[Program], list[Finding]]:
    """Return the programs in the folders *paths*, and all findings about them."""
    found: dict[str, Program] = {}
    findings: list[Finding] = []
    for at, path in enumerate(paths):
        try:
            conf, content = _content(path)
        except trust.Refused as error:
            findings.append(Finding(at, str(error), missing=isinstance(error, trust.Missing)))
            continue
        if conf.name == CONF:
            lines, wrong = conf_file.parse(content)
        else:
            lines, wrong = qube_conf.parse(content, {each.name for each in catalogues.of("qube").events.values()})
        findings += [Finding(at, f"{conf}:{each.number}: {each.message}") for each in wrong]
        for line in lines:
            program, remarks = _program(conf, line, catalogues)
            findings += [Finding(at, f"{program.place}: {message}", warning) for message, warning in remarks]
            if line.name in found:
                other = found[line.name].place
                findings.append(Finding(at, f"{program.place}: {line.name} is also in {other}: rename one of them"))
            found.setdefault(line.name, program)
    return list(found.values()), findings


def remarks(paths: Sequence[Path], kinds: Kinds, user: User | None = None, search: str = PATH) -> Iterator[Remark]:
    """Yield mistakes and warnings about the folders *paths*, for a subscription to *kinds*.

    Their programs run as *user* with the PATH *search*.
    """
    found, findings = survey(paths, kinds.catalogues)
    for each in findings:
        message = f"{each.message}: create it before an event arrives" if each.missing else each.message
        is_warning = each.warning or each.missing
        yield Remark(("folders", each.folder), message, warning=is_warning, fault=not is_warning)
    for program in found:
        place = ("folders", paths.index(program.path.parent))
        try:
            if program.names_actions:
                program.calls()
            # What only the start can tell is not refused.
            elif problem := executables.problem(program.words(user, search)[0], user, search):
                yield Remark(place, f"{program.place}: {problem}", warning=True)
        except trust.Refused as error:
            yield Remark(place, f"{program.place}: {error}", fault=True)
        if program.types and kinds.kinds and not any(each.type in kinds.kinds for each in program.types):
            names = named(each.type for each in program.types)
            message = f"{program.place}: the subscription is not on {names}, so {program.name} never runs"
            yield Remark(place, message, warning=True)
    for at, path in enumerate(paths):
        if message := network_folders.warning(path):
            yield Remark(("folders", at), message, warning=True)
    unusable = {paths[each.folder] for each in findings if not each.warning}
    for at, path in enumerate(paths):
        idle = [] if path in unusable else _idle(path, [each.path for each in found if each.path.parent == path])
        if idle:
            more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
            message = f"{path / CONF} has no line for {', '.join(idle[:_SHOWN])}{more}: no event starts what it lacks"
            yield Remark(("folders", at), message, warning=True)


def _idle(path: Path, used: Iterable[Path]) -> list[str]:
    """Return the names of the programs in the folder *path* that are not *used*; other files may be their data."""
    with suppress(OSError):
        files = {each.stat().st_ino for each in used if each.exists()}
        return sorted(
            each.name
            for each in path.iterdir()
            if not each.name.startswith(".")
            and each.is_file()
            and each.stat().st_ino not in files
            and each.stat().st_mode & 0o111
        )
    return []


def _content(path: Path) -> tuple[Path, bytes]:
    """Return the map of the folder *path* and its content: our own, or that of Qube if there is none of ours."""
    try:
        return path / CONF, _read(path, path / CONF)
    except trust.Missing:
        if not (path / qube_conf.FILE).exists():
            raise
        return path / qube_conf.FILE, _read(path, path / qube_conf.FILE)


def _read(path: Path, conf: Path) -> bytes:
    with trust.folder(path) as directory, trust.file(directory, conf) as descriptor:
        content = os.pread(descriptor, LARGEST + 1, 0)
    if len(content) > LARGEST:
        raise trust.Refused(f"{conf} has more than {LARGEST} octets")
    return content


def _program(conf: Path, line: conf_file.Line, catalogues: Catalogues) -> tuple[Program, Sequence[tuple[str, bool]]]:
    selected = [select(each, catalogues) for each in line.patterns]
    wrong = [(each.mistake, False) for each in selected if each.mistake]
    wrong += [(each.warning, True) for each in selected if each.warning]
    patterns = narrow(pattern for each in selected for pattern in each.patterns)
    types: Mapping[str, EventType] = {kind.type: kind for each in selected for kind in each.types}
    program = Program(conf.parent / line.name, patterns, tuple(types.values()), f"{conf}:{line.number}")
    return program, wrong


def _signature(path: Path) -> object:
    """Return a value that changes when the map in *path*, or the permissions of the folder, change."""
    name = CONF if (path / CONF).exists() else qube_conf.FILE
    try:
        outer, conf = path.stat(), (path / name).stat()
    except OSError as error:
        return error.errno
    whose = (outer.st_dev, outer.st_ino, outer.st_mode, outer.st_uid)
    return (*whose, name, conf.st_dev, conf.st_ino, conf.st_size, conf.st_mtime_ns, conf.st_ctime_ns)
