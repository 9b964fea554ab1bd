"""The engine of alerts as a part of `consume`: it follows the rules in the subscriptions files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from router.broker.interface import Broker
from router.errors import SettingsError
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..alert_engine.alert_engine import AlertEngine
from ..alerts.active_rules import ActiveRules
from ..alerts.owners import Owners
from ..errors import StoreError
from ..expressions.facts_cache import FactsCache
from ..store.database import Store
from ..subscriptions.models import Subscriptions

log = logging.getLogger(__name__)


class AlertKeeping:
    """Keeps the alerts of the rules in force, unless the settings say that there are none."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        settings: Settings,
        subscriptions: Subscriptions,
        facts: FactsCache,
        clock: Callable[[], datetime],
    ) -> None:
        """Keep the alerts of *subscriptions* in *store*; rules read *facts*."""
        self._settings, self._facts = settings, facts
        self._is_enabled = settings.consumers.alerts.enabled
        made = catalogues(settings)
        self.engine = AlertEngine(
            broker,
            store,
            self._rules(subscriptions, made),
            clock=clock,
            settings=settings.consumers.alerts,
            catalogues=made,
            wire=settings.router.wire,
        )

    def start(self) -> None:
        """Begin, or see to it that no events are kept for alerts that nobody wants.  Raises StoreError."""
        if self._is_enabled:
            self._facts.begin()
            self.engine.start()
        else:
            self.engine.unbind()

    def follow(self, subscriptions: Subscriptions) -> None:
        """Keep the alerts of *subscriptions* from now on; to be called in the broker's thread."""
        if not self._is_enabled:
            return
        try:
            made = catalogues(self._settings)
            self.engine.reload(self._rules(subscriptions, made), made)
        except (SettingsError, StoreError) as error:
            log.error("cannot apply the rules of alerts; keeping the previous ones", extra={"reason": str(error)})  # noqa: TRY400 - the reason is complete

    def stop(self) -> None:
        """Receive no more events."""
        if self._is_enabled:
            self.engine.stop()

    def _rules(self, subscriptions: Subscriptions, made: Catalogues) -> ActiveRules:
        owners = Owners(self._settings.consumers.owners, made)

        def owner_of(event: Event) -> str | None:
            found = owners.of(event, self._facts.of(event.cluster) if owners.needs_facts else None)
            return found.to if found else None

        return ActiveRules(subscriptions.alerts if self._is_enabled else (), made, self._facts, owner_of)
