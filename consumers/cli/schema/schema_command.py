"""The command `clusterbus schema`: of files that people write, of events, and of the channels that events are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from router.broker import addresses
from router.cli.app import current
from router.cli.catalogue import event_names
from router.cli.output import block, fail, show
from router.errors import UnknownEvent, did_you_mean
from router.model.catalogue import Catalogues
from router.schemas import asyncapi
from router.services import service_files
from router.services.definitions import ServicesFile
from router.settings import json_schemas, site_catalogue
from router.settings.models import Settings
from router.terminal_text import counted, encoded

from ...subscriptions import file_schema
from ...verbs.action.definitions import ActionFile
from . import documents

_OF_FILES = ("subscriptions", "actions", "services", "settings", "catalogue")
_EVENT, _ASYNCAPI = "event", "asyncapi"
WHAT = (*_OF_FILES, *documents.DOCUMENTS, _ASYNCAPI)


def schema(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(_OF_FILES)} (of files that you write); event, outcome, letter (of events, and of what"
            " commands print with --json); or asyncapi (of the channels of events)."
        ),
    ] = None,
    event_type: Annotated[
        str | None,
        typer.Argument(help="With event: of the data of this type, as gpfs.diskFailure.", autocompletion=event_names),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All schemas of events, as files below --to.")] = False,
    to: Annotated[Path | None, typer.Option(help="The folder for --all, for a web server to serve.")] = None,
    service: Annotated[str | None, typer.Option(help="With asyncapi: of the queue of this service.")] = None,
) -> None:
    """Print a JSON Schema or an AsyncAPI document, for editors and for programs that receive events."""
    if every or to:
        if what or service or not (every and to):
            fail("write all schemas of events with --all --to FOLDER, and nothing else", 2)
        try:
            count = documents.write(to.absolute(), site_catalogue.catalogues(current(context)))
        except OSError as error:
            fail(f"{error.filename or to}: {error.strerror}")
        show(f"{counted(count, 'schema')} in {to}")
        return
    if event_type and what != _EVENT:
        fail(f"{event_type!r}: only `schema event` takes an event type", 2)
    if service and what != _ASYNCAPI:
        fail("--service: only `schema asyncapi` takes it", 2)
    if what not in WHAT:
        fail(f"unknown schema {what!r}: use one of {', '.join(WHAT)}" if what else f"which: {', '.join(WHAT)}?", 2)
    block(encoded(_document(what, event_type, service, current(context)), indent=2))


def _document(what: str, event_type: str | None, service: str | None, settings: Settings) -> Mapping[str, object]:
    """Return the document *what*, of *event_type* or *service* if there is one."""

    def site() -> Catalogues:
        return site_catalogue.catalogues(settings)

    if event_type:
        try:
            return documents.of_type(event_type, site())
        except UnknownEvent as error:
            fail(str(error), 2)
    found: Mapping[str, Callable[[], Mapping[str, object]]] = {
        "subscriptions": lambda: file_schema.of_subscriptions(site()),
        "actions": lambda: json_schemas.document(ActionFile, "actions"),
        "services": lambda: json_schemas.document(ServicesFile, "services", json_schemas.LaxGenerator),
        "settings": json_schemas.of_settings,
        "catalogue": json_schemas.of_catalogue,
        **documents.DOCUMENTS,
        _ASYNCAPI: lambda: _asyncapi(service, site(), settings),
    }
    return found[what]()


def _asyncapi(service: str | None, catalogues: Catalogues, settings: Settings) -> Mapping[str, object]:
    if service is None:
        return asyncapi.everything(_site(catalogues, settings))
    known = service_files.read(settings.services.folder, catalogues).valid()
    if service not in known:
        fail(f"no service {service!r}{did_you_mean(service, known) or f' in {settings.services.folder}'}", 2)
    return asyncapi.of_service(_site(catalogues, settings), known[service])


def _site(catalogues: Catalogues, settings: Settings) -> asyncapi.Site:
    brokers = map(addresses.parse, settings.broker.url)
    servers = tuple(asyncapi.Server(f"{each.host}:{each.port}", each.vhost, each.tls) for each in brokers)
    return asyncapi.Site(catalogues, servers, settings.router.wire, version("clusterbus"))
