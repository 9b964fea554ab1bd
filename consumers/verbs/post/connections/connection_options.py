"""The options of HTTP calls that verbs share: headers, limits, certificates, proxies and tokens."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.references import REFERENCE, is_reference
from router.settings.field_types import Checked, ShortForm, in_any_case, whole

from ....config import secrets
from ....config.event_samples import Remark
from ....config.field_types import AbsolutePath, Duration, no_longer_than
from ....errors import Rejected, SecretError
from ....processes import executables
from ....processes.service_unit import runs_as
from ...interface import Verb
from ..urls import address, split
from . import certificates, proxies
from .certificates import Files
from .oauth_options import OAuthOptions

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = {"host", "content-length", "transfer-encoding", "connection", "traceparent", "te", "trailer", "upgrade"}
_SECRET_NAMES = "authorization|cookie|token|secret|password|api-?key|signature|credential"  # noqa: S105 - names only
_SECRET_HEADER = re.compile(_SECRET_NAMES, re.IGNORECASE)
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


class ConnectionOptions(Verb):
    """How a receiver is called."""

    headers: Annotated[dict[str, str], Checked(_headers, _HEADERS)] = Field(default={}, repr=False)
    """Additional headers; secret values only by reference."""
    timeout: Annotated[Duration, AfterValidator(no_longer_than(timedelta(minutes=5)))] = timedelta(seconds=10)
    """The limit for the whole call, at most 5m."""
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

    def connection_remarks(self) -> Iterator[Remark]:
        """Yield options that exclude each other, and what is not encrypted."""
        if self.certificate_key and not self.certificate:
            yield Remark(("certificate_key",), "needs `certificate`")
        if self.oauth and any(name.lower() == "authorization" for name in self.headers):
            yield Remark(("headers", "Authorization"), "is set by `oauth`: remove one of them")
        if self.oauth and self.oauth.token_url.startswith("http://"):
            yield Remark(("oauth", "token_url"), "is not encrypted: others can read the secret", warning=True)

    def connection_remarks_here(self, addresses: Iterable[str]) -> Iterator[Remark]:
        """Yield warnings about secrets that are missing, and whether proxies, certificates and keys can be used.

        *addresses* are called, or references to what is.
        """
        for name, value in self.headers.items():
            if is_reference(value):
                yield from secret_warnings(("headers", name), value)
        yield from self._about_proxy(addresses)
        if self.oauth:
            yield from self.oauth.remarks_here()
        yield from self._about_certificates()

    def _about_proxy(self, addresses: Iterable[str]) -> Iterator[Remark]:
        if is_reference(self.proxy):
            yield from secret_warnings(("proxy",), self.proxy)
        for each in addresses:
            try:
                proxies.proxy_for(self.proxy, address(each))
            except (SecretError, OSError):
                continue  # said of the secret
            except Rejected as error:
                # The consumer may have another environment than this command.
                is_here = self.proxy == proxies.ENVIRONMENT
                yield Remark(("proxy",), str(error), warning=is_here, fault=not is_here)
                return

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


def address_remarks(place: tuple[str | int, ...], reference: str) -> Iterator[Remark]:
    """Yield what is wrong with the address that *reference* stands for."""
    yield from secret_warnings(place, reference)
    try:
        split(secrets.read(reference))
    except (SecretError, OSError):
        return
    except ValueError as error:
        yield Remark(place, f"secret {reference}: {error}", fault=True)


def secret_warnings(place: tuple[str | int, ...], reference: str) -> Iterator[Remark]:
    """Yield a warning if the secret that *reference* stands for is missing, or open to others."""
    if problem := secrets.problem(reference):
        yield Remark(place, problem, warning=True)
