"""References to secrets: where one is kept, which may be shown, in place of the secret, which may not."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

FILE, ENVIRONMENT = "file:", "env:"

_REFERENCE = re.compile(r"file:/[^\0\n]*[^\0\n/]|env:[A-Za-z_][A-Za-z0-9_]*")
_BARE = frozenset(("mailto", "mailtos", "syslog"))
"""Services whose address need not hold a secret: a mail server that takes mail from us without a password."""


def is_reference(text: str) -> bool:
    """Say whether *text* is a reference: `file:/path`, absolute, or `env:NAME`.

    >>> is_reference("file:/etc/clusterbus/secrets/mail"), is_reference("env:MAIL"), is_reference("file:mail")
    (True, True, False)
    """
    return _REFERENCE.fullmatch(text) is not None


def looks_like_one(text: str) -> bool:
    """Say whether *text* was meant as a reference, well written or not."""
    return text.startswith((FILE, ENVIRONMENT))


def _reference(value: str) -> str:
    if not is_reference(value):
        # What was written may be the secret itself, so it is not repeated.
        raise ValueError("is no reference to a secret: write file:/absolute/path or env:NAME, never the secret itself")
    return value


def _address(value: str) -> str:
    """Pass a reference, or the address of a service that holds no secret; the value is never repeated."""
    if is_reference(value):
        return value
    if looks_like_one(value):
        raise ValueError("is no reference: write file:/absolute/path or env:NAME")
    try:
        parts = urlsplit(value)
        bare = not (parts.username or parts.password)
    except ValueError:
        raise ValueError("is no URL, and no reference: write file:/absolute/path or env:NAME") from None
    if parts.scheme not in _BARE or not bare or re.search(r"(?i)[?&;]\+?(pass|pw|token|key|secret|user|pgp)", value):
        raise ValueError(
            "an address of a service is a secret as a whole, since most hold a password or token: put it into a file"
            " and write file:/path, or env:NAME. Only mailto:// and mailtos:// without user and password, and"
            " syslog://, may stand here as they are"
        )
    return value


Reference = Annotated[str, AfterValidator(_reference)]
Address = Annotated[str, AfterValidator(_address)]
