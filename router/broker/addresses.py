"""The addresses of brokers, and the pauses between attempts to connect.  No network."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from .. import redaction, trust
from ..errors import SettingsError, hint

if TYPE_CHECKING:
    import ssl

_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = ("cacertfile", "certfile", "keyfile", "server_name_indication", "auth_mechanism")
"""The options that may follow the `?`, with RabbitMQ's names."""

READABLE = (
    "sends the password and all events without encryption over the network, where others can read them: write amqps://,"
    " and ?cacertfile=/PATH at the end of the URL"
)
"""What to say of one that is `readable`."""

_ESCAPE = "write / ? # @ : in a user, password or virtual host as %2F %3F %23 %40 %3A"


@dataclass(frozen=True, slots=True)
class Address:
    """One broker, and the user to log in as; `str` and `repr` never show the password."""

    host: str
    port: int
    vhost: str
    user: str | None
    password: str = field(repr=False)
    tls: bool = False
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    external: bool = False

    def __str__(self) -> str:
        """Return the URL without password and options."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "" if self.vhost == "/" else f"/{self.vhost}"
        return f"{'amqps' if self.tls else 'amqp'}://{user}{host}:{self.port}{vhost}"


@dataclass(frozen=True, slots=True)
class ManagementAddress:
    """The management API at *where*, such as `https://mq1:15671`, its *user*, and the file of CA certificates."""

    where: str
    user: str
    authority: str | None = None


def parse_management(url: str) -> ManagementAddress:
    """Return what `broker.management` says.  Raises ValueError, whose message has no part of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is not https://ADMINISTRATOR@HOST:15671") from None
    options = dict(parse_qsl(parts.query))
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username or parts.path.strip("/"):
        raise ValueError("is not https://ADMINISTRATOR@HOST:15671")
    if parts.password is not None:
        raise ValueError("has a password: put it in broker.management_password_file")
    if options.keys() - {"cacertfile"}:
        raise ValueError("only cacertfile is allowed after the question mark")
    try:
        is_port = parts.port != 0
    except ValueError:
        is_port = False
    if not is_port:
        raise ValueError("has no port from 1 to 65535")
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return ManagementAddress(where, unquote(parts.username), options.get("cacertfile"))


def tls_context(address: Address) -> ssl.SSLContext:
    """Return a TLS context that verifies the broker at *address* and presents our certificate, if it names one.

    Raises SettingsError if a file is missing, is not a certificate or key, or is not to be trusted.
    """
    import ssl  # noqa: PLC0415 - commands that reach no broker parse its address too

    if found := trust.problem_of_tls_files(address.authority, address.certificate, address.key):
        raise SettingsError(f"broker {address}: {found}")
    try:
        context = ssl.create_default_context(cafile=address.authority)
        if address.certificate:
            context.load_cert_chain(address.certificate, address.key)
    except OSError as error:
        files = [each for each in (address.authority, address.certificate, address.key) if each]
        raise SettingsError(f"broker {address}: cannot use {' and '.join(files)}: {error}") from error
    return context


def parse(url: str) -> Address:
    """Return the broker that *url* names.  Raises SettingsError, which never shows the password.

    If the URL names no user, the user is `guest`; with `?auth_mechanism=external`, the client certificate names it.
    The relay reads the same URLs with `shim/broker_urls.py`; a contract test compares the two.

    >>> str(parse("amqps://router:secret@mq1/bus?cacertfile=/etc/clusterbus/ca.pem"))
    'amqps://router@mq1:5671/bus'
    """
    try:
        return _address(url)
    except ValueError as error:
        raise SettingsError(f"broker {redaction.url(url)!r} {error}") from None


