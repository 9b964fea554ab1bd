"""Reads the passwords that settings refer to: a file, or a variable of the environment; never shows them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from . import redaction, trust
from .errors import SettingsError
from .references import ENVIRONMENT, FILE

LONGEST = 1024
"""Octets of a password at most."""

_SHARE = "let it: chgrp the file and its folder to a group of that user, with modes 0640 and 0750"


def of_file(file: Path, setting: str, *, absent: str = "create it", unreadable: str = _SHARE) -> str:
    """Return the password in the *file* that *setting* names, and keep it out of messages and logs from now on.

    It is the first line.  Raises SettingsError if the file cannot be read, all users may read it, or it holds none; it
    says what to do where the file is *absent* or *unreadable*.
    """
    if found := trust.problem_of_secret(file, "a password"):
        raise SettingsError(f"{setting}: {found}")
    try:
        password = _first_line(file, setting)
    except FileNotFoundError as error:
        raise SettingsError(f"{setting}: {file}: {error.strerror} on this machine: {absent}") from error
    except PermissionError as error:
        raise SettingsError(f"{setting}: {file}: the user {_who()} may not read it: {unreadable}") from error
    except OSError as error:
        raise SettingsError(f"{setting}: {error}") from error
    redaction.remember(password)
    return password


def of_reference(text: str, setting: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the password that the reference *text* of *setting* names.  Raises SettingsError as `of_file` does."""
    if text.startswith(FILE):
        return of_file(Path(text.removeprefix(FILE)), setting)
    password = environment.get(text.removeprefix(ENVIRONMENT))
    if password is None:
        raise SettingsError(f"{setting}: {text}: the environment of this program has no such variable")
    redaction.remember(password)
    return password


def _first_line(file: Path, setting: str) -> str:
    # Whatever is there, a pipe too, is never waited for.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise SettingsError(f"{setting}: {file} is not a regular file")
        line = opened.read(LONGEST + 1).partition(b"\n")[0].rstrip(b"\r")
    if not line or len(line) > LONGEST:
        wrong = f"is longer than {LONGEST} octets" if line else "is empty"
        raise SettingsError(f"{setting}: {file} {wrong}: write the password on its first line")
    try:
        return line.decode()
    except UnicodeDecodeError:
        # Its message contains a part of the password.
        raise SettingsError(f"{setting}: {file} is not UTF-8 text") from None


def _who() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
