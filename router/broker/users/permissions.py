"""The rights of each user at the broker, as definitions that RabbitMQ imports.  Only values, no connection.

A node may only write records to the ingress exchange under its own name.  It may not read, declare, or use another
name.  `clusterbus broker users` prints or applies these definitions.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ...errors import SettingsError
from ..service_topology import dead_queue, service_queue
from ..topology import (
    ALERTS,
    DEAD,
    EVENTS,
    HISTORY,
    INGRESS,
    OWN_EVENTS,
    REJECTED,
    RETRY,
    RETURN,
    UNROUTED,
    Topology,
    base,
    event_exchanges,
)

_NODE = re.compile(r"[a-z0-9-]{1,63}\Z")
_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_ANY_WORD = "[A-Za-z0-9_-]+"
NOTHING = "^$"
"""The pattern that matches no name and no key."""

_SUBSCRIPTIONS = r"clusterbus\.sub\.[^.]+"
_SHARDS = r"clusterbus\.ingress\.[^.]+"
"""The exchange that shares out the records, and its queues."""

_SERVICES = r"clusterbus\.svc\.[^.]+(\.[a-z]+)?"
"""The queues of services, whose messages the router counts: since RabbitMQ 4.2.6, that needs a right."""


CONNECTIONS, CHANNELS = 4, 8
"""The limits of a node: one connection in use, one being closed, and the same again for somebody who repairs it."""


SERVICE_CONNECTIONS, SERVICE_CHANNELS = 20, 200
"""The limits of a service, which may be several processes."""

HASHING = "rabbit_password_hashing_sha256"


class Role(Enum):
    """What a user does at the broker."""

    NODE = "publishes its own records"
    ROUTER = "reads records, publishes events and rejected records"
    CONSUMER = "declares and reads its subscriptions, retries, dead-letters, keeps alerts, reports what it does"
    SERVICE = "reads its own queues, and may publish the records of one source"
    OPERATOR = "declares everything of clusterbus, and may publish and read all of it"


@dataclass(frozen=True, slots=True)
class ServiceRights:
    """What the user of service *name* may read: its queues; with *history* also that; while it *is_paused*, nothing.

    It may publish the records of the source that it *publishes*, only of these *clusters* if there are any.
    """

    name: str
    history: bool = False
    is_paused: bool = False
    publishes: str | None = None
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker; without a *password* it can log in only with a client certificate.

    *service* has the rights of a user of role SERVICE.
    """

    name: str
    role: Role
    password: str | None = field(default=None, repr=False)
    service: ServiceRights | None = None


def definitions(users: Iterable[User], *, vhost: str = "/", cluster: str | None = None) -> dict[str, Any]:
    """Return RabbitMQ's definitions of *users* with their rights in *vhost*, and the exchanges of their topic rows.

    With a *cluster*, nodes may publish only for that cluster.  The same users give the same definitions.  Do not import
    them in one step: `Grants.steps` splits them.  Raises SettingsError for invalid names.
    """
    known = list(users)
    _check(known, cluster)
    rows = [{"user": each.name, "vhost": vhost} | topics for each in known for topics in _topics(each, cluster)]
    return {
        "vhosts": [{"name": vhost}],
        **_exchanges({row["exchange"] for row in rows}, vhost),
        "users": [_user(each) for each in known],
        "permissions": [{"user": each.name, "vhost": vhost} | _permissions(each) for each in known],
        "topic_permissions": rows,
    }


def _exchanges(names: set[str], vhost: str) -> dict[str, Any]:
    """Return exchanges *names* as `clusterbus broker setup` declares them, and what leads to them from others."""
    ways = event_exchanges() if OWN_EVENTS in names else Topology()
    wanted = names | {each.name for each in ways.exchanges}
    flags = {"durable": True, "auto_delete": False, "internal": False}
    return {
        "exchanges": [
            {"name": each.name, "vhost": vhost, "type": each.kind, **flags, "arguments": dict(each.arguments)}
            for each in base().exchanges
            if each.name in wanted
        ],
        "bindings": [
            {
                "source": each.exchange,
                "vhost": vhost,
                "destination": each.queue,
                "destination_type": "exchange",
                "routing_key": each.key,
                "arguments": dict(each.arguments),
            }
            for each in ways.bindings
        ],
    }


def _topics(user: User, cluster: str | None) -> list[dict[str, str]]:
    match user.role:
        case Role.NODE:
            return [{"exchange": INGRESS, "write": ingress_pattern(user.name, cluster), "read": NOTHING}]
        case Role.CONSUMER:
            # Only the consumers' own events about their actions and about alerts, not the events of a source.
            written = rf"^clusterbus\.{_ANY_WORD}\.(action|alert)\."
            return [{"exchange": each, "write": written, "read": ".*"} for each in (EVENTS, OWN_EVENTS)]
        case Role.SERVICE:
            # Each has a row: without one, RabbitMQ would allow all keys to whoever is given the right to write.
            return [{"exchange": INGRESS, "write": _source_pattern(user), "read": NOTHING}]
        case _:
            return []


def _source_pattern(user: User) -> str:
    """Return the pattern of the ingress keys of a service: its source, its clusters, and its own name as the node."""
    rights = user.service
    if rights is None or rights.publishes is None:
        return NOTHING
    clusters = f"({'|'.join(map(re.escape, rights.clusters))})" if rights.clusters else _ANY_WORD
    return rf"^{re.escape(rights.publishes)}\.{clusters}\.{_ANY_WORD}\.{re.escape(user.name)}$"


