"""Records become events.  What handlers may rely on is listed here; whatever else is in the package is private."""

from .events import Event

__all__ = ["Event"]
