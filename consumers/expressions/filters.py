"""Filters: the field `where` of a subscription, a CEL expression over an event's attributes and data.

    data.fsName == "gpfs1" && data.blockUsage > data.blockQuota

Names are the event's attributes (`type`, `node`, `severity`, ...), `data`, `facts`, the facts of the cluster (null if
none are known), and `alert`, the alert that the event tells a change of (null if it tells none).

An expression that cannot be evaluated does not match, and returns the reason: CEL cannot compare null, or read a
variable that the event does not have.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from router.cluster.facts.views import Known
from router.errors import did_you_mean
from router.model.events import Event

from ..errors import FilterError, without_event
from . import fact_paths, fact_reads, library_errors, severities, time_zones
from .cel_syntax.parser import UnreadableExpression, parse
from .cel_syntax.tree import MACROS, Binary, Call, Constant, Macro, Name, Node, Select, binding, walk
from .costs import list_lengths, value_octets
from .fact_paths import FACTS
from .values import alert_values
from .values.alert_values import ALERT


@cache
def _cel() -> ModuleType:
    """Return the module `cel`, without the command line that it imports: that alone takes longer than most commands."""
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    import cel  # noqa: PLC0415 - see above

    # It logs each function of ours that fails, which the verdict says already.
    logging.getLogger("cel").setLevel(logging.CRITICAL)
    return cel


LONGEST = 4096
"""Most characters in an expression."""

_LONGEST_REASON = 1000
_SHOWN = 60

COMPREHENSIONS = 2
"""Most macros over lists: each further one could multiply the evaluation time by the length of a list."""

FUNCTIONS = frozenset(
    (
        *("size", "contains", "startsWith", "endsWith", "matches", "has", "dyn", "type"),
        *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
        *time_zones.PARTS,
    )
)
"""The functions that exist, as tested; the compiler accepts any name, and the evaluation fails later."""

_CONSTANTS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "NULL": "null"}
_BUILDERS = frozenset(("map", "filter"))
TYPES = frozenset(("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"))
_NAMES = frozenset((*Event.model_fields, FACTS, ALERT, *TYPES))
_POSITION = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event matches; *reason* says why the filter could not be evaluated, if so."""

    matched: bool
    reason: str = ""


