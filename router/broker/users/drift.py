"""Compares the broker's users with the wanted users.  Only definitions and their differences, no connection.

A user without a topic row may use every routing key: RabbitMQ treats a missing row as "all".  RabbitMQ 4.3 refuses a
row whose exchange does not exist, and deletes the rows together with the exchange.  So exchanges come before rows, and
rows before rights, both here and in the printed commands.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..topology import INGRESS, OWN_EVENTS
from .permissions import HASHING, NOTHING, Role, User, definitions, fits, ingress_pattern

Definitions = Mapping[str, Any]
Does = Literal["add", "change", "keep", "remove", "gone"]

_RIGHTS = ("configure", "write", "read")


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one user; *what* names the parts that differ, and is empty for a user that is kept."""

    user: str
    does: Does
    what: tuple[str, ...] = ()


class Steps(NamedTuple):
    """Definitions to import one after the other; import the rights only when the rows exist."""

    exchanges: dict[str, Any]
    rows: dict[str, Any]
    rights: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grants:
    """Users with their wanted rights in *vhost*; with a *cluster*, nodes may publish only for that cluster."""

    users: tuple[User, ...]
    vhost: str = "/"
    cluster: str | None = None

    def definitions(self) -> dict[str, Any]:
        """Return the users as definitions that RabbitMQ imports.  Raises SettingsError for invalid names."""
        return definitions(self.users, vhost=self.vhost, cluster=self.cluster)

    def named(self, names: Iterable[str]) -> Grants:
        """Return only the users with these *names*."""
        kept = frozenset(names)
        return Grants(tuple(each for each in self.users if each.name in kept), self.vhost, self.cluster)

    def changes(self, present: Definitions) -> list[Change]:
        """Return the change for each user that turns the broker's *present* definitions into the wanted ones."""
        wanted = _facts(self.definitions(), self.vhost)
        there = _facts(present, self.vhost)
        return [_change(user, wanted[user.name], there.get(user.name)) for user in self.users]

    def steps(self, present: Definitions) -> Steps:
        """Return the definitions to import, in order, so that no user ever has rights without a topic row.

        One import is not enough: RabbitMQ grants rights before rows, and keeps the rights if a row is refused.
        """
        every, there = self.definitions(), {each["name"] for each in present.get("vhosts", [])}
        lacking = self.lacking(present)
        return Steps(
            # An import would overwrite the settings of an existing virtual host.
            exchanges=_only(
                vhosts=[] if self.vhost in there else every["vhosts"],
                exchanges=[each for each in every["exchanges"] if each["name"] in lacking],
                bindings=every["bindings"] if OWN_EVENTS in lacking else [],
                permissions=self._closed(present),
            ),
            rows=_only(
                users=self._with_hashes_of(present, every["users"]), topic_permissions=every["topic_permissions"]
            ),
            rights=_only(permissions=every["permissions"]),
        )

    def lacking(self, present: Definitions) -> list[str]:
        """Return the exchanges that do not exist, of those that topic rows name and those that lead to them."""
        there = _exchanges(present, self.vhost)
        return [each["name"] for each in self.definitions()["exchanges"] if each["name"] not in there]

    def _closed(self, present: Definitions) -> list[dict[str, Any]]:
        """Return empty rights for users that have rights but lack a row for an exchange, until they have the row."""
        wanted, there = _facts(self.definitions(), self.vhost), _facts(present, self.vhost)
        return [
            {"user": name, "vhost": self.vhost} | dict.fromkeys(_RIGHTS, NOTHING)
            for name, facts in wanted.items()
            if name in there and there[name]["rights"] and _named_in(facts["topics"]) - _named_in(there[name]["topics"])
        ]

    def _with_hashes_of(self, present: Definitions, users: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return *users*; a user whose password is unchanged keeps its present hash and salt."""
        there = _facts(present, self.vhost)
        same = {
            user.name: there[user.name]["hash"]
            for user in self.users
            if user.name in there and _same_password(user, there[user.name])
        }
        return [each | {"password_hash": same.get(each["name"], each["password_hash"])} for each in users]

    def unguarded(self, present: Definitions) -> list[str]:
        """Return the users that lack a wanted topic row: with rights, they could use other keys."""
        wanted, there = _facts(self.definitions(), self.vhost), _facts(present, self.vhost)
        return [
            user.name
            for user in self.users
            if wanted[user.name]["topics"] - (there[user.name]["topics"] if user.name in there else set())
        ]

    def objections(self, present: Definitions) -> list[str]:
        """Return why the users cannot get their rights at this broker, one sentence for each reason."""
        names, there = {each.name for each in self.users}, _exchanges(present, self.vhost)
        return [
            f"exchange {each['name']} exists as a {there[each['name']]} exchange, for which topic permissions have no"
            f" effect: delete it, run this again, then run `clusterbus broker setup`"
            for each in self.definitions()["exchanges"]
            if there.get(each["name"], each["type"]) != each["type"]
        ] + [
            f"{each['name']} exists with the tags {', '.join(_tags(each))}, so it belongs to somebody else: choose"
            " another broker.prefix, or remove its tags"
            for each in present.get("users", [])
            if each["name"] in names and _tags(each)
        ]

    def surplus(self, present: Definitions, user: str) -> list[str]:
        """Return the commands that take topic rows from *user* that nobody wants: an import cannot."""
        wanted, there = (_named_in(_facts(each, self.vhost)[user]["topics"]) for each in (self.definitions(), present))
        command = ("rabbitmqctl", "clear_topic_permissions", "-p", self.vhost, user)
        return [shlex.join([*command, exchange]) for exchange in sorted(there - wanted)]

    def elsewhere(self, present: Definitions) -> list[str]:
        """Return the rights of the users in other virtual hosts, a sentence each; they are never changed."""
        names = {each.name for each in self.users}
        return [
            f"{each['user']} also has rights in the virtual host {each['vhost']}; to remove them, run"
            f" {shlex.join(['rabbitmqctl', 'clear_permissions', '-p', each['vhost'], each['user']])}"
            for each in present.get("permissions", [])
            if each["user"] in names and each["vhost"] != self.vhost
        ]


def nodes_there(present: Definitions, vhost: str, cluster: str | None = None) -> frozenset[str]:
    """Return the users without tags that have a node's rights in *vhost*; with a *cluster*, only those of it."""
    node_rights = _facts(definitions([User("a", Role.NODE)], vhost=vhost), vhost)["a"]["rights"]
    return frozenset(
        name
        for name, facts in _facts(present, vhost).items()
        if facts["rights"] == node_rights
        and not facts["tags"]
        and (cluster is None or (INGRESS, ingress_pattern(name, cluster)) in {row[:2] for row in facts["topics"]})
    )


def departures(names: Sequence[str], present: Definitions, vhost: str) -> tuple[list[Change], list[str]]:
    """Return the changes for the nodes *names*, which left, and those names that are not users of nodes."""
    ours, there = nodes_there(present, vhost), {each["name"] for each in present.get("users", [])}
    return (
        [Change(each, "remove" if each in ours else "gone") for each in names if each in ours or each not in there],
        [each for each in names if each in there - ours],
    )


def in_turn(exchanges: Definitions) -> list[Definitions]:
    """Return *exchanges* as imports to make one after the other.

    Where `clusterbus.events.own` exists, events must reach it: so it comes after what leads there.
    """
    if not exchanges.get("bindings"):
        return [exchanges] if exchanges else []
    last = [each for each in exchanges["exchanges"] if each["name"] == OWN_EVENTS]
    before = [each for each in exchanges["exchanges"] if each["name"] != OWN_EVENTS]
    return [{**exchanges, "exchanges": before}, {"exchanges": last}]


def commands(grants: Grants, files: Mapping[str, Path], control: Sequence[str]) -> list[str]:
    """Return shell lines that apply *grants* with *control* (rabbitmqctl); they read passwords from *files* on stdin.

    They are safe to run again.  A user gets rights only if RabbitMQ accepted its topic rows.
    """
    every = grants.definitions()
    wanted = _facts(every, grants.vhost)
    there = f"{_line(control, 'list_vhosts', '--quiet')} | grep -qxF -- {shlex.quote(grants.vhost)}"
    lines = [f"{there} || {_line(control, 'add_vhost', grants.vhost)}"]
    # rabbitmqctl has no command for exchanges, and Debian's wrapper breaks quotes in arguments.
    lines += [
        f"printf %s {shlex.quote('ok = ' + import_expression(each))} | {_line(control, 'eval')}"
        for each in in_turn(_only(exchanges=every["exchanges"], bindings=every["bindings"]))
    ]
    for user in grants.users:
        name, facts = user.name, wanted[user.name]
        lines += _account(name, files.get(name), control)
        if facts["limits"]:
            lines.append(_line(control, "set_user_limits", name, json.dumps(facts["limits"])))
        rows = [
            _line(control, "set_topic_permissions", "-p", grants.vhost, name, exchange, write, read)
            for exchange, write, read in sorted(facts["topics"])
        ]
        rights = _line(control, "set_permissions", "-p", grants.vhost, name, *facts["rights"])
        lines.append(" && ".join([*rows, rights]))
    return lines


def import_expression(wanted: Definitions) -> str:
    r"""Return the Erlang expression that imports *wanted* at the broker.

    >>> print(import_expression({"vhosts": [{"name": "bus"}]}))
    rabbit_definitions:import_raw(<<"{\"vhosts\": [{\"name\": \"bus\"}]}">>).
    """
    # An ASCII JSON string whose escapes are escaped is also an Erlang string.
    return f"rabbit_definitions:import_raw(<<{json.dumps(json.dumps(wanted))}>>)."


def _account(name: str, file: Path | None, control: Sequence[str]) -> list[str]:
    if file is None:
        # A user that logs in with a certificate has no password: create it with a random one, then clear that.
        made = f"head -c 32 /dev/urandom | base64 | {_line(control, 'add_user', name)}"
        return [f"{made} || :", _line(control, "clear_password", name)]
    source = f"< {shlex.quote(str(file))}"
    return [f"{_line(control, 'add_user', name)} {source} || {_line(control, 'change_password', name)} {source}"]


def _line(control: Sequence[str], *words: str) -> str:
    return shlex.join([*control, *words])


def _only(**parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part}


def _named_in(topics: Iterable[tuple[str, str, str]]) -> set[str]:
    return {exchange for exchange, _, _ in topics}


def _exchanges(found: Definitions, vhost: str) -> dict[str, str]:
    """Return the types of the exchanges in *vhost*, by name."""
    return {each["name"]: each["type"] for each in found.get("exchanges", []) if each["vhost"] == vhost}


def _facts(found: Definitions, vhost: str) -> dict[str, dict[str, Any]]:
    """Return the facts to compare, by user."""
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
    # Releases before 3.9 export a text.
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
