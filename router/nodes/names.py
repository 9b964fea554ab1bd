"""What a node is called: by who reaches it, and in records and keys.  Pure."""

import re
from collections.abc import Iterable

from ..errors import SettingsError

_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_ODD = re.compile(r"[^a-z0-9-]")


def word_of(name: str) -> str:
    """Return the word for the node *name* in records and keys: capture's own rule, and so the first label.

    >>> word_of("NSD01.example.com"), word_of("10.0.0.1")
    ('nsd01', '10-0-0-1')
    """
    label = name if _ADDRESS.fullmatch(name) else name.partition(".")[0]
    return _ODD.sub("-", label.lower())[:63]


def words_of(names: Iterable[str]) -> dict[str, str]:
    """Return the word of each of *names*; raises SettingsError where two of them have the same.

    >>> words_of(["n1.a", "n1.b"])
    Traceback (most recent call last):
    router.errors.SettingsError: nodes n1.a and n1.b would both be 'n1' in records: name one of them only
    """
    owners: dict[str, str] = {}
    for name in names:
        word = word_of(name)
        if owners.setdefault(word, name) != name:
            raise SettingsError(
                f"nodes {owners[word]} and {name} would both be {word!r} in records: name one of them only"
            )
    return {name: word for word, name in owners.items()}
