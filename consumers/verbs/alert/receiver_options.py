"""The options of the systems that the verb `alert` knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from router.model.events import Severity
from router.references import REFERENCE
from router.settings.field_types import ShortForm, matching, whole
from router.settings.secret_references import Reference

from ...config import secrets
from ...config.event_samples import Remark
from ...config.field_types import Closed, Words
from ...errors import SecretError
from ..post.connections.connection_options import address_remarks, secret_warnings
from ..post.options import Address

Region = Literal["us", "eu"]
Priority = Literal["P1", "P2", "P3", "P4", "P5"]

_ROUTING_KEY = 32
"""Characters of a routing key of PagerDuty."""

_RESPONDER = r"(?:team|user|escalation|schedule):\S(?:.{0,98}\S)?"
_TAG = r"[^\s,](?:[^,\r\n]{0,48}[^\s,])?"


class PagerDutyOptions(Closed):
    """A service of PagerDuty."""

    key: Reference = Field(repr=False)
    """A reference to the integration key (Events API v2), which has 32 characters."""
    region: Region = "us"
    """The region of the account."""
    url: Address | None = Field(None, repr=False)
    """Another address of the Events API."""
    token: Reference | None = Field(None, repr=False)
    """A reference to a read-only token of the REST API, for `follow`."""
    api: Address | None = Field(None, repr=False)
    """Another address of the REST API."""

    def remarks_here(self) -> Iterator[Remark]:
        """Yield what is wrong with the secrets on this machine."""
        yield from _secrets(self, "pagerduty", ("key", "token"), ("url", "api"))
        try:
            found = secrets.read(self.key)
        except (SecretError, OSError):
            return
        if len(found) != _ROUTING_KEY or not (found.isascii() and found.isalnum()):
            message = (
                f"secret {self.key}: is not an integration key of the Events API v2, which has 32 letters and digits"
            )
            yield Remark(("pagerduty", "key"), message, fault=True)


class OpsgenieOptions(Closed):
    """An integration of Opsgenie, or one of Jira Service Management that takes the same calls."""

    key: Reference = Field(repr=False)
    """A reference to the key of an API integration."""
    region: Region = "us"
    """The region of the account."""
    url: Address | None = Field(None, repr=False)
    """Another address of the API, below which `/v2/alerts` is."""
    responders: Annotated[
        tuple[Annotated[str, matching(_RESPONDER, "is not a responder: write team:NAME or user:NAME")], ...],
        Field(strict=False, max_length=50),
    ] = ()
    """Who gets the alert, as in `team:storage` or `user:anna@example.com`; by default the team of the integration."""
    tags: Annotated[
        tuple[Annotated[str, matching(_TAG, "is not a tag: 1 to 50 characters without commas")], ...],
        Field(strict=False, max_length=15),
    ] = ()
    """Tags of your own; the rule, cluster and node come after them."""
    priorities: dict[Severity, Priority] = Field(default={})
    """Priorities by severity, where they are not to be P1 for critical, P2 for error, and so on."""

    def remarks_here(self) -> Iterator[Remark]:
        """Yield what is wrong with the secrets on this machine."""
        yield from _secrets(self, "opsgenie", ("key",), ("url",))


def _keyed(value: object) -> object:
    return {"key": value} if isinstance(value, str) else value


_KEY = {"type": "string", **whole(REFERENCE)}
PagerDuty = Annotated[PagerDutyOptions, ShortForm(_keyed, _KEY)]
"""The options, or only the reference to the key."""

Opsgenie = Annotated[OpsgenieOptions, ShortForm(_keyed, _KEY)]
"""The options, or only the reference to the key."""


def _secrets(options: Closed, below: str, keys: Words, addresses: Words) -> Iterator[Remark]:
    for name in keys:
        if reference := getattr(options, name):
            yield from secret_warnings((below, name), reference)
    for name in addresses:
        found = getattr(options, name)
        if found and not found.startswith(("http://", "https://")):
            yield from address_remarks((below, name), found)
