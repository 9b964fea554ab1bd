"""What people get to read about an alert: a title and a description for each change, and for a fold of several.

A recovery is reported as a recovery.  All values come in plain: cut, on one line.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Final

from router.model.events import SEVERITIES, Event
from router.terminal_text import counted

from ...expressions.values import alert_values, human_texts
from ...folds import Fold, FoldedAlert
from .message import Importance

_MOST_LISTED: Final = 30
_OPEN, _CLOSED = "open", "closed"
_WHY_CLOSED: Final[Mapping[str, str]] = {
    "event": "an event said so",
    "fact": "the facts of the cluster said so",
    "quiet": "nothing opened it again for long enough",
    "person": "somebody closed it",
    "group": "all that it stands for is over",
    "remote": "it was closed in another system",
    "rule": "its rule is in force no longer",
}

Facts = Iterator[tuple[str, str]]
Title = Callable[[Event], str]


def importance(event: Event, fold: Fold) -> Importance | None:
    """Return how important the change is, where its severity does not say it."""
    if fold.alerts and all(each.state == _CLOSED for each in fold.alerts):
        return "success"
    if not fold.alerts and event.data.get("state") == _CLOSED:
        return "success"
    return "info" if event.name in ("alertAcknowledged", "alertNoted") else None


def title(event: Event, fold: Fold) -> str:
    """Return the title of what happened to the alert of *event*, or to those of *fold*."""
    if len(fold.alerts) > 1:
        states = ", ".join(f"{count} {state}" for state, count in sorted(fold.states.items(), reverse=True))
        return f"[{_of_all(fold)}] {len(fold.alerts)} alerts: {states} ({event.cluster}: {fold.nodes})"
    if fold.alerts:
        return f"[{_folded_state(fold.alerts[0])}] {_what(fold.alerts[0].summary, event)} ({event.cluster})"
    make = _TITLES.get(event.name, _opened)
    return f"{make(event)} {_what(_text(event, 'summary'), event)} ({event.cluster})"


def facts(event: Event, fold: Fold, link: str, zone: tzinfo) -> Facts:
    """Yield the description of the change as names and values; an empty name marks a heading."""
    if len(fold.alerts) > 1:
        yield from _of_several(event, fold, zone)
        return
    yield "", _what(_text(event, "summary"), event)
    last = fold.alerts[0] if fold.alerts else None
    yield from _course(event, fold, zone)
    yield "severity", last.severity if last else event.severity
    yield "rule", _text(event, "rule")
    yield "cluster", event.cluster
    yield from alert_values.about(event.data).items()
    named = {each: _text(event, each) for each in ("nodes", "owner", "by", "comment")}
    if last:
        named["owner"] = last.owner
    yield from ((name, value) for name, value in named.items() if value)
    yield from _suppression(event)
    if to := last.escalated_to if last else _text(event, "escalatedTo"):
        yield "escalated to", to
    yield from _ways_on(event, fold, link)


def _of_several(event: Event, fold: Fold, zone: tzinfo) -> Facts:
    states = ", ".join(f"{count} {state}" for state, count in sorted(fold.states.items(), reverse=True))
    yield "", f"{len(fold.alerts)} alerts: {states}"
    yield "cluster", event.cluster
    yield "nodes", fold.nodes
    # What is still open comes first.
    listed = sorted(fold.alerts, key=lambda each: (each.state == _CLOSED, each.since))
    are_of_several = len({each.owner for each in listed}) > 1
    for each in listed[:_MOST_LISTED]:
        whose = f", owner {each.owner or 'not known'}" if are_of_several else ""
        yield each.rule, f"{each.summary}: {_times(each, zone)}{whose}"
    if (more := len(listed) - _MOST_LISTED) > 0:
        yield "more", f"{counted(more, 'alert')}: clusterbus alerts list"
    if fold.unlisted:
        yield "more", f"{counted(fold.unlisted, 'change')} of other alerts: clusterbus alerts list"
    yield "changes", str(fold.count)


def _course(event: Event, fold: Fold, zone: tzinfo) -> Facts:
    data = event.data
    last = fold.alerts[0] if fold.alerts else None
    since, until = _text(event, "since"), last.until if last else _text(event, "until")
    state = last.state if last else _text(event, "state")
    yield "state", state if data.get("flapping") != "yes" else f"{state}, opens and closes too often"
    yield "since", human_texts.moment(since, zone)
    if until and state == _CLOSED:
        yield "until", f"{human_texts.moment(until, zone)}, after {_taken(since, until)}"
        if reason := _WHY_CLOSED.get(_text(event, "cause")) if event.name == "alertClosed" else None:
            yield "because", reason
    elif open_for := _age(event):
        yield "open for", open_for
    openings = last.openings if last else data.get("openings")
    if isinstance(openings, int) and openings > 1:
        yield "openings", str(openings)


def _suppression(event: Event) -> Facts:
    if other := _text(event, "suppressedBy"):
        yield "suppressed by", f"{other}: clusterbus alerts show {other}"
    hidden = event.data.get("suppressed")
    if isinstance(hidden, int) and hidden > 0:
        yield "suppresses", f"{counted(hidden, 'alert')}, without notifications while this one is open"


def _ways_on(event: Event, fold: Fold, link: str) -> Facts:
    alert = _text(event, "alert")
    state = fold.alerts[0].state if fold.alerts else _text(event, "state")
    if state == _OPEN:
        yield "acknowledge", f"clusterbus alerts ack {alert}"
    yield "history", f"clusterbus alerts show {alert}"
    if link:
        yield "link", link.replace("{alert}", alert)
    yield "event id", event.id


def _opened(event: Event) -> str:
    return f"[{event.severity}]"


def _repeated(event: Event) -> str:
    if event.data.get("openings") == 1:
        return f"[{event.severity}]"
    return f"[{event.severity}] {event.data.get('openings')} times:"


def _acknowledged(event: Event) -> str:
    whose = f" by {by}" if (by := _text(event, "by")) else ""
    return f"[acknowledged{whose}]" if event.data.get("state") == "acknowledged" else f"[no longer acknowledged{whose}]"


def _reminded(event: Event) -> str:
    return f"[{event.severity}] still open after {_age(event) or 'some time'}:"


def _escalated(event: Event) -> str:
    return f"[{event.severity}] not acknowledged after {_age(event) or 'some time'}:"


def _flapping(event: Event) -> str:
    return f"[{event.severity}] opens and closes too often:"


def _noted(event: Event) -> str:
    return f"[note by {_text(event, 'by') or 'somebody'}]"


def _closed(event: Event) -> str:
    return f"[closed after {taken}]" if (taken := _age(event)) else "[closed]"


_TITLES: Final[Mapping[str, Title]] = {
    "alertOpened": _opened,
    "alertRepeated": _repeated,
    "alertAcknowledged": _acknowledged,
    "alertReminded": _reminded,
    "alertEscalated": _escalated,
    "alertFlapping": _flapping,
    "alertNoted": _noted,
    "alertClosed": _closed,
}


def _folded_state(alert: FoldedAlert) -> str:
    if alert.state != _CLOSED:
        return alert.severity if alert.state == _OPEN else alert.state
    how = "opened and closed" if alert.first == 1 else "closed"
    return f"{how} after {taken}" if (taken := _taken(alert.since, alert.until)) else how


def _of_all(fold: Fold) -> str:
    if all(each.state == _CLOSED for each in fold.alerts):
        return _CLOSED
    order: Mapping[str, int] = {each: at for at, each in enumerate(SEVERITIES)}
    return max((each.severity for each in fold.alerts if each.state != _CLOSED), key=lambda each: order.get(each, -1))


def _times(alert: FoldedAlert, zone: tzinfo) -> str:
    since = human_texts.moment(alert.since, zone)
    again = f", {alert.openings} openings" if alert.openings > 1 else ""
    if alert.state == _CLOSED:
        return f"{'opened and ' if alert.first == 1 else ''}closed, from {since} for {_taken(alert.since, alert.until)}"
    return f"{alert.state} since {since}{again}"


def _taken(since: str, until: str) -> str:
    start, end = human_texts.parsed(since), human_texts.parsed(until)
    return human_texts.span(end - start) if start and end else ""


def _age(event: Event) -> str:
    found = alert_values.age(event.data, event.time)
    return "" if found is None else human_texts.span(found)


def _what(summary: str, event: Event) -> str:
    """Return the summary of an alert; where a rule has none, what it is about."""
    return summary or " ".join((_text(event, "rule"), *alert_values.about(event.data).values()))


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return value if isinstance(value, str) else ""
