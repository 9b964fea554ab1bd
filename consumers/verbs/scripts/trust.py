"""Which files may be run: those that nobody but root and we can have put there, or can change.

A file is opened first, and what was opened is looked at, so it cannot be another by then.  The folders on the way to it
are looked at as well: with them in nobody else's hand, what its path names is what was looked at.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import ConsumerError
from ...processes import PATH

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 8
_HEAD = 256


class Refused(ConsumerError):
    """A file, or a folder on the way to it, is not one that may be run."""


class Missing(Refused):
    """It is not there."""


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """Give a descriptor of the folder *path*; raises Refused where others could change what is in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Missing(f"the folder {path} is not there") from None
    except OSError as error:
        raise Refused(f"the folder {path} cannot be opened: {error.strerror}") from error
    try:
        _check_owner(os.fstat(descriptor), f"the folder {path}")
        _check_way(path)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def file(directory: int, path: Path) -> Iterator[int]:
    """Give a descriptor of the file *path*, whose folder is open as *directory*; raises Refused."""
    name, shown = path.name, str(path)
    for _ in range(_MOST_LINKS):
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            break
        except FileNotFoundError:
            raise Missing(f"{shown} is not there") from None
        except OSError as error:
            name = _followed(directory, path, name, error)
    else:
        raise Refused(f"{shown} is a link to a link, and so on")
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Refused(f"{shown} is no regular file")
        _check_owner(facts, shown)
        yield descriptor
    finally:
        os.close(descriptor)


def words(directory: int, path: Path) -> Sequence[str]:
    """Return the command that runs the program *path*; raises Refused where it may not, or cannot, be run."""
    with file(directory, path) as descriptor:
        if path.suffix == ".py":
            return [sys.executable, "-I", str(path)]
        if path.suffix == ".pl":
            perl = shutil.which("perl", path=PATH)
            if perl is None:
                raise Refused(f"{path} needs perl, which is not on this machine")
            return [perl, str(path)]
        head = os.pread(descriptor, _HEAD, 0)
        if not head.startswith(b"#!"):
            raise Refused(f"{path} says not what runs it: begin it with #!, or name it *.py or *.pl")
        interpreter = os.fsdecode(head[2:].partition(b"\n")[0].strip().partition(b" ")[0])
        if not interpreter.startswith("/") or not os.access(interpreter, os.X_OK):
            raise Refused(f"{path} is to be run by {interpreter!r}, which is no program on this machine")
        if not os.fstat(descriptor).st_mode & 0o111:
            raise Refused(f"{path} is not executable: chmod +x")
        return [str(path)]


def _followed(directory: int, path: Path, name: str, error: OSError) -> str:
    """Return the name in the same folder that the link *name* leads to; raises Refused where it leads out of it."""
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError:
        # No link: then it is that it cannot be opened.
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    parent, _, last = target.rpartition("/")
    try:
        inside = not parent or os.path.samestat(os.stat(parent, dir_fd=directory), os.fstat(directory))
    except OSError:
        inside = False
    if not inside or last in {"", ".", ".."}:
        raise Refused(f"{path} is a link out of the folder, to {target[:200]}")
    return last


def _check_owner(facts: os.stat_result, what: str) -> None:
    if facts.st_uid not in (0, os.geteuid()):
        raise Refused(f"{what} belongs to the user {facts.st_uid}, neither to root nor to us: chown root")
    if facts.st_mode & _OTHERS:
        raise Refused(f"{what} can be written by others than its owner: chmod go-w")


def _check_way(path: Path) -> None:
    """Refuse a folder on the way to *path*, links as they stand and as they lead, that others could rename."""
    for each in {*path.absolute().parents, *path.resolve().parents}:
        facts = each.stat()
        if facts.st_uid not in (0, os.geteuid()):
            raise Refused(f"the folder {each}, on the way to {path}, belongs to the user {facts.st_uid}: chown root")
        if facts.st_mode & _OTHERS and not facts.st_mode & stat.S_ISVTX:
            raise Refused(f"the folder {each}, on the way to {path}, can be written by others: chmod go-w")
