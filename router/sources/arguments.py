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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..catalogue import Catalogue, Variable
from ..events import Value

ARGUMENTS = "arguments"
"""Where in the data those arguments are that belong to no variable."""

_NAME = re.compile(r"--([A-Za-z][A-Za-z0-9_]{0,99}(?:\.[A-Za-z]{1,20})?)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")

Absent = Callable[[str, str, Catalogue], bool]
"""Whether the text given for a variable of this name says that it does not apply."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The values of an event, and the names of those that did not fit their type."""

    data: dict[str, Value]
    malformed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Given:
    """One flag as it was given, the variable that it means, and the words of its value so far."""

    flag: str
    name: str
    variable: Variable | None
    words: list[str] = field(default_factory=list)

    @property
    def is_text(self) -> bool:
        return self.variable is not None and self.variable.type == "text"


def nothing(text: str, name: str, catalogue: Catalogue) -> bool:  # noqa: ARG001 - the shape of Absent
    """Say that only nothing at all means that a variable does not apply."""
    return not text


def decode(arguments: Sequence[str], catalogue: Catalogue, absent: Absent = nothing) -> Decoded:
    """Return *arguments* as values by the variables of *catalogue*; never raises, and loses none of them."""
    left, given = _split(arguments, catalogue)
    data: dict[str, Value] = {}
    malformed: dict[str, None] = {}
    for name, each, others in _each_once(given, catalogue, absent):
        left += others
        data[name], fits = _value(each, catalogue, absent)
        if not fits:
            malformed[name] = None
    if left:
        data[ARGUMENTS] = texts = [escaped(each) for each in left]
        if texts != left:
            malformed[ARGUMENTS] = None
    return Decoded(data, tuple(malformed))


def escaped(text: str) -> str:
    r"""Return *text* with each byte that was no UTF-8 written as `\xe9`, so that it can be written anywhere.

    >>> print(escaped("caf\udce9"))
    caf\xe9
    """
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    # U+DC80 to U+DCFF is how capture writes the bytes 80 to ff; any other surrogate was never a byte.
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def _split(arguments: Iterable[str], catalogue: Catalogue) -> tuple[list[str], list[_Given]]:
    left: list[str] = []
    given: list[_Given] = []
    for each in arguments:
        flag = _flag(each, catalogue) if each.startswith("--") else None
        last = given[-1] if given else None
        if flag and (flag.variable or not (last and last.is_text and last.words)):
            given.append(flag)
        else:
            (last.words if last else left).append(each)
    return left, given


def _flag(text: str, catalogue: Catalogue) -> _Given | None:
    if known := catalogue.variables.get(text[2:]):
        return _Given(text, known.name, known)
    match = _NAME.match(text)
    if match is None or match[1] == ARGUMENTS:
        return None
    variable = catalogue.variable(match[1])
    return _Given(text, variable.name if variable else match[1], variable)


def _each_once(
    given: Iterable[_Given], catalogue: Catalogue, absent: Absent
) -> Iterator[tuple[str, _Given, list[str]]]:
    """Return each name, what counts for it, and the arguments of what else was given under it."""
    by_name: dict[str, list[_Given]] = {}
    for each in given:
        by_name.setdefault(each.name, []).append(each)
    for name, several in by_name.items():
        if len(several) == 1:
            yield name, several[0], []
            continue
        said = [each for each in several if not absent(" ".join(each.words), name, catalogue)]
        counts = (said or several)[-1]
        others = [each for each in said if each.words != counts.words]
        yield name, counts, [word for each in others for word in (each.flag, *each.words)]


def _value(given: _Given, catalogue: Catalogue, absent: Absent) -> tuple[Value, bool]:
    """Return the value, and whether it fits its type."""
    text = " ".join(given.words)
    if absent(text, given.name, catalogue):
        return None, True
    clean = escaped(text)
    if clean != text:
        return clean, False
    try:
        return given.variable.value(text) if given.variable else text, True
    except ValueError:
        return text, False