def _check(users: list[User], cluster: str | None) -> None:
    if cluster is not None and not _CLUSTER.match(cluster):
        raise SettingsError(f"cluster {cluster!r} is not a valid name: use only A-Z a-z 0-9 _ -")
    names = set()
    for user in users:
        if user.role is Role.NODE and not _NODE.match(user.name):
            raise SettingsError(
                f"node {user.name!r} is not a valid name of a-z 0-9 -: use the name in its relay's settings"
            )
        if user.service and user.service.publishes and not _NODE.match(user.name):
            # The router sets aside by such names who sends too much.
            raise SettingsError(
                f"{user.name} cannot publish: its name must have at most 63 characters of a-z 0-9 -: choose a shorter"
                " name for the service, or another broker.prefix"
            )
        if user.name in names:
            raise SettingsError(f"user {user.name!r} is named twice: a node cannot have the name of a program's user")
        names.add(user.name)


def ingress_pattern(node: str, cluster: str | None = None) -> str:
    r"""Return the pattern of the ingress keys of *node*, which the broker checks.

    Without a *cluster* the node may publish for any, also for that of another node of its name: one user of one virtual
    host is one node, and nothing in a record but its key says of which cluster.  `broker users` then says so.

    The name is written out instead of `{username}`, because RabbitMQ before 4.2.4 does not escape it.

    >>> ingress_pattern("nsd01", "prod")
    '^[A-Za-z0-9_-]+\\.prod\\.[A-Za-z0-9_-]+\\.nsd01$'
    """
    return rf"^{_ANY_WORD}\.{cluster or _ANY_WORD}\.{_ANY_WORD}\.{node}$"


def password_hash(password: str, salt: bytes) -> str:
    """Return the hash of *password* as RabbitMQ stores it: base 64 of the four octets of *salt* and SHA-256 of both.

    >>> password_hash("test12", bytes.fromhex("908DC60A"))
    'kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR'
    """
    return b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def fits(password: str, kept: str) -> bool:
    """Return whether *kept*, a SHA-256 hash as RabbitMQ stores it, belongs to *password*.

    >>> fits("test12", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"), fits("test12", "")
    (True, False)
    """
    try:
        salt = b64decode(kept, validate=True)[:4]
    except ValueError:
        return False
    return len(salt) == 4 and hmac.compare_digest(password_hash(password, salt), kept)  # noqa: PLR2004 - RabbitMQ's


def _salt(user: User) -> bytes:
    # Not random, so that repeated output is identical.  It is unique, because it includes the name.
    return hashlib.sha256(f"clusterbus salt\0{user.name}\0{user.password}".encode()).digest()[:4]


def _user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "password_hash": password_hash(user.password, _salt(user)) if user.password is not None else "",
        "hashing_algorithm": HASHING,
        "tags": [],
        "limits": _limits(user.role),
    }


def _limits(role: Role) -> dict[str, int]:
    match role:
        case Role.NODE:
            return {"max-connections": CONNECTIONS, "max-channels": CHANNELS}
        case Role.SERVICE:
            return {"max-connections": SERVICE_CONNECTIONS, "max-channels": SERVICE_CHANNELS}
        case _:
            return {}


def _permissions(user: User) -> dict[str, str]:
    match user.role:
        case Role.NODE:
            return _rights(write=[INGRESS])
        case Role.ROUTER:
            # Binding a node to its shard needs `write` on the queue and `read` on the exchange.
            # So does unbinding a history that breaks the connection of who publishes to it.
            return _rights(
                write=[EVENTS, OWN_EVENTS, REJECTED, HISTORY], read=[INGRESS, OWN_EVENTS], used=_SHARDS, seen=_SERVICES
            )
        case Role.CONSUMER:
            # Binding a queue needs `write` on the queue and `read` on the exchange.  Giving it a dead-letter exchange
            # needs `read` on the queue and `write` on that exchange.
            return _rights(
                write=[RETRY, RETURN, DEAD, EVENTS, OWN_EVENTS],
                read=[EVENTS, OWN_EVENTS, RETURN, DEAD, REJECTED, UNROUTED, HISTORY],
                used=re.escape(ALERTS),
                owned=_SUBSCRIPTIONS,
            )
        case Role.SERVICE:
            # Acknowledging and rejecting need nothing more; the broker, not the user, publishes its dead letters.
            rights = user.service
            if rights is None or rights.is_paused:
                return dict.fromkeys(("configure", "write", "read"), NOTHING)
            own = [service_queue(rights.name), dead_queue(rights.name)]
            return _rights(write=[INGRESS] if rights.publishes else [], read=[*own, HISTORY] if rights.history else own)
        case Role.OPERATOR:
            return dict.fromkeys(("configure", "write", "read"), r"^clusterbus\.")


def _rights(
    *,
    write: Iterable[str],
    read: Iterable[str] = (),
    used: str | None = None,
    seen: str | None = None,
    owned: str | None = None,
) -> dict[str, str]:
    """Return the rights to *write* and *read* what has these names.

    What matches the pattern *seen* may be read, what matches *used* may be written and read, and what matches *owned*
    may also be declared.
    """

    def pattern(names: Iterable[str], *patterns: str | None) -> str:
        alternatives = [*map(re.escape, names), *filter(None, patterns)]
        return f"^({'|'.join(alternatives)})$" if alternatives else NOTHING

    return {
        "configure": pattern((), owned),
        "write": pattern(write, used, owned),
        "read": pattern(read, used, seen, owned),
    }
