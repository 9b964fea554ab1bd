"""Who listens, and what is done.  Handlers may rely on what is listed here; whatever else is in it is private."""

from .errors import Rejected

__all__ = ["Rejected"]
