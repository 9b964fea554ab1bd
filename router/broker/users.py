"""Who may do what at the broker, as definitions that RabbitMQ imports.  No broker: only values.

A node may write records to the ingress exchange under its own name and nothing else: not read, not declare, not under
another's name.  `clusterbus broker users` prints what is made here, or applies it.
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

from ..errors import SettingsError
from .topology import DEAD, EVENTS, HISTORY, INGRESS, REJECTED, RETRY, RETURN, UNROUTED

_NODE = re.compile(r"[a-z0-9-]{1,63}\Z")
_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_ANY_WORD = "[A-Za-z0-9_-]+"
_NOTHING = "^$"
_SUBSCRIPTIONS = r"clusterbus\.sub\.[^.]+"

CONNECTIONS, CHANNELS = 4, 8
"""A node's at the most: one it uses, one it is leaving, and as much again for whoever repairs it."""


HASHING = "rabbit_password_hashing_sha256"


class Role(Enum):
    """What somebody does at the broker."""

    NODE = "publishes its own records"
    ROUTER = "reads records, publishes events and rejected records"
    CONSUMER = (
        "declares and reads its subscriptions, retries, dead-letters, says what it did, reads letters and history"
    )
    OPERATOR = "declares everything of clusterbus, and may publish and read all of it"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who connects; without a *password* only a client certificate lets them in."""

    name: str
    role: Role
    password: str | None = field(default=None, repr=False)


def definitions(
    users: Iterable[User],
    *,
    vhost: str = "/",
    cluster: str | None = None,
) -> dict[str, Any]:
    """Return RabbitMQ's definitions of *users* with their rights in *vhost*, and nothing else.

    With a *cluster* the nodes may only speak for nodes of that cluster.  Importing them replaces the rights of users
    that are there, and touches nobody else's.  The same users make the same definitions.  Raises SettingsError.
    """
    known = list(users)
    _check(known, cluster)
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(each) for each in known],
        "permissions": [{"user": each.name, "vhost": vhost} | _permissions(each.role) for each in known],
        "topic_permissions": [
            {"user": each.name, "vhost": vhost} | topics
            for each in known
            if (topics := _topics(each, cluster)) is not None
        ],
    }


def _topics(user: User, cluster: str | None) -> dict[str, str] | None:
    match user.role:
        case Role.NODE:
            return {"exchange": INGRESS, "write": ingress_pattern(user.name, cluster), "read": _NOTHING}
        case Role.CONSUMER:
            # What consumers themselves say, of the actions that they took; no source's events.
            return {"exchange": EVENTS, "write": rf"^clusterbus\.{_ANY_WORD}\.action\.", "read": ".*"}
        case _:
            return None


def _check(users: list[User], cluster: str | None) -> None:
    if cluster is not None and not _CLUSTER.match(cluster):
        raise SettingsError(f"cluster {cluster!r} is not made of A-Z a-z 0-9 _ -")
    names = set()
    for user in users:
        if user.role is Role.NODE and not _NODE.match(user.name):
            raise SettingsError(
                f"node {user.name!r} is not made of a-z 0-9 -: name its user as the relay names the node"
            )
        if user.name in names:
            raise SettingsError(f"user {user.name!r} is there twice: a node can't have the name of a program's user")
        names.add(user.name)


def ingress_pattern(node: str, cluster: str | None = None) -> str:
    r"""Return what the ingress keys of *node* look like, as the broker checks them.

    The name is written out, not as `{username}`: before 4.2.4 RabbitMQ would not escape it.

    >>> ingress_pattern("nsd01", "prod")
    '^[A-Za-z0-9_-]+\\.prod\\.[A-Za-z0-9_-]+\\.nsd01$'
    """
    return rf"^{_ANY_WORD}\.{cluster or _ANY_WORD}\.{_ANY_WORD}\.{node}$"


def password_hash(password: str, salt: bytes) -> str:
    """Return *password* as RabbitMQ keeps it: base 64 of the four octets of *salt* and the SHA-256 of both.

    >>> password_hash("test12", bytes.fromhex("908DC60A"))
    'kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR'
    """
    return b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def fits(password: str, kept: str) -> bool:
    """Say whether *kept*, as RabbitMQ keeps passwords by SHA-256, is of *password*.

    >>> fits("test12", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"), fits("test12", "")
    (True, False)
    """
    try:
        salt = b64decode(kept, validate=True)[:4]
    except ValueError:
        return False
    return len(salt) == 4 and hmac.compare_digest(password_hash(password, salt), kept)  # noqa: PLR2004 - RabbitMQ's


def _salt(user: User) -> bytes:
    # Not by chance: what is printed twice is the same then.  Nobody else has it, since the name is in it.
    return hashlib.sha256(f"clusterbus salt\0{user.name}\0{user.password}".encode()).digest()[:4]


def _user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "password_hash": password_hash(user.password, _salt(user)) if user.password is not None else "",
        "hashing_algorithm": HASHING,
        "tags": [],
        "limits": {"max-connections": CONNECTIONS, "max-channels": CHANNELS} if user.role is Role.NODE else {},
    }


def _permissions(role: Role) -> dict[str, str]:
    match role:
        case Role.NODE:
            return _rights(write=[INGRESS])
        case Role.ROUTER:
            return _rights(write=[EVENTS, REJECTED], read=[INGRESS])
        case Role.CONSUMER:
            # To bind a queue takes `write` on it and `read` on the exchange; to give it a dead-letter exchange,
            # `read` on the queue and `write` on that.
            return _rights(
                configure=[],
                write=[RETRY, RETURN, DEAD, EVENTS],
                read=[EVENTS, RETURN, DEAD, REJECTED, UNROUTED, HISTORY],
                everywhere=_SUBSCRIPTIONS,
            )
        case Role.OPERATOR:
            return dict.fromkeys(("configure", "write", "read"), r"^clusterbus\.")


def _rights(
    *,
    configure: Iterable[str] = (),
    write: Iterable[str] = (),
    read: Iterable[str] = (),
    everywhere: str | None = None,
) -> dict[str, str]:
    def pattern(names: Iterable[str]) -> str:
        alternatives = [re.escape(name) for name in names] + ([everywhere] if everywhere else [])
        return f"^({'|'.join(alternatives)})$" if alternatives else _NOTHING

    return {"configure": pattern(configure), "write": pattern(write), "read": pattern(read)}
