"""Who subscribes to clusterbus events, and what is done with them. Handlers of others import `clusterbus` instead."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config.decorator import on
    from .deliveries import Report
    from .errors import Rejected

__all__ = ["Rejected", "Report", "on"]

_PLACES = {"Rejected": "errors", "Report": "deliveries", "on": "config.decorator"}


def __getattr__(name: str) -> object:
    """Return the public *name*; it is imported when it is first used, so that commands start quickly."""
    if name not in _PLACES:
        raise AttributeError(f"consumers has no {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
