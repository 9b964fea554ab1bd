"""Who listens, and what is done.  Handlers may rely on what is listed here; whatever else is in it is private."""

from .deliveries import Report
from .errors import Rejected
from .on import on

__all__ = ["Rejected", "Report", "on"]
