"""Secrets by reference: read when needed, so that a change takes effect at once, and never shown.

A reference is `file:/path` or `env:NAME`.  Errors name the reference; the value is in no message, plan, log or store.
A secret that was read is hidden in everything that this process logs (`router/redaction.py`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from router import redaction, trust
from router.references import ENVIRONMENT, FILE, is_reference

from ..errors import SecretError
from ..processes import executables
from ..processes.service_unit import runs_as

LARGEST = 65536
"""Octets of a secret at most."""

_BREAKS = re.compile(r"[\r\n\t]+")
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG}


def read(reference: str, environment: Mapping[str, str] = os.environ, *, lines: bool = False) -> str:
    """Return the secret that *reference* names, without blanks and newlines at its end; only *lines* allows several.

    Raises SecretError where it is missing or unusable, which waiting does not change, and OSError for a disk error.
    """
    if not is_reference(reference):
        raise SecretError("not a reference to a secret: write file:/absolute/path or env:NAME")
    if reference.startswith(ENVIRONMENT):
        text = environment.get(reference.removeprefix(ENVIRONMENT))
        if text is None:
            raise SecretError(f"secret {reference}: the environment of the consumer has no such variable")
    else:
        text = _content(reference)
    text = text.removeprefix("\ufeff").rstrip()
    if not text:
        raise SecretError(f"secret {reference}: is empty")
    if not all(each.isprintable() for each in (_BREAKS.split(text) if lines else [text])):
        raise SecretError(f"secret {reference}: must be one line of plain text")
    redaction.remember(text)
    return text


def problem(reference: str, environment: Mapping[str, str] = os.environ, *, lines: bool = False) -> str:
    """Return what is wrong with *reference* on this machine now, an empty text if nothing; for checks.

    *lines* is as in `read`.
    """
    try:
        read(reference, environment, lines=lines)
        if reference.startswith(FILE):
            path = Path(reference.removeprefix(FILE))
            mode = stat.S_IMODE(path.stat().st_mode)
            if not executables.access(path, os.R_OK, runs_as()):
                return f"secret {reference}: the consumer's user may not read it: change its group or mode"
            if mode & stat.S_IROTH:
                return f"secret {reference}: all users can read it (mode {mode:04o}): run chmod 0640"
    except SecretError as error:
        return str(error)
    except OSError as error:
        return f"secret {reference}: {error.strerror}"
    return ""


def _content(reference: str) -> str:
    path = reference.removeprefix(FILE)
    try:
        # Without O_NONBLOCK a FIFO without a writer blocks for ever; for a file it changes nothing.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise SecretError(f"secret {reference}: is not a regular file")
            if found := trust.problem(path, file):
                raise SecretError(f"secret {reference}: {found}")
            octets = os.read(file, LARGEST + 1)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno in _GONE:
            raise SecretError(f"secret {reference}: {error.strerror}") from error
        raise OSError(error.errno, f"secret {reference}: {error.strerror}") from error
    if len(octets) > LARGEST:
        raise SecretError(f"secret {reference}: is larger than {LARGEST} octets")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretError(f"secret {reference}: is not UTF-8 text") from None
