"""What the operators and functions of CEL give for domains.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from router.model.events import SEVERITIES

from ..cel_syntax.tree import Call
from . import function_types
from .domains import (
    ANY,
    NOTHING,
    NULL,
    NUMBERS,
    TRUTHS,
    Domain,
    compared,
    condition,
    is_comparable,
    is_ordered,
    joined,
    may_be_less,
    may_differ,
    may_equal,
    truth,
)

_ADDED: Final = {
    ("+", "string", "string"): "string",
    ("+", "bytes", "bytes"): "bytes",
    ("+", "list", "list"): "list",
    ("+", "timestamp", "duration"): "timestamp",
    ("+", "duration", "timestamp"): "timestamp",
    ("+", "duration", "duration"): "duration",
    ("-", "timestamp", "duration"): "timestamp",
    ("-", "timestamp", "timestamp"): "duration",
    ("-", "duration", "duration"): "duration",
    **{(sign, kind, kind): kind for sign in "+-*/" for kind in sorted(NUMBERS)},
    ("%", "int", "int"): "int",
    ("%", "uint", "uint"): "uint",
}


def described(kind: str) -> str:
    """Return *kind* in plain words, for messages."""
    words = {
        "string": "a text",
        "int": "a whole number",
        "uint": "a whole number",
        "double": "a number",
        "bool": "a condition",
        "nothing": "null",
        "any": "anything",
    }
    return words.get(kind, f"a {kind}")


def constant(kind: str, value: Any) -> Domain:  # noqa: ANN401 - a value of any type
    """Return the domain of a *value* that is written out."""
    return NULL if kind == "null" else Domain(kind, frozenset((value,)))  # type: ignore[arg-type]  # the other kinds


def presence(of: Domain, name: str) -> Domain:
    """Return what `has(of.name)` gives."""
    absent = of.null or of.absent
    if of.kind in {"any", "nothing"}:
        return Domain("bool", TRUTHS if of.kind == "any" else frozenset(), absent=True)
    if of.kind != "map":
        return Domain("nothing", wrong=f"is {described(of.kind)}, which has no parts")
    found = of.fields.get(name)
    if found is None or found.kind == "nothing":
        return condition(holds=found is None and of.item is not None, fails=True, absent=absent)
    return condition(holds=True, fails=found.absent, absent=absent)


def entry(of: Domain, key: Domain, *, absent: bool) -> Domain:
    """Return what is found in the map *of* under *key*."""
    if key.single and (found := of.fields.get(str(key.single[0]))):
        return found.having(absent=absent or found.absent)
    if of.item:
        return of.item.having(absent=True)
    return NOTHING if key.single else ANY


def among(one: Domain, items: Sequence[Domain]) -> Domain:
    """Return what `one in [items]` gives."""
    can = any(may_equal(one, each) or (one.null and each.null) for each in items)
    only = {each.single[0] for each in items if each.single}
    must = one.values is not None and one.is_usable and not one.null and one.values <= only
    return condition(holds=can, fails=not must, absent=one.absent)


def equality(one: Domain, other: Domain, *, is_equal: bool) -> Domain:
    """Return what `one == other` gives, or with *is_equal* false, `one != other`."""
    equal = may_equal(one, other) or (one.null and other.null)
    differ = may_differ(one, other) or (one.null and other.is_usable) or (other.null and one.is_usable)
    if not is_comparable(one, other) and one.is_usable and other.is_usable:
        differ = True
    can, cannot = (equal, differ) if is_equal else (differ, equal)
    return condition(holds=can, fails=cannot, absent=one.absent or other.absent)


def itself(sign: str, one: Domain) -> Domain | None:
    """Return what `one sign one` gives, or None where that is not certain: `nan` is not equal to itself."""
    kind = one.item.kind if one.kind == "list" and one.item else one.kind
    if not one.is_usable or kind in {"double", "any", "list", "map"}:
        return None
    match sign:
        case "==" | "!=":
            return truth(sign == "==", absent=one.absent)
        case "<" | "<=" | ">" | ">=" if is_ordered(one, one):
            return truth(sign in {"<=", ">="}, absent=one.absent or one.null)
    return None


def comparison(sign: str, one: Domain, other: Domain, *, absent: bool) -> Domain:
    """Return what `one sign other` gives for a *sign* such as `<`."""
    if not is_ordered(one, other):
        return Domain("nothing", wrong=f"compares {described(one.kind)} with {described(other.kind)}")
    one, other = compared(one, other), compared(other, one)
    small, large = (one, other) if sign in {"<", "<="} else (other, one)
    can = may_be_less(small, large, or_equal=sign in {"<=", ">="})
    cannot = may_be_less(large, small, or_equal=sign in {"<", ">"})
    return condition(holds=can, fails=cannot, absent=absent)


def arithmetic(sign: str, one: Domain, other: Domain, *, absent: bool) -> Domain:
    """Return what `one sign other` gives for a *sign* such as `+`."""
    if "any" in {one.kind, other.kind}:
        return Domain("any", absent=True)
    kind = _ADDED.get((sign, one.kind, other.kind))
    if kind is None:
        return Domain("nothing", wrong=f"joins {described(one.kind)} and {described(other.kind)} by {sign}")
    if sign in "/%" and kind != "double" and other.single == (0,):
        return Domain("nothing", wrong="divides by zero")
    if sign == "%" and other.single:
        most = abs(other.single[0]) - 1
        return Domain(kind, low=(-most, False), high=(most, False), absent=True)  # type: ignore[arg-type]  # a kind
    item = joined([one.item or ANY, other.item or ANY]) if kind == "list" else None
    shortest = one.shortest + other.shortest
    # Whole numbers may be divided by a variable that is zero, or be too large.
    absent = absent or kind in {"int", "uint"}
    return Domain(kind, item=item, shortest=shortest, absent=absent)  # type: ignore[arg-type]  # a kind


def negation(of: Domain, *, absent: bool) -> Domain:
    """Return what `!of` gives."""
    if of.kind not in {"bool", "any"}:
        return Domain("nothing", wrong=f"is {described(of.kind)}, and ! takes a condition")
    values = TRUTHS if of.values is None else frozenset(not each for each in of.values)
    return Domain("bool", values, absent=absent)


def minus(of: Domain, *, absent: bool) -> Domain:
    """Return what `-of` gives."""
    if of.kind not in {"int", "double", "any"}:
        return Domain("nothing", wrong=f"is {described(of.kind)}, which has no negative")
    return Domain(of.kind, absent=absent)


def called(node: Call, domains: Sequence[Domain], *, absent: bool) -> Domain:
    """Return what the call *node* gives, of which *domains* are the target, if any, and the arguments."""
    target, arguments = (domains[0], domains[1:]) if node.target else (None, domains)
    signature = function_types.found(node.name, target, arguments)
    if signature is None:
        taken = " and ".join(described(each.kind) for each in domains) or "nothing"
        return Domain("nothing", wrong=f"is not possible: {node.name}() does not take {taken} in this way")
    result = function_types.result(node.name, signature, target, arguments)
    # A conversion may fail, whatever it gets.
    return result.having(null=False, absent=absent or target is None or result.absent)


def ranked(domain: Domain) -> Domain:
    """Return the places in the order of the severities in *domain*."""
    values = SEVERITIES if domain.values is None else [each for each in domain.values if each in SEVERITIES]
    return Domain("int", frozenset(map(SEVERITIES.index, values)), absent=domain.absent or domain.values is None)


def quantified(macro: str, body: Domain, shortest: int, *, absent: bool) -> Domain:
    """Return what *macro* gives for items of which *body* holds, of a list with at least *shortest*."""
    values = (TRUTHS if body.values is None else body.values) if body.is_usable else frozenset[bool]()
    can, cannot = True in values, False in values
    may_be_empty = not shortest or absent
    match macro:
        case "exists":
            return condition(holds=can, fails=cannot or may_be_empty, absent=absent)
        case "all":
            return condition(holds=can or may_be_empty, fails=cannot, absent=absent)
        case _:
            return condition(holds=can, fails=True, absent=absent)
