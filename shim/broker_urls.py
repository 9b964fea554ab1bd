"""Broker URLs: `amqps://USER:PASSWORD@HOST:PORT/VHOST?cacertfile=...`, in RabbitMQ's own words.

The router reads the same URLs with `router/broker/addresses.py`; a contract test holds the two together.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = ("cacertfile", "certfile", "keyfile", "server_name_indication", "auth_mechanism")
_ESCAPE = "write / ? # @ : in a user, password or virtual host as %2F %3F %23 %40 %3A"


@dataclass(frozen=True)
class Broker:
    """One broker, and how to log in to it; what its URL does not say is None, the user an empty text."""

    host: str
    port: int
    vhost: str
    user: str
    secure: bool
    password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    external: bool = False

    def __repr__(self) -> str:
        """Return the URL without the password and the options."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.secure else 'amqp'}://{user}{host}:{self.port}/{self.vhost}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse(url: str) -> Broker:
    """Return the broker that *url* names.

    Raises ValueError, which says what is wrong without a part of the URL that may be a password.

    >>> parse("amqps://nsd01:secret@mq1.example/bus?cacertfile=/etc/clusterbus/ca.pem")
    amqps://nsd01@mq1.example:5671/bus
    >>> parse("amqp://[::1]")
    amqp://[::1]:5672//
    """
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
        vhost, user, password = (_unquoted(each) for each in (parts.path[1:], parts.username, parts.password))
    except ValueError:
        # The library's own words may hold a part of the password.
        raise ValueError(f"is not a URL: use ports from 1 to 65535, and {_ESCAPE}") from None
    if parts.scheme not in _PORTS or not parts.hostname or not port:
        raise ValueError("is not amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(f"has an @ after its host: {_ESCAPE}")
    if parts.fragment:
        raise ValueError(f"has a #: {_ESCAPE}")
    options = _options(parts.query)
    _check(options, secure=parts.scheme == "amqps")
    return Broker(
        host=parts.hostname,
        port=port,
        vhost=vhost or "/",
        user=user or "",
        secure=parts.scheme == "amqps",
        password=password,
        ca=options.get("cacertfile"),
        certificate=options.get("certfile"),
        key=options.get("keyfile"),
        server_name=options.get("server_name_indication"),
        external=options.get("auth_mechanism", "").lower() == "external",
    )


def hint(name: str, known: Iterable[str]) -> str:
    """Return which of the *known* names may be meant by *name*.

    >>> hint("spol", ["spool", "node"]), hint("x", ["spool", "node"])
    ('did you mean spool?', 'there are spool, node')
    """
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text, errors="strict")


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in query.split("&") if query else ():
        name, _, value = each.partition("=")
        if not value:
            # Without its words: they may be the end of a password.
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
