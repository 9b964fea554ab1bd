"""The verb `notify`: people are told, through the services that their contacts name: mail, chat, pager."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from router.references import is_reference
from router.sections import Settings

from ... import secrets
from ...errors import did_you_mean
from ...fields import Listed
from ...retries import Duration, no_longer_than
from .. import Handler, Kinds, Remark, Surroundings, Verb

Importance = Literal["info", "success", "warning", "failure"]

_IN_A_TAG = re.compile(r"<[^<>]*\{[{%]")
_NOT_FOR_VALUES = re.compile(r"<\s*(script|style|iframe|object|embed)\b", re.IGNORECASE)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ValueError(f"names {name!r} twice")
    return names


def _page(text: str | None) -> str | None:
    if text and (found := _NOT_FOR_VALUES.search(text)):
        raise ValueError(f"holds <{found[1].lower()}>: what is told to people is text, in simple markup")
    if text and (_IN_A_TAG.search(text)):
        # Escaping makes a value harmless between tags, not as an address or as an attribute without quotes.
        raise ValueError("fills in a value within a tag: values may stand between tags only, as in <b>{{ node }}</b>")
    return text


class NotifyVerb(Verb):
    """Tell people: one message for each contact, which is told once, however often others have to be tried again."""

    templates = ("title", "body", "html")
    tells = True

    to: Annotated[Listed, Field(min_length=1, max_length=20), AfterValidator(_once)]
    title: str | None = None
    body: str | None = None
    html: Annotated[str | None, AfterValidator(_page)] = None
    importance: Importance | None = None
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(minutes=5)))] = timedelta(seconds=30)
    attach: Literal["none"] = "none"

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield the contacts that are in no settings, and what is wrong with the secrets of the others."""
        contacts = settings.consumers.contacts
        for at, name in enumerate(self.to):
            contact = contacts.get(name)
            if contact is None:
                known = f"; there are {', '.join(sorted(contacts))}" if contacts else ""
                hint = did_you_mean(name, contacts) or known or "; write it into the settings, consumers.contacts"
                yield Remark(("to", at), f"no contact {name!r}{hint}")
                continue
            for address in contact.urls:
                if is_reference(address) and (doubt := secrets.doubt(address)):
                    yield Remark(("to", at), f"contact {name}: {doubt}", warning=True)
        told_html = [name for name in self.to if name in contacts and contacts[name].format == "html"]
        if self.html and contacts and not told_html:
            yield Remark(("html",), f"none of {', '.join(self.to)} has `format: html`: nobody sees it", warning=True)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what tells them."""
        from .telling import NotifyHandler  # noqa: PLC0415 - what is only checked needs no apprise

        return NotifyHandler(self, surroundings)
