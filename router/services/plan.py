"""From the services that are wanted to the changes at the broker.  Pure: it compares definitions.

The changes are computed each time from what the broker has, so an interrupted run needs no record of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..broker.service_topology import (
    GIVEN_UP,
    LOST,
    REPLAYS,
    service,
    service_exchanges,
    service_of,
    service_queues,
)
from ..broker.topology import EVENTS, OWN_EVENTS, Binding, Queue, Topology
from ..broker.users.broker_state import table
from ..broker.users.drift import Definitions, nodes_there
from ..broker.users.permissions import NOTHING, ServiceRights
from ..terminal_text import counted
from .definitions import Service
from .service_files import Definition

Does = Literal["add", "change", "keep", "remove", "refuse"]

_OURS = (EVENTS, OWN_EVENTS, REPLAYS, GIVEN_UP, LOST)
"""The exchanges whose bindings to the queues of services are ours: what is not wanted there is removed."""

_RIGHTS = ("configure", "write", "read")


@dataclass(frozen=True, slots=True)
class Step:
    """What `apply` does for one *service*; *what* names the parts that differ, a phrase each.

    `remove` is a service that no file has; `apply` leaves it alone.  `refuse` says that RabbitMQ cannot change it.
    """

    service: str
    does: Does
    what: tuple[str, ...] = ()
    is_paused: bool = False
    elsewhere: tuple[str, ...] = ()
    """What its user may do in other virtual hosts, a sentence each, with the command that ends it; `apply` does not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The *steps*, and the *topology* that makes them, with the bindings to remove."""

    steps: tuple[Step, ...]
    topology: Topology

    @property
    def is_done(self) -> bool:
        """Whether everything is as wanted."""
        return all(each.does == "keep" for each in self.steps)


def user_of(name: str, prefix: str) -> str:
    """Return the broker user of service *name*.

    >>> user_of("tickets", "clusterbus")
    'clusterbus-svc-tickets'
    """
    return f"{prefix}-svc-{name}"


class Present:
    """What the broker has of services in one virtual host, by its *definitions*."""

    def __init__(self, found: Definitions, vhost: str) -> None:
        self.definitions, self.vhost = found, vhost
        self._queues = {each["name"]: table(each.get("arguments")) for each in self._of("queues")}
        self._exchanges = {each["name"]: each["type"] for each in self._of("exchanges")}
        self._rights = {each["user"]: tuple(each[right] for right in _RIGHTS) for each in self._of("permissions")}

    def _of(self, kind: str) -> list[Mapping[str, Any]]:
        return [each for each in self.definitions.get(kind, []) if each.get("vhost") == self.vhost]

    @property
    def services(self) -> set[str]:
        """The services that have a queue."""
        return {name for queue in self._queues if (name := service_of(queue))}

    def queues_of(self, name: str) -> list[str]:
        """Return the queues of service *name* that exist, the one that it reads first."""
        return [each for each in reversed(service_queues(name)) if each in self._queues]

    def bindings_of(self, name: str) -> list[Binding]:
        """Return the bindings of our exchanges to the queues of service *name*."""
        names = set(service_queues(name))
        return [
            Binding(each["source"], each["destination"], each["routing_key"], table(each.get("arguments")))  # type: ignore[arg-type]  # AMQP's values
            for each in self._of("bindings")
            if each["destination"] in names and each["destination_type"] == "queue" and each["source"] in _OURS
        ]

    def is_paused(self, user: str) -> bool:
        """Return whether *user* exists and has been given no rights at all."""
        return self._rights.get(user) == (NOTHING,) * 3

    def unlike(self, queue: Queue) -> list[str]:
        """Return how *queue* differs from the wanted one, a phrase for each argument; nothing if it does not exist."""
        there, wanted = self._queues.get(queue.name), queue.arguments
        if there is None:
            return []
        names = [each for each in {**wanted, **there} if there.get(each) != wanted.get(each)]
        return [f"{each} of {queue.name} is {there.get(each)}, not {wanted.get(each)}" for each in names]

    def lacks(self, topology: Topology) -> bool:
        """Return whether exchanges or queues of *topology* do not exist."""
        return any(each.name not in self._exchanges for each in topology.exchanges) or any(
            each.name not in self._queues for each in topology.queues
        )


def rights(wanted: Iterable[Definition], present: Present, prefix: str) -> tuple[tuple[str, ServiceRights], ...]:
    """Return the users of the *wanted* services with their rights; who is paused stays so."""
    return tuple(
        (user, rights_of(each.service, is_paused=present.is_paused(user)))
        for each in wanted
        if (user := user_of(each.service.name, prefix))
    )


def rights_of(service: Service, *, is_paused: bool) -> ServiceRights:
    """Return the rights of the user of *service*."""
    return ServiceRights(service.name, service.history, is_paused, service.publishes, service.clusters)


def plan(
    wanted: Mapping[str, Definition],
    present: Present,
    users: Mapping[str, tuple[str, ...]],
    prefix: str,
    objections: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> Plan:
    """Return the plan from what is *present* to all *wanted* services; *users* has what differs of each user.

    Each user that exists is in *users*, with an empty tuple where nothing differs.  The *objections* say why users
    cannot get their rights, and *elsewhere* what they may do in other virtual hosts, a sentence each that begins with
    the user.
    """
    exchanges, steps = service_exchanges(), []
    topology = Topology()
    for name, each in wanted.items():
        objects = service(name, each.patterns, each.service.max_bytes)
        there = present.bindings_of(name)
        added = _without(objects.bindings, there)
        stale = _without(there, objects.bindings)
        user, is_new = user_of(name, prefix), not present.queues_of(name)
        what = [*_objects(present, objects, exchanges), *_bindings(added, stale)]
        differing = users.get(user)
        what += [f"user {user}"] if differing is None else [f"{part} of user {user}" for part in differing]
        wrong = [*(phrase for queue in objects.queues for phrase in present.unlike(queue)), *_taken(present, user)]
        wrong += _of_user(objections, user)
        does: Does = "refuse" if wrong else "add" if is_new else "change" if what else "keep"
        steps.append(Step(name, does, tuple(wrong or what), present.is_paused(user), _of_user(elsewhere, user)))
        if does in ("add", "change"):
            # All of it: what exists already costs the broker an answer, and is compared once more.
            topology += objects + Topology(stale=tuple(stale))
    if topology.queues:
        topology = exchanges + topology
    left = present.services - wanted.keys()
    steps += [Step(each, "remove", (f"in no file: clusterbus services remove {each}",)) for each in sorted(left)]
    return Plan(tuple(steps), topology)


def _of_user(sentences: Iterable[str], user: str) -> tuple[str, ...]:
    return tuple(each for each in sentences if each.startswith(f"{user} "))


def _objects(present: Present, objects: Topology, exchanges: Topology) -> list[str]:
    missing = [each.name for each in objects.queues if present.lacks(Topology(queues=(each,)))]
    return [f"queue {each}" for each in missing] + (["exchanges of services"] if present.lacks(exchanges) else [])


def _bindings(added: list[Binding], stale: list[Binding]) -> list[str]:
    what = []
    if added:
        what.append(f"{counted(len(added), 'binding')} to add")
    if stale:
        what.append(f"{counted(len(stale), 'binding')} to remove")
    return what


def _without(bindings: Iterable[Binding], others: Iterable[Binding]) -> list[Binding]:
    known = {_meaning(each) for each in others}
    return [each for each in bindings if _meaning(each) not in known]


def _meaning(binding: Binding) -> tuple[object, ...]:
    return (
        binding.exchange,
        binding.queue,
        binding.key,
        tuple(sorted((str(k), v) for k, v in binding.arguments.items())),
    )


def _taken(present: Present, user: str) -> list[str]:
    if user in nodes_there(present.definitions, present.vhost):
        return [f"a node has the user {user}: choose another name"]
    return []
