"""What the broker has of our users beside what it should have.  No broker: only definitions, and what differs.

A user whose topic row is missing may use every key: RabbitMQ takes no row for "all".  So rows come before rights, here
and in what is printed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .topology import INGRESS
from .users import HASHING, Role, User, definitions, fits, ingress_pattern

Definitions = Mapping[str, Any]
Does = Literal["add", "change", "keep", "remove", "gone"]

_RIGHTS = ("configure", "write", "read")


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about a user: *what* of it differs, empty where it is kept."""

    user: str
    does: Does
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grants:
    """Users with the rights that they should have in *vhost*; nodes speak for *cluster* only, where one is given."""

    users: tuple[User, ...]
    vhost: str = "/"
    cluster: str | None = None

    def definitions(self) -> dict[str, Any]:
        """Return them as RabbitMQ imports them.  Raises SettingsError."""
        return definitions(self.users, vhost=self.vhost, cluster=self.cluster)

    def named(self, names: Iterable[str]) -> Grants:
        """Return those of these *names* only."""
        kept = frozenset(names)
        return Grants(tuple(each for each in self.users if each.name in kept), self.vhost, self.cluster)

    def changes(self, present: Definitions) -> list[Change]:
        """Return for each user what makes the broker's *present* definitions into these."""
        wanted = _facts(self.definitions(), self.vhost)
        there = _facts(present, self.vhost)
        return [_change(user, wanted[user.name], there.get(user.name)) for user in self.users]

    def steps(self, present: Definitions) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return two imports, one after the other: users and topic rows, then rights; so that no key is open between.

        A virtual host that is there is left out, since an import would replace what is said about it.
        """
        every = self.definitions()
        there = {each["name"] for each in present.get("vhosts", [])}
        first = {
            "vhosts": [] if self.vhost in there else every["vhosts"],
            "users": self._with_hashes_of(present, every["users"]),
            "permissions": [],
            "topic_permissions": every["topic_permissions"],
        }
        return first, {"vhosts": [], "users": [], "permissions": every["permissions"], "topic_permissions": []}

    def _with_hashes_of(self, present: Definitions, users: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return *users*, of whom those whose password is not another keep its hash with its salt."""
        there = _facts(present, self.vhost)
        same = {
            user.name: there[user.name]["hash"]
            for user in self.users
            if user.name in there and _same_password(user, there[user.name])
        }
        return [each | {"password_hash": same.get(each["name"], each["password_hash"])} for each in users]

    def open_nodes(self, present: Definitions) -> list[str]:
        """Return the nodes whose topic row is not there as it should be: given rights, they could use other keys."""
        wanted, there = _facts(self.definitions(), self.vhost), _facts(present, self.vhost)
        return [
            user.name
            for user in self.users
            if user.role is Role.NODE
            and (user.name not in there or there[user.name]["topics"] != wanted[user.name]["topics"])
        ]

    def objections(self, present: Definitions) -> list[str]:
        """Return why users that are there cannot be made these, a sentence each: they are somebody else's."""
        names = {each.name for each in self.users}
        return [
            f"{each['name']} is there as {', '.join(_tags(each))}: that is somebody else's user; choose another"
            " broker.prefix, or take its tags away"
            for each in present.get("users", [])
            if each["name"] in names and _tags(each)
        ]

    def elsewhere(self, present: Definitions) -> list[str]:
        """Return what these users may do in other virtual hosts, a sentence each: not ours to give or to take."""
        names = {each.name for each in self.users}
        return [
            f"{each['user']} has rights in the virtual host {each['vhost']} too; where that is not wanted:"
            f" {shlex.join(['rabbitmqctl', 'clear_permissions', '-p', each['vhost'], each['user']])}"
            for each in present.get("permissions", [])
            if each["user"] in names and each["vhost"] != self.vhost
        ]


def nodes_there(present: Definitions, vhost: str, cluster: str | None = None) -> frozenset[str]:
    """Return the users that have a node's rights in *vhost*, and no tags; with a *cluster* those of it only."""
    likeness = _facts(definitions([User("a", Role.NODE)], vhost=vhost), vhost)["a"]["rights"]
    return frozenset(
        name
        for name, facts in _facts(present, vhost).items()
        if facts["rights"] == likeness
        and not facts["tags"]
        and (cluster is None or (INGRESS, ingress_pattern(name, cluster)) in {row[:2] for row in facts["topics"]})
    )


