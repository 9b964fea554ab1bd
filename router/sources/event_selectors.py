"""From `on` of a subscription to the narrowest patterns of topics, and the event types that they select.

    on: softQuotaExceeded        an event type:  gpfs.*.quota.softQuotaExceeded.*.*
    on: quota                    a category:     gpfs.*.quota.*.*.*
    on: alerts                   all changes of alerts, the category `alert`
    on: "gpfs.prod.#"            a pattern, unchanged

A word that is both, such as `mount`, means the event type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InvalidTopic, did_you_mean
from ..model.catalogue import ALERT, UNKNOWN, Catalogues, EventType, unknown
from ..model.events import SEVERITIES, Severity
from ..model.topics import check_pattern

ALERTS = "alerts"
"""Selects all changes of alerts, as people say it."""

_WORDS = 6
_CLUSTER, _CATEGORY, _EVENT, _NODE = 1, 2, 3, 5


@dataclass(frozen=True, slots=True)
class Selection:
    """What one text of `on` selects: its patterns, and the known event types that match them.

    *mistake* says why it selects nothing; *warning* says what may not be intended.
    """

    patterns: tuple[str, ...] = ()
    types: tuple[EventType, ...] = ()
    mistake: str = ""
    warning: str = ""


def select(text: str, catalogues: Catalogues) -> Selection:
    """Return what *text* selects.

    >>> select("softQuotaExceeded", Catalogues.shipped()).patterns
    ('gpfs.*.quota.softQuotaExceeded.*.*',)
    >>> select("softquotaexceeded", Catalogues.shipped()).mistake
    "event types are written as in the catalogue: softQuotaExceeded, not 'softquotaexceeded'"
    """
    if text in {"#", "*"} or "." in text:
        return _by_pattern(text, catalogues)
    named = catalogues.find(text)
    members = _members(text, catalogues)
    if not named and not members and text == ALERTS:
        members = _members(ALERT, catalogues)
    if named and text not in {each.name for each in named}:
        right = " or ".join(dict.fromkeys(each.name for each in named))
        return Selection(mistake=f"event types are written as in the catalogue: {right}, not {text!r}")
    if named:
        also = f"is an event type and a category; the category is written {_category(members[0])}" if members else ""
        return Selection(tuple(_pattern(each) for each in named), named, warning=also)
    if members:
        return Selection(tuple(dict.fromkeys(_category(each) for each in members)), members)
    if text == UNKNOWN:
        return Selection(tuple(f"{source}.*.{UNKNOWN}.*.*.*" for source in catalogues))
    known = [*(each.name for each in catalogues.all()), *catalogues.categories]
    hint = did_you_mean(text, known) or "; `clusterbus catalogue` shows all"
    return Selection(mistake=f"no event type, category or pattern {text!r}{hint}")


def _members(category: str, catalogues: Catalogues) -> tuple[EventType, ...]:
    return tuple(each for each in catalogues.all() if each.category == category)


def _pattern(event_type: EventType) -> str:
    return f"{event_type.source}.*.{event_type.category}.{event_type.name}.*.*"


def _category(event_type: EventType) -> str:
    return f"{event_type.source}.*.{event_type.category}.*.*.*"


def _by_pattern(text: str, catalogues: Catalogues) -> Selection:
    try:
        check_pattern(text)
    except InvalidTopic as error:
        return Selection(mistake=str(error))
    forms = _forms(text)
    if not forms:
        return Selection(mistake=f"pattern {text!r} can never match: a topic has six words{_meant(text, catalogues)}")
    types = tuple(each for each in catalogues.all() if _meet(forms, _forms(_pattern(each))))
    if types:
        return Selection((text,), types)
    hint = _nearest(forms, catalogues)
    if any(_meet(forms, _forms(f"{source}.*.{UNKNOWN}.*.*.*")) for source in catalogues):
        named = any(form[_EVENT] != "*" for form in forms) and any(form[_CATEGORY] == "*" for form in forms)
        return Selection((text,), warning=f"pattern {text!r} selects no known event type{hint}" if named else "")
    return Selection(mistake=f"pattern {text!r} selects no event type{hint}")


def _meant(text: str, catalogues: Catalogues) -> str:
    """Return what to write instead of *text*, which is a source and an event type or category of it, if it is that."""
    source, _, word = text.partition(".")
    names = {each.name for each in catalogues.all() if each.source == source}
    categories = {each.category for each in catalogues.all() if each.source == source}
    if word in names and len(catalogues.find(word)) == 1:
        return f"; write {word}"
    if word in names:
        return f"; write {source}.*.*.{word}.*.*"
    return f"; write {source}.*.{word}.#" if word in categories else ""


def _nearest(forms: Iterable[tuple[str, ...]], catalogues: Catalogues) -> str:
    for at, known in (
        (0, list(catalogues)),
        (_CATEGORY, list(catalogues.categories)),
        (_EVENT, [each.name for each in catalogues.all()]),
    ):
        wrong = {form[at] for form in forms} - {"*", *known}
        if hint := "".join(did_you_mean(each, known) for each in sorted(wrong)[:1]):
            return hint
    return "; a topic is <source>.<cluster>.<category>.<event>.<subject>.<node>"


def limits(
    texts: Iterable[str], catalogues: Catalogues
) -> tuple[tuple[str, ...], frozenset[str] | None, frozenset[str] | None]:
    """Return the sources of which *texts* of `on` select unknown events too, the only clusters, and the only nodes.

    None means all clusters, or all nodes.

    >>> limits(["gpfs.prod.#", "diskFailure"], Catalogues.shipped())
    (('gpfs',), None, None)
    >>> limits(["gpfs.prod.disk.*.*.nsd01"], Catalogues.shipped())
    ((), frozenset({'prod'}), frozenset({'nsd01'}))
    """
    forms = [form for text in texts for pattern in select(text, catalogues).patterns for form in _forms(pattern)]
    unknown = (source for source in catalogues if _meet(forms, _forms(f"{source}.*.{UNKNOWN}.*.*.*")))
    clusters, nodes = (frozenset(form[at] for form in forms) for at in (_CLUSTER, _NODE))
    return tuple(unknown), None if "*" in clusters else clusters, None if "*" in nodes else nodes


def restricted(
    patterns: Iterable[str], catalogues: Catalogues, *, clusters: Sequence[str] = (), severity: Severity | None = None
) -> tuple[str, ...]:
    """Return the patterns of those events of *patterns* that are of *clusters*, and of *severity* or above.

    A topic does not have the severity, but each event type has one; so these patterns name the types that are severe
    enough, and follow only a catalogue that is known here.  Changes of alerts, which have that of the alert, are all
    selected.

    >>> restricted(["gpfs.#"], Catalogues.shipped(), clusters=["prod"])
    ('gpfs.prod.*.*.*.*',)
    >>> restricted(["gpfs.*.quorum.#"], Catalogues.shipped(), severity="critical")
    ()
    """
    found = tuple(patterns)
    if clusters:
        found = tuple(_common(found, [f"*.{each}.*.*.*.*" for each in clusters]))
    if severity is not None:
        enough = frozenset(SEVERITIES[SEVERITIES.index(severity) :])
        types = [*catalogues.all(), *(unknown(source, "*") for source in catalogues)]
        found = tuple(_common(found, [_pattern(each) for each in types if not enough.isdisjoint(each.severities)]))
    return narrow(found)


def _common(patterns: Iterable[str], others: Sequence[str]) -> Iterator[str]:
    """Yield the patterns of what both one of *patterns* and one of *others* match."""
    for pattern in patterns:
        for form in _forms(pattern):
            for other in others:
                (there,) = _forms(other)
                if _meet([form], [there]):
                    yield ".".join(b if a == "*" else a for a, b in zip(form, there, strict=True))


def narrow(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return *patterns* without those that another of them covers, in their order.

    >>> narrow(["gpfs.*.quota.softQuotaExceeded.*.*", "gpfs.*.quota.#", "gpfs.*.quota.*.*.*"])
    ('gpfs.*.quota.#',)
    """
    kept: list[str] = []
    for each in dict.fromkeys(patterns):
        if not any(_covers(other, each) for other in kept):
            kept = [other for other in kept if not _covers(each, other)] + [each]
    return tuple(kept)


def _covers(wide: str, tight: str) -> bool:
    return all(any(_within(form, other) for other in _forms(wide)) for form in _forms(tight))


def _within(form: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return all(there in ("*", here) for here, there in zip(form, other, strict=True))


def _meet(forms: Iterable[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> bool:
    return any(
        all(a == b or "*" in (a, b) for a, b in zip(form, other, strict=True)) for form in forms for other in others
    )


def _forms(pattern: str) -> tuple[tuple[str, ...], ...]:
    """Return the six-word patterns without `#` that together match what *pattern* matches."""
    words = pattern.split(".")
    # `#.#` means `#`; without repetitions few patterns are left.
    words = words[:1] + [word for before, word in pairwise(words) if not before == word == "#"]
    return tuple(dict.fromkeys(_spread(words, _WORDS - sum(each != "#" for each in words))))


def _spread(words: Sequence[str], spare: int) -> Iterator[tuple[str, ...]]:
    if "#" not in words:
        if spare == 0:
            yield tuple(words)
        return
    at = words.index("#")
    for taken in range(spare + 1):
        for rest in _spread(words[at + 1 :], spare - taken):
            yield (*words[:at], *["*"] * taken, *rest)
