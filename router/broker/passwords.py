"""Passwords of broker users, each in a file of its own: made, kept, renewed.  They go nowhere else.

/etc/clusterbus/secrets/nodes/nsd01/password        the one that holds
/etc/clusterbus/secrets/nodes/nsd01/password.new    one that is being changed to: what the next run goes on with
"""

from __future__ import annotations

import grp
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import SettingsError

FILE = "password"
NEW = "password.new"
_OCTETS = 32
_LONGEST = 1024


class Passwords:
    """The passwords of the users below one *folder*; raises SettingsError, which never shows one."""

    def __init__(
        self, folder: Path, chance: Callable[[int], str] = secrets.token_urlsafe, *, group: str | None = None
    ) -> None:
        """Use *folder*, which is made when it is first needed; *chance* makes a password of that many octets.

        Those that are made may be read by *group* too, where there is one of that name and we are root.
        """
        self._folder, self._chance = folder, chance
        self._group = _number(group) if group and os.geteuid() == 0 else None

    def file(self, user: str) -> Path:
        """Return where the password of *user* is kept, or would be."""
        return self._folder / user / FILE

    def holding(self, user: str) -> Path:
        """Return the file with the password that *user* is to have."""
        return self._new(user) if self.pending(user) else self.file(user)

    def pending(self, user: str) -> bool:
        """Say whether *user* is being given another one."""
        return os.path.lexists(self._new(user))

    def known(self, user: str) -> str | None:
        """Return the password that *user* is to have, None where none was made: the new one, if there is one."""
        new = _read(self._new(user))
        return new if new is not None else _read(self.file(user))

    def made(self, user: str) -> str:
        """Return the password that *user* is to have; makes one where there is none."""
        known = self.known(user)
        if known is None:
            return self._write(self.file(user))
        self._share(self.file(user))
        return known

    def renewed(self, user: str) -> str:
        """Return another password for *user*, which `settle` puts in the place of the old one; made once until then."""
        return _read(self._new(user)) or self._write(self._new(user))

    def settle(self, user: str) -> bool:
        """Have the new password of *user* be the one that holds, if there is one; say whether there was."""
        try:
            self._new(user).replace(self.file(user))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        _sync(self.file(user).parent)
        return True

    def forget(self, user: str) -> bool:
        """Remove the passwords of *user*, and its folder where that is then empty; say whether there was one."""
        found = False
        # A kill while one was written leaves it under a name of its own.
        asides = self.file(user).parent.glob(f".{FILE}*.*")
        for path in (self._new(user), self.file(user), *asides):
            try:
                path.unlink()
                found = True
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SettingsError(f"secrets: {error}") from error
        with suppress(OSError):  # not empty: a certificate is somebody else's to remove
            self.file(user).parent.rmdir()
        return found

    def _new(self, user: str) -> Path:
        return self._folder / user / NEW

    def _share(self, path: Path) -> None:
        """Let our group read *path* where it was made before there was one; what a site has set otherwise stays so."""
        if self._group is None:
            return
        try:
            status = path.lstat()
            if (status.st_uid, status.st_gid, status.st_mode) == (0, 0, stat.S_IFREG | 0o600):
                os.chown(path, -1, self._group, follow_symlinks=False)
                path.chmod(0o640)
                os.chown(path.parent, -1, self._group)
                path.parent.chmod(0o750)
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error

    def _write(self, path: Path) -> str:
        password = self._chance(_OCTETS)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            # What is above is the site's to open or close; what is ours is closed.
            _make(path.parent.parent)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if self._group is not None:
                os.chown(path.parent, -1, self._group)
                path.parent.chmod(0o750)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - of a descriptor
                    if self._group is not None:
                        os.fchown(descriptor, -1, self._group)
                        os.fchmod(descriptor, 0o640)
                    file.write(password + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                # Whole or not at all, and never over another's: a link fails where there is a file.
                os.link(aside, path)
            finally:
                aside.unlink()
            _sync(path.parent)
        except FileExistsError:
            return _read(path) or password
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        return password


def _make(folder: Path) -> None:
    """Make *folder* and those above it that are missing, to be passed through whatever our umask is."""
    for each in reversed((folder, *folder.parents)):
        with suppress(FileExistsError):
            each.mkdir()
            each.chmod(0o755)


def _number(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"secrets: {path}: {error.strerror}; it has to be a file of its own") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o007:
            raise SettingsError(
                f"secrets: {path} has mode {stat.S_IMODE(mode):o}, so others reach it: chmod 600 {path}"
            )
        content = file.read(_LONGEST + 1)
    try:
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password.isprintable() or not password or len(content) > _LONGEST:
        raise SettingsError(f"secrets: {path} holds no password of one line: remove it, and one is made")
    return password


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
