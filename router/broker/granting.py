"""Giving users what they should have, step by step, so that being ended anywhere leaves no key open and nobody out.

Passwords are on disk before the broker knows them.  A new one waits beside the old until the broker has taken it; the
next run goes on from there.  A relay that is connected stays so; one that connects between the broker's change and the
node's is refused, keeps its records, and tries again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import Refused, SettingsError
from .administrators import Administrator
from .grants import Change, Definitions, Grants, departures
from .passwords import Passwords
from .users import Role, User

PROGRAMS = (Role.ROUTER, Role.CONSUMER, Role.OPERATOR)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom we want: names of nodes, and our programs' users; *renewed* get another password, *bare* ones have none."""

    nodes: tuple[str, ...]
    programs: tuple[tuple[str, Role], ...] = ()
    vhost: str = "/"
    cluster: str | None = None
    renewed: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()

    @property
    def roles(self) -> tuple[tuple[str, Role], ...]:
        """All of them."""
        return (*((each, Role.NODE) for each in self.nodes), *self.programs)


@dataclass(frozen=True, slots=True)
class Done:
    """What was changed at the broker, and whose password files were *made* or *renewed*."""

    changes: list[Change]
    made: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)


class Granting:
    """Makes what is wanted so, by whoever may; raises what an `Administrator` raises, and SettingsError."""

    def __init__(self, wanted: Wanted, nodes: Passwords, programs: Passwords) -> None:
        """Have the passwords of nodes in *nodes*, and those of our programs in *programs*."""
        self.wanted, self._nodes, self._programs = wanted, nodes, programs
        self._roles = dict(wanted.roles)
        # Before anything is made for names that are none.
        Grants(tuple(User(*each) for each in self._roles.items()), wanted.vhost, wanted.cluster).definitions()
        if len(self._roles) < len(wanted.roles):
            doubled = sorted(set(wanted.nodes) & {name for name, _ in wanted.programs})
            raise SettingsError(f"{', '.join(doubled)}: a node and a program's user; set broker.prefix to another word")

    def passwords(self, name: str) -> Passwords:
        """Return where the password of user *name* is kept."""
        return self._programs if self._roles.get(name, Role.NODE) in PROGRAMS else self._nodes

    def planned(self) -> Grants:
        """Return what is wanted, and touch nothing: passwords that are yet to be made are any."""
        return self._grants({name: self._foreseen(name) for name, _ in self.wanted.roles})

    def made(self) -> tuple[Grants, Done]:
        """Return what is wanted with the passwords that are kept; makes those that are missing."""
        found: dict[str, str | None] = {}
        done = Done([])
        for name, _ in self.wanted.roles:
            if name in self.wanted.bare:
                found[name] = None
                continue
            kept = self.passwords(name)
            if kept.known(name) is None:
                done.made.append(name)
            elif name in self.wanted.renewed or kept.pending(name):
                done.renewed.append(name)
            found[name] = kept.renewed(name) if name in done.renewed else kept.made(name)
        return self._grants(found), done

    def apply(self, administrator: Administrator) -> Done:
        """Make it so, and look that it is; raises Refused where it is not, or where a user is somebody else's."""
        present = administrator.definitions()
        self._check(self.planned().objections(present))
        grants, done = self.made()
        changes = grants.changes(present)
        changed = grants.named(each.user for each in changes if each.does != "keep")
        if changed.users:
            users, rights = changed.steps(present)
            administrator.add(users)
            self._check(
                f"{name} has no topic permission row of its own after the import, and was given no rights: without it"
                " RabbitMQ allows every key"
                for name in changed.open_nodes(administrator.definitions())
            )
            administrator.add(rights)
            self._check(
                f"{each.user} differs after the import: {each.does} {' '.join(each.what)}"
                for each in grants.changes(administrator.definitions())
                if each.does != "keep"
            )
        for name in done.renewed:
            self.passwords(name).settle(name)
        return Done(changes, done.made, done.renewed)

    def dismiss(self, names: Sequence[str], administrator: Administrator) -> list[Change]:
        """Take nodes *names* that left from the broker, and then their passwords; nobody who is no node's user."""
        changes, others = departures(names, administrator.definitions(), self.wanted.vhost)
        self._check(
            f"{each} has other rights than a node has in {self.wanted.vhost!r}, and is left alone" for each in others
        )
        administrator.remove([each.user for each in changes if each.does == "remove"])
        left = departures(names, administrator.definitions(), self.wanted.vhost)[0]
        self._check(f"{each.user} is still there after its removal" for each in left if each.does == "remove")
        for name in names:
            self._nodes.forget(name)
        return changes

    def settled(self, present: Definitions) -> bool:
        """Say whether everything is as wanted, at the broker and on disk."""
        waits = any(self.passwords(name).pending(name) for name, _ in self.wanted.roles)
        return not waits and all(each.does == "keep" for each in self.planned().changes(present))

    def _grants(self, passwords: dict[str, str | None]) -> Grants:
        users = tuple(User(name, role, passwords[name]) for name, role in self.wanted.roles)
        return Grants(users, self.wanted.vhost, self.wanted.cluster)

    def _foreseen(self, name: str) -> str | None:
        if name in self.wanted.bare:
            return None
        known = None if name in self.wanted.renewed else self.passwords(name).known(name)
        return known if known is not None else secrets.token_urlsafe()

    @staticmethod
    def _check(wrong: Iterable[str]) -> None:
        if found := list(wrong):
            raise Refused("\n".join(found))


def programs(prefix: str) -> tuple[tuple[str, Role], ...]:
    """Return the users of our programs, by role.

    >>> [name for name, _ in programs("clusterbus")]
    ['clusterbus-router', 'clusterbus-consumer', 'clusterbus-operator']
    """
    return tuple((f"{prefix}-{role.name.lower()}", role) for role in PROGRAMS)


def unknown(renewed: Collection[str], wanted: Wanted) -> list[str]:
    """Return who is to get another password and is not wanted."""
    return sorted(set(renewed) - {name for name, _ in wanted.roles})