def departures(names: Sequence[str], present: Definitions, vhost: str) -> tuple[list[Change], list[str]]:
    """Return what becomes of nodes *names* that left, and which of them are no nodes' users and so are left alone."""
    ours, there = nodes_there(present, vhost), {each["name"] for each in present.get("users", [])}
    return (
        [Change(each, "remove" if each in ours else "gone") for each in names if each in ours or each not in there],
        [each for each in names if each in there - ours],
    )


def commands(grants: Grants, files: Mapping[str, Path], control: Sequence[str]) -> list[str]:
    """Return shell lines that make *grants* by *control*, rabbitmqctl; passwords come from *files*, on standard input.

    They may be run again, and in this order no node has rights before its topic row.
    """
    wanted = _facts(grants.definitions(), grants.vhost)
    there = f"{_line(control, 'list_vhosts', '--quiet')} | grep -qxF -- {shlex.quote(grants.vhost)}"
    lines = [f"{there} || {_line(control, 'add_vhost', grants.vhost)}"]
    for user in grants.users:
        name, facts = user.name, wanted[user.name]
        lines += _account(name, files.get(name), control)
        if facts["limits"]:
            lines.append(_line(control, "set_user_limits", name, json.dumps(facts["limits"])))
        lines += [
            _line(control, "set_topic_permissions", "-p", grants.vhost, name, exchange, write, read)
            for exchange, write, read in sorted(facts["topics"])
        ]
        lines.append(_line(control, "set_permissions", "-p", grants.vhost, name, *facts["rights"]))
    return lines


def _account(name: str, file: Path | None, control: Sequence[str]) -> list[str]:
    if file is None:
        # Who logs in with a certificate has no password: made with one that nobody keeps, it is taken away again.
        made = f"head -c 32 /dev/urandom | base64 | {_line(control, 'add_user', name)}"
        return [f"{made} || :", _line(control, "clear_password", name)]
    source = f"< {shlex.quote(str(file))}"
    return [f"{_line(control, 'add_user', name)} {source} || {_line(control, 'change_password', name)} {source}"]


def _line(control: Sequence[str], *words: str) -> str:
    return shlex.join([*control, *words])


def _facts(found: Definitions, vhost: str) -> dict[str, dict[str, Any]]:
    """Return by user what is compared."""
    facts: dict[str, dict[str, Any]] = {
        each["name"]: {
            "hash": each.get("password_hash", ""),
            "hashing": each.get("hashing_algorithm", HASHING),
            "tags": _tags(each),
            "limits": each.get("limits") or {},
            "rights": None,
            "topics": frozenset(),
        }
        for each in found.get("users", [])
    }
    for each in found.get("permissions", []):
        if each["vhost"] == vhost and each["user"] in facts:
            facts[each["user"]]["rights"] = tuple(each[right] for right in _RIGHTS)
    for each in found.get("topic_permissions", []):
        if each["vhost"] == vhost and each["user"] in facts:
            facts[each["user"]]["topics"] |= {(each["exchange"], each["write"], each["read"])}
    return facts


def _tags(user: Mapping[str, Any]) -> tuple[str, ...]:
    tags = user.get("tags") or []
    # A text in what releases before 3.9 exported.
    return tuple(tags.split(",") if isinstance(tags, str) else tags)


def _change(user: User, wanted: Mapping[str, Any], there: Mapping[str, Any] | None) -> Change:
    if there is None:
        return Change(user.name, "add")
    what = [] if _same_password(user, there) else ["password"]
    what += [part for part in ("limits", "topics", "rights") if wanted[part] != there[part]]
    return Change(user.name, "change" if what else "keep", tuple(what))


def _same_password(user: User, there: Mapping[str, Any]) -> bool:
    if user.password is None:
        return not there["hash"]
    return there["hashing"] == HASHING and fits(user.password, there["hash"])
