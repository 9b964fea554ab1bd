"""The public face of clusterbus: what handlers and scripts of others may import.

    from clusterbus import on, Rejected

    @on("diskFailure")
    def restart(event): ...

`on` declares a subscription, `Rejected` gives a delivery up, `Report` says how a handler ended, `Event` is what a
handler receives. `clusterbus.gpfs` is the ArcaPix-compatible interface; a verb of your own is built from
`clusterbus.verbs`. Everything else is private.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.config.decorator import on
    from consumers.deliveries import Report
    from consumers.errors import Rejected
    from router.model.events import Event

__all__ = ["Event", "Rejected", "Report", "on"]

_PLACES = {
    "Event": "router.model.events",
    "Rejected": "consumers.errors",
    "Report": "consumers.deliveries",
    "on": "consumers.config.decorator",
}


def __getattr__(name: str) -> object:
    """Return the public *name*; it is imported when it is first used, so that commands start quickly."""
    if name not in _PLACES:
        raise AttributeError(f"clusterbus has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PLACES[name]), name)