def with_user(url: str, user: str, password: str | None) -> str:
    """Return *url* with *user*, as URLs write it, and *password* instead of those that it has; None: without one.

    >>> with_user("amqps://a:b@mq1/bus", "router", "s/cret"), with_user("amqps://mq1/bus", "router", None)
    ('amqps://router:s%2Fcret@mq1/bus', 'amqps://router@mq1/bus')
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = user.partition(":")[0]
    login = name if password is None else f"{name}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{host}" if login else host))


def readable(urls: Iterable[str]) -> Iterator[Address]:
    """Yield the brokers of *urls* to which the network can read what is sent; a URL that is a mistake is none.

    >>> [str(each) for each in readable(["amqp://u@mq1/", "amqps://u@mq1/", "amqp://u@127.0.0.1/", "amqp://u@[::1]/"])]
    ['amqp://u@mq1:5672']
    """
    for url in urls:
        with suppress(SettingsError):
            address = parse(url)
            if not address.tls and not _is_local(address.host):
                yield address


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
        vhost, user, password = (_unquoted(each) for each in (parts.path[1:], parts.username, parts.password))
    except ValueError:
        # The library's message may contain a part of the password.
        raise ValueError(f"is not a URL: use ports from 1 to 65535, and {_ESCAPE}") from None
    if parts.scheme not in _PORTS or not parts.hostname or not port:
        raise ValueError("is not amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(f"has an @ after its host: {_ESCAPE}")
    if parts.fragment:
        raise ValueError(f"has a #: {_ESCAPE}")
    options = _options(parts.query)
    _check(options, secure=parts.scheme == "amqps")
    external = options.get("auth_mechanism", "").lower() == "external"
    return Address(
        host=parts.hostname,
        port=port,
        vhost=vhost or "/",
        user=user or (None if external else "guest"),
        password="guest" if password is None else password,
        tls=parts.scheme == "amqps",
        authority=options.get("cacertfile"),
        certificate=options.get("certfile"),
        key=options.get("keyfile"),
        server_name=options.get("server_name_indication"),
        external=external,
    )


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text, errors="strict")


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in query.split("&") if query else ():
        name, _, value = each.partition("=")
        if not value:
            # Without the text of the option: it may be the end of a password.
            raise ValueError(f"has an option without a value: write ?NAME=VALUE&NAME=VALUE; {_ESCAPE}")
        if name not in _OPTIONS:
            raise ValueError(f"has the unknown option {name[:40]!r}; {hint(name, _OPTIONS)}")
        if name in options:
            raise ValueError(f"has the option {name} twice")
        try:
            options[name] = unquote(value, errors="strict")
        except ValueError:
            raise ValueError(f"has the option {name} with octets that are not UTF-8") from None
    return options


def _check(options: dict[str, str], *, secure: bool) -> None:
    mechanism = options.get("auth_mechanism", "plain").lower()
    if mechanism not in ("plain", "external"):
        raise ValueError("has an auth_mechanism that is neither plain nor external")
    if "keyfile" in options and "certfile" not in options:
        raise ValueError("has a keyfile without a certfile")
    for name in options:
        if not secure and (name, mechanism) != ("auth_mechanism", "plain"):
            raise ValueError(f"has the option {name}, which needs amqps://")


def turns(addresses: Sequence[Address], chance: random.Random) -> Iterator[Address]:
    """Return *addresses* in turn, forever; shuffled, so that many programs do not all begin with the first."""
    return cycle(chance.sample(addresses, len(addresses)))


class Pauses:
    """Growing pauses, each random up to a bound (*full jitter*): programs that failed together spread out."""

    def __init__(self, first: timedelta, longest: timedelta, chance: random.Random, *, each: int = 1) -> None:
        """Start with the bound *first*, and double it up to *longest* after every *each* pauses, a round of brokers."""
        self._first, self._longest, self._chance, self._each = first, longest, chance, each
        self.count = 0

    def next(self) -> timedelta:
        """Return the next pause."""
        # The exponent stays small however long the broker is away; 2**20 exceeds every bound.
        growth: int = 2 ** min(self.count // self._each, 20)
        bound = min(self._longest, self._first * growth)
        self.count += 1
        return bound * self._chance.random()

    def reset(self) -> None:
        """Start again at the first bound, after a success."""
        self.count = 0
