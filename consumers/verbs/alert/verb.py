"""The verb `alert`: its options, and the handlers made from them."""

from __future__ import annotations

from collections.abc import Collection

from ..interface import Handler, Surroundings
from .options import AlertOptions


class AlertVerb(AlertOptions):
    """Keep alerts in Alertmanager, PagerDuty, Opsgenie or another system as they are here, each change in its order."""

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say."""
        more = ("unprocessed",) if self.opsgenie else ("refused",) if self.alertmanager else ()
        return (*super().failures, *more)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return the handler.  Raises SubscriptionsError if `verify` names no certificates."""
        # A check needs no HTTP.
        from .alertmanager_handler import AlertmanagerHandler  # noqa: PLC0415
        from .paging_handlers import OpsgenieHandler, PagerDutyHandler  # noqa: PLC0415

        if self.pagerduty:
            return PagerDutyHandler(self, self.pagerduty, surroundings)
        if self.opsgenie:
            return OpsgenieHandler(self, self.opsgenie, surroundings)
        if self.alertmanager:
            return AlertmanagerHandler(self, surroundings)
        return self.webhook.handler(surroundings)
