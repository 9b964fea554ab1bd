"""The services of this site for the commands: their files, and who makes them at the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from ...broker import addresses
from ...broker.client import Rabbit
from ...broker.history.queue_ages import Age, Held
from ...broker.history.queue_ages import read as read_ages
from ...broker.session import Session
from ...broker.users.admin_clients import administrator
from ...broker.users.password_files import Passwords
from ...errors import BrokerError, QueuesDown
from ...services import service_files
from ...services.backlog import Backlog
from ...services.registrar import Place, Registrar
from ...services.service_files import Definition
from ...settings import loading
from ...settings.models import Settings
from ...settings.site_catalogue import catalogues
from ..ages import age_facts
from ..app import current
from ..output import note

_PATIENCE = timedelta(seconds=3)
"""The limit for the queue counts, which lists can do without."""


def service_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of services that begin with *incomplete*, for completion; none if files are unreadable."""
    with suppress(Exception):
        # A completion does not run the command's root, which loads the settings.
        settings = loading.load(context.find_root().params.get("file")).settings
        found = service_files.read(settings.services.folder, catalogues(settings)).definitions
        return sorted(each for each in found if each.startswith(incomplete))
    return []


Name = Annotated[str, typer.Argument(help="The name of a service.", autocompletion=service_names)]


@dataclass(frozen=True, slots=True)
class Shown:
    """One service in the list; *backlog* is None if the broker did not answer, or the service has no queue.

    *state* is `ok`, `paused`, `not applied`, `removed` for one that no file has, or `unknown`.  *age* is that of the
    oldest event that waits.
    """

    name: str
    on: tuple[str, ...]
    owner: str
    state: str
    backlog: Backlog | None = None
    age: Age | None = None

    def numbers(self) -> dict[str, object]:
        """Return what waits, what it gave up and what it missed, as JSON has it."""
        held = self.backlog
        return {
            "waiting": held and held.messages,
            **age_facts(self.age),
            "consumers": held and held.consumers,
            "given_up": held and held.dead,
            "missed": held and held.missed,
            "has_lost": held and held.has_lost,
        }

    def facts(self) -> dict[str, object]:
        """Return all of it, as JSON has it."""
        return {"name": self.name, "on": self.on, "owner": self.owner, "state": self.state} | self.numbers()


class Site:
    """The services in the files of these *settings*."""

    def __init__(self, settings: Settings) -> None:
        self._settings, broker = settings, settings.broker
        self._catalogues = catalogues(settings)
        found = service_files.read(settings.services.folder, self._catalogues)
        for each in found.warnings:
            note(f"warning: {each}")
        self.definitions: Mapping[str, Definition] = found.valid()
        self.passwords = Passwords(settings.services.secrets)
        place = Place(addresses.parse(broker.url[0]).vhost, broker.prefix, self.passwords)
        asked = administrator(broker.control, broker.management, broker.management_password_file)
        self.registrar = Registrar(self.definitions, asked, place)

    def add(self, raw: Mapping[str, Any]) -> Path:
        """Write the service that *raw* describes to a file of its own; raises SettingsError if it has mistakes."""
        return service_files.write(self._settings.services.folder, service_files.checked(raw, self._catalogues).service)

    def urls(self, user: str, login: str) -> Iterator[str]:
        """Yield the URLs of the broker as *user* connects to it, without its password."""
        for each in self._settings.broker.url:
            parts = urlsplit(addresses.with_user(each, quote(user, safe=""), None))
            yield parts._replace(query="auth_mechanism=external" if login == "certificate" else "").geturl()

    def shown(self, names: Sequence[str] | None = None) -> Iterator[Shown]:
        """Yield the services *names*, by default all, and those that only the broker has."""
        states, left = self._states()
        wanted = [each for each in self.definitions if names is None or each in names]
        removed = [each for each in left if names is None or each in names]
        found, problem = self._backlogs([*wanted, *removed])
        ages, unknown = self._ages(found)
        for each in filter(None, (problem, unknown)):
            note(each)
        for name in wanted:
            service, state = self.definitions[name].service, states.get(name, "unknown")
            yield Shown(name, service.on, service.owner, state, found.get(name), ages.get(name))
        for name in removed:
            yield Shown(name, (), "", "removed", found.get(name))

    def _ages(self, found: Mapping[str, Backlog | None]) -> tuple[Mapping[str, Age], str]:
        held = {
            name: Held(self.definitions[name].patterns, each.messages)
            for name, each in found.items()
            if each and name in self.definitions
        }
        broker = self._settings.broker
        limit = min(_PATIENCE, broker.patience)
        return read_ages(lambda: Rabbit(broker.urls(), name="clusterbus-services", give_up=limit), held)

    def _states(self) -> tuple[Mapping[str, str], list[str]]:
        try:
            plan = self.registrar.plan(self.registrar.present())
        except BrokerError as error:
            note(f"not compared with the broker: {error}")
            return {}, []
        words = {"keep": "ok", "remove": "removed"}
        states = {
            each.service: "paused" if each.is_paused else words.get(each.does, "not applied") for each in plan.steps
        }
        return states, [each.service for each in plan.steps if each.does == "remove"]

    def _backlogs(self, names: Sequence[str]) -> tuple[Mapping[str, Backlog | None], str]:
        wanted, known, lost = self._settings.broker, dict[str, Backlog | None](), list[str]()
        limit = min(_PATIENCE, wanted.patience)
        try:
            with Session(wanted.urls(), name="clusterbus-services", limit=limit) as session:
                for name in names:
                    try:
                        known[name] = self.registrar.backlog(session, name)
                    except QueuesDown as error:
                        lost += error.queues
                return known, f"the broker cannot reach {', '.join(lost)}" if lost else ""
        except BrokerError as error:
            return {}, f"the number of waiting events is unknown: {error}"


def site(context: typer.Context) -> Site:
    """Return the services of the running command's settings."""
    return Site(current(context))
