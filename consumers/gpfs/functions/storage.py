"""The folder of function callbacks: a subscription `<id>.yaml` for each, and often the function in `<id>.py`.

Each file is replaced atomically.  The function is written before the subscription and removed after it, so that every
subscription has its function even if a program is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router import file_modes, trust
from router.model.catalogue import Catalogue
from router.settings import yaml_documents

from ...processes.job_files import sync_folder, write_whole
from ..errors import NotDone

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_MARK = "# callback: "
_MODE = 0o644
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored function callback: *reference* names the function, *digest* is the SHA-256 of a written module."""

    identifier: str
    events: tuple[str, ...]
    reference: str
    digest: str | None = None
    nodes: tuple[str, ...] = ()
    parms: tuple[str, ...] = ()
    file_system: str = ""
    fileset: str = ""
    accept: tuple[str, ...] = ()
    where: str = ""


class Folder:
    """The folder at *path*, created when the first callback is stored."""

    def __init__(self, path: Path) -> None:
        """Use the folder *path*."""
        self.path = path.absolute()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against changes by other programs.  Raises NotDone."""
        try:
            file_modes.make_shared_folder(self.path)
            if problem := trust.problem(self.path):
                raise NotDone(f"the functions in {self.path} are called: {problem}")
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise NotDone(f"consumers.callbacks {self.path} cannot be written: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def all(self) -> list[Stored]:
        """Return all stored callbacks, in order of file names.  Raises NotDone for a file in another format."""
        return [self._read(each) for each in sorted(self.path.glob("*.yaml")) if not each.name.startswith(".")]

    def get(self, identifier: str) -> Stored | None:
        """Return the callback *identifier*, or None if it does not exist.  Raises NotDone."""
        path = self._place(identifier, ".yaml")
        return self._read(path) if path.exists() else None

    def put(self, stored: Stored, catalogue: Catalogue) -> None:
        """Write the subscription of *stored*.  Raises NotDone."""
        self._write(self._place(stored.identifier, ".yaml"), subscription(stored, catalogue))

    def module(self, identifier: str) -> Path:
        """Return the path of the module of *identifier*."""
        return self._place(identifier, ".py")

    def put_module(self, identifier: str, text: str) -> None:
        """Write the module of *identifier*.  Raises NotDone."""
        self._write(self.module(identifier), text)

    def has_module(self, identifier: str) -> bool:
        """Return whether the module of *identifier* exists, with or without a subscription."""
        return self.module(identifier).exists()

    def remove(self, identifier: str) -> None:
        """Remove the subscription of *identifier*; its module stays.  Raises NotDone."""
        self._unlink(self._place(identifier, ".yaml"))

    def remove_module(self, identifier: str) -> None:
        """Remove the module of *identifier*.  Raises NotDone."""
        self._unlink(self.module(identifier))

    def _place(self, identifier: str, suffix: str) -> Path:
        return self.path / f"{_file_name(identifier)}{suffix}"

    def _write(self, path: Path, text: str) -> None:
        try:
            write_whole(path, text.encode(), _MODE)
        except OSError as error:
            raise NotDone(f"{path} cannot be written: {error}") from error

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            sync_folder(self.path)
        except OSError as error:
            raise NotDone(f"{path} cannot be removed: {error}") from error

    def _read(self, path: Path) -> Stored:
        document = yaml_documents.read(path)
        try:
            text = path.read_text(encoding="utf-8")
            mark = json.loads(next(line for line in text.splitlines() if line.startswith(_MARK))[len(_MARK) :])
            value: Any = document.value
            return _stored(mark, value["subscriptions"][0])
        except (OSError, ValueError, LookupError, StopIteration, TypeError, AttributeError) as error:
            foreign = f"was not written by clusterbus.gpfs ({type(error).__name__}: {error})"
            what = document.flaws[0].message if document.flaws else foreign
            raise NotDone(f"{path}: {what}: fix it, or remove it and the .py file of the same name") from error


def subscription(stored: Stored, catalogue: Catalogue) -> str:
    """Return the text of the subscription file of *stored*."""
    topics = [_pattern(catalogue, each) for each in stored.events]
    called: dict[str, object] = {"function": stored.reference}
    called |= {"digest": stored.digest} if stored.digest else {}
    called |= {"parms": list(stored.parms)} if stored.parms else {}
    called["joined"] = True
    mark = {
        "identifier": stored.identifier,
        "nodes": list(stored.nodes),
        "fileSystem": stored.file_system,
        **({"fileset": stored.fileset} if stored.fileset else {}),
        "accept": list(stored.accept),
    }
    lines = [
        f"# Written by clusterbus.gpfs.  Callback({stored.identifier!r}).change(...) changes it, .delete() removes it;",
        "# edits to this file are lost then.  The next line is read by programs.",
        f"{_MARK}{json.dumps(mark)}",
        "version: 1",
        "subscriptions:",
        f"  - name: {subscription_name(stored.identifier)}",
        f"    on: {_text(topics)}",
        *([f"    where: {_text(stored.where)}"] if stored.where else []),
        f"    call: {_text(called)}",
    ]
    return "\n".join(lines) + "\n"


def subscription_name(identifier: str) -> str:
    """Return the name of the subscription of the callback *identifier*, unique to it.

    >>> subscription_name("audit"), subscription_name("local_sd")
    ('callback-audit', 'callback-local-sd-5462c487')
    """
    plain = _NOT_IN_NAMES.sub("-", identifier.lower()).strip("-")[:40]
    return f"callback-{plain}" if plain == identifier else f"callback-{plain}-{_digest(identifier)}"


def _file_name(identifier: str) -> str:
    if _PLAIN.match(identifier):
        return identifier
    # The identifier has a slash or a leading dot, or is too long for a file name.
    return f"{_NOT_IN_NAMES.sub('-', identifier.lower())[:60]}~{_digest(identifier)}"


def _digest(identifier: str) -> str:
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _pattern(catalogue: Catalogue, event: str) -> str:
    found = catalogue.event(event)
    return f"{found.source}.*.{found.category}.{found.name}.*.*"


def _text(value: object) -> str:
    # JSON is valid YAML, except for lone surrogates, which these texts do not contain.
    return json.dumps(value, ensure_ascii=False)


def _stored(mark: Mapping[str, Any], entry: Mapping[str, Any]) -> Stored:
    call = entry["call"]
    return Stored(
        identifier=mark["identifier"],
        events=tuple(each.split(".")[3] for each in entry["on"]),
        reference=call["function"],
        digest=call.get("digest"),
        nodes=tuple(mark["nodes"]),
        parms=tuple(call.get("parms", ())),
        file_system=mark["fileSystem"],
        fileset=mark.get("fileset", ""),
        accept=tuple(mark["accept"]),
        where=entry.get("where") or "",
    )
