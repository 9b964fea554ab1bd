"""Ranges of host names: `n[1-3]` for `n1`, `n2` and `n3`, and back, in time that grows with the number of names.

Hosts that differ in several numbers are folded by one number after the other: no number is compared with all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

AXES = 4
"""The numbers of a name that are folded, counted from its end; a name has two or three."""

_NUMBER = re.compile(r"([0-9]+)")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_WORD = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
_LONGEST = 9
"""Digits of a number in a range; longer ones are parts of the name, such as serial numbers."""

_Parts = tuple[str, ...]


def in_order(name: str) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Return what host names are sorted by: names that differ only in numbers are in the order of these.

    >>> sorted(["n10", "n9", "cl7"], key=in_order)
    ['cl7', 'n9', 'n10']
    """
    parts = _NUMBER.split(name)
    return "0".join(parts[::2]), tuple((len(each), each) for each in parts[1::2])


def folded(names: Iterable[str]) -> str:
    """Return *names* as one text, each once.

    >>> folded(["nsd02", "nsd01", "cl7", "r1n1", "r1n2", "r2n1", "r2n2"])
    'cl7,nsd[01-02],r[1-2]n[1-2]'
    """
    alike: dict[tuple[object, ...], list[_Parts]] = {}
    for each in sorted({*names}, key=in_order):
        parts = tuple(_NUMBER.split(each))
        alike.setdefault((len(parts), *parts[::2]), []).append(parts)
    return ",".join("".join(each) for same in alike.values() for each in _merged(same))


def unfolded(text: str) -> Iterator[str]:
    """Yield the names in *text*, in its order.  Raises ValueError, which names the range, for one that cannot be.

    >>> [*unfolded("cl7,nsd[09-10]")]
    ['cl7', 'nsd09', 'nsd10']
    """
    for word in _WORD.findall(text):
        parts = _BRACKETS.split(word)
        spans = [(each,) if at % 2 == 0 else tuple(_numbers(each)) for at, each in enumerate(parts)]
        yield from map("".join, product(*spans))


def size(text: str) -> int:
    """Return how many names *text* stands for, without making them: a few characters can mean billions."""
    total = 0
    for word in _WORD.findall(text):
        count = 1
        for inside in _BRACKETS.findall(word):
            count *= sum(_length(each) for each in inside.split(","))
        total += count
    return total


def _merged(same: list[_Parts]) -> list[_Parts]:
    """Return *same*, names that differ only in numbers, with their numbers as ranges."""
    axes = list(range(1, len(same[0]), 2))[-AXES:]
    for axis in sorted(axes, key=lambda each: len({_without(parts, each) for parts in same})):
        found: dict[_Parts, list[str]] = {}
        for parts in same:
            found.setdefault(_without(parts, axis), []).append(parts[axis])
        same = [text for rest, numbers in found.items() for text in _joined(rest, axis, numbers)]
    return same


def _without(parts: _Parts, axis: int) -> _Parts:
    return (*parts[:axis], "", *parts[axis + 1 :])


def _joined(rest: _Parts, axis: int, numbers: list[str]) -> Iterator[_Parts]:
    short = [each for each in numbers if len(each) <= _LONGEST]
    texts = [each for each in numbers if len(each) > _LONGEST]
    if short:
        ranges = ",".join(_ranges(sorted(short, key=lambda each: (len(each), each))))
        texts.append(ranges if len(short) == 1 else f"[{ranges}]")
    for each in texts:
        yield (*rest[:axis], each, *rest[axis + 1 :])


def _ranges(numbers: list[str]) -> Iterator[str]:
    first = last = numbers[0]
    for each in numbers[1:]:
        if int(each) != int(last) + 1 or not _is_range(first, each):
            yield first if first == last else f"{first}-{last}"
            first = each
        last = each
    yield first if first == last else f"{first}-{last}"


def _is_range(first: str, last: str) -> bool:
    """Say whether *first* to *last* is a range: numbers with zeros before them have the same number of digits."""
    is_padded = any(each.startswith("0") and len(each) > 1 for each in (first, last))
    return int(first) <= int(last) and (len(first) == len(last) or not is_padded)


_SPAN = re.compile(r"([0-9]+)-([0-9]+)(?:/([0-9]+))?")


def _numbers(inside: str) -> Iterator[str]:
    for span in inside.split(","):
        found = _SPAN.fullmatch(span)
        if not found:
            yield span
            continue
        first, last, step = found[1], found[2], int(found[3] or 1)
        if step < 1 or not _is_range(first, last):
            raise ValueError(f"[{span}] is not a range")
        width = len(first)
        yield from (str(each).zfill(width) for each in range(int(first), int(last) + 1, step))


def _length(span: str) -> int:
    found = _SPAN.fullmatch(span)
    if not found:
        return 1
    return max(0, int(found[2]) - int(found[1])) // max(1, int(found[3] or 1)) + 1
