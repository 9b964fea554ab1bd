"""The folder of a supervisor's callbacks: what is in it is read and replaced, and nothing outside of it.

Whatever is there is run by the supervisor, most often as root.  So the folder and the files must be what nobody else
can write, nothing is read or written through a link, and each file is replaced as a whole.
"""

import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import SettingsError
from . import conf
from .errors import Changed, FolderMissing, NotWritten, Unsafe
from .plans import LEFTOVER, Found, Registered, Step, has_our_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 16 << 20


class Folder:
    """The folder at *path*; *owner* is who the supervisor runs as, whoever the folder belongs to if empty."""

    def __init__(self, path: Path, owner: str = "") -> None:
        """Only take note of these."""
        self.path, self._owner = path, owner

    def registered(self) -> Registered:
        """Return what is ours in it.  Raises QubeError, and SettingsError where there is no such owner."""
        with self._opened() as (top, owner):
            return self._read(top, owner)

    @contextmanager
    def locked(self) -> Iterator["Held"]:
        """Hold the folder, so that no other of us changes it.  Raises QubeError, and SettingsError as above."""
        with self._opened() as (top, _):
            try:
                fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Changed(f"{self.path}: another apply is at work: wait for it") from error
            except OSError:  # a file system without locks; each step checks what it finds all the same
                pass
            yield Held(self.path, top)

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        try:
            top = os.open(self.path, _FOLDER)
        except OSError as error:
            raise FolderMissing(
                f"{self.path}: {error.strerror}; make it, as root and for nobody else to write, or set"
                " `qube.callbacks` to the supervisor_universal_callback_path of qb.conf"
            ) from error
        try:
            yield top, self._checked(os.fstat(top))
        finally:
            os.close(top)

    def _checked(self, status: os.stat_result) -> int:
        """Return who our files are to belong to; raises Unsafe where others may write the folder."""
        try:
            owner = pwd.getpwnam(self._owner).pw_uid if self._owner else status.st_uid
        except KeyError as error:
            raise SettingsError(f"qube.owner: there is no user {self._owner!r} here") from error
        if status.st_uid not in {0, os.geteuid(), owner if self._owner else 0}:
            raise Unsafe(
                f"{self.path} belongs to user {status.st_uid}: chown it to root, or name its user as `qube.owner`"
            )
        if status.st_mode & 0o022:
            raise Unsafe(
                f"{self.path} has mode {stat.S_IMODE(status.st_mode):04o}: who may write it says what the supervisor"
                " runs; chmod go-w it"
            )
        return owner

    def _read(self, top: int, owner: int) -> Registered:
        names = sorted(os.listdir(top))
        files = {name: found for name in names if has_our_name(name) and (found := self._found(top, name))}
        there = self._found(top, conf.FILE)
        if there and not there.plain:
            what = f"is a link to {there.link}" if there.link else "is no plain file"
            raise Unsafe(f"{self.path / conf.FILE} {what}: put the file itself there")
        if there and (there.owner not in {0, os.geteuid(), owner} or there.mode & 0o022):
            raise Unsafe(
                f"{self.path / conf.FILE} belongs to user {there.owner} and has mode {there.mode:04o}: who may write it"
                " says what the supervisor runs; chown and chmod go-w it"
            )
        leftovers = tuple(name for name in names if name.startswith(LEFTOVER))
        return Registered(str(self.path), owner, files, there, leftovers)

    def _found(self, top: int, name: str) -> Found | None:
        found = look(top, name)
        if found and found.link and not self._leads_inside(found.link):
            raise Unsafe(f"{self.path / name} is a link out of the folder, to {found.link}: remove it")
        return found

    def _leads_inside(self, link: str) -> bool:
        return (self.path / link).resolve().is_relative_to(self.path.resolve())


class Held:
    """The folder while nobody else of us changes it."""

    def __init__(self, path: Path, top: int) -> None:
        """Use the descriptor *top* of the folder at *path*."""
        self._path, self._top = path, top

    def do(self, step: Step) -> None:
        """Do *step*: all of it is on the disk then, or nothing is done.  Raises Changed and NotWritten."""
        if step.file.startswith(LEFTOVER):
            with suppress(FileNotFoundError):
                os.unlink(step.file, dir_fd=self._top)
            return
        if look(self._top, step.file) != step.before:
            raise Changed(f"{self._path / step.file} has changed since the plan was made: look at a new one")
        try:
            if step.action == "write":
                self._write(step)
            else:
                os.unlink(step.file, dir_fd=self._top)
            os.fsync(self._top)
        except OSError as error:
            hint = f"; be root, or user {step.owner}" if error.errno in (errno.EPERM, errno.EACCES) else ""
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
        """Have *file* belong to whom it shall, and to the group of the one that it takes the place of."""
        status = os.fstat(file)
        group = status.st_gid
        if step.before is not None:
            group = os.stat(step.file, dir_fd=self._top, follow_symlinks=False).st_gid
        if (status.st_uid, status.st_gid) != (step.owner, group):
            os.fchown(file, step.owner, group)


def look(top: int, name: str) -> Found | None:
    """Return the file *name* in the folder *top*, None where there is none.  Raises NotWritten if it can't be read."""
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
        raise NotWritten(f"{name} can't be read: {error.strerror}") from error
