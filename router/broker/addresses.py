"""Where brokers are, and how long to wait before one is tried again.  No socket: texts, values and arithmetic."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import SettingsError

_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = ("cacertfile", "certfile", "keyfile", "server_name_indication", "auth_mechanism")
"""What may follow the `?`; RabbitMQ's own names for them."""


@dataclass(frozen=True, slots=True)
class Address:
    """One broker, and as whom to speak to it; its text never shows the password."""

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
        """Return it as a URL without the password."""
        user = f"{self.user}@" if self.user else ""
        vhost = "" if self.vhost == "/" else f"/{self.vhost}"
        return f"{'amqps' if self.tls else 'amqp'}://{user}{self.host}:{self.port}{vhost}"


def tls_context(address: Address) -> ssl.SSLContext:
    """Return what verifies the broker at *address* and shows our certificate to it, if we have one.

    Raises SettingsError where a file is not there or not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=address.authority)
        if address.certificate:
            context.load_cert_chain(address.certificate, address.key)
    except OSError as error:
        files = [each for each in (address.authority, address.certificate, address.key) if each]
        raise SettingsError(f"broker {address}: cannot use {' and '.join(files)}: {error}") from error
    return context


def parse(url: str) -> Address:
    """Return the broker that *url* names; raises SettingsError, which never shows the password.

    With `?auth_mechanism=external` the client certificate says who we are, and the user may be left out.

    >>> str(parse("amqps://router:secret@mq1/bus?cacertfile=/etc/clusterbus/ca.pem"))
    'amqps://router@mq1:5671/bus'
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"broker {without_password(url)!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise SettingsError(
            f"broker {without_password(url)!r} is not amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://"
        )
    options = _options(parts.query, url)
    external = options.get("auth_mechanism", "plain").lower() == "external"
    if external and parts.scheme != "amqps":
        raise SettingsError(f"broker {without_password(url)!r}: auth_mechanism=external needs amqps://")
    return Address(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username) if parts.username else None if external else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        tls=parts.scheme == "amqps",
        authority=options.get("cacertfile"),
        certificate=options.get("certfile"),
        key=options.get("keyfile"),
        server_name=options.get("server_name_indication"),
        external=external,
    )


def _options(query: str, url: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            near = get_close_matches(name, _OPTIONS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(_OPTIONS)}"
            raise SettingsError(f"broker {without_password(url)!r} has the unknown option {name!r}{hint}")
    return options


def without_password(url: str) -> str:
    """Return *url* fit to be shown, whatever it is.

    >>> without_password("amqp://router:s3cret@mq1:5672/bus")
    'amqp://router:***@mq1:5672/bus'
    """
    head, separator, rest = url.partition("://")
    # A password may hold a slash or an @ that was not escaped: everything up to the last @ is taken for it.
    user, at, place = rest.rpartition("@")
    if not at:
        return url
    name, colon, _ = user.partition(":")
    return f"{head}{separator}{name}{':***' if colon else ''}@{place}"


class Turns:
    """Several brokers, shuffled once, tried in turn for ever."""

    def __init__(self, addresses: Sequence[Address], chance: random.Random) -> None:
        """Shuffle *addresses* by *chance*, so that many programs don't all lean on the first."""
        self._addresses = list(addresses)
        chance.shuffle(self._addresses)
        self._at = -1

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._addresses)

    def __iter__(self) -> Iterator[Address]:
        """Return itself: it never ends."""
        return self

    def __next__(self) -> Address:
        """Return the next to try."""
        self._at = (self._at + 1) % len(self._addresses)
        return self._addresses[self._at]


class Pauses:
    """Pauses that grow, each anything from nothing to its bound (*full jitter*): who failed together returns apart."""

    def __init__(
        self,
        first: timedelta,
        longest: timedelta,
        chance: random.Random,
        *,
        each: int = 1,
    ) -> None:
        """Begin at *first*, double up to *longest*, after *each* that many: so many brokers are tried alike."""
        self._first, self._longest, self._chance, self._each = first, longest, chance, each
        self.count = 0

    def next(self) -> timedelta:
        """Return the next pause."""
        # 2**20 of anything is past every bound, and the exponent stays small however long the broker is away.
        growth: int = 2 ** min(self.count // self._each, 20)
        bound = min(self._longest, self._first * growth)
        self.count += 1
        return bound * self._chance.random()

    def reset(self) -> None:
        """Begin again: it went well."""
        self.count = 0
