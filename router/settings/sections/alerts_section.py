"""The section `consumers.alerts` of the settings."""

from __future__ import annotations

from datetime import timedelta

from ..field_types import Duration
from .section import Section


class AlertsSettings(Section):
    """What is wrong now: alerts, which events open and close by the rules in the subscriptions files."""

    enabled: bool = True
    """Whether consumers keep alerts."""
    only_end_after: Duration = timedelta(minutes=15)
    """An opening that was captured longer ago is told only if the alert is still open when all that waits is read."""
