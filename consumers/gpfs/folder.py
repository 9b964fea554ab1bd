"""The folder of function callbacks: for each a subscription, `<id>.yaml`, and often the function, `<id>.py`, beside it.

Each file is replaced whole.  The function is written first and the subscription last, and removed the other way round,
so a subscription that is there has its function, whenever a program is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.catalogue import Catalogue

from .. import files
from .errors import NotDone

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_MARK = "# callback: "
_MODE = 0o644
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Stored:
    """A function callback as it is kept: *reference* is what is called, *digest* the text of it where it is ours."""

    identifier: str
    events: tuple[str, ...]
    reference: str
    digest: str | None = None
    nodes: tuple[str, ...] = ()
    parms: tuple[str, ...] = ()
    file_system: str = ""
    accept: tuple[str, ...] = ()
    where: str = ""


class Folder:
    """The folder at *path*; it is made when something is first kept."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self.path = path.absolute()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs from changing callbacks meanwhile.  Raises NotDone."""
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self.path.stat().st_mode & stat.S_IWOTH:
                raise NotDone(f"anybody may write to {self.path}, and what is in it is called: chmod o-w")
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise NotDone(f"consumers.callbacks {self.path} can't be written: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def all(self) -> list[Stored]:
        """Return what is kept, by the names of the files.  Raises NotDone for a file that is not as we write them."""
        return [self._read(each) for each in sorted(self.path.glob("*.yaml")) if not each.name.startswith(".")]

    def get(self, identifier: str) -> Stored | None:
        """Return the callback *identifier*, None where it is not here.  Raises NotDone."""
        path = self._place(identifier, ".yaml")
        return self._read(path) if path.exists() else None

    def put(self, stored: Stored, catalogue: Catalogue) -> None:
        """Keep the subscription of *stored*.  Raises NotDone."""
        self._write(self._place(stored.identifier, ".yaml"), subscription(stored, catalogue))

    def module(self, identifier: str) -> Path:
        """Return where the function of *identifier* is, or would be."""
        return self._place(identifier, ".py")

    def put_module(self, identifier: str, text: str) -> None:
        """Keep the function of *identifier*, as a module.  Raises NotDone."""
        self._write(self.module(identifier), text)

    def has_module(self, identifier: str) -> bool:
        """Say whether there is a function for *identifier*, be it without a subscription."""
        return self.module(identifier).exists()

    def remove(self, identifier: str) -> None:
        """Remove the subscription *identifier*; the function stays.  Raises NotDone."""
        self._unlink(self._place(identifier, ".yaml"))

    def remove_module(self, identifier: str) -> None:
        """Remove the function of *identifier*.  Raises NotDone."""
        self._unlink(self.module(identifier))

    def _place(self, identifier: str, suffix: str) -> Path:
        return self.path / f"{_file_name(identifier)}{suffix}"

    def _write(self, path: Path, text: str) -> None:
        try:
            descriptor, aside = tempfile.mkstemp(dir=self.path, prefix=".", suffix=".new")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    os.fchmod(file.fileno(), _MODE)
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                Path(aside).replace(path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
            self._sync()
        except OSError as error:
            raise NotDone(f"{path} can't be written: {error}") from error

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise NotDone(f"{path} can't be removed: {error}") from error

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, path: Path) -> Stored:
        document = files.read(path)
        try:
            text = path.read_text(encoding="utf-8")
            mark = json.loads(next(line for line in text.splitlines() if line.startswith(_MARK))[len(_MARK) :])
            value: Any = document.value
            return _stored(mark, value["subscriptions"][0])
        except (OSError, ValueError, LookupError, StopIteration, TypeError, AttributeError) as error:
            what = document.flaws[0].message if document.flaws else f"is none of ours ({type(error).__name__}: {error})"
            raise NotDone(f"{path}: {what}: mend or remove it, with the .py of that name") from error


def subscription(stored: Stored, catalogue: Catalogue) -> str:
    """Return the subscription file of *stored*."""
    topics = [_pattern(catalogue, each) for each in stored.events]
    called: dict[str, object] = {"function": stored.reference}
    called |= {"digest": stored.digest} if stored.digest else {}
    called |= {"parms": list(stored.parms)} if stored.parms else {}
    called["joined"] = True
    mark = {
        "identifier": stored.identifier,
        "nodes": list(stored.nodes),
        "fileSystem": stored.file_system,
        "accept": list(stored.accept),
    }
    lines = [
        f"# Written by consumers.gpfs.  Callback({stored.identifier!r}).change(...) changes it, .delete() removes it;",
        "# what is edited here is lost when it is changed.  The next line is read by programs.",
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
    """Return the name of the subscription of callback *identifier*: another for each.

    >>> subscription_name("audit"), subscription_name("local_sd")
    ('callback-audit', 'callback-local-sd-5462c487')
    """
    plain = _NOT_IN_NAMES.sub("-", identifier.lower()).strip("-")[:40]
    return f"callback-{plain}" if plain == identifier else f"callback-{plain}-{_digest(identifier)}"


def _file_name(identifier: str) -> str:
    if _PLAIN.match(identifier):
        return identifier
    # A slash, a leading dot, or longer than a name of a file may be.
    return f"{_NOT_IN_NAMES.sub('-', identifier.lower())[:60]}~{_digest(identifier)}"


def _digest(identifier: str) -> str:
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _pattern(catalogue: Catalogue, event: str) -> str:
    found = catalogue.event(event)
    return f"{found.source}.*.{found.category}.{found.name}.*.*"


def _text(value: object) -> str:
    # JSON is YAML too, but for half characters, of which our texts have none.
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
        accept=tuple(mark["accept"]),
        where=entry.get("where") or "",
    )
