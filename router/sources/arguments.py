r"""Decodes the arguments of capture: `--variable value...` pairs.  Pure; accepts any list of texts.

    softQuotaExceeded --fsName gpfs1 --quotaOwnerName Ann Lee --site north

- `--name` of a variable in the catalogue, in upper or lower case, starts its value.  Everything up to the next flag
  belongs to the value, joined by single blanks, because sources split values at blanks.
- `--name` of an unknown variable starts a value too, which stays text under that name.  But inside the value of a
  free text it is part of that text, because such texts quote commands.
- The arguments before the first `--name` are in `arguments`.
- If a variable comes twice, the last value that is not null counts; the others are in `arguments` with their flags.
- A value that does not fit its type stays text, and `malformed` names it.  The same holds for a value with bytes that
  are not UTF-8: those bytes appear as `\xe9`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..model.catalogue import Catalogue, Variable
from ..model.events import Value

ARGUMENTS = "arguments"
"""The name in the data for arguments that belong to no variable."""

_NAME = re.compile(r"--([A-Za-z][A-Za-z0-9_]{0,99}(?:\.[A-Za-z]{1,20})?)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTES = range(0xDC80, 0xDD00)

Absent = Callable[[str, str, Catalogue], bool]
"""Returns whether a text means that the variable of this name does not apply."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The values of an event, and the names of the values that do not fit their type."""

    data: dict[str, Value]
    malformed: tuple[str, ...] = ()


_Given = tuple[str, str, Variable | None, list[str]]
"""One flag as written, its name, its variable, and the words of its value.

A plain tuple for speed: a record has a dozen of them, and the router reads thousands of records a second.
"""


def nothing(text: str, name: str, catalogue: Catalogue) -> bool:  # noqa: ARG001 - the shape of Absent
    """Return whether *text* is empty: the variable does not apply."""
    return not text


def decode(arguments: Sequence[str], catalogue: Catalogue, absent: Absent = nothing) -> Decoded:
    """Return *arguments* as values of the variables in *catalogue*; never raises, and loses no argument."""
    left, given = _split(arguments, catalogue)
    by_name = {each[1]: each for each in given}
    if len(by_name) < len(given):
        by_name = _each_once(given, left, catalogue, absent)
    data: dict[str, Value] = {}
    malformed: list[str] = []
    for name, (_, _, variable, words) in by_name.items():
        text = words[0] if len(words) == 1 else " ".join(words)
        if absent(text, name, catalogue):
            data[name] = None
            continue
        data[name], fits = _value(text, variable)
        if not fits:
            malformed.append(name)
    if left:
        data[ARGUMENTS] = texts = [escaped(each) for each in left]
        if texts != left:
            malformed.append(ARGUMENTS)
    return Decoded(data, tuple(malformed))


def escaped(text: str) -> str:
    r"""Return *text* with each byte that is not UTF-8 written as `\xe9`, so that it is safe to write anywhere.

    >>> print(escaped("caf\udce9"))
    caf\xe9
    """
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def fitted(text: str, octets: int) -> str:
    r"""Return *text*, escaped as above, and cut so that it has at most *octets* in UTF-8.

    >>> print(fitted("caf\udce9", 20), fitted("\N{SNOWMAN}" * 3, 7))
    caf\xe9 ☃☃
    """
    if text.isascii():
        return text[:octets]
    return escaped(text[:octets]).encode()[:octets].decode("utf-8", "ignore")


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    # Capture writes the bytes 80 to ff this way; any other surrogate was never a byte.
    return f"\\x{number - 0xDC00:02x}" if number in _BYTES else f"\\u{number:04x}"


def _split(arguments: Iterable[str], catalogue: Catalogue) -> tuple[list[str], list[_Given]]:
    """Return the arguments before the first flag, and each flag with its value."""
    left: list[str] = []
    given: list[_Given] = []
    words, flags, variable = left, catalogue.flags, None
    for each in arguments:
        known = flags.get(each)
        if known is not None:
            name, variable = known.name, known
        elif each.startswith("--") and (
            started := _start_of_value(each, catalogue, inside=variable if words else None)
        ):
            name, variable = started
        else:
            words.append(each)
            continue
        words = []
        given.append((each, name, variable, words))
    return left, given


def _start_of_value(text: str, catalogue: Catalogue, *, inside: Variable | None) -> tuple[str, Variable | None] | None:
    """Return name and variable if *text* starts a value, else None; *inside* is the variable of the current value."""
    match = _NAME.match(text)
    if match is None or match[1] == ARGUMENTS:
        return None
    variable = catalogue.variable(match[1])
    if variable is not None:
        return variable.name, variable
    return None if inside is not None and inside.type == "text" else (match[1], None)


def _each_once(given: Iterable[_Given], left: list[str], catalogue: Catalogue, absent: Absent) -> dict[str, _Given]:
    """Return the value that counts for each name; the arguments of its other values are added to *left*."""
    several: dict[str, list[_Given]] = {}
    for each in given:
        several.setdefault(each[1], []).append(each)
    counting = {}
    for name, values in several.items():
        present = [each for each in values if not absent(" ".join(each[3]), name, catalogue)]
        counts = counting[name] = (present or values)[-1]
        left += [word for flag, _, _, words in present if words != counts[3] for word in (flag, *words)]
    return counting


def _value(text: str, variable: Variable | None) -> tuple[Value, bool]:
    """Return the value, and whether it fits its type."""
    if not text.isascii() and (clean := escaped(text)) != text:
        return clean, False
    try:
        return variable.value(text) if variable else text, True
    except ValueError:
        return text, False
