"""What our callbacks in a Qube supervisor write, as values.  Pure.

They write flag and value as two words each, whatever the value is: a job may be called `--user`.  So every second word
is a value, blanks and flags in it or not.  What is called by hand (`capture qube failedJob --name shot 10 --id 3`) is
read as for any source.  Each variable that is not given is null.
"""

from collections.abc import Mapping, Sequence

from ...catalogue import Catalogue
from ...events import Value
from ..arguments import Decoded, escaped
from ..arguments import decode as decode_arguments


def decode(arguments: Sequence[str], catalogue: Catalogue) -> Decoded:
    """Return *arguments* as values by the variables of *catalogue*; never raises, and loses none of them.

    >>> from router.catalogue import load
    >>> data = decode(["--id", "19294", "--name", "--user", "--hosts", ""], load("qube")).data
    >>> data["id"], data["name"], data["user"], data["hosts"]
    (19294, '--user', None, None)
    """
    pairs = _pairs(arguments, catalogue)
    decoded = decode_arguments(arguments, catalogue) if pairs is None else _values(pairs, catalogue)
    return Decoded(dict.fromkeys(catalogue.common) | decoded.data, decoded.malformed)


def _pairs(arguments: Sequence[str], catalogue: Catalogue) -> dict[str, str] | None:
    """Return the value by its variable's name; None where *arguments* are not what our callbacks write."""
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
