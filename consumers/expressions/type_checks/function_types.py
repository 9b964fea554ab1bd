"""What the functions of CEL take and give, as the library has them.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .domains import TRUTHS, Domain, DomainKind, Texts, condition, truth

_SIZED: Final = ("string", "bytes", "list", "map")


@dataclass(frozen=True, slots=True)
class Signature:
    """What one form of a function takes, and gives; *target* is what it is called on, if it is called as a method."""

    target: tuple[DomainKind, ...] | None
    arguments: tuple[tuple[DomainKind, ...], ...]
    result: Domain


def _int(low: int | None = None, high: int | None = None) -> Domain:
    bounds = {name: (each, False) for name, each in (("low", low), ("high", high)) if each is not None}
    return Domain("int").having(**bounds)


_PARTS: Final[Mapping[str, Domain]] = {
    "getFullYear": _int(),
    "getMonth": _int(0, 11),
    "getDate": _int(1, 31),
    "getDayOfMonth": _int(0, 30),
    "getDayOfWeek": _int(0, 6),
    "getDayOfYear": _int(0, 365),
    "getHours": _int(0, 23),
    "getMinutes": _int(0, 59),
    "getSeconds": _int(0, 59),
    "getMilliseconds": _int(0, 999),
}
_OF_DURATIONS: Final = ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
_TRUTH: Final = Domain("bool", TRUTHS)


def _conversion(kind: DomainKind, *taken: DomainKind) -> tuple[Signature, ...]:
    return (Signature(None, (taken,), Domain(kind)),)


SIGNATURES: Final[Mapping[str, tuple[Signature, ...]]] = {
    **{name: (Signature(("string",), (("string",),), _TRUTH),) for name in ("startsWith", "endsWith", "contains")},
    "matches": (Signature(("string",), (("string",),), _TRUTH),),
    "size": (Signature(None, (_SIZED,), _int(0)), Signature(_SIZED, (), _int(0))),
    "int": _conversion("int", "int", "uint", "double", "string", "timestamp"),
    "uint": _conversion("uint", "int", "uint", "double", "string"),
    "double": _conversion("double", "int", "uint", "double", "string"),
    "string": _conversion("string", "int", "uint", "double", "string", "bytes", "timestamp", "duration"),
    "bytes": _conversion("bytes", "string", "bytes"),
    "timestamp": _conversion("timestamp", "string", "timestamp"),
    "duration": _conversion("duration", "string", "duration"),
    "dyn": (Signature(None, (("any",),), Domain("any")),),
    "type": (Signature(None, (("any",),), Domain("type")),),
    **{
        name: (
            Signature(("timestamp",), (), result),
            Signature(("timestamp",), (("string",),), result),
            *((Signature(("duration",), (), _int()),) if name in _OF_DURATIONS else ()),
        )
        for name, result in _PARTS.items()
    },
}
"""All forms of each function."""

_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}


def found(name: str, target: Domain | None, arguments: Sequence[Domain]) -> Signature | None:
    """Return the form of the function *name* that takes these, or None."""
    return next((each for each in SIGNATURES[name] if _takes(each, target, arguments)), None)


def _takes(signature: Signature, target: Domain | None, arguments: Sequence[Domain]) -> bool:
    if (signature.target is None) is not (target is None) or len(signature.arguments) != len(arguments):
        return False
    pairs = [(signature.target, target)] if signature.target and target else []
    pairs += zip(signature.arguments, arguments, strict=True)
    return all("any" in (domain.kind, *kinds) or domain.kind in (*kinds, "nothing") for kinds, domain in pairs)


def result(name: str, signature: Signature, target: Domain | None, arguments: Sequence[Domain]) -> Domain:
    """Return what the function *name* in the form *signature* gives for these operands, of the right types."""
    if name in _TESTS and target and arguments[0].values is not None:
        return _tested(name, target, [str(each) for each in arguments[0].values])
    of = target or arguments[0]
    if name == "size" and of.kind in {"list", "map"}:
        return _int(of.shortest).having(high=(of.longest, False))
    if name == "dyn":
        return of
    if name == "size" and of.texts:
        return _int(len(of.texts.lead) + 1)
    return signature.result


def _tested(name: str, target: Domain, parts: Sequence[str]) -> Domain:
    if target.values is not None:
        return truth(*(_TESTS[name](text, part) for text in target.values for part in parts))
    if target.texts is None:
        return condition(holds=True, fails=set(parts) != {""})
    return truth(*(answer for part in parts for answer in _answers(name, target.texts, part)))


def _answers(name: str, texts: Texts, part: str) -> frozenset[bool]:
    if name == "startsWith" and texts.lead.startswith(part):
        return frozenset((True,))
    starts = part.startswith(texts.lead) and texts.admits_part(part[len(texts.lead) :])
    possible = starts if name == "startsWith" else texts.admits_part(part)
    if part in texts.lead and name == "contains":
        return frozenset((True,))
    return TRUTHS if possible else frozenset((False,))
