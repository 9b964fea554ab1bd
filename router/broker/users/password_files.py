"""Creates, keeps and renews the passwords of broker users, each in its own file and nowhere else.

/etc/clusterbus/secrets/nodes/nsd01/password        the current password
/etc/clusterbus/secrets/nodes/nsd01/password.new    the new password during a change; the next run continues with it
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ... import file_modes
from ...errors import SettingsError
from ...passwords import LONGEST
from .file_readers import Readers

FILE = "password"
NEW = "password.new"
_OCTETS = 32


class Passwords:
    """The passwords of users in one *folder*; raises SettingsError, whose message never contains a password."""

    def __init__(
        self,
        folder: Path,
        chance: Callable[[int], str] = secrets.token_urlsafe,
        *,
        readers: Readers = Readers(),  # noqa: B008 - it is immutable
    ) -> None:
        """Use *folder*, which is created when needed; *chance* makes a password from a number of random octets.

        *readers* are the groups that may read the files.
        """
        self._folder, self._chance, self._readers = folder, chance, readers

    def file(self, user: str) -> Path:
        """Return the path of the current password of *user*, whether or not it exists."""
        return self._folder / user / FILE

    def holding(self, user: str) -> Path:
        """Return the file with the password that *user* should have: the new one during a change."""
        return self._new(user) if self.pending(user) else self.file(user)

    def pending(self, user: str) -> bool:
        """Return whether a password change of *user* is in progress."""
        return os.path.lexists(self._new(user))

    def known(self, user: str) -> str | None:
        """Return the password that *user* should have, the new one during a change; None if there is none."""
        new = _read(self._new(user))
        return new if new is not None else _read(self.file(user))

    def made(self, user: str) -> str:
        """Return the password that *user* should have; creates one if there is none."""
        known = self.known(user)
        return self._write(self.file(user)) if known is None else known

    def misowned(self, user: str) -> list[str]:
        """Return what is wrong with owners and modes of the files of *user*, a phrase each; `repair` corrects it."""
        try:
            found = [each for path in self._existing(user) for each in self._readers.mistakes(user, path)]
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        return list(dict.fromkeys(found))

    def repair(self, user: str) -> list[str]:
        """Give the files of *user* the right owner, group and mode; return what was wrong, a phrase each."""
        wrong = self.misowned(user)
        try:
            for path in self._existing(user) if wrong else ():
                self._readers.repair(user, path)
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        return wrong

    def renewed(self, user: str) -> str:
        """Return the new password for *user*, creating it if needed; `settle` replaces the old one by it."""
        return _read(self._new(user)) or self._write(self._new(user))

    def settle(self, user: str) -> bool:
        """Make the new password of *user* the current one; return whether there was a new one."""
        try:
            self._new(user).replace(self.file(user))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        _sync(self.file(user).parent)
        return True

    def forget(self, user: str) -> bool:
        """Remove the passwords of *user*, and its folder if it is then empty; return whether there was a password."""
        found = False
        # A kill during a write leaves a temporary file.
        asides = self.file(user).parent.glob(f".{FILE}*.*")
        for path in (self._new(user), self.file(user), *asides):
            try:
                path.unlink()
                found = True
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SettingsError(f"secrets: {error}") from error
        with suppress(OSError):  # not empty: never remove the site's certificates
            self.file(user).parent.rmdir()
        return found

    def _new(self, user: str) -> Path:
        return self._folder / user / NEW

    def _existing(self, user: str) -> list[Path]:
        return [each for each in (self.file(user), self._new(user)) if os.path.lexists(each)]

    def _write(self, path: Path) -> str:
        password = self._chance(_OCTETS)
        group, mode = self._readers.wanted(path.parent.name)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            # The site decides about the folders above; our own folder is closed.
            file_modes.make_shared_folder(path.parent.parent)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if group is not None:
                os.chown(path.parent, -1, group)
                path.parent.chmod(self._readers.wanted(path.parent.name, is_folder=True)[1])
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - of a descriptor
                    if group is not None:
                        os.fchown(descriptor, -1, group)
                        os.fchmod(descriptor, mode)
                    file.write(password + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                # Complete or not at all, and never over an existing file: then `link` fails.
                os.link(aside, path)
            finally:
                aside.unlink()
            _sync(path.parent)
        except FileExistsError:
            return _read(path) or password
        except OSError as error:
            raise SettingsError(f"secrets: {error}") from error
        return password


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"secrets: {path}: {error.strerror}; it must be a regular file, not a link") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o007:
            raise SettingsError(
                f"secrets: {path} has mode {stat.S_IMODE(mode):o}, so other users can access it: run chmod 600 {path}"
            )
        content = file.read(LONGEST + 1)
    try:
        password = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password.isprintable() or not password or len(content) > LONGEST:
        raise SettingsError(
            f"secrets: {path} does not hold a password on one line: remove it, and the next run creates one"
        )
    return password


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
