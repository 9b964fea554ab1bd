"""References to secrets: the place where a secret is kept, which may be shown, instead of the secret."""

import re

FILE, ENVIRONMENT = "file:", "env:"

REFERENCE = r"file:/[^\0\n]*[^\0\n/]|env:[A-Za-z_][A-Za-z0-9_]*"
"""What `is_reference` accepts, as a regular expression."""

_REFERENCE = re.compile(REFERENCE)


def is_reference(text: str) -> bool:
    """Say whether *text* is a reference: `file:/path`, absolute, or `env:NAME`.

    >>> is_reference("file:/etc/clusterbus/secrets/mail"), is_reference("env:MAIL"), is_reference("file:mail")
    (True, True, False)
    """
    return _REFERENCE.fullmatch(text) is not None


def looks_like_one(text: str) -> bool:
    """Say whether *text* is meant as a reference, correct or not."""
    return text.startswith((FILE, ENVIRONMENT))
