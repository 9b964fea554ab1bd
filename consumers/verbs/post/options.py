"""The options of the verb `post`: call a webhook, signed according to Standard Webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from router.references import REFERENCE, is_reference
from router.settings.field_types import ONE_OR_SEVERAL, Checked, whole
from router.settings.models import Settings
from router.settings.secret_references import Reference

from ...config import secrets
from ...config.event_samples import Kinds, Remark
from ...errors import SecretError
from .connections.connection_options import ConnectionOptions, address_remarks, secret_warnings
from .signing import key
from .urls import ADDRESS, looks_secret, url

_NO_JSON = (float("inf"), -float("inf"))
_BODY = {"type": ["string", "object", "array"], "not": {"type": "string", **whole(r"\s*(\[|\{(?![{%]))[\s\S]*")}}


def _body(body: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(body, str) and body.lstrip()[:1] in ("[", "{") and body.lstrip()[:2] not in ("{{", "{%"):
        # A quote in a value would end the text, and the rest would be read as JSON structure.
        raise ValueError("is JSON written as a text, which a value can break: write a mapping instead")
    if not isinstance(body, (str, dict, list)):
        raise ValueError("must be `event`, a text, a mapping or a list")  # noqa: TRY004 - pydantic needs a ValueError
    _keys(body)
    return body


def _keys(body: object) -> None:
    for name, value in body.items() if isinstance(body, dict) else enumerate(body if isinstance(body, list) else ()):
        if isinstance(body, dict) and (not isinstance(name, str) or "{{" in name or "{%" in name):
            raise ValueError(f"the key {name!r} must be a plain text: only values can be templates")
        if not isinstance(value, (str, int, float, dict, list, type(None))) or value in _NO_JSON:
            raise ValueError(f"{value!r} is not allowed in JSON: write it in quotes")
        _keys(value)


Address = Annotated[str, Checked(url, whole(rf"{REFERENCE}|{ADDRESS}"))]
"""The address of a receiver, or a reference to it."""

Body = Annotated[Any, Checked(_body, _BODY)]
"""A body with templates as texts."""

Keys = Annotated[tuple[Reference, ...], Field(strict=False, max_length=5), ONE_OR_SEVERAL]
"""References to the keys that sign calls."""


class PostOptions(ConnectionOptions):
    """Send the event to a webhook; 2xx is done, statuses in `retry_on` are retried, all others are dead-lettered."""

    templates = ("body",)

    url: Address = Field(repr=False)
    """The address, or a reference to it, such as file:/path or env:NAME, if it is secret."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The method of HTTP."""
    secret: Keys = Field((), repr=False)
    """References to the keys that sign the call, one or several, the newest first."""
    body: Body = "event"
    """`event`, or a text, mapping or list whose texts are templates."""
    wire: Literal["structured", "binary"] = "structured"
    """The CloudEvent is the body, or its data is the body and its attributes are headers `ce-`."""

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield options that exclude each other, and warnings about an address with a token or without encryption."""
        if self.wire == "binary" and self.body != "event":
            yield Remark(("wire",), "is for `body: event` only: a body of your own is no CloudEvent")
        yield from self.connection_remarks()
        if is_reference(self.url):
            return
        if looks_secret(self.url):
            message = "the address seems to contain a token: put the address into a file and write url: file:/path"
            yield Remark(("url",), message, warning=True)
        if self.url.startswith("http://") and (self.secret or self.headers):
            yield Remark(("url",), "is not encrypted: others can read and repeat the call", warning=True)

    def remarks_here(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield mistakes in the secrets, warnings about those that are missing, and whether `verify` can be used."""
        if is_reference(self.url):
            yield from address_remarks(("url",), self.url)
        for at, each in enumerate(self.secret):
            yield from secret_warnings(("secret", at), each)
            try:
                key(secrets.read(each), each)
            except (SecretError, OSError) as error:
                if not secrets.problem(each):
                    yield Remark(("secret", at), str(error))
        yield from self.connection_remarks_here([self.url])
