"""Reads and replaces files in the folder of a supervisor's callbacks, and nothing outside it.

The supervisor runs these files, usually as root.  So other users must not be able to write the folder and the files,
nothing is read or written through a link, and each file is replaced as a whole.
"""

import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ....errors import SettingsError
from . import conf
from .errors import Changed, FolderMissing, NotWritten, Unsafe
from .plan import LEFTOVER, Found, Registered, Step, has_our_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 16 << 20


class Folder:
    """The folder at *path*; *owner* is the user that the supervisor runs as, by default the owner of the folder."""

    def __init__(self, path: Path, owner: str = "") -> None:
        """Use *path* and *owner*; nothing is read or written yet."""
        self.path, self._owner = path, owner

    def registered(self) -> Registered:
        """Return our files in the folder.  Raises QubeError, and SettingsError if the owner does not exist."""
        with self._opened() as (top, owner):
            return self._read(top, owner)

    @contextmanager
    def locked(self) -> Iterator["Held"]:
        """Lock the folder against other runs of `apply`.  Raises QubeError and SettingsError as `registered`."""
        with self._opened() as (top, _):
            try:
                fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Changed(f"{self.path}: another apply is running: wait until it has finished") from error
            except OSError:  # the file system has no locks; each step still checks the file that it replaces
                pass
            yield Held(self.path, top)

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        try:
            top = os.open(self.path, _FOLDER)
        except OSError as error:
            raise FolderMissing(
                f"{self.path}: {error.strerror}; create it as root, not writable by others, or set"
                " `qube.callbacks` to the supervisor_universal_callback_path of qb.conf"
            ) from error
        try:
            yield top, self._checked(os.fstat(top))
        finally:
            os.close(top)

    def _checked(self, status: os.stat_result) -> int:
        """Return the user that our files must belong to; raises Unsafe if others may write the folder."""
        try:
            owner = pwd.getpwnam(self._owner).pw_uid if self._owner else status.st_uid
        except KeyError as error:
            raise SettingsError(f"qube.owner: user {self._owner!r} does not exist on this machine") from error
        if status.st_uid not in {0, os.geteuid(), owner if self._owner else 0}:
            raise Unsafe(
                f"{self.path} belongs to user {status.st_uid}: chown it to root, or set `qube.owner` to that user"
            )
        if status.st_mode & 0o022:
            raise Unsafe(
                f"{self.path} has mode {stat.S_IMODE(status.st_mode):04o}: other users could decide what"
                " the supervisor runs; run chmod go-w on it"
            )
        return owner

    def _read(self, top: int, owner: int) -> Registered:
        names = sorted(os.listdir(top))
        files = {name: found for name in names if has_our_name(name) and (found := self._found(top, name))}
        there = self._found(top, conf.FILE)
        if there and not there.plain:
            what = f"is a link to {there.link}" if there.link else "is not a regular file"
            raise Unsafe(f"{self.path / conf.FILE} {what}: replace it by a regular file")
        if there and (there.owner not in {0, os.geteuid(), owner} or there.mode & 0o022):
            raise Unsafe(
                f"{self.path / conf.FILE} belongs to user {there.owner} and has mode {there.mode:04o}: other users"
                " could decide what the supervisor runs; chown it to root and run chmod go-w on it"
            )
        leftovers = tuple(name for name in names if name.startswith(LEFTOVER))
        return Registered(str(self.path), owner, files, there, leftovers)

    def _found(self, top: int, name: str) -> Found | None:
        found = look(top, name)
        if found and found.link and not (self.path / found.link).resolve().is_relative_to(self.path.resolve()):
            raise Unsafe(f"{self.path / name} is a link to {found.link}, outside the folder: remove it")
        return found


class Held:
    """The locked folder."""

    def __init__(self, path: Path, top: int) -> None:
        """Use the descriptor *top* of the folder at *path*."""
        self._path, self._top = path, top

    def do(self, step: Step) -> None:
        """Execute *step* completely and sync it to disk, or not at all.  Raises Changed and NotWritten."""
        if step.file.startswith(LEFTOVER):
            with suppress(FileNotFoundError):
                os.unlink(step.file, dir_fd=self._top)
            return
        if look(self._top, step.file) != step.before:
            raise Changed(f"{self._path / step.file} has changed since the plan was made: plan again")
        try:
            if step.action == "write":
                self._write(step)
            else:
                os.unlink(step.file, dir_fd=self._top)
            os.fsync(self._top)
        except OSError as error:
            hint = f"; run this as root or as user {step.owner}" if error.errno in (errno.EPERM, errno.EACCES) else ""
            raise NotWritten(f"{self._path / step.file}: {error.strerror}{hint}") from error

    def _write(self, step: Step) -> None:
        aside = f"{LEFTOVER}{step.file}"
        with suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=self._top)
        file = os.open(aside, _NEW, 0o600, dir_fd=self._top)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(step.content)
                stream.flush()
                self._give(file, step)
                os.fchmod(file, step.mode)
                os.fsync(file)
            os.rename(aside, step.file, src_dir_fd=self._top, dst_dir_fd=self._top)
        except OSError:
            with suppress(OSError):
                os.unlink(aside, dir_fd=self._top)
            raise

    def _give(self, file: int, step: Step) -> None:
        """Give *file* the owner of *step* and the group of the file that it replaces."""
        status = os.fstat(file)
        group = status.st_gid
        if step.before is not None:
            group = os.stat(step.file, dir_fd=self._top, follow_symlinks=False).st_gid
        if (status.st_uid, status.st_gid) != (step.owner, group):
            os.fchown(file, step.owner, group)


def look(top: int, name: str) -> Found | None:
    """Return the file *name* in the folder *top*, or None.  Raises NotWritten if it cannot be read."""
    try:
        status = os.stat(name, dir_fd=top, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return Found(link=os.readlink(name, dir_fd=top), plain=False, owner=status.st_uid)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return Found(plain=False, owner=status.st_uid)
        with os.fdopen(os.open(name, _FILE, dir_fd=top), "rb") as stream:
            status = os.fstat(stream.fileno())
            return Found(stream.read(_LARGEST + 1), stat.S_IMODE(status.st_mode), status.st_uid)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritten(f"{name} cannot be read: {error.strerror}") from error
