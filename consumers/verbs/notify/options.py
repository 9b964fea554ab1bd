"""The options of the verb `notify`: send notifications by mail, chat or pager to contacts from the settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from router.references import is_reference
from router.settings.field_types import ONE_OR_SEVERAL
from router.settings.models import Contact, Settings
from router.settings.yaml_documents import Place

from ...config import secrets
from ...config.contact_names import unknown_contact
from ...config.event_samples import Kinds, Remark, named
from ...config.field_types import EACH_ONCE, Duration, Words, no_longer_than
from ...expressions.values.alert_values import ALERT
from ..interface import Verb
from .message import Importance
from .recipients import OWNER

_IN_A_TAG = re.compile(r"<[^<>]*\{[{%]")
_NOT_FOR_VALUES = re.compile(r"<\s*(script|style|iframe|object|embed)\b", re.IGNORECASE)


def _page(text: str | None) -> str | None:
    if text and (found := _NOT_FOR_VALUES.search(text)):
        raise ValueError(f"contains <{found[1].lower()}>: use only text and simple markup")
    if text and (_IN_A_TAG.search(text)):
        # Escaping makes a value safe between tags, but not as a link or as an attribute without quotes.
        raise ValueError("has a value inside a tag: put values only between tags, as in <b>{{ node }}</b>")
    return text


class NotifyOptions(Verb):
    """Send one message to each contact; retries go only to contacts that have not been notified."""

    templates = ("title", "body", "html")
    tells = True
    leaves_out_suppressed = True

    to: Annotated[Words, Field(min_length=1, max_length=20), EACH_ONCE, ONE_OR_SEVERAL]
    """Names of contacts in the settings, `consumers.contacts`: one or several.  `owner` is who is responsible."""
    otherwise: Annotated[Words, Field(max_length=20), EACH_ONCE, ONE_OR_SEVERAL] = ()
    """The contacts to notify in place of an owner who is not known."""
    title: str | None = None
    """The title, a template."""
    body: str | None = None
    """The text, a template."""
    html: Annotated[str | None, AfterValidator(_page)] = None
    """The text for contacts with `format: html`, a template."""
    importance: Importance | None = None
    """By default it follows from the event's severity."""
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(minutes=5)))] = timedelta(seconds=30)
    """The limit for one contact, at most 5m."""
    attach: Literal["none"] = "none"
    """Nothing is attached."""

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say."""
        return ("notify",)

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield the contacts that the settings do not define."""
        contacts = settings.consumers.contacts
        for place, name in self._named():
            if wrong := unknown_contact(name, contacts):
                yield Remark(place, wrong)
        yield from self._about_owner(kinds, settings)
        with_html = [name for _, name in self._named() if name in contacts and contacts[name].format == "html"]
        if self.html and contacts and not with_html and OWNER not in self.to:
            yield Remark(("html",), f"none of {', '.join(self.to)} has `format: html`: it is unused", warning=True)

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield what is wrong with the addresses of the contacts."""
        for place, name in self._named():
            if contact := settings.consumers.contacts.get(name):
                yield from self._about_addresses(place, name, contact)

    def _named(self) -> Iterator[tuple[Place, str]]:
        """Yield the contacts that are named, with their places."""
        for field, names in (("to", self.to), ("otherwise", self.otherwise)):
            yield from (((field, at), name) for at, name in enumerate(names) if (field, name) != ("to", OWNER))

    @property
    def reads_facts(self) -> bool:
        """Whether the owner of an event may be that of its node's class, which only the facts know."""
        return OWNER in self.to

    def _about_owner(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield what is wrong with `owner` in place of a contact."""
        if OWNER not in self.to:
            if self.otherwise:
                yield Remark(("otherwise",), "is for `to: owner`: it is unused", warning=True)
            return
        place = ("to", self.to.index(OWNER))
        without = [name for name, each in kinds.kinds.items() if each.event_type.category != ALERT]
        if without and not settings.consumers.owners:
            message = f"{named(without)} cannot have an owner: the settings have no consumers.owners"
            yield Remark(place, message)
        elif not self.otherwise and not any(each.is_for_all for each in settings.consumers.owners):
            message = "what has no known owner becomes a dead letter: name contacts in `otherwise`"
            yield Remark(place, message, warning=True)

    @staticmethod
    def _about_addresses(place: Place, name: str, contact: Contact) -> Iterator[Remark]:
        from .apprise_client import problems  # noqa: PLC0415 - apprise takes a second, so only who notifies imports it

        for address in contact.urls:
            if is_reference(address) and (warning := secrets.problem(address, lines=True)):
                yield Remark(place, f"contact {name}: {warning}", warning=True)
            for problem, is_fault in problems(address):
                yield Remark(place, f"contact {name}: {problem}", warning=not is_fault, fault=is_fault)
