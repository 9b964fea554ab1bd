"""The commands `clusterbus router` and `clusterbus relay`."""

import logging
import os

import typer

from .. import interpreter
from ..broker.running import run_until_stopped
from ..pipeline.router import Router
from ..pipeline.state import State
from ..settings import site_catalogue
from .app import connect, current, topology

log = logging.getLogger(__name__)


def router(context: typer.Context) -> None:
    """Turn records into events; a second router is a hot standby."""
    wanted = current(context).router
    catalogues, known = site_catalogue.read(wanted.catalogue)
    for each in known:
        log.warning(
            "an entry of the catalogue file is already in this release; the entry is ignored", extra={"place": each}
        )
    broker = connect(context, "clusterbus-router")
    broker.declare(topology(context))
    with State(wanted.state) as state:
        service = Router(
            broker=broker,
            state=state,
            catalogues=catalogues,
            window=wanted.window,
            trusted=wanted.trusted_users,
            silence=wanted.silence,
            keep=wanted.keep,
        )
        service.start()
        run_until_stopped(broker)


def relay(context: typer.Context) -> None:
    """Send the records in this node's spool to the broker; takes the options of `clusterbus-relay`."""
    # A separate program: nodes have the relay without the rest, so nothing here may import it.
    words = interpreter.module("shim.relay", *context.args)
    os.execv(words[0], words)  # noqa: S606 - no shell, own program