class Filter:
    """One expression, compiled once; any thread may use it.

    `variables` lists the variables of `data` that it reads; `guarded` those that it tests with `has(data.x)` or
    `"x" in data`; `reads_all` means that it reads `data` as a whole too.  `asks_for_type` means that it may distinguish
    event types.  `facts` lists the paths of the facts that it reads, `about` the names of `alert.about`.
    """

    def __init__(self, text: str) -> None:
        """Compile *text*; raises FilterError with the position of the mistake."""
        self.text = text
        if not text.strip():
            raise FilterError("the filter is empty: leave it out to match every event")
        if len(text) > LONGEST:
            raise FilterError(f"the filter has {len(text)} characters, and the limit is {LONGEST}")
        self._program = _compiled(text)
        with _readable():
            self.tree = parse(text)
        self._check_names()
        self._check_loops()
        self._functions = time_zones.used(self.tree)
        with _readable():
            ordered = severities.with_order(text)
        if ordered != text:
            self._program = _compiled(ordered)
        self.asks_for_type = not {"type", "category", "dataschema"}.isdisjoint(self._program.variables())
        # Pass only the names that are read, since the library copies all of them.
        self._attributes = tuple(name for name in self._program.variables() if name in Event.model_fields)
        reads = tuple(_reads(self.tree))
        self.about = tuple(dict.fromkeys(_about(self.tree)))
        self._asks_alert = ALERT in self._program.variables()
        self.variables = tuple(dict.fromkeys(name for name, _ in reads))
        self.guarded = frozenset(name for name, guard in reads if guard)
        parts = {id(node.of) for node, _ in walk(self.tree) if isinstance(node, Select)}
        self.reads_all = any(node == Name("data") and id(node) not in parts for node, _ in walk(self.tree))
        self._looks = fact_reads.looks_of(self.tree)
        self._walks = fact_reads.looks_of(self.tree, "data") if fact_reads.bound_names(self.tree) else ()
        self._builds = sum(isinstance(each, Macro) and each.macro in _BUILDERS for each, _ in walk(self.tree))
        self._is_light = value_octets.is_light(self.tree)

    def matches(self, event: Event, known: Known | None = None) -> Verdict:
        """Return whether *event* matches, given the *known* facts of its cluster; never raises."""
        try:
            result = self.value_of(event, known)
        except FilterError as error:
            return Verdict(matched=False, reason=str(error))
        if not isinstance(result, bool):
            return Verdict(matched=False, reason=f"the result is {_cel_type(result)}, not true or false")
        return Verdict(matched=result)

    def value_of(self, event: Event, known: Known | None = None) -> object:
        """Return the value of the expression for *event*, given the *known* facts.  Raises FilterError."""
        try:
            # An absent attribute is null, so that `subject == null` works.
            names = {name: getattr(event, name) for name in self._attributes}
            if self._asks_alert:
                names[ALERT] = alert_values.for_filters(event)
            if self._walks:
                list_lengths.check(self._walks, self._builds, event)
            if self.facts:
                values = known.values if known else None
                names[FACTS] = given = None if values is None else fact_paths.narrowed(self.facts, values, event)
                if given is not None:
                    fact_paths.bound(self._looks, given, event)
            if not self._is_light or value_octets.total(event) > value_octets.SMALL:
                value_octets.check(self.tree, event)
            return self._program.execute(_cel().Context(names, self._functions) if self._functions else names)
        except Exception as error:
            # The library raises a dozen classes, depending on the event.
            raise FilterError(self._reason(error, event, known)) from error
        except BaseException as error:
            # A panic in the library is not an Exception, and its class cannot be imported.  Survive it.
            if type(error).__name__ != "PanicException":
                raise
            raise FilterError(f"CEL failed: {error}") from error

    def _reason(self, error: Exception, event: Event, known: Known | None) -> str:
        if self.facts and (known is None or known.values is None):
            return f"facts are not known{f': {known.missing}' if known and known.missing else ''}"
        missing = f"; {known.missing}" if self.facts and known and known.missing else ""
        return f"{self._what(error, event)}{missing}"[:_LONGEST_REASON]

    def _what(self, error: Exception, event: Event) -> str:
        if isinstance(error, fact_paths.TooMany):
            return str(error)
        if isinstance(error, KeyError):
            name = str(error.args[0])
            return f"the event has no data.{name}" if name in self.variables else f"there is no {name!r}"
        # The rest of the library's message is general advice about CEL.
        what = str(error).partition(". ")[0].partition(": ")[0] if isinstance(error, TypeError) else _said(error)[:500]
        kinds = [f"{name} is null" for name in self._attributes if getattr(event, name) is None]
        kinds += [f"data.{name} is {_cel_type(event.data[name])}" for name in self.variables if name in event.data]
        return f"{what} ({', '.join(kinds)})" if kinds else what

    def _check_names(self) -> None:
        for node, around in walk(self.tree):
            if isinstance(node, Name) and node.name not in _NAMES and not binding(node.name, around):
                raise FilterError(f"unknown name {node.name}{_hint(node.name, self.text)}")
            if isinstance(node, Select) and node.of == Name(ALERT) and (wrong := alert_values.mistake(node.name)):
                raise FilterError(wrong)
        for node, _ in walk(self.tree):
            if isinstance(node, Call) and node.name not in FUNCTIONS:
                near = "; write !" if node.name == "not" else did_you_mean(node.name, FUNCTIONS | MACROS)
                raise FilterError(f"unknown function {node.name}(){near}")

    def _check_loops(self) -> None:
        bound = fact_reads.bound_names(self.tree)
        for name in ("data", FACTS, ALERT):
            if name in bound:
                raise FilterError(f"{name} is a reserved name: give the items of a list another name")
        self.facts = fact_reads.paths_of(self.tree)
        for path in self.facts:
            if wrong := fact_paths.mistake(path) or fact_paths.too_wide(path):
                raise FilterError(wrong)
        if len(bound) > COMPREHENSIONS:
            raise FilterError(f"use at most {COMPREHENSIONS} of {', '.join(sorted(MACROS))}")


