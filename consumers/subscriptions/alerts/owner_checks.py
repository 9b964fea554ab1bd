"""Checks of the setting `consumers.owners`: unknown contacts, and rows between which nothing decides."""

from __future__ import annotations

from collections.abc import Iterator

from router.model.catalogue import Catalogues
from router.settings.models import Settings

from ...alerts.owners import Owners
from ...errors import Mistake
from ...expressions.facts_cache import FactsCache


def mistakes(settings: Settings, catalogues: Catalogues, *, here: bool) -> Iterator[Mistake]:
    """Yield what is wrong with the owners in *settings*; *here*, facts say which node classes share nodes."""
    owners = Owners(settings.consumers.owners, catalogues)
    facts = FactsCache(settings) if here and owners.needs_facts else None
    if facts:
        facts.begin()
    for number, field, problem in owners.mistakes(settings.consumers.contacts, facts.of_all() if facts else ()):
        place = ".".join(each for each in ("consumers.owners", str(number), field) if each)
        yield Mistake("settings", 0, "", place, problem)
