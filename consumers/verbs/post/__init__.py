"""The verb `post`: a webhook is called, signed in the manner of Standard Webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.references import Reference, is_reference
from router.sections import Settings

from ... import secrets
from ...errors import SecretError
from ...fields import listed
from ...retries import Duration, no_longer_than
from .. import Handler, Kinds, Remark, Surroundings, Verb
from .addresses import looks_secret, url
from .signatures import key

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = {"host", "content-length", "transfer-encoding", "connection", "traceparent", "te", "trailer", "upgrade"}
_SECRET_HEADER = re.compile(r"(?i)authorization|cookie|token|secret|password|api-?key|signature|credential")
_NO_JSON = (float("inf"), -float("inf"))
_STATUS = re.compile(r"[345](xx|[0-9][0-9])")

RETRIED = ("408", "425", "429", "5xx")


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"{name!r} is given by clusterbus")
        if is_reference(value):
            continue
        if _SECRET_HEADER.search(name):
            raise ValueError(f"{name!r} holds a secret: put its value into a file and write file:/path, or env:NAME")
        if "{{" in value or "{%" in value:
            raise ValueError(f"{name!r} is a template: no event writes headers; values belong into the body")
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(f"{name!r} has to be plain ASCII on one line, without blanks around it")
    return headers


def _body(body: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(body, str) and body.lstrip()[:1] in ("[", "{") and body.lstrip()[:2] not in ("{{", "{%"):
        # A quote in a value would end a text in it, and what follows would be structure.
        raise ValueError("is JSON written as a text, which a value can break: write it as a mapping")
    if not isinstance(body, (str, dict, list)):
        raise ValueError("has to be `event`, a text, a mapping or a list")  # noqa: TRY004 - a mistake in the value
    _keys(body)
    return body


def _keys(body: object) -> None:
    for name, value in body.items() if isinstance(body, dict) else enumerate(body if isinstance(body, list) else ()):
        if isinstance(body, dict) and (not isinstance(name, str) or "{{" in name or "{%" in name):
            raise ValueError(f"the key {name!r} has to be a plain text: only values are templates")
        if not isinstance(value, (str, int, float, dict, list, type(None))) or value in _NO_JSON:
            raise ValueError(f"{value!r} has no place in JSON: write it in quotes")
        _keys(value)


def _statuses(value: object) -> object:
    return tuple(str(each) for each in value) if isinstance(value, (list, tuple)) else (str(value),)


def _status(value: str) -> str:
    if not _STATUS.fullmatch(value):
        raise ValueError(f"{value!r} is no status that can be retried: write 300 to 599, or 5xx")
    return value


def _verify(value: object) -> object:
    if value is True or (isinstance(value, (str, Path)) and Path(value).is_absolute()):
        return value
    if value is False:
        raise ValueError("certificates are always verified: give the path of the authority's, as /etc/ssl/site-ca.pem")
    raise ValueError(f"has to be true, or the absolute path of an authority's certificates, not {value!r}")


class PostVerb(Verb):
    """Send the event to a webhook; 2xx is done, what `retry_on` names is tried again, all else is given up."""

    templates = ("body",)

    url: Annotated[str, AfterValidator(url)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    secret: Annotated[tuple[Reference, ...], BeforeValidator(listed), Field(strict=False, max_length=5)] = ()
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default={})
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(minutes=5)))] = timedelta(seconds=10)
    body: Annotated[Any, AfterValidator(_body), WithJsonSchema({"type": ["string", "object", "array"]})] = "event"
    retry_on: Annotated[
        tuple[Annotated[str, AfterValidator(_status)], ...],
        BeforeValidator(_statuses),
        Field(strict=False),
        WithJsonSchema({"type": "array", "items": {"type": ["integer", "string"]}}),
    ] = RETRIED
    verify: Annotated[bool | Annotated[Path, Field(strict=False)], BeforeValidator(_verify)] = True
    keep: int = Field(default=4096, ge=0, le=65536)

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield what is wrong with the secrets, and an address that seems to hold one or is not encrypted."""
        if is_reference(self.url):
            yield from self._doubts(("url",), self.url)
        else:
            if looks_secret(self.url):
                message = "a part of it looks like a token: put the address into a file and write url: file:/path"
                yield Remark(("url",), message, warning=True)
            if self.url.startswith("http://") and (self.secret or self.headers):
                yield Remark(("url",), "is not encrypted: anybody between can read and repeat it", warning=True)
        for name, value in self.headers.items():
            if is_reference(value):
                yield from self._doubts(("headers", name), value)
        for at, each in enumerate(self.secret):
            yield from self._doubts(("secret", at), each)
            try:
                key(secrets.read(each), each)
            except (SecretError, OSError) as error:
                if not secrets.doubt(each):
                    yield Remark(("secret", at), str(error))
        if isinstance(self.verify, Path) and not self.verify.is_file():
            yield Remark(("verify",), f"no file {self.verify} on this machine", warning=True)

    def handler(self, surroundings: Surroundings) -> Handler:
        """Return what calls it.  Raises SubscriptionsError where `verify` holds no certificates."""
        from .calling import PostHandler  # noqa: PLC0415 - what is only checked needs no HTTP

        return PostHandler(self, surroundings)

    @staticmethod
    def _doubts(place: tuple[str | int, ...], reference: str) -> Iterator[Remark]:
        if doubt := secrets.doubt(reference):
            yield Remark(place, doubt, warning=True)
