"""Secrets by reference: read when they are needed, so that a changed one counts at once, and never shown.

A reference is `file:/path` or `env:NAME`.  Errors name the reference; the value is in no message, plan, log or store.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from router.references import ENVIRONMENT, FILE, is_reference

from .errors import SecretError

LARGEST = 65536
"""Octets of a secret at the most."""

HIDDEN = "***"

_SHORTEST = 4
"""Shorter pieces of a secret are no secret, and would hide every other word."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG}


def read(reference: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the secret that *reference* names, less blanks and newlines at its end.

    Raises SecretError where there is none, which waiting does not mend, and OSError where the disk is to blame.
    """
    if not is_reference(reference):
        raise SecretError("no reference to a secret: it has to be file:/absolute/path or env:NAME")
    if reference.startswith(ENVIRONMENT):
        text = environment.get(reference.removeprefix(ENVIRONMENT))
        if text is None:
            raise SecretError(f"secret {reference}: there is no such variable in the environment of the consumer")
    else:
        text = _content(reference)
    text = text.rstrip()
    if not text:
        raise SecretError(f"secret {reference}: is empty")
    if not text.isprintable():
        raise SecretError(f"secret {reference}: has to be one line of plain text")
    return text


def doubt(reference: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return what is wrong with *reference* as this machine is now, nothing where all is well; for checks."""
    try:
        read(reference, environment)
        if reference.startswith(FILE):
            path = Path(reference.removeprefix(FILE))
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                return f"secret {reference}: anybody here can get at it (mode {mode:04o}): chmod 0640 or less"
    except SecretError as error:
        return str(error)
    except OSError as error:
        return f"secret {reference}: {error.strerror}"
    return ""


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return *text* with every one of *secrets* hidden, also as it is written in a URL.

    >>> scrubbed("401 for user:hunter%202@mail", ["hunter 2"])
    '401 for user:***@mail'
    """
    spellings = {form for each in secrets for form in (each, quote(each), quote(each, safe=""), unquote(each))}
    # Longest first: a part of one must not spoil the whole of another.
    for each in sorted(spellings, key=len, reverse=True):
        if len(each) >= _SHORTEST:
            text = text.replace(each, HIDDEN)
    return text


def parts(url: str) -> tuple[str, ...]:
    """Return what is secret in *url*: all of it, and each part that may turn up alone, but for the host."""
    try:
        split = urlsplit(url)
        user, password = split.username or "", split.password or ""
    except ValueError:
        return (url,)
    found = [url, url.partition("://")[2], password, user, split.query, split.path]
    found += [each for each in split.path.split("/") if each]
    found += [each.partition("=")[2] for each in re.split("[&;]", split.query)]
    if password and user:
        found.append(f"{user}:{password}")
    found += [unquote(each) for each in found]
    # Where a host would stand, many services have their first token; `hostname` would be in lower case.
    host = split.netloc.rpartition("@")[2].partition(":")[0]
    named = "." in host or host == "localhost"
    return tuple(dict.fromkeys(each for each in [*found, "" if named else host] if each and each != "/"))


def _content(reference: str) -> str:
    path = reference.removeprefix(FILE)
    try:
        # A FIFO without a writer would block for ever, hence NONBLOCK; on a file it means nothing.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise SecretError(f"secret {reference}: is no regular file")
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
        raise SecretError(f"secret {reference}: is no text in UTF-8") from None
