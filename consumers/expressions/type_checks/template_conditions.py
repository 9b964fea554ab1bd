"""Checks a template by the types of what it reads: its comparisons, and the names under `fold.values`.

The checker of filters is asked about each comparison as the same expression in CEL.

Comparisons of what a filter of Jinja2 gives, or of sums, are not looked at: only those of names, their parts, and
values that are written out.  Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from jinja2 import nodes

from router.errors import did_you_mean
from router.model.events import Event

from ...config.event_samples import named
from ...errors import FilterError
from ..fact_paths import FACTS
from ..filters import Filter
from ..template_environment import ENVIRONMENT
from ..values.alert_values import ALERT
from .checker import Finding, check
from .event_domains import Selected

_TESTS: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_SIGNS: Final[Mapping[str, str]] = _TESTS | {"lteq": "<=", "gteq": ">=", "in": "in", "notin": "not in"}
"""What CEL has for the operators and the tests of Jinja2."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_CEL_ONLY: Final = re.compile(r"\bnull\b|\b(exists|contains|startsWith|endsWith|matches|timestamp|int|double|string)\(")
_FOLD: Final = nodes.Name("fold", "load")
_FOLDED: Final = (nodes.Getattr(_FOLD, "values", "load"), nodes.Getitem(_FOLD, nodes.Const("values"), "load"))
_LISTS: Final = frozenset(("names", "nodes"))
_WRITTEN_OUT: Final = frozenset(("since", "until", "age"))


def findings(text: str, events: Selected) -> Iterator[Finding]:
    """Yield what is wrong with the comparisons and the names of the valid template *text* for *events*.

    One that is true for all of *events*, and may be false for others, is not wrong: a template may be used twice.
    """
    seen, everything, tree = set[str](), Selected.everything(events.catalogues), ENVIRONMENT.parse(text)
    yield from map(Finding, filter(None, (_unknown(name, events) for name in dict.fromkeys(_folded(tree)))))
    for sign, left, right in _compared(tree):
        condition = _condition(sign, left, right, events)
        if condition is None or condition in seen:
            continue
        seen.add(condition)
        try:
            compiled = Filter(condition)
        except FilterError:
            continue  # CEL lacks some of what Jinja2 has, such as names that are reserved words
        for each in check(compiled, events):
            if each.warning or not (each.is_always or sign == "not in") or _is_wrong(compiled, everything):
                yield replace(each, message=_in_jinja(each.message))


def _folded(tree: nodes.Template) -> Iterator[str]:
    """Yield each name that *tree* reads under `fold.values`."""
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        match node:
            case nodes.Getattr(node=of, attr=name) | nodes.Getitem(node=of, arg=nodes.Const(value=str() as name)):
                if of in _FOLDED:
                    yield name


def _unknown(name: str, events: Selected) -> str:
    """Return what is wrong with `fold.values.name` where none of *events* can have it, else an empty text."""
    theirs = {variable for names in events.names.values() for variable in names["data"].fields}
    if name in theirs or not theirs:
        return ""
    everywhere = {variable for each in events.catalogues.values() for variable in each.variables}
    if name in everywhere:
        return f"{named(events.names)} cannot have fold.values.{name}"
    return f"no variable fold.values.{name}{did_you_mean(name, theirs) or did_you_mean(name, everywhere)}"


def _is_wrong(compiled: Filter, events: Selected) -> bool:
    return any(not each.warning for each in check(compiled, events))


def _compared(tree: nodes.Template) -> Iterator[tuple[str, nodes.Expr, nodes.Expr]]:
    for node in tree.find_all(nodes.Compare):
        left = node.expr
        for operand in node.ops:
            yield _SIGNS[operand.op], left, operand.expr
            left = operand.expr
    for test in tree.find_all(nodes.Test):
        if test.name in _SIGNS and test.args:
            yield _SIGNS[test.name], test.node, test.args[0]


def _condition(sign: str, left: nodes.Expr, right: nodes.Expr, events: Selected) -> str | None:
    one, other = _text(_without_default(left, right)), _text(_without_default(right, left))
    if one is None or other is None or (isinstance(left, nodes.Const) and isinstance(right, nodes.Const)):
        return None
    if sign in {"in", "not in"}:
        # In a text, Jinja2 looks for a part of it.
        variable = events.variables.get(other.removeprefix("data."))
        is_list = isinstance(right, nodes.List | nodes.Tuple) or (variable is not None and variable.type in _LISTS)
        return f"{one} in {other}" if is_list else None
    return f"{one} {sign} {other}"


def _without_default(node: nodes.Expr, other: nodes.Expr) -> nodes.Expr:
    """Return what *node* is unless its default is taken, if that default cannot be *other*, a constant."""
    match node, other:
        case nodes.Filter(node=nodes.Expr() as inner, name="default", args=[nodes.Const(value=given)]), nodes.Const():
            return inner if given != other.value else node
    return node


def _text(node: nodes.Expr) -> str | None:  # noqa: PLR0911 - one result for each kind of node
    """Return *node* in CEL, or None if it is more than a path or a constant."""
    match node:
        case nodes.Const(value=None):
            return None  # to Jinja2, what is absent is null too
        case nodes.Const(value=value):
            return json.dumps(value, ensure_ascii=False)
        case nodes.Neg(node=nodes.Const(value=int() | float() as number)):
            return f"-{number}"
        case nodes.Name(name=name):
            return name if name in Event.model_fields or name in (FACTS, ALERT) else None
        case nodes.Getattr(node=nodes.Name(name="alert"), attr=name) if name in _WRITTEN_OUT:
            return None  # a text for people, which filters have as another type
        case nodes.List(items=items) | nodes.Tuple(items=items):
            texts = [_text(each) for each in items]
            return None if None in texts else f"[{', '.join(map(str, texts))}]"
        case nodes.Getattr(node=of, attr=name) | nodes.Getitem(node=of, arg=nodes.Const(value=str() as name)):
            above = _text(of)
            part = f".{name}" if _IDENTIFIER.match(name) else f"[{json.dumps(name)}]"
            return None if above is None else above + part
        case nodes.Getitem(node=of, arg=key):
            above, within = _text(of), _text(key)
            return None if above is None or within is None else f"{above}[{within}]"
    return None


def _in_jinja(message: str) -> str:
    """Return *message* without an advice that only CEL understands."""
    said, write, meant = message.partition("; write ")
    meant = re.sub(r"\A!\((.*)\)\Z", r"not (\1)", meant)
    return said if _CEL_ONLY.search(meant) else f"{said}{write}{meant}"
