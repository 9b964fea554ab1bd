"""References to secrets: the place where a secret is kept, which may be shown, instead of the secret."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from ..references import REFERENCE, is_reference, looks_like_one
from .field_types import Checked, in_any_case, whole

_BARE = frozenset(("mailto", "mailtos", "syslog"))
"""Services whose address may hold no secret, such as a mail server that accepts mail without a password."""

_SECRET = "pass|pw|token|key|secret|user|pgp"  # noqa: S105 - names only
_BARE_ONLY = rf"(?!//[^/?#]*[^/?#:@][^/?#]*@)(?![\s\S]*[?&;]\+?(?:{in_any_case(_SECRET)}))"
_ADDRESS = rf"{REFERENCE}|(?:{in_any_case('|'.join(sorted(_BARE)))}):{_BARE_ONLY}[\s\S]*"


def _reference(value: str) -> str:
    if not is_reference(value):
        # The message does not repeat the value, which may be the secret itself.
        raise ValueError(
            "is not a reference to a secret: write file:/absolute/path or env:NAME, never the secret itself"
        )
    return value


def _address(value: str) -> str:
    """Return *value*, a reference or the address of a service without a secret.  No error repeats the value."""
    if is_reference(value):
        return value
    if looks_like_one(value):
        raise ValueError("is not a reference: write file:/absolute/path or env:NAME")
    try:
        parts = urlsplit(value)
        bare = not (parts.username or parts.password)
    except ValueError:
        raise ValueError("is neither a URL nor a reference: write file:/absolute/path or env:NAME") from None
    if parts.scheme not in _BARE or not bare or re.search(rf"(?i)[?&;]\+?({_SECRET})", value):
        raise ValueError(
            "the address of a service is a secret, since most hold a password or token: put it into a file and write"
            " file:/path, or env:NAME. Only mailto:// and mailtos:// without user and password, and syslog://, may be"
            " written here directly"
        )
    return value


Reference = Annotated[str, Checked(_reference, whole(REFERENCE))]
Address = Annotated[str, Checked(_address, whole(_ADDRESS))]
