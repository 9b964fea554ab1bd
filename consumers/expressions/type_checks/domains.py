"""Domains: which values a part of an expression can have.  Pure.

A domain may be too wide, but never too narrow: what it excludes can never be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from math import inf
from typing import Any, Final, Literal

# fmt: off
DomainKind = Literal[
    "bool", "int", "uint", "double", "string", "bytes", "list", "map", "timestamp", "duration", "type", "any", "nothing"
]
# fmt: on
"""The type of the values in CEL; `nothing` means that there are none but null, if any."""

LARGEST: Final = 2**63 - 1
"""The largest whole number of CEL, and of events."""

NUMBERS: Final = frozenset(("int", "uint", "double"))
_ORDERED: Final = frozenset((*NUMBERS, "bool", "string", "bytes", "timestamp", "duration"))

Bound = tuple[float, bool]
"""A limit, and whether it is itself excluded."""


@dataclass(frozen=True, slots=True)
class Form:
    """How each text of a kind is written: *whole* matches it, *beginning* what it may be compared with by `<`.

    Any such text is before or after other words as *sample* is.
    """

    whole: str
    beginning: str
    sample: str


@dataclass(frozen=True, slots=True)
class Texts:
    """How texts are made: *lead*, and then at least one character, all of them of the class *characters*.

    *meaning* tells texts apart that are made alike, or may be equal, but do not mean the same.
    """

    characters: str
    lead: str = ""
    meaning: str = ""
    form: Form | None = None

    def admits(self, text: str) -> bool:
        """Return whether *text* is made so."""
        if self.form and not re.fullmatch(self.form.whole, text):
            return False
        return text.startswith(self.lead) and bool(re.fullmatch(f"{self.characters}+", text[len(self.lead) :]))

    def admits_part(self, text: str) -> bool:
        """Return whether *text* may be a part of such a text."""
        return bool(re.fullmatch(f"{self.characters}*", text)) or any(each in self.lead for each in text)


@dataclass(frozen=True, slots=True)
class Domain:
    """The values of one type that are possible: with *values* only these, without those in *never*.

    *null* and *absent*: it may also be null, or be missing so that the evaluation fails.  *wrong* says why it can never
    be evaluated.
    """

    kind: DomainKind
    values: frozenset[Any] | None = None
    never: frozenset[Any] = frozenset()
    low: Bound = (-inf, False)
    high: Bound = (inf, False)
    texts: Texts | None = None
    item: Domain | None = None
    fields: Mapping[str, Domain] = field(default_factory=dict, hash=False)
    """Of a map: the values of known names; *item* is that of all others, if there are others."""
    shortest: int = 0
    longest: float = inf
    """Of a list or map: the least and the largest number of its items."""
    null: bool = False
    absent: bool = False
    wrong: str = ""
    usual: tuple[str, ...] = ()
    """Of texts: those that are known, though there may be others."""

    @property
    def is_usable(self) -> bool:
        """Whether there can be a value at all."""
        return self.kind != "nothing" and self.values != frozenset()

    @property
    def single(self) -> tuple[Any] | None:
        """The only value, in a tuple; None if there are others or null is possible."""
        return tuple(self.values) if self.values and len(self.values) == 1 and not self.null else None

    def having(self, **changed: Any) -> Domain:  # noqa: ANN401 - as the fields are
        """Return this domain with *changed* fields."""
        return replace(self, **changed)

    def admits(self, value: Any) -> bool:  # noqa: ANN401 - a value of any type
        """Return whether *value*, of a comparable type, is possible."""
        if self.values is not None:
            return value in self.values
        if value in self.never or (self.texts and isinstance(value, str) and not self.texts.admits(value)):
            return False
        if self.kind in NUMBERS:
            return (
                (self.kind == "double" or float(value).is_integer())
                and _above(value, self.low)
                and _below(value, self.high)
            )
        return True


NOTHING: Final = Domain("nothing", absent=True)
NULL: Final = Domain("nothing", null=True)
ANY: Final = Domain("any", null=True, absent=True)
TRUTHS: Final = frozenset((True, False))


def truth(*values: bool, absent: bool = False) -> Domain:
    """Return the domain of a condition with these *values*."""
    return Domain("bool", frozenset(values), absent=absent)


def condition(*, holds: bool, fails: bool, absent: bool = False) -> Domain:
    """Return the domain of a condition that *holds* for some events, and *fails* for some."""
    return truth(*(value for value, may_be in ((True, holds), (False, fails)) if may_be), absent=absent)


def _above(value: float, low: Bound) -> bool:
    return value > low[0] or (value == low[0] and not low[1])


def _below(value: float, high: Bound) -> bool:
    return value < high[0] or (value == high[0] and not high[1])


def least(domain: Domain) -> Bound:
    """Return the least number in *domain*."""
    return (min(domain.values), False) if domain.values else domain.low


def greatest(domain: Domain) -> Bound:
    """Return the greatest number in *domain*."""
    return (max(domain.values), False) if domain.values else domain.high


def is_comparable(one: Domain, other: Domain) -> bool:
    """Return whether values of *one* can equal values of *other*, by their types."""
    return "any" in {one.kind, other.kind} or one.kind == other.kind or {one.kind, other.kind} <= NUMBERS


def is_ordered(one: Domain, other: Domain) -> bool:
    """Return whether `<` is defined between *one* and *other*."""
    return "any" in {one.kind, other.kind} or (is_comparable(one, other) and one.kind in _ORDERED)


def may_equal(one: Domain, other: Domain) -> bool:
    """Return whether a value of *one* that is not null can equal one of *other*."""
    if not (one.is_usable and other.is_usable and is_comparable(one, other)):
        return False
    if "any" in {one.kind, other.kind}:
        return True
    if one.values is not None:
        return any(other.admits(each) for each in one.values)
    if other.values is not None:
        return any(one.admits(each) for each in other.values)
    if one.kind in NUMBERS:
        return _meet(least(one), greatest(other)) and _meet(least(other), greatest(one))
    return one.shortest <= other.longest and other.shortest <= one.longest


def may_differ(one: Domain, other: Domain) -> bool:
    """Return whether a value of *one* that is not null can differ from one of *other*."""
    if not (one.is_usable and other.is_usable):
        return False
    return one.values is None or other.values is None or len(one.values | other.values) > 1


def _meet(low: Bound, high: Bound) -> bool:
    return low[0] < high[0] or (low[0] == high[0] and not (low[1] or high[1]))


def may_be_less(one: Domain, other: Domain, *, or_equal: bool) -> bool:
    """Return whether a value of *one* can be less than one of *other*; both have an order."""
    if one.kind in NUMBERS and other.kind in NUMBERS:
        low, high = least(one), greatest(other)
        return low[0] < high[0] or (or_equal and _meet(low, high))
    if one.values is not None and other.values is not None:
        return any(a < b or (or_equal and a == b) for a in one.values for b in other.values)
    return True


def compared(one: Domain, other: Domain) -> Domain:
    """Return *one*, or its sample if all of *one* are before the word *other*, or all after it."""
    form = one.texts and one.texts.form
    if one.values is None and form and other.single and not re.fullmatch(form.beginning, str(other.single[0])):
        return one.having(values=frozenset((form.sample,)))
    return one


def joined(domains: list[Domain]) -> Domain:
    """Return the domain of all values in *domains*."""
    return reduce(_join, domains) if domains else ANY


def _join(one: Domain, other: Domain) -> Domain:
    null, absent = one.null or other.null, one.absent or other.absent
    if not one.is_usable or not other.is_usable:
        return (other if other.is_usable else one).having(null=null, absent=absent)
    if one.kind != other.kind:
        return Domain("any", null=null, absent=absent)
    values = None if one.values is None or other.values is None else one.values | other.values
    item = _join(one.item, other.item) if one.item and other.item else None
    shortest = min(one.shortest, other.shortest)
    texts = one.texts if one.texts == other.texts else None
    longest = max(one.longest, other.longest)
    found = Domain(one.kind, values, texts=texts, item=item, null=null, absent=absent)
    found = found.having(shortest=shortest, longest=longest)
    if one.kind not in NUMBERS:
        return found
    return found.having(low=min(least(one), least(other)), high=max(greatest(one), greatest(other)))


def common(one: Domain, other: Domain) -> Domain:
    """Return the values of *one* that are also in *other*, of a comparable type; it is neither null nor absent."""
    one = one.having(null=False, absent=False)
    if other.values is not None:
        return one.having(values=frozenset(each for each in other.values if one.admits(each)))
    if one.values is not None:
        return one.having(values=frozenset(each for each in one.values if other.admits(each)))
    return bounded(one, low=other.low, high=other.high) if one.kind in NUMBERS and other.kind in NUMBERS else one


def without(one: Domain, value: Any) -> Domain:  # noqa: ANN401 - a value of any type
    """Return *one* without *value*."""
    if one.values is not None:
        return one.having(values=one.values - {value})
    return one.having(never=one.never | {value})


def bounded(one: Domain, *, low: Bound = (-inf, False), high: Bound = (inf, False)) -> Domain:
    """Return the numbers of *one* between *low* and *high*."""
    if one.values is not None:
        return one.having(values=frozenset(each for each in one.values if _above(each, low) and _below(each, high)))
    # A limit that is excluded is tighter than the same one that is not.
    lower = max(one.low, low)
    upper = min(one.high, high, key=lambda each: (each[0], not each[1]))
    if one.kind == "int":
        lower, upper = _whole(lower, 1), _whole(upper, -1)
    if not _meet(lower, upper):
        return one.having(values=frozenset())
    return one.having(low=lower, high=upper)


def _whole(bound: Bound, step: int) -> Bound:
    """Return *bound* of whole numbers as a number that is included."""
    number, is_excluded = bound
    if abs(number) == inf:
        return bound
    nearest = -(-number // 1) if step > 0 else number // 1
    return (nearest + step * (is_excluded and nearest == number), False)
