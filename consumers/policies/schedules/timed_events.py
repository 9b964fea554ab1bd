"""The events of timers: a subscription with `every` gets events of its own, and writes no `on`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EVENT: Final = "timerDue"


def pattern(name: str) -> str:
    """Return the pattern of the topics of the timer of the subscription *name*.

    >>> pattern("tidy")
    'clusterbus.*.timer.timerDue.tidy.*'
    """
    return f"clusterbus.*.timer.{EVENT}.{name}.*"


def with_events(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry *raw* with the events that its `every` means, where it has that and no `on`.

    >>> with_events({"name": "tidy", "every": "1h"})["on"]
    'clusterbus.*.timer.timerDue.tidy.*'
    """
    if raw.get("every") is None or "on" in raw or not isinstance(raw.get("name"), str):
        return raw
    return {**raw, "on": pattern(raw["name"])}
