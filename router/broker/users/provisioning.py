"""Gives users their rights in steps: an interruption at any step leaves no routing key open and locks nobody out.

Passwords are written to disk before the broker gets them.  During a change, the new password is stored next to the old
one until the broker has accepted it; after an interruption, the next run continues from there.  A connected relay stays
connected.  A relay that connects after the broker's change and before the node's is refused, keeps its records, and
tries again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ...errors import Refused, SettingsError
from .admin_clients import Administrator
from .drift import Change, Definitions, Grants, departures, in_turn
from .password_files import Passwords
from .permissions import Role, ServiceRights, User

PROGRAMS = (Role.ROUTER, Role.CONSUMER, Role.OPERATOR)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted users: *nodes*, the users of our *programs*, and those of *services* with their rights.

    *renewed* users get a new password; *bare* users have no password.
    """

    nodes: tuple[str, ...]
    programs: tuple[tuple[str, Role], ...] = ()
    vhost: str = "/"
    cluster: str | None = None
    renewed: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    services: tuple[tuple[str, ServiceRights], ...] = ()

    @property
    def roles(self) -> tuple[tuple[str, Role], ...]:
        """All users with their roles."""
        services = ((name, Role.SERVICE) for name, _ in self.services)
        return (*((each, Role.NODE) for each in self.nodes), *self.programs, *services)


@dataclass(frozen=True, slots=True)
class Done:
    """The *changes* at the broker, and the users whose password files were *made* or *renewed*.

    *repaired* says of password files what was wrong with their owners, a phrase each.
    """

    changes: list[Change]
    exchanges: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


class Granting:
    """Creates and changes the wanted users through an `Administrator`; raises what it raises, and SettingsError."""

    def __init__(self, wanted: Wanted, nodes: Passwords, programs: Passwords) -> None:
        """Keep the passwords of nodes in *nodes*, and those of our programs and of services in *programs*."""
        self.wanted, self._nodes, self._programs = wanted, nodes, programs
        self._roles = dict(wanted.roles)
        # Raises for invalid names, before anything is created.
        Grants(tuple(User(*each) for each in self._roles.items()), wanted.vhost, wanted.cluster).definitions()
        if len(self._roles) < len(wanted.roles):
            doubled = sorted(set(wanted.nodes) & {name for name, _ in wanted.programs})
            names = ", ".join(doubled)
            raise SettingsError(f"{names}: a node has the name of a program's user; choose another broker.prefix")

    def passwords(self, name: str) -> Passwords:
        """Return the folder of passwords that holds the one of user *name*."""
        return self._nodes if self._roles.get(name, Role.NODE) is Role.NODE else self._programs

    def planned(self) -> Grants:
        """Return the wanted users without any change; passwords that do not exist yet are random placeholders."""
        return self._grants({name: self._planned_password(name) for name, _ in self.wanted.roles})

    def without_password(self) -> list[str]:
        """Return the users that need a password and have none yet."""
        names = [name for name, _ in self.wanted.roles if name not in self.wanted.bare]
        return [name for name in names if self.passwords(name).known(name) is None]

    def misowned(self) -> list[str]:
        """Return what is wrong with the owners and modes of password files, a phrase each."""
        return [each for name, _ in self.wanted.roles for each in self.passwords(name).misowned(name)]

    def made(self) -> tuple[Grants, Done]:
        """Return the wanted users with their stored passwords; creates missing password files, and repairs others."""
        found: dict[str, str | None] = {}
        done = Done([])
        for name, _ in self.wanted.roles:
            if name in self.wanted.bare:
                found[name] = None
                continue
            kept = self.passwords(name)
            done.repaired.extend(kept.repair(name))
            if kept.known(name) is None:
                done.made.append(name)
            elif name in self.wanted.renewed or kept.pending(name):
                done.renewed.append(name)
            found[name] = kept.renewed(name) if name in done.renewed else kept.made(name)
        return self._grants(found), done

    def apply(self, administrator: Administrator) -> Done:
        """Change the broker to the wanted users, and verify the result.

        Raises Refused if the result differs, or if a user belongs to somebody else.
        """
        present = administrator.definitions()
        self._check(self.planned().objections(present))
        grants, done = self.made()
        changes = grants.changes(present)
        changed = grants.named(each.user for each in changes if each.does != "keep")
        if changed.users:
            steps = changed.steps(present)
            for each in in_turn(steps.exchanges):
                administrator.add(each)
            administrator.add(steps.rows)
            self._check(
                f"{name} has no topic permission row after the import, so it was given no rights: without a row,"
                " RabbitMQ allows every routing key; run this again"
                for name in changed.unguarded(administrator.definitions())
            )
            administrator.add(steps.rights)
            there = administrator.definitions()
            self._check(
                f"{each.user} still differs after the import ({each.does} {' '.join(each.what)}):"
                f" run {', '.join(grants.surplus(there, each.user)) or 'this again'}"
                for each in grants.changes(there)
                if each.does != "keep"
            )
        for name in done.renewed:
            self.passwords(name).settle(name)
        return replace(done, changes=changes, exchanges=changed.lacking(present))

    def dismiss(self, names: Sequence[str], administrator: Administrator) -> list[Change]:
        """Remove the nodes *names* from the broker, and then their passwords; raises Refused for other users."""
        changes, others = departures(names, administrator.definitions(), self.wanted.vhost)
        self._check(
            f"{each} does not have a node's rights in {self.wanted.vhost!r}, so it is not removed" for each in others
        )
        administrator.remove([each.user for each in changes if each.does == "remove"])
        left = departures(names, administrator.definitions(), self.wanted.vhost)[0]
        self._check(f"{each.user} still exists after its removal" for each in left if each.does == "remove")
        for name in names:
            self._nodes.forget(name)
        return changes

    def settled(self, present: Definitions) -> bool:
        """Return whether everything is as wanted, at the broker and on disk."""
        is_pending = any(self.passwords(name).pending(name) for name, _ in self.wanted.roles)
        is_kept = all(each.does == "keep" for each in self.planned().changes(present))
        return is_kept and not is_pending and not self.misowned()

    def _grants(self, passwords: dict[str, str | None]) -> Grants:
        rights = dict(self.wanted.services)
        users = tuple(User(name, role, passwords[name], rights.get(name)) for name, role in self.wanted.roles)
        return Grants(users, self.wanted.vhost, self.wanted.cluster)

    def _planned_password(self, name: str) -> str | None:
        if name in self.wanted.bare:
            return None
        known = None if name in self.wanted.renewed else self.passwords(name).known(name)
        return known if known is not None else secrets.token_urlsafe()

    @staticmethod
    def _check(wrong: Iterable[str]) -> None:
        if found := list(wrong):
            raise Refused("\n".join(found))


def programs(prefix: str) -> tuple[tuple[str, Role], ...]:
    """Return the users of our programs, with their roles.

    >>> [name for name, _ in programs("clusterbus")]
    ['clusterbus-router', 'clusterbus-consumer', 'clusterbus-operator']
    """
    return tuple((f"{prefix}-{role.name.lower()}", role) for role in PROGRAMS)


def unknown(renewed: Collection[str], wanted: Wanted) -> list[str]:
    """Return the *renewed* users that are not among the wanted ones."""
    return sorted(set(renewed) - {name for name, _ in wanted.roles})
