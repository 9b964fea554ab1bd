"""Filters: `where` of a subscription, an expression in CEL over an event's attributes and its data.

    data.fsName == "gpfs1" && data.blockUsage > data.blockQuota

Names are the event's attributes (`type`, `node`, `severity`, ...), `data`, and `facts`, which is what is known of the
cluster (null where that is nothing).  What cannot be evaluated does not match, and says why: comparing a null is an
error in CEL, as is a variable that the event does not have.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import cel

from router.events import Event
from router.facts import Known

from . import paths
from .errors import FilterError, did_you_mean
from .paths import FACTS

LONGEST = 4096
"""Characters in an expression at the most."""

_LONGEST_REASON = 1000
_SHOWN = 60

COMPREHENSIONS = 2
"""Lists walked at the most: each further one could multiply the time of an evaluation by the length of a list."""

FUNCTIONS = frozenset(
    (
        *("size", "contains", "startsWith", "endsWith", "matches", "has", "dyn", "type"),
        *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    )
)
"""The functions that are there, as tried; the compiler takes any name and fails when it is evaluated."""

_MACROS = frozenset(("all", "exists", "exists_one", "map", "filter"))
_TYPES = frozenset(("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"))
_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)
      | (?P<text>(?:[rRbB]{0,2})(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<number>\d[\w.]*)
      | (?P<sign>&&|\|\||[=!<>]=|.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_POSITION = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")

Token = tuple[str, str]
"""The kind and the text of one piece of an expression."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event matches; where it does not because it could not be evaluated, the *reason*."""

    matched: bool
    reason: str = ""


class Filter:
    """One expression, compiled once; it may be used from any thread.

    `variables` are those of `data` that are read, and `guarded` those of them that `has(data.x)` or `"x" in data`
    asks for somewhere; `asks_for_type` says that it may tell event types apart.  `facts` are the ways to the facts
    that are read, none where it knows of none.
    """

    def __init__(self, text: str) -> None:
        """Compile *text*; raises FilterError with the position."""
        self.text = text
        if not text.strip():
            raise FilterError("is empty: leave it out, and every event matches")
        if len(text) > LONGEST:
            raise FilterError(f"{len(text)} characters are too long: {LONGEST} at the most")
        try:
            self._program = cel.compile(text)
        except (ValueError, UnicodeError) as error:
            raise FilterError(_syntax(str(error))) from error
        self._tokens = tuple(_tokens(text))
        self._check_names()
        self.asks_for_type = not {"type", "category", "dataschema"}.isdisjoint(self._program.variables())
        # Only what is read is handed over: the library copies all of it.
        self._attributes = tuple(name for name in self._program.variables() if name in Event.model_fields)
        reads = tuple(_reads(self._tokens))
        self.variables = tuple(dict.fromkeys(name for name, _ in reads))
        self.guarded = frozenset(name for name, guard in reads if guard)
        self.facts = paths.of_tokens(self._tokens, _bound(self._tokens), _MACROS)
        self._looks = paths.looks_of(self._tokens, _MACROS)

    def matches(self, event: Event, known: Known | None = None) -> Verdict:
        """Say whether *event* matches, by what is *known* of its cluster; never raises."""
        try:
            # What is absent is null, so that `subject == null` can be asked.
            names = {name: getattr(event, name) for name in self._attributes}
            if self.facts:
                values = known.values if known else None
                names[FACTS] = given = None if values is None else paths.narrowed(self.facts, values, event)
                if given is not None:
                    paths.bound(self._looks, given, event)
            result = self._program.execute(names)
        except Exception as error:  # noqa: BLE001 - the library raises a dozen kinds, for what events hold
            return Verdict(matched=False, reason=self._reason(error, event, known))
        except BaseException as error:
            # A panic in the library is no Exception, and its class cannot be imported; it ends nothing of ours.
            if type(error).__name__ != "PanicException":
                raise
            return Verdict(matched=False, reason=f"CEL failed: {error}")
        if not isinstance(result, bool):
            return Verdict(matched=False, reason=f"the result is {_cel_type(result)}, not true or false")
        return Verdict(matched=result)

    def _reason(self, error: Exception, event: Event, known: Known | None) -> str:
        if self.facts and (known is None or known.values is None):
            return f"facts are not known{f': {known.missing}' if known and known.missing else ''}"
        missing = f"; {known.missing}" if self.facts and known and known.missing else ""
        return f"{self._what(error, event)}{missing}"[:_LONGEST_REASON]

    def _what(self, error: Exception, event: Event) -> str:
        if isinstance(error, paths.TooMany):
            return str(error)
        if isinstance(error, KeyError):
            name = str(error.args[0])
            return f"the event has no data.{name}" if name in self.variables else f"there is no {name!r}"
        # The rest of the library's message is advice on CEL in general.
        what = str(error).partition(". ")[0].partition(": ")[0] if isinstance(error, TypeError) else str(error)[:500]
        kinds = [f"data.{name} is {_cel_type(event.data[name])}" for name in self.variables if name in event.data]
        return f"{what} ({', '.join(kinds)})" if kinds else what

    def _check_names(self) -> None:
        used = self._program.references()
        bound = _bound(self._tokens)
        known = {*Event.model_fields, FACTS, *bound, *_TYPES}
        for name in used["variables"]:
            if name not in known:
                raise FilterError(f"unknown name {name}{_hint(name)}")
        for name in used["functions"]:
            if name[0].isalpha() and name not in FUNCTIONS:
                raise FilterError(f"unknown function {name}(){did_you_mean(name, FUNCTIONS | _MACROS)}")
        if FACTS in bound:
            raise FilterError(f"{FACTS} is what is known of the cluster: give the items of a list another name")
        for path in paths.of_tokens(self._tokens, bound, _MACROS):
            if wrong := paths.mistake(path) or paths.too_wide(path):
                raise FilterError(wrong)
        if len(bound) > COMPREHENSIONS:
            raise FilterError(f"more than {COMPREHENSIONS} of {', '.join(sorted(_MACROS))}")


