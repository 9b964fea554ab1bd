"""The word of a node in records, keys and events, derived from the name by which it is reached.  Pure."""

import re
from collections.abc import Iterable

from ..errors import SettingsError

_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:.%]*:[0-9a-fA-F:.%]*")
_NO_WORD = re.compile(r"[^a-z0-9-]")
_LONGEST = 63


def is_address(name: str) -> bool:
    """Say whether *name* is an IP address, whose dots separate no labels."""
    return _ADDRESS.fullmatch(name) is not None


def label_of(name: str) -> str:
    """Return the first label of *name*; of an address, all of it.

    >>> label_of("nsd_01.example.com"), label_of("10.0.0.1")
    ('nsd_01', '10.0.0.1')
    """
    return name if is_address(name) else name.partition(".")[0]


def word_of(name: str) -> str:
    """Return the word of the node *name*, by the same rule as capture.

    >>> word_of("NSD_01.example.com"), word_of("10.0.0.1")
    ('nsd-01', '10-0-0-1')
    """
    return whole_word_of(label_of(name))


def whole_word_of(name: str) -> str:
    """Return all labels of *name* as one word.

    >>> whole_word_of("NSD01.example.com")
    'nsd01-example-com'
    """
    return _NO_WORD.sub("-", name.lower())[:_LONGEST]


def words_of(names: Iterable[str]) -> dict[str, str]:
    """Return the word of each of *names*; raises SettingsError if two of them have the same word.

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
