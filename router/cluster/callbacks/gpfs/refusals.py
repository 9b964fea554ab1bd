"""The file that stores refusals of GPFS and the events that Python callbacks ask for; GPFS stores neither.

Refused events are not tried again at each run.  Events of Python callbacks are registered in addition to those of the
settings.  The file is replaced as a whole, under a lock.  If it is lost, refused events are tried and refused once
more, and Python callbacks must ask for their events again.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ....errors import StateError
from .wanted import Registration


class Remembered(BaseModel):
    """The contents of the file.

    *split* holds the identifiers of families that GPFS refuses as a group; *lacking* gives GPFS's message for each
    event that it refuses; *asked* gives the events that each Python callback needs, by its identifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    split: frozenset[str] = frozenset()
    lacking: Mapping[str, str] = {}
    asked: Mapping[str, tuple[str, ...]] = {}

    def parts(self, wanted: Registration) -> list[Registration]:
        """Return the registrations to make for *wanted*: one group, or one for each event that this release has."""
        there = [each for each in wanted.events if each not in self.lacking]
        if there and wanted.identifier not in self.split:
            return [wanted]
        return [each for each in wanted.singles() if each.events[0] in there]


class Memory:
    """The file *path*; its folder is created when something is first stored."""

    def __init__(self, path: Path) -> None:
        """Use *path*; nothing is read or written yet."""
        self._path = path

    def read(self) -> Remembered:
        """Return the contents, empty if the file does not exist.  Raises StateError."""
        try:
            return Remembered.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            raise StateError(f"gpfs.memory {self._path} cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            advice = "remove the file, and clusterbus tries refused events again"
            raise StateError(f"gpfs.memory {self._path} is not valid: {where}: {first['msg']}; {advice}") from error

    def change(self, how: Callable[[Remembered], Remembered]) -> Remembered:
        """Replace the contents by the result of *how*; call this only while `locked`.  Raises StateError."""
        before = self.read()
        after = how(before)
        if after != before:
            try:
                self._write(after)
            except OSError as error:
                raise StateError(f"gpfs.memory {self._path} cannot be written: {error}") from error
        return after

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock; the kernel releases it if the process dies.  Raises StateError if another holds it."""
        path = self._path.with_name(f"{self._path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"gpfs.memory {path} cannot be locked: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"another process is registering callbacks and has locked {path}: wait until it has finished"
            ) from None
        else:
            yield
        finally:
            os.close(descriptor)

    def _write(self, remembered: Remembered) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(remembered.model_dump_json(indent=1))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
