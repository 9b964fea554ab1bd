"""The options of the verb `alert`: which system gets the alerts, and what it gets besides them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from router.model.events import OWN
from router.references import is_reference
from router.settings.field_types import ONE_OR_SEVERAL, Checked, whole
from router.settings.models import Settings
from router.settings.yaml_documents import Place

from ...config.event_samples import Kinds, Remark
from ...config.field_types import EACH_ONCE, Duration, no_longer_than
from ..post.connections.connection_options import ConnectionOptions, address_remarks
from ..post.options import Address, Body, Keys
from ..post.verb import PostVerb
from .alert_change import CATEGORY
from .alertmanager import LABEL, OWN_LABELS
from .receiver_options import Opsgenie, PagerDuty

SYSTEMS = ("alertmanager", "pagerduty", "opsgenie", "url")
"""The fields of which exactly one names the receiver."""

_CLOSED = f"{OWN}.alertClosed"
_OF_WEBHOOK = ("body", "method", "secret")
_OF_ALERTMANAGER = ("labels", "annotations", "every")

_SHORTEST = timedelta(seconds=10)


def _labels(found: dict[str, str]) -> dict[str, str]:
    for name, value in found.items():
        if not re.fullmatch(LABEL, name) or name.startswith("__"):
            raise ValueError(f"{name!r} is not the name of a label: use letters, digits and _, and no digit first")
        if name in OWN_LABELS:
            raise ValueError(f"{name!r} is set by clusterbus: remove it")
        if "{{" in value or "{%" in value:
            raise ValueError(f"{name!r} is a template: a label has to stay the same; use `annotations`")
    return found


def _annotations(found: dict[str, str]) -> dict[str, str]:
    for name in found:
        if not re.fullmatch(LABEL, name):
            raise ValueError(f"{name!r} is not the name of an annotation: use letters, digits and _")
    return found


def _often(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError("must be at least 10s")
    return value


_LABELS = {
    "propertyNames": whole(rf"(?!__)(?!(?:{'|'.join(OWN_LABELS)})$){LABEL}"),
    "additionalProperties": {"type": "string", "pattern": r"^(?![\s\S]*\{[{%])"},
}
_ONE_SYSTEM: list[Any] = [{"required": [name], "properties": {name: {"not": {"enum": [None, []]}}}} for name in SYSTEMS]
_Every = Annotated[Duration, AfterValidator(no_longer_than(timedelta(hours=1))), AfterValidator(_often)]


Addresses = Annotated[tuple[Address, ...], Field(strict=False, max_length=10), EACH_ONCE, ONE_OR_SEVERAL]
"""One address or several."""


class AlertOptions(ConnectionOptions):
    """Keep alerts in another system as they are here: opened, acknowledged and closed, each in its order."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE_SYSTEM})

    short_form = "alertmanager"
    templates = ("body", "annotations")
    tells = True
    keeps_alerts = True
    leaves_out_suppressed = True

    alertmanager: Annotated[tuple[Address, ...], Field(strict=False, max_length=10), EACH_ONCE, ONE_OR_SEVERAL] = Field(
        (), repr=False
    )
    """The address of Alertmanager, or all of its cluster, since each gets all alerts."""
    pagerduty: PagerDuty | None = None
    """A service of PagerDuty: a reference to its key, or more."""
    opsgenie: Opsgenie | None = None
    """An integration of Opsgenie: a reference to its key, or more."""
    url: Address | None = Field(None, repr=False)
    """The address of any other system, or a reference to it."""
    body: Body = "event"
    """What `url` gets: `event`, or a text, mapping or list whose texts are templates."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The method of HTTP for `url`."""
    secret: Keys = Field((), repr=False)
    """References to the keys that sign the calls of `url`."""
    labels: Annotated[dict[str, str], Checked(_labels, _LABELS)] = Field(default={})
    """Labels for Alertmanager besides those of the alert, such as a team."""
    annotations: Annotated[dict[str, str], Checked(_annotations, {"propertyNames": whole(LABEL)})] = Field(default={})
    """Annotations for Alertmanager besides those of the alert: templates by name."""
    every: _Every = timedelta(minutes=1)
    """How often Alertmanager gets all open alerts again, at least 10s; it resolves those that it does not get."""
    follow: _Every | None = None
    """How often to ask for what people did there, which is then taken over; by default never."""

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic's
        return {cls.short_form: value} if isinstance(value, (str, list)) else value

    @model_validator(mode="after")
    def _one_system(self) -> Self:
        named = [each for each in SYSTEMS if getattr(self, each)]
        if len(named) != 1:
            what = f"has {' and '.join(named)}: write a subscription for each" if named else "says no receiver"
            raise ValueError(f"{what}; one of {', '.join(SYSTEMS)} says which system gets the alerts")
        return self

    @property
    def system(self) -> str:
        """The field that names the receiver."""
        return next(each for each in SYSTEMS if getattr(self, each))

    @property
    def webhook(self) -> PostVerb:
        """The calls of `url`, as those of the verb `post`."""
        own = set(PostVerb.model_fields).intersection(type(self).model_fields)
        return PostVerb.model_construct(**{name: getattr(self, name) for name in own})

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield options that exclude each other, and events that are no changes of alerts or lack the end."""
        yield from self._about_events(kinds)
        for names, system in ((_OF_WEBHOOK, "url"), (_OF_ALERTMANAGER, "alertmanager")):
            for name in names:
                if self.system != system and name in self.model_fields_set:
                    yield Remark((name,), f"is for `{system}` only: remove it")
        if self.follow and self.system == "url":
            yield Remark(("follow",), "is for alertmanager, pagerduty and opsgenie only: remove it")
        if self.pagerduty and bool(self.follow) != bool(self.pagerduty.token):
            place: Place = ("follow",) if self.follow else ("pagerduty", "token")
            yield Remark(place, "`follow` and `pagerduty.token` need each other: add the other, or remove this")
        if self.opsgenie and any(name.lower() == "authorization" for name in self.headers):
            yield Remark(("headers", "Authorization"), "is set by `opsgenie`: remove it")
        if self.system == "url":
            yield from self.webhook.remarks(kinds, settings)
            return
        yield from self.connection_remarks()
        for place, address in self._addresses():
            if address.startswith("http://") and (self.headers or not self.alertmanager):
                yield Remark(place, "is not encrypted: others can read the secret", warning=True)

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:
        """Yield what is wrong with secrets and certificates on this machine."""
        if self.system == "url":
            yield from self.webhook.remarks_here(kinds, settings)
            return
        for options in (self.pagerduty, self.opsgenie):
            if options:
                yield from options.remarks_here()
        for at, each in enumerate(self.alertmanager):
            if is_reference(each):
                yield from address_remarks(("alertmanager", at), each)
        yield from self.connection_remarks_here(each for _, each in self._addresses())

    def _about_events(self, kinds: Kinds) -> Iterator[Remark]:
        """Yield mistakes about the events that the subscription selects."""
        others = [name for name, each in kinds.kinds.items() if each.event_type.category != CATEGORY or _foreign(name)]
        if others:
            yield Remark((), f"{others[0].partition('.')[2]} is not a change of an alert: write `on: alerts`")
        elif kinds.kinds and _CLOSED not in kinds.kinds:
            yield Remark((), "alerts would never end there: add alertClosed to `on`, or write `on: alerts`")

    def _addresses(self) -> Iterator[tuple[Place, str]]:
        yield from ((("alertmanager", at), each) for at, each in enumerate(self.alertmanager))
        for below, options in (("pagerduty", self.pagerduty), ("opsgenie", self.opsgenie)):
            for name in ("url", "api"):
                if found := getattr(options, name, None):
                    yield (below, name), found


def _foreign(event_type: str) -> bool:
    return event_type.partition(".")[0] != OWN
