"""Who may access the files that our programs create: their owner, and its group for reading."""

import os
import resource
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_MASK = 0o027
_OTHERS = stat.S_IRWXO


def restrict() -> None:
    """Give other users no access to what this program creates from now on, whatever mask it was started with.

    It leaves no image of its memory behind either, which has passwords.
    """
    os.umask(os.umask(0o077) | _MASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def make_folder(path: Path) -> None:
    """Create *path*, with mode 0700, and its missing parents.  Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_file(path: Path) -> None:
    """Create *path*, empty and with mode 0640, unless it exists.  Raises OSError.

    What root creates belongs to the owner of the folder, so that a command of root shuts no program out.
    """
    with suppress(FileExistsError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            if os.geteuid() == 0:
                folder = path.parent.stat()
                os.fchown(file, folder.st_uid, folder.st_gid)
        finally:
            os.close(file)


def make_shared_folder(path: Path) -> None:
    """Create *path* and its missing parents for all users to read, mode 0755, in spite of the umask.  Raises OSError.

    Only for what another of our users must find there.
    """
    for each in reversed((path, *path.parents)):
        with suppress(FileExistsError):
            each.mkdir()
            each.chmod(0o755)


def write_shared_file(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write *content* to *path*, whole or not at all, for all users to read, mode 0644, in spite of the umask.

    Only for what another of our users must find there.  Missing folders are created likewise.  An existing file is
    left, except with *replace*.  Raises OSError.
    """
    make_shared_folder(path.parent)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with aside.open("xb", buffering=0) as file:
            os.fchown(file.fileno(), os.geteuid(), os.getegid())
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            os.fsync(file.fileno())
        if replace:
            aside.replace(path)
        else:
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def close_to_others(paths: Iterable[Path]) -> None:
    """Take from other users all access to those of *paths* that are files of ours; the group's rights stay.

    Never to a folder: a setting may name one by mistake, such as /tmp.
    """
    for path in paths:
        _close(path, stat.S_ISREG)


def close_folder_to_others(path: Path) -> None:
    """Take from other users all access to *path* if it is a folder of ours that is not shared, as /tmp is."""
    _close(path, lambda mode: stat.S_ISDIR(mode) and not mode & stat.S_ISVTX)


def _close(path: Path, is_meant: Callable[[int], bool]) -> None:
    with suppress(OSError):
        found = path.lstat()
        if found.st_uid == os.geteuid() and is_meant(found.st_mode) and found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def open_to_others(paths: Iterable[Path]) -> list[Path]:
    """Return those of *paths* that other users may access."""
    found = []
    for path in paths:
        with suppress(OSError):
            if path.stat().st_mode & _OTHERS:
                found.append(path)
    return found
