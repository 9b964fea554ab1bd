"""The router of clusterbus: records become events. Programs of others import `clusterbus` instead."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model.events import Event

__all__ = ["Event"]


def __getattr__(name: str) -> object:
    """Return `Event`; it is imported when it is first used, so that commands start quickly."""
    if name != "Event":
        raise AttributeError(f"router has no {name!r}")
    from .model.events import Event  # noqa: PLC0415 - see above

    return Event
