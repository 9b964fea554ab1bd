"""Reads the passwords that settings refer to: a file, or a variable of the environment; never shows them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from . import redaction, trust
from .errors import SettingsError
from .references import ENVIRONMENT, FILE

_SHARE = "let it: chgrp the file and its folder to a group of that user, with modes 0640 and 0750"


def of_file(file: Path, setting: str, *, absent: str = "create it", unreadable: str = _SHARE) -> str:
    """Return the password in the *file* that *setting* names, and keep it out of messages and logs from now on.

    Raises SettingsError if the file cannot be read, or is not UTF-8; it says what to do where the file is *absent* or
    *unreadable*.
    """
    if found := trust.problem(file):
        raise SettingsError(f"{setting}: {found}")
    try:
        password = file.read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError:
        # Its message contains a part of the password.
        raise SettingsError(f"{setting}: {file} is not UTF-8 text") from None
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


def _who() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
