"""Makes, changes, pauses and removes services at the broker; safe to interrupt at any point.

Queues and bindings come before the user, so a service never logs in to find its queue missing; until its user exists,
its events wait, as far as its queue holds them.  New bindings come before old ones go.  A removal begins with the user,
so that nobody takes anything out of a queue while its messages are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from ..broker.amqp.requests import Facts
from ..broker.service_topology import service_queues
from ..broker.topology import Topology
from ..broker.users.admin_clients import Administrator
from ..broker.users.drift import Change
from ..broker.users.password_files import Passwords
from ..broker.users.permissions import ServiceRights
from ..broker.users.provisioning import Done, Granting, Wanted
from ..errors import Refused
from ..terminal_text import counted
from .backlog import Backlog, backlog
from .plan import Plan, Present, plan, rights, rights_of, user_of
from .service_files import Definition

_CLOSING = timedelta(seconds=60)
_LOOK = 0.5


class Session(Protocol):
    """What of a session with the broker is needed here."""

    def declare(self, topology: Topology) -> set[str]:
        """Declare *topology*; return the names of what our user may not declare."""

    def queue_facts(self, queue: str) -> Facts | None:
        """Return the facts of *queue*, or None if it does not exist."""

    def delete(self, queue: str) -> int | None:
        """Delete *queue* with its messages."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where services are made: the virtual host, the prefix of users, and the folder of passwords."""

    vhost: str
    prefix: str
    passwords: Passwords


class Registrar:
    """Knows the wanted services and the broker; raises what the administrator and the session raise."""

    def __init__(self, wanted: Mapping[str, Definition], administrator: Administrator, place: Place) -> None:
        """Work at *place* through *administrator*."""
        self._wanted, self._administrator, self._place = wanted, administrator, place

    def user(self, name: str) -> str:
        """Return the broker user of service *name*."""
        return user_of(name, self._place.prefix)

    def present(self) -> Present:
        """Return what the broker has now."""
        return Present(self._administrator.definitions(), self._place.vhost)

    def plan(self, present: Present) -> Plan:
        """Return what `apply` would do."""
        granting = self._granting(rights(self._wanted.values(), present, self._place.prefix))
        users = granting.planned()
        differing = {each.user: each.what for each in users.changes(present.definitions) if each.does != "add"}
        objections, elsewhere = users.objections(present.definitions), users.elsewhere(present.definitions)
        return plan(self._wanted, present, differing, self._place.prefix, objections=objections, elsewhere=elsewhere)

    def apply(self, session: Callable[[], Session]) -> tuple[Plan, Done]:
        """Change the broker to the wanted services; return what was done.

        Raises Refused, before anything is changed, if a service cannot be changed.
        """
        present = self.present()
        found = self.plan(present)
        if wrong := [f"{each.service}: {why}" for each in found.steps if each.does == "refuse" for why in each.what]:
            raise Refused("\n".join(wrong))
        if found.topology.queues:
            self._declare(session(), found.topology)
        users = self._granting(rights(self._wanted.values(), present, self._place.prefix))
        return found, users.apply(self._administrator)

    def rotate(self, name: str) -> Done:
        """Give service *name* a new password; its connections stay, and it needs the new one to connect again."""
        user = self._of(name)
        return self._granting([user], renewed={user[0]}).apply(self._administrator)

    def pause(self, name: str) -> list[Change]:
        """Take all rights from service *name* and close its connections; its events go on waiting in its queue."""
        user, known = self._of(name)
        done = self._granting([(user, replace(known, is_paused=True))]).apply(self._administrator)
        # What was consuming before would go on without rights.
        self._administrator.disconnect(user, "the service is paused")
        return done.changes

    def resume(self, name: str) -> list[Change]:
        """Give service *name* its rights back."""
        user, known = self._of(name)
        return self._granting([(user, replace(known, is_paused=False))]).apply(self._administrator).changes

    def backlog(self, session: Session, name: str) -> Backlog | None:
        """Return what waits for service *name*; None if it has no queue."""
        return backlog(name, {each: session.queue_facts(each) for each in service_queues(name)})

    def remove(self, name: str, session: Session, *, force: bool) -> dict[str, int]:
        """Remove service *name*: its user, its bindings and its queues; return how many messages each queue had.

        Raises Refused if messages wait for it, unless with *force*: before anything is changed, or where messages came
        back from its connections, after its user is gone.
        """
        self.check_removal(name, session, force=force)
        user = self.user(name)
        self._administrator.remove([user])
        self._wait_until_gone(user)
        present = self.present()
        session.declare(Topology(stale=tuple(present.bindings_of(name))))
        self.check_removal(name, session, force=force)
        found = {each: session.delete(each) or 0 for each in present.queues_of(name)}
        self._place.passwords.forget(user)
        return found

    def check_removal(self, name: str, session: Session, *, force: bool) -> None:
        """Raise Refused if messages wait for service *name*, unless with *force*."""
        found = self.backlog(session, name)
        if not found or force:
            return
        counts = {"waiting": found.messages, "given up": found.dead, "missed": found.missed}
        if held := ", ".join(f"{counted(count, 'event')} {what}" for what, count in counts.items() if count):
            raise Refused(f"{name}: {held}; --force deletes them with the service")

    def _wait_until_gone(self, user: str) -> None:
        """Wait until the broker has closed the connections of *user*, which it does a moment after its removal."""
        until = time.monotonic() + _CLOSING.total_seconds()
        while any(each.user == user for each in self._administrator.state(self._place.vhost).clients):
            if time.monotonic() > until:
                raise Refused(f"{user} is still connected, although removed; run this again when it has gone")
            time.sleep(_LOOK)

    def _declare(self, session: Session, topology: Topology) -> None:
        if denied := session.declare(topology):
            names = ", ".join(sorted(denied))
            raise Refused(f"the user in broker.url may not declare {names}: use the operator's")

    def _of(self, name: str) -> tuple[str, ServiceRights]:
        service, user = self._wanted[name].service, self.user(name)
        return user, rights_of(service, is_paused=self.present().is_paused(user))

    def _granting(self, users: Iterable[tuple[str, ServiceRights]], renewed: Collection[str] = frozenset()) -> Granting:
        services = tuple(users)
        bare = frozenset(user for user, each in services if self._wanted[each.name].service.login == "certificate")
        wanted = Wanted((), vhost=self._place.vhost, renewed=frozenset(renewed), bare=bare, services=services)
        return Granting(wanted, self._place.passwords, self._place.passwords)
