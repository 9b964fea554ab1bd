"""Decodes the arguments that our callbacks in a Qube supervisor write.  Pure.

They write each flag and each value as one word, whatever the value: a job may have the name `--user`.  So every second
word is a value, even with blanks or flags in it.  Calls by hand (`capture qube failedJob --name shot 10 --id 3`) are
decoded as for any source.  A common variable without a value is null.
"""

from collections.abc import Mapping, Sequence

from ...model.catalogue import Catalogue
from ...model.events import Value
from ..arguments import Decoded, escaped
from ..arguments import decode as decode_arguments


def decode(arguments: Sequence[str], catalogue: Catalogue) -> Decoded:
    """Return *arguments* as values of the variables in *catalogue*; never raises, and loses no argument.

    >>> from router.model.catalogue import load
    >>> data = decode(["--id", "19294", "--name", "--user", "--hosts", ""], load("qube")).data
    >>> data["id"], data["name"], data["user"], data["hosts"]
    (19294, '--user', None, None)
    """
    pairs = _pairs(arguments, catalogue)
    decoded = decode_arguments(arguments, catalogue) if pairs is None else _values(pairs, catalogue)
    return Decoded(dict.fromkeys(catalogue.common) | decoded.data, decoded.malformed)


def _pairs(arguments: Sequence[str], catalogue: Catalogue) -> dict[str, str] | None:
    """Return the values by variable name, or None if our callbacks did not write *arguments*."""
    flags, texts = arguments[::2], arguments[1::2]
    if len(flags) != len(texts) or len(set(flags)) != len(flags) or not catalogue.flags.keys() >= set(flags):
        return None
    return {catalogue.flags[flag].name: text for flag, text in zip(flags, texts, strict=True)}


def _values(pairs: Mapping[str, str], catalogue: Catalogue) -> Decoded:
    data: dict[str, Value] = {}
    malformed = []
    for name, text in pairs.items():
        data[name] = clean = escaped(text) or None
        if clean != (text or None):
            malformed.append(name)
        elif text:
            try:
                data[name] = catalogue.variables[name].value(text)
            except ValueError:
                malformed.append(name)
    return Decoded(data, tuple(malformed))
