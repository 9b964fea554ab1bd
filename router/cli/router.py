"""The commands `clusterbus router` and `clusterbus relay`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import typer

from .. import database, interpreter
from ..pipeline.metrics.measures import Measures
from ..pipeline.reports.service_watch import ServiceWatch
from ..pipeline.router import Router
from ..pipeline.standby import activity
from ..pipeline.state import State
from ..programs.health import Health
from ..programs.running import run_until_stopped
from ..programs.systemd_notify import Notifier
from ..services import service_files
from ..settings import site_catalogue
from .app import connect, current, topology

if TYPE_CHECKING:
    from ..broker.client import Rabbit
    from ..model.catalogue import Catalogues
    from ..settings.models import Settings
    from ..settings.sections.router_section import RouterSettings

log = logging.getLogger(__name__)


def router(context: typer.Context) -> None:
    """Turn records into events; a second router is a hot standby."""
    wanted = current(context).router
    catalogues, known = site_catalogue.read(wanted.catalogue, wanted.schemas)
    for each in known:
        log.warning(
            "an entry of the catalogue file is already in this release; the entry is ignored", extra={"place": each}
        )
    place = database.place(database.parsed(wanted.state, State.setting), socket.gethostname())
    broker = connect(context, "clusterbus-router", section="router", facts={"state": place})
    broker.declare(topology(context))
    measures = Measures() if wanted.metrics else None
    with State(wanted.state) as state:
        service = Router(
            broker=broker,
            state=state,
            catalogues=catalogues,
            window=wanted.window,
            trusted=wanted.trusted_users,
            silence=wanted.silence,
            keep=wanted.keep,
            wire=wanted.wire,
            measures=measures,
        )
        watch = ServiceWatch(broker, state, catalogues, partial(_services, current(context), catalogues))
        health = Health(broker, lambda: activity(service), Notifier(os.environ))
        with _answering(wanted, broker, service, measures, watch, health):
            service.start()
            watch.start()
            run_until_stopped(broker, health=health)


def _services(settings: Settings, catalogues: Catalogues) -> Collection[str]:
    """Return the services in the files; those that have no mistake, if others have."""
    return service_files.read(settings.services.folder, catalogues).definitions


def _answering(
    settings: RouterSettings,
    broker: Rabbit,
    service: Router,
    measures: Measures | None,
    watch: ServiceWatch,
    health: Health,
) -> AbstractContextManager[None]:
    if measures is None:
        return nullcontext()
    # Importing prometheus-client takes as long as a quick command.
    from ..metrics.router_metrics import monitoring  # noqa: PLC0415

    page = monitoring(
        settings, broker, service, measures, backlogs=watch.backlogs, problem=lambda: health.state.problem
    )
    return page.answering()


def relay(context: typer.Context) -> None:
    """Send the records in this node's spool to the broker; takes the options of `clusterbus-relay`."""
    # A separate program: nodes have the relay without the rest, so nothing here may import it.
    words = interpreter.module("shim.relay", *context.args)
    os.execv(words[0], words)  # noqa: S606 - no shell, own program
