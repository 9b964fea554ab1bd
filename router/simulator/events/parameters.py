"""Converts a parameter string to the arguments of the command.  Pure.

Recalled, not confirmed: GPFS joins all parameter strings, splits them at white space, and then replaces each word
`%name` or `%name.qualifier` by the variable's value.  So a value with blanks stays one argument.  It is not known
whether GPFS splits it again (`Behaviour.value_with_blanks`).  Quotes and backslashes have no meaning.
"""

import re
from collections.abc import Callable

from ..switches import Behaviour

QUALIFIERS = ("ip", "name", "shortName")

_WORD = re.compile(r"[^ \t\n\r\f\v]+")
_VARIABLE = re.compile(r"%([A-Za-z]+)(?:\.([A-Za-z]+))?")

Lookup = Callable[[str, str | None], str | None]


def variables(parms: str, behaviour: Behaviour) -> list[tuple[str, str | None]]:
    """Return the name and qualifier of each variable in *parms* that would be replaced, in order.

    >>> variables("-e %eventName --on %eventNode.shortName x=%fsName", Behaviour())
    [('eventName', None), ('eventNode', 'shortName')]
    """
    found = []
    for word in _WORD.findall(parms):
        matches = _VARIABLE.finditer(word) if behaviour.inside_words == "replaced" else _whole(word)
        found += [(match[1], match[2]) for match in matches]
    return found


def arguments(parms: str, lookup: Lookup, behaviour: Behaviour) -> list[str]:
    """Return the arguments from *parms*; *lookup* returns a variable's value, or None if it does not apply.

    *lookup* raises KeyError for an unknown variable: then the word is passed on unchanged.

    >>> values = {"fsName": "gpfs1", "reason": None, "rgReason": "server node failed"}
    >>> def lookup(name, qualifier):
    ...     return values[name]
    >>> arguments("--fsName %fsName --reason %reason --rgReason %rgReason", lookup, Behaviour())
    ['--fsName', 'gpfs1', '--reason', 'UNDEFINED', '--rgReason', 'server node failed']
    >>> arguments("%rgReason %reason", lookup, Behaviour(value_with_blanks="split", undefined="missing"))
    ['server', 'node', 'failed']
    """
    given: list[str] = []
    for word in _WORD.findall(parms):
        given += _replaced(word, lookup, behaviour)
    return given


def _whole(word: str) -> list[re.Match[str]]:
    match = _VARIABLE.fullmatch(word)
    return [match] if match else []


def _replaced(word: str, lookup: Lookup, behaviour: Behaviour) -> list[str]:
    if match := _VARIABLE.fullmatch(word):
        value = _value(match, lookup, behaviour)
        return [] if value is None else _split(value, behaviour)
    if behaviour.inside_words == "kept" or "%" not in word:
        return [word]
    return _split(_VARIABLE.sub(lambda match: _value(match, lookup, behaviour) or "", word), behaviour)


def _value(match: re.Match[str], lookup: Lookup, behaviour: Behaviour) -> str | None:
    """Return the replacement of *match*, or None for no argument."""
    try:
        value = lookup(match[1], match[2])
    except KeyError:
        return match[0]
    if value is not None:
        return value
    return {"word": "UNDEFINED", "empty": "", "literal": match[0], "missing": None}[behaviour.undefined]


def _split(value: str, behaviour: Behaviour) -> list[str]:
    # An empty value is still an argument: only blanks split.
    return _WORD.findall(value) if value and behaviour.value_with_blanks == "split" else [value]
