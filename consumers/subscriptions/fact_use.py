"""Which subscriptions read facts of their cluster, and a single read of those facts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from router.cluster.facts.views import Known
from router.model.events import Event
from router.settings.models import Settings

from ..expressions.fact_paths import FACTS
from ..expressions.facts_cache import FactsCache
from ..expressions.filters import Filter
from .models import Subscription

_WORD = re.compile(rf"\b{FACTS}\b")


def reads_facts(subscription: Subscription) -> bool:
    """Return whether *subscription* may read facts when its handler is called, in templates, a guard or its verb."""
    guard, verb = subscription.guard, subscription.verb
    limits = guard.at_most or () if guard else ()
    texts = [each.text for each in verb.template_texts(verb.model_dump(mode="json"))]
    texts += [*(guard.only_if or () if guard else ()), *(each.per for each in limits)]
    texts += [guard.acts_on] if guard and guard.acts_on else []
    return (
        bool(subscription.facts)
        or verb.reads_facts
        or bool(guard and (guard.only_when or guard.blast_radius))
        or any(_WORD.search(each) for each in texts)
    )


def asks_for_facts(subscription: Subscription) -> bool:
    """Return whether *subscription* reads facts anywhere, including in `where`."""
    return reads_facts(subscription) or bool(subscription.where and Filter(subscription.where).facts)


def looked_up(
    settings: Settings, subscriptions: Iterable[Subscription], event: Event, at: datetime | None = None
) -> Known | None:
    """Return the facts of the cluster of *event*, now or *at* a moment; None if no subscription reads any."""
    if not any(asks_for_facts(each) for each in subscriptions):
        return None
    facts_cache = FactsCache(settings, at=at)
    facts_cache.begin()
    return facts_cache.of(event.cluster)