def told(asked: Filter, event: Event, known: Known | None) -> str:
    """Return in words the values that *asked* has read of the variables and the facts, nothing where it read none."""
    values: dict[str, object] = {f"data.{name}": event.data[name] for name in asked.variables if name in event.data}
    if asked.facts and known and known.values is not None:
        # That there are too many of them is told where the filter is asked.
        with suppress(paths.TooMany):
            read = paths.narrowed(asked.facts, known.values, event)
            values |= {f"{FACTS}.{name}": each for name, each in read.items()}
    said = (f"{name} is {json.dumps(each, ensure_ascii=False, default=str)[:_SHOWN]}" for name, each in values.items())
    return f" ({', '.join(said)})" if values else ""


def _hint(name: str) -> str:
    near = did_you_mean(name, (*Event.model_fields, FACTS))
    return near or f"; variables are written data.{name}, attributes are {', '.join(sorted(Event.model_fields))}"


def _tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "blank":
            yield found.lastgroup or "", found.group()


def _bound(tokens: Sequence[Token]) -> list[str]:
    """Return the name that each `.macro(name, ` binds."""
    names = []
    for five in zip(*(tokens[at:] for at in range(5)), strict=False):
        (_, dot), (_, macro), (_, bracket), (kind, name), (_, comma) = five
        if (dot, bracket, kind, comma) == (".", "(", "name", ",") and macro in _MACROS:
            names.append(name)
    return names


def _reads(tokens: Sequence[Token]) -> Iterator[tuple[str, bool]]:
    """Yield (variable, whether this asks for its presence) for each `data.x`, `data["x"]` and `"x" in data`."""
    padded = [("", "")] * 2 + list(tokens) + [("", "")] * 2
    for at in range(2, len(padded) - 2):
        if padded[at] != ("name", "data") or padded[at - 1][1] == ".":
            continue
        before, after = [each[1] for each in padded[at - 2 : at]], padded[at + 1 : at + 3]
        (_, sign), (kind, name) = after
        if sign == "." and kind == "name":
            yield name, before == ["has", "("]
        elif sign == "[" and kind == "text":
            yield name.strip("\"'"), False
        elif before[1] == "in" and padded[at - 2][0] == "text":
            yield before[0].strip("\"'"), True


def _syntax(message: str) -> str:
    found = _POSITION.search(message)
    if not found:
        return f"no CEL: {message[:200]}"
    line, column, what = found.groups()
    place = f"column {column}" if line == "1" else f"its line {line}, column {column}"
    hint = "; equality is written ==" if "token recognition error at: '=" in what else ""
    # The parser goes on to list everything that it would have taken there.
    return f"no CEL at {place}: {what.partition(' expecting ')[0]}{hint}"


def _cel_type(value: object) -> str:
    names = {type(None): "null", str: "a string", bool: "a bool", int: "an int", float: "a double", list: "a list"}
    return names.get(type(value), type(value).__name__)