def shown_values(asked: Filter, event: Event, known: Known | None) -> str:
    """Return the values of the variables and facts that *asked* reads, as text; empty if it reads none."""
    values: dict[str, object] = {f"data.{name}": event.data[name] for name in asked.variables if name in event.data}
    if asked.facts and known and known.values is not None:
        # The evaluation of the filter already reports that there are too many.
        with suppress(fact_paths.TooMany):
            read = fact_paths.narrowed(asked.facts, known.values, event)
            values |= {f"{FACTS}.{name}": each for name, each in read.items()}
    shown = (f"{name} is {json.dumps(each, ensure_ascii=False, default=str)[:_SHOWN]}" for name, each in values.items())
    return f" ({', '.join(shown)})" if values else ""


def _hint(name: str, text: str) -> str:
    if name == "fold":
        return ": a filter is asked about each event before it is folded; fold is known in templates only"
    if name == "event":
        return without_event(text)
    if name in _CONSTANTS:
        return f"; write {_CONSTANTS[name]}"
    near = did_you_mean(name, (*Event.model_fields, FACTS, ALERT))
    return near or f"; write data.{name} for a variable; the attributes are {', '.join(sorted(Event.model_fields))}"


def _reads(tree: Node) -> Iterator[tuple[str, bool]]:
    """Yield (variable, whether this asks for its presence) for each `data.x`, `has(data.x)` and `"x" in data`.

    What is read of `alert` is made of variables too.
    """
    for node, _ in walk(tree):
        match node:
            case Select(Name("data"), name, tests):
                yield name, tests
            case Binary("in", Constant("string", name), Name("data")):
                yield str(name), True
            case Select(Name("alert"), name):
                yield from ((each, False) for each in alert_values.variables([name]))


def _about(tree: Node) -> Iterator[str]:
    """Yield x of each `alert.about.x` and `alert.about["x"]`."""
    of = Select(Name(ALERT), alert_values.ABOUT)
    for node, _ in walk(tree):
        match node:
            case Select(above, name) if above == of:
                yield name
            case Binary("in", Constant("string", name), above) if above == of:
                yield str(name)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnreadableExpression as error:
        raise FilterError(f"invalid CEL: {error}") from error


def _compiled(text: str) -> Any:  # noqa: ANN401 - the library has no types
    try:
        return _cel().compile(text)
    except (ValueError, UnicodeError) as error:
        raise FilterError(_syntax(str(error), text)) from error


def _syntax(message: str, text: str) -> str:
    found = _POSITION.search(message)
    if not found:
        return f"invalid CEL: {message[:200]}"
    line, column, what = found.groups()
    place = f"column {column}" if line == "1" else f"line {line}, column {column}"
    hint = "; write == for equality" if "token recognition error at: '=" in what else ""
    before = text.split("\n")[int(line) - 1][: int(column) - 1]
    # The parser also lists every token that it would accept there.
    return f"invalid CEL at {place}: {library_errors.syntax(what.partition(' expecting ')[0], before)}{hint}"


def _cel_type(value: object) -> str:
    names = {type(None): "null", str: "a string", bool: "a bool", int: "an int", float: "a double", list: "a list"}
    return names.get(type(value), type(value).__name__)


def _said(error: Exception) -> str:
    """Return the message of the library's *error* without its advice, and without what it says of functions of ours."""
    return library_errors.evaluation(
        re.sub(r"Python function call failed: \w+: ", "", str(error).partition(". Check ")[0])
    )


def computed(text: str) -> object:
    """Return the value of the expression *text*, which reads no names.  Raises ValueError with the reason."""
    program = _cel().compile(text)
    try:
        return program.execute(_cel().Context({}, dict(time_zones.FUNCTIONS)))
    except Exception as error:  # the library raises a dozen classes
        reason = re.sub(r"^Function '\w+' error: ", "", _said(error))
        raise ValueError(" ".join(reason.split())[:200]) from error
    except BaseException as error:
        # A panic in the library is not an Exception, see above.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"CEL failed: {error}") from error
