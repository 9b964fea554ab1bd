r"""Arguments as our capture is called with: `--variable value...` pairs.  Pure; any list of texts is taken.

    softQuotaExceeded --fsName gpfs1 --quotaOwnerName Ann Lee --site north

- `--name` begins a value where the catalogue knows the variable, in any case.  Everything up to the next one belongs to
  the value, joined by one blank: sources cut values that hold blanks.
- `--name` of no known variable begins a value too, which stays text under that name, if it looks like a name; only
  inside the words of a free text it does not, since texts quote commands.
- What comes before the first `--name` is in `arguments`.
- Where a variable comes twice, the last value that is not null counts; the others are in `arguments`, flag and all.
- A value that does not fit its type stays text and is named in `malformed`.  So is one whose bytes were no UTF-8:
  those bytes are written `\xe9`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..catalogue import Catalogue, Variable
from ..events import Value

ARGUMENTS = "arguments"
"""Where in the data those arguments are that belong to no variable."""

_NAME = re.compile(r"--([A-Za-z][A-Za-z0-9_]{0,99}(?:\.[A-Za-z]{1,20})?)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTES = range(0xDC80, 0xDD00)

Absent = Callable[[str, str, Catalogue], bool]
"""Whether the text given for a variable of this name says that it does not apply."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The values of an event, and the names of those that did not fit their type."""

    data: dict[str, Value]
    malformed: tuple[str, ...] = ()


_Given = tuple[str, str, Variable | None, list[str]]
"""One flag as it was given, the name that it means, the variable of that name, and the words of its value.

A plain tuple: a record has a dozen of them, and the router reads thousands of records a second.
"""


def nothing(text: str, name: str, catalogue: Catalogue) -> bool:  # noqa: ARG001 - the shape of Absent
    """Say that only nothing at all means that a variable does not apply."""
    return not text


def decode(arguments: Sequence[str], catalogue: Catalogue, absent: Absent = nothing) -> Decoded:
    """Return *arguments* as values by the variables of *catalogue*; never raises, and loses none of them."""
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
    r"""Return *text* with each byte that was no UTF-8 written as `\xe9`, so that it can be written anywhere.

    >>> print(escaped("caf\udce9"))
    caf\xe9
    """
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    # So capture writes the bytes 80 to ff; any other surrogate was never a byte.
    return f"\\x{number - 0xDC00:02x}" if number in _BYTES else f"\\u{number:04x}"


def _split(arguments: Iterable[str], catalogue: Catalogue) -> tuple[list[str], list[_Given]]:
    """Return what comes before the first flag, and what was given with each flag."""
    left: list[str] = []
    given: list[_Given] = []
    words, flags, variable = left, catalogue.flags, None
    for each in arguments:
        known = flags.get(each)
        if known is not None:
            name, variable = known.name, known
        elif each.startswith("--") and (begun := _begun(each, catalogue, inside=variable if words else None)):
            name, variable = begun
        else:
            words.append(each)
            continue
        words = []
        given.append((each, name, variable, words))
    return left, given


def _begun(text: str, catalogue: Catalogue, *, inside: Variable | None) -> tuple[str, Variable | None] | None:
    """Return name and variable where *text* begins a value; *inside* is the variable whose value has begun before."""
    match = _NAME.match(text)
    if match is None or match[1] == ARGUMENTS:
        return None
    variable = catalogue.variable(match[1])
    if variable is not None:
        return variable.name, variable
    return None if inside is not None and inside.type == "text" else (match[1], None)


def _each_once(given: Iterable[_Given], left: list[str], catalogue: Catalogue, absent: Absent) -> dict[str, _Given]:
    """Return what counts for each name; the arguments of what else was given under it are added to *left*."""
    several: dict[str, list[_Given]] = {}
    for each in given:
        several.setdefault(each[1], []).append(each)
    counting = {}
    for name, those in several.items():
        said = [each for each in those if not absent(" ".join(each[3]), name, catalogue)]
        counts = counting[name] = (said or those)[-1]
        left += [word for flag, _, _, words in said if words != counts[3] for word in (flag, *words)]
    return counting


def _value(text: str, variable: Variable | None) -> tuple[Value, bool]:
    """Return the value, and whether it fits its type."""
    if not text.isascii() and (clean := escaped(text)) != text:
        return clean, False
    try:
        return variable.value(text) if variable else text, True
    except ValueError:
        return text, False
