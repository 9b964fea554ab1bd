"""The options of the verb `post`: call a webhook, signed according to Standard Webhooks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.references import REFERENCE, is_reference
from router.settings.field_types import ONE_OR_SEVERAL, Checked, ShortForm, in_any_case, whole
from router.settings.models import Settings
from router.settings.secret_references import Reference

from ...config import secrets
from ...config.event_samples import Kinds, Remark
from ...config.field_types import AbsolutePath, Duration, no_longer_than
from ...errors import Rejected, SecretError
from ...processes import executables
from ...processes.service_unit import runs_as
from ..interface import Verb
from .connections import certificates, proxies
from .connections.certificates import Files
from .connections.oauth_options import OAuthOptions
from .signing import key
from .urls import ADDRESS, address, looks_secret, split, url

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = {"host", "content-length", "transfer-encoding", "connection", "traceparent", "te", "trailer", "upgrade"}
_SECRET_NAMES = "authorization|cookie|token|secret|password|api-?key|signature|credential"  # noqa: S105 - names only
_SECRET_HEADER = re.compile(_SECRET_NAMES, re.IGNORECASE)
_NO_JSON = (float("inf"), -float("inf"))
_STATUS = re.compile(r"[345](xx|[0-9][0-9])")
_STATUSES = {"type": ["integer", "string"], "minimum": 300, "maximum": 599, **whole(_STATUS.pattern)}

_SOON = timedelta(days=14)
"""A certificate that expires so soon is reported."""

RETRIED = ("408", "425", "429", "5xx")


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid header name")
        if name.lower() in _OURS or name.lower().startswith("webhook-"):
            raise ValueError(f"{name!r} is set by clusterbus: remove it")
        if is_reference(value):
            continue
        if _SECRET_HEADER.search(name):
            raise ValueError(f"{name!r} contains a secret: put its value into a file and write file:/path, or env:NAME")
        if "{{" in value or "{%" in value:
            raise ValueError(f"{name!r} is a template, which headers do not support: put values into the body")
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(f"{name!r} must be plain ASCII on one line, without blanks at the ends")
    return headers


_HEADERS = {
    "propertyNames": whole(f"(?!(?:{in_any_case('|'.join((*sorted(_OURS), 'webhook-.*')))})$){_TOKEN.pattern}"),
    "patternProperties": {in_any_case(_SECRET_NAMES): {"type": "string", **whole(REFERENCE)}},
    "additionalProperties": {"type": "string", **whole(rf"{REFERENCE}|(?!.*\{{[{{%])(?:[!-~](?:[ -~]*[!-~])?)?")},
}
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


def _statuses(value: object) -> object:
    found = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(each) if isinstance(each, int) else each for each in found)


def _status(value: str) -> str:
    if not _STATUS.fullmatch(value):
        raise ValueError(f"{value!r} is not a status that can be retried: write 300 to 599, or 5xx")
    return value


def _verify(value: object) -> object:
    if value is True or (isinstance(value, (str, Path)) and Path(value).is_absolute()):
        return value
    if value is False:
        raise ValueError("certificates are always verified: write the path of CA certificates, as in /etc/ssl/ca.pem")
    raise ValueError(f"must be true, or the absolute path of CA certificates, not {value!r}")


def now() -> datetime:
    """Return the time by which certificates are judged."""
    return datetime.now(UTC)


class PostOptions(Verb):
    """Send the event to a webhook; 2xx is done, statuses in `retry_on` are retried, all others are dead-lettered."""

    templates = ("body",)

    url: Annotated[str, Checked(url, whole(rf"{REFERENCE}|{ADDRESS}")), Field(repr=False)]
    """The address, or a reference to it, such as file:/path or env:NAME, if it is secret."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The method of HTTP."""
    secret: Annotated[tuple[Reference, ...], Field(strict=False, max_length=5), ONE_OR_SEVERAL] = Field((), repr=False)
    """References to the keys that sign the call, one or several, the newest first."""
    headers: Annotated[dict[str, str], Checked(_headers, _HEADERS)] = Field(default={}, repr=False)
    """Additional headers; secret values only by reference."""
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(minutes=5)))] = timedelta(seconds=10)
    """The limit for the whole call, at most 5m."""
    body: Annotated[Any, Checked(_body, _BODY)] = "event"
    """`event`, or a text, mapping or list whose texts are templates."""
    retry_on: Annotated[
        tuple[Annotated[str, Checked(_status, _STATUSES)], ...], Field(strict=False), ShortForm(_statuses, _STATUSES)
    ] = RETRIED
    """Statuses that are retried, such as 503 or 5xx."""
    verify: Annotated[
        bool | Annotated[Path, Field(strict=False)],
        BeforeValidator(_verify),
        WithJsonSchema({"anyOf": [{"const": True}, {"type": "string", "pattern": "^/"}]}),
    ] = True
    """`true`, or the path of CA certificates."""
    wire: Literal["structured", "binary"] = "structured"
    """The CloudEvent is the body, or its data is the body and its attributes are headers `ce-`."""
    certificate: AbsolutePath | None = None
    """The certificate that this client shows, in PEM format."""
    certificate_key: AbsolutePath | None = None
    """Its private key, if it is in a file of its own."""
    proxy: Annotated[str, Checked(proxies.proxy, proxies.SCHEMA)] = Field(default=proxies.ENVIRONMENT, repr=False)
    """`environment`, `none`, the address of a proxy, or a reference to it."""
    oauth: OAuthOptions | None = None
    """How to get the token that the receiver asks for."""
    keep: int = Field(default=4096, ge=0, le=65536)
    """How many octets of the response to keep."""

    @property
    def certificates(self) -> Path | None:
        """The file of certificates to trust, None for those of the system."""
        return self.verify if isinstance(self.verify, Path) else None

    @property
    def files(self) -> Files:
        """The files of certificates and keys."""
        return Files(self.certificates, self.certificate, self.certificate_key)

    @property
    def failures(self) -> Collection[str]:
        """What its reports may say."""
        return ("connect", "timeout", "http", "certificate", "proxy", "token")

    def remarks(self, kinds: Kinds, settings: Settings) -> Iterator[Remark]:  # noqa: ARG002 - the protocol
        """Yield options that exclude each other, and warnings about an address with a token or without encryption."""
        if self.wire == "binary" and self.body != "event":
            yield Remark(("wire",), "is for `body: event` only: a body of your own is no CloudEvent")
        if self.certificate_key and not self.certificate:
            yield Remark(("certificate_key",), "needs `certificate`")
        if self.oauth and any(name.lower() == "authorization" for name in self.headers):
            yield Remark(("headers", "Authorization"), "is set by `oauth`: remove one of them")
        if self.oauth and self.oauth.token_url.startswith("http://"):
            yield Remark(("oauth", "token_url"), "is not encrypted: others can read the secret", warning=True)
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
            yield from self._about_secret_address()
        for name, value in self.headers.items():
            if is_reference(value):
                yield from self._secret_warnings(("headers", name), value)
        for at, each in enumerate(self.secret):
            yield from self._secret_warnings(("secret", at), each)
            try:
                key(secrets.read(each), each)
            except (SecretError, OSError) as error:
                if not secrets.problem(each):
                    yield Remark(("secret", at), str(error))
        yield from self._about_proxy()
        if self.oauth:
            yield from self.oauth.remarks_here()
        yield from self._about_certificates()

    def _about_secret_address(self) -> Iterator[Remark]:
        yield from self._secret_warnings(("url",), self.url)
        try:
            split(secrets.read(self.url))
        except (SecretError, OSError):
            return
        except ValueError as error:
            yield Remark(("url",), f"secret {self.url}: {error}", fault=True)

    def _about_proxy(self) -> Iterator[Remark]:
        if is_reference(self.proxy):
            yield from self._secret_warnings(("proxy",), self.proxy)
        try:
            proxies.proxy_for(self.proxy, address(self.url))
        except (SecretError, OSError):
            return  # said of the secret
        except Rejected as error:
            # The consumer may have another environment than this command.
            is_here = self.proxy == proxies.ENVIRONMENT
            yield Remark(("proxy",), str(error), warning=is_here, fault=not is_here)

    def _about_certificates(self) -> Iterator[Remark]:
        if self.files == Files():
            return
        try:
            self.files.context()
        except certificates.Unusable as error:
            yield Remark((error.field,), str(error), fault=True)
            return
        for name in ("verify", "certificate", "certificate_key"):
            file = getattr(self, name)
            if isinstance(file, Path) and not executables.access(file, os.R_OK, runs_as()):
                message = f"the consumer's user may not read {file}: change its group or mode"
                yield Remark((name,), message, fault=True)
        if self.certificate and (ends := certificates.expiry(self.certificate)) < now() + _SOON:
            if ends < now():
                yield Remark(("certificate",), f"expired on {ends:%Y-%m-%d}: renew it", fault=True)
            else:
                yield Remark(("certificate",), f"expires on {ends:%Y-%m-%d}: renew it", warning=True)
        key_file = self.certificate_key or self.certificate
        if key_file and key_file.stat().st_mode & stat.S_IROTH:
            message = f"all users can read the private key in {key_file}: run chmod 0640"
            yield Remark(("certificate_key" if self.certificate_key else "certificate",), message, warning=True)

    @staticmethod
    def _secret_warnings(place: tuple[str | int, ...], reference: str) -> Iterator[Remark]:
        if problem := secrets.problem(reference):
            yield Remark(place, problem, warning=True)
