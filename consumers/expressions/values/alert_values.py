"""The name `alert` of filters and templates: an alert, as the event of one of its changes tells it.

    alert.rule == "soft-quota" && alert.age > duration("2h") && alert.about.fsName == "gpfs1"

It is null for events that are no changes of alerts.  Filters get moments as events write them and `age` as a duration;
templates get both as people write them, in the time zone of the machine.  Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta, tzinfo
from typing import Any, Final

from router.errors import did_you_mean
from router.model.events import OWN, Event, Value

from . import human_texts

ALERT: Final = "alert"
"""The name, and the category of the events."""

ABOUT: Final = "about"
SUPPRESSED_BY: Final = "suppressedBy"
STATES: Final = ("open", "acknowledged", "closed")
CAUSES: Final = ("event", "fact", "quiet", "time", "person", "group", "remote", "rule")

_PLAIN: Final = (
    *("rule", "state", "change", "summary", "since", "until", "openings", "openedBy", "eventType", "lastEvent"),
    *("cause", "nodes", "suppressedBy", "suppressed", "owner", "by", "comment", "escalatedTo"),
)
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("alert",),
    "about": ("about",),
    "age": ("since", "until"),
    "flapping": ("flapping",),
    **{name: (name,) for name in _PLAIN},
}
"""The parts of `alert`, with the variables of the event that they are made of."""


def mistake(part: str) -> str:
    """Return what is wrong with reading *part* of `alert`; an empty text if nothing is.

    >>> mistake("rule"), mistake("stat"), mistake("fsName")
    ('', 'alert has no stat; did you mean state?', 'alert has no fsName; write alert.about.fsName')
    """
    if part in VARIABLES:
        return ""
    return f"alert has no {part}{did_you_mean(part, VARIABLES) or f'; write alert.about.{part}'}"


def variables(parts: Iterable[str]) -> Iterator[str]:
    """Yield the variables of the event that these *parts* of `alert` are made of."""
    return (each for name in parts for each in VARIABLES.get(name, ()))


def is_change(event: Event) -> bool:
    """Return whether *event* tells a change of an alert."""
    return event.category == ALERT and event.origin == OWN and isinstance(event.data.get("alert"), str)


def suppressed_by(event: Event) -> str:
    """Return the id of the alert that suppresses the one whose change *event* tells; empty if none does."""
    other = event.data.get(SUPPRESSED_BY) if is_change(event) else None
    return other if isinstance(other, str) else ""


def about(data: Mapping[str, Value]) -> dict[str, str]:
    """Return what the alert of *data* is about, by name.

    >>> about({"about": ["fsName=gpfs1", "path=/a=b"]})
    {'fsName': 'gpfs1', 'path': '/a=b'}
    """
    found = data.get(ABOUT)
    items = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    return {name: value for name, _, value in (str(each).partition("=") for each in items)}


def age(data: Mapping[str, Value], time: str) -> timedelta | None:
    """Return how long the alert of *data* was open when the change happened, at *time*; None where nobody knows."""
    since, until = human_texts.parsed(data.get("since")), human_texts.parsed(data.get("until"))
    end = until or human_texts.parsed(time)
    return max(end - since, timedelta()) if since and end else None


def for_filters(event: Event) -> dict[str, Any] | None:
    """Return `alert` for a filter over *event*."""
    if not is_change(event):
        return None
    data = event.data
    return {name: data.get(name) for name in _PLAIN} | {
        "id": data["alert"],
        ABOUT: about(data),
        "age": age(data, event.time),
        "flapping": data.get("flapping") == "yes",
    }


def for_templates(values: Mapping[str, Any], zone: tzinfo) -> dict[str, Any] | None:
    """Return `alert` for a template that reads *values*, the names of an event; times are written in *zone*."""
    data, is_ours = values.get("data"), str(values.get("type")).startswith(f"{OWN}.")
    if values.get("category") != ALERT or not is_ours or not isinstance(data, Mapping):
        return None
    if not isinstance(data.get("alert"), str):
        return None
    taken = age(data, str(values.get("time")))
    moments = {name: human_texts.moment(data[name], zone) for name in ("since", "until") if data.get(name)}
    return (
        {name: data.get(name) for name in _PLAIN}
        | moments
        | {
            "id": data["alert"],
            ABOUT: about(data),
            "age": None if taken is None else human_texts.span(taken),
            "flapping": data.get("flapping") == "yes",
        }
    )


def with_about(event: Event, names: Collection[str]) -> Event:
    """Return the sample *event* of a change as one that is about *names* too."""
    return _about_these(event, dict.fromkeys(names, "sample") | about(event.data)) if names else event


def without_about(event: Event, name: str) -> Event:
    """Return the sample *event* of a change as one that is not about *name*."""
    return _about_these(event, {each: value for each, value in about(event.data).items() if each != name})


def _about_these(event: Event, lines: Mapping[str, str]) -> Event:
    if not is_change(event):
        return event
    data = event.data | {ABOUT: [f"{name}={value}" for name, value in lines.items()]}
    return event.model_copy(update={"data": data})
