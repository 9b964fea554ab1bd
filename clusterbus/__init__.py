"""The public face of clusterbus: what handlers and scripts of others may import.

    from clusterbus import on, Rejected

    @on("diskFailure")
    def restart(event): ...

`on` declares a subscription, `Rejected` gives a delivery up, `Report` says how a handler ended, `Event` is what a
handler receives. Programs of other teams, which have a queue of their own, read it with `events`, which raises
`SettingsError`, `Refused` and `Unreachable` (both are a `BrokerError`). `clusterbus.gpfs` is the ArcaPix-compatible
interface; a verb of your own is built from `clusterbus.verbs`. Everything else is private.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.config.decorator import on
    from consumers.deliveries import Report
    from consumers.errors import Rejected
    from router.errors import BrokerError, Refused, SettingsError, Unreachable
    from router.model.events import Event

    from .client.events import events

__all__ = ["BrokerError", "Event", "Refused", "Rejected", "Report", "SettingsError", "Unreachable", "events", "on"]

_PLACES = {
    "BrokerError": "router.errors",
    "Event": "router.model.events",
    "Refused": "router.errors",
    "Rejected": "consumers.errors",
    "Report": "consumers.deliveries",
    "SettingsError": "router.errors",
    "Unreachable": "router.errors",
    "events": "clusterbus.client.events",
    "on": "consumers.config.decorator",
}


def __getattr__(name: str) -> object:
    """Return the public *name*; it is imported when it is first used, so that commands start quickly."""
    if name not in _PLACES:
        raise AttributeError(f"clusterbus has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PLACES[name]), name)
