"""What clusterbus remembers of registering: a file beside GPFS, which keeps nothing of that itself.

What GPFS refused, so that it is not tried again at each look; and the events that Python callbacks ask for, which are
wanted besides those of the settings.  Replaced whole, changed under a lock.  Where the file is lost, what was refused
is tried and refused once more, and what was asked for has to be asked for again.
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

from ...errors import StateError


class Remembered(BaseModel):
    """What is remembered.

    *split* are identifiers of families that GPFS does not take as a group; *lacking* gives for events that it does not
    take at all what it said; *asked* the events that each callback of that identifier needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    split: frozenset[str] = frozenset()
    lacking: Mapping[str, str] = {}
    asked: Mapping[str, tuple[str, ...]] = {}


class Memory:
    """The file *path*; its folder is made when something is first remembered."""

    def __init__(self, path: Path) -> None:
        """Touch nothing yet."""
        self._path = path

    def read(self) -> Remembered:
        """Return what is remembered, nothing where there is no file yet.  Raises StateError."""
        try:
            return Remembered.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            raise StateError(f"gpfs.memory {self._path} cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            advice = "remove it, and what was refused is tried again"
            raise StateError(f"gpfs.memory {self._path} is not ours: {where}: {first['msg']}; {advice}") from error

    def change(self, how: Callable[[Remembered], Remembered]) -> Remembered:
        """Replace what is remembered by what *how* makes of it; for who has it locked.  Raises StateError."""
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
        """Keep others from registering meanwhile; the kernel gives it up when its holder dies.  Raises StateError."""
        path = self._path.with_name(f"{self._path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"gpfs.memory {path} cannot be locked: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"somebody else is registering callbacks: {path} is locked; wait for them") from None
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
