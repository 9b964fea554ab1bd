"""What is known of a value where a comparison with it holds.  Pure."""

from __future__ import annotations

from typing import Any

from .domains import NUMBERS, Domain, bounded, common, greatest, is_comparable, least, without


def equated(domain: Domain, given: Domain, *, is_equal: bool) -> Domain:
    """Return what *domain* is where it equals *given*, or does not."""
    domain = domain.having(absent=False)
    if not is_equal:
        if not given.is_usable and given.null:
            return domain.having(null=False)
        return without(domain, given.single[0]) if given.single else domain
    null = domain.null and given.null
    if not (domain.is_usable and given.is_usable and is_comparable(domain, given)):
        return Domain("nothing", null=null)
    return common(domain, given).having(null=null)


def limited(domain: Domain, sign: str, given: Domain) -> Domain:
    """Return the numbers of *domain* for which `domain sign given` is true."""
    domain = domain.having(null=False, absent=False)
    if sign in {"<", "<="}:
        limit, is_out = greatest(given)
        return bounded(domain, high=(limit, is_out or sign == "<"))
    limit, is_out = least(given)
    return bounded(domain, low=(limit, is_out or sign == ">"))


def chosen(domain: Domain, values: frozenset[Any], *, is_in: bool) -> Domain:
    """Return what *domain* is where it is one of *values*, or with *is_in* false, none of them."""
    if is_in:
        # Of a list with several types, those that fit.
        fitting = frozenset(each for each in values if _fits(domain, each))
        return domain.having(
            values=frozenset(each for each in fitting if domain.admits(each)), null=False, absent=False
        )
    for each in values:
        domain = without(domain, each)
    return domain.having(absent=False)


def _fits(domain: Domain, value: Any) -> bool:  # noqa: ANN401 - a value of any type
    if domain.kind in NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return {"string": str, "bool": bool, "bytes": str}.get(domain.kind, object) is type(value)
