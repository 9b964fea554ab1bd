"""Which variables of events a subscription reads: those that it names, and those that a function or action implies.

A variable is explicit if the file names it: in a filter, a template, a grouping, or as a word of `parms`.  It is
implied if a parameter of a function has its name, or if a parameter of an action reads it by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from router.settings.models import Settings

from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..policies.group_keys import variables
from ..subscriptions.models import Subscription


@dataclass(frozen=True, slots=True)
class ReadVariables:
    """The variables that a subscription reads; one may be both."""

    explicit: tuple[str, ...]
    implied: tuple[str, ...]


def read_variables(subscription: Subscription, settings: Settings) -> ReadVariables:
    """Return the variables that *subscription* reads, in the order in which they are first read."""
    return ReadVariables(
        tuple(dict.fromkeys(_explicit(subscription))),
        tuple(dict.fromkeys(subscription.verb.implied_variables(settings))),
    )


def _explicit(subscription: Subscription) -> Iterator[str]:
    guard = subscription.guard
    for expression in (subscription.where, guard.only_when if guard else None):
        yield from Filter(expression).variables if expression else ()
    for text in guard.only_if or () if guard else ():
        yield from Template(text).variables
    for places in _places(subscription):
        yield from variables(places)
    verb = subscription.verb
    for each in verb.template_texts(verb.model_dump(mode="json")):
        yield from Template(each.text).variables
    yield from verb.named_variables


def _places(subscription: Subscription) -> Iterator[tuple[str, ...]]:
    yield subscription.order_by
    for rule in (subscription.fold, subscription.once_per, subscription.limit):
        yield rule.by if rule else ()
    for limit in (subscription.guard.at_most or ()) if subscription.guard else ():
        yield limit.by
