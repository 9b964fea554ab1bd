"""AsyncAPI 3.0 documents: which events there are, on which channel, and what their messages contain.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ..broker.content_modes import JSON, PREFIX
from ..broker.service_topology import service_queue
from ..broker.topology import EVENTS
from ..model.catalogue import Catalogues, EventType
from ..model.events import CONTENT_TYPE, Wire
from ..pipeline.mapping import HEARTBEAT
from ..services.service_files import Definition
from ..sources.event_schemas import of_data
from ..sources.event_selectors import select
from .envelope import ALWAYS, of_event

_VERSION = "3.0.0"
_BINDING = "0.3.0"
_SCHEMAS, _MESSAGES = "#/components/schemas/", "#/components/messages/"


@dataclass(frozen=True, slots=True)
class Channel:
    """Where events of *event_types* are, and who is described: clusterbus, which sends them, or a reader of *queue*."""

    name: str
    title: str
    event_types: tuple[EventType, ...]
    queue: str = ""
    patterns: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A broker: *host* with port, and virtual host; without user and password."""

    host: str
    virtual_host: str = "/"
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """What documents of one site share."""

    catalogues: Catalogues
    servers: tuple[Server, ...] = ()
    wire: Wire = "structured"
    release: str = "0"
    envelope: Mapping[str, Any] = field(default_factory=of_event)


def everything(site: Site) -> dict[str, Any]:
    """Return the document of all events of *site*, which clusterbus sends."""
    published = tuple(each for each in site.catalogues.all() if each.type != HEARTBEAT)
    return document(site, Channel("events", "All events", published))


def of_service(site: Site, definition: Definition) -> dict[str, Any]:
    """Return the document of a service: its queue, and the known event types that it gets."""
    service, patterns = definition.service, definition.patterns
    selected = {each.type: each for pattern in patterns for each in select(pattern, site.catalogues).types}
    selected.pop(HEARTBEAT, None)
    title, queue = f"Events of {service.name}", service_queue(service.name)
    return document(site, Channel(service.name, title, tuple(selected.values()), queue, patterns, service.owner))


def document(site: Site, channel: Channel) -> dict[str, Any]:
    """Return the document of *channel*, with the events that are on it and nothing else."""
    names = [each.type for each in channel.event_types]
    messages = {each.type: _message(each, site) for each in channel.event_types}
    data = {each.type: _part(of_data(each, site.catalogues.of(each.source))) for each in channel.event_types}
    envelope = {} if site.wire == "binary" else {"event": _part(site.envelope)}
    here = f"#/channels/{channel.name}"
    return {
        "asyncapi": _VERSION,
        "info": _info(site, channel),
        "defaultContentType": _content_type(site),
        "servers": {f"broker{number}": _server(each) for number, each in enumerate(site.servers, 1)},
        "channels": {
            channel.name: {
                "address": channel.queue or EVENTS,
                "title": channel.title,
                "messages": {name: {"$ref": f"{_MESSAGES}{name}"} for name in names},
                "bindings": {"amqp": _binding(site, channel)},
            }
        },
        "operations": {
            f"{'receive' if channel.queue else 'send'}Events": {
                "action": "receive" if channel.queue else "send",
                "channel": {"$ref": here},
                "messages": [{"$ref": f"{here}/messages/{name}"} for name in names],
                "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}} if channel.queue else {},
            }
        },
        "components": {"messages": messages, "schemas": envelope | data},
    }


def _info(site: Site, channel: Channel) -> dict[str, Any]:
    about = "CloudEvents 1.0. An event may come more than once, with the same id; unknown attributes are to be ignored."
    if channel.patterns:
        about += f" The queue gets what matches {', '.join(channel.patterns)}."
    contact = {"contact": {"name": channel.owner}} if channel.owner else {}
    return {"title": f"clusterbus: {channel.title}", "version": site.release, "description": about, **contact}


def _content_type(site: Site) -> str:
    return JSON if site.wire == "binary" else CONTENT_TYPE


def _server(server: Server) -> dict[str, Any]:
    found = {"host": server.host, "protocol": "amqps" if server.tls else "amqp", "protocolVersion": "0-9-1"}
    return found if server.virtual_host == "/" else found | {"pathname": f"/{quote(server.virtual_host, safe='')}"}


def _binding(site: Site, channel: Channel) -> dict[str, Any]:
    virtual_host = site.servers[0].virtual_host if site.servers else "/"
    place = {"durable": True, "autoDelete": False, "vhost": virtual_host}
    if channel.queue:
        return {
            "is": "queue",
            "queue": {"name": channel.queue, "exclusive": False, **place},
            "bindingVersion": _BINDING,
        }
    exchange = {"name": EVENTS, "type": "topic", **place}
    return {"is": "routingKey", "exchange": exchange, "bindingVersion": _BINDING}


def _message(event_type: EventType, site: Site) -> dict[str, Any]:
    name = event_type.type
    data = {"$ref": f"{_SCHEMAS}{name}"}
    own: dict[str, Any] = {"type": {"const": name}, "category": {"const": event_type.category}}
    message = {
        "name": name,
        "title": name,
        "summary": event_type.meaning or name,
        "contentType": _content_type(site),
        "tags": [{"name": event_type.source}, {"name": event_type.category}, {"name": event_type.severity}],
        "bindings": {"amqp": {"messageType": name, "bindingVersion": _BINDING}},
    }
    if site.wire == "binary":
        return message | {"headers": _headers(site.envelope["properties"] | own), "payload": data}
    typed = {"type": "object", "properties": own | {"data": data}}
    return message | {"payload": {"allOf": [{"$ref": f"{_SCHEMAS}event"}, typed]}}


def _headers(properties: Mapping[str, Any]) -> dict[str, Any]:
    names: Iterable[str] = [each for each in properties if each not in ("data", "datacontenttype")]
    return {
        "type": "object",
        "properties": {f"{PREFIX}{name}": properties[name] for name in names},
        "required": [f"{PREFIX}{name}" for name in names if name in ALWAYS],
    }


def _part(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *schema* as a part of another document: its own address would change what references mean."""
    return {name: each for name, each in schema.items() if name not in ("$schema", "$id")}
