"""What an event says: one that a record tells of, or one of the router's own.  Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from .catalogue import Catalogue, Catalogues, EventType, unknown
from .continuity import EpochStarted, Finding, GapClosed, GapOpened, NodeBack, NodeSilent
from .errors import Rejection
from .events import Event, Value
from .records import Record, derived_id, new_id, traceparent
from .sources import ARGUMENTS, decode, escaped
from .topics import ABSENT

OWN = "clusterbus"
"""The source of what relays, the router and consumers say themselves."""

HEARTBEAT = "clusterbus.heartbeat"
_OF_RELAYS = ("relay", "unknown")
"""Categories of own events that a node may say; the others are not a node's to say."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_type_of(record: Record, catalogues: Catalogues, *, trusted: bool) -> EventType:
    """Return what kind of event *record* tells of, one of category `unknown` where no catalogue has it.

    Raises Rejection where a node that is not *trusted* says what only the router or a consumer says.
    """
    found = catalogues.of(record.source).get(record.event) or unknown(record.source, record.event)
    if record.source == OWN and found.category not in _OF_RELAYS and not trusted:
        raise Rejection(f"{found.type} is not for a node to say")
    return found


def event_of(record: Record, event_type: EventType, catalogue: Catalogue) -> Event:
    """Return the event that *record* tells of: always the same."""
    decoded = decode(record.arguments, catalogue)
    malformed = decoded.malformed
    if record.cut is not None and ARGUMENTS not in malformed:
        # The last of what was kept may be half a value: nobody should take it for a whole one.
        malformed = (*malformed, ARGUMENTS)
    return Event(
        id=record.id,
        type=event_type.type,
        source=f"/{record.source}/{record.cluster}/{record.node}",
        subject=_subject(event_type, decoded.data),
        time=record.captured_at,
        dataschema=_schema(event_type, catalogue),
        cluster=record.cluster,
        node=record.node,
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        sequence=None if record.sequence is None else f"{record.sequence:012d}",
        epoch=record.epoch,
        traceparent=traceparent(record.id),
        malformed=" ".join(malformed) or None,
        data=decoded.data,
    )


def _schema(event_type: EventType, catalogue: Catalogue) -> str | None:
    if event_type.name not in catalogue.events:
        return None
    return f"urn:clusterbus:{event_type.source}:{event_type.name}:{catalogue.version}"


def _subject(event_type: EventType, data: Mapping[str, Value]) -> str | None:
    values = [data.get(name) for name in event_type.subject]
    while values and values[-1] in (None, []):
        values.pop()
    return "/".join(_text(each) for each in values) or None


def _text(value: Value) -> str:
    if value is None:
        return ABSENT
    return ",".join(value) if isinstance(value, list) else str(value)


def own_event(
    name: str, data: Mapping[str, Value], catalogues: Catalogues, *, cluster: str, node: str, id_: str, moment: datetime
) -> Event:
    """Return an event of ours: *name*, which the catalogue has, about *node*."""
    catalogue = catalogues.of(OWN)
    event_type = catalogue.event(name)
    clean = {key: escaped(value) if isinstance(value, str) else value for key, value in data.items()}
    return Event(
        id=id_,
        type=event_type.type,
        source=f"/{OWN}/{cluster}/{node}",
        subject=_subject(event_type, clean),
        time=_written(moment),
        dataschema=_schema(event_type, catalogue),
        cluster=cluster,
        node=node,
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        traceparent=traceparent(id_),
        data=clean,
    )


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def id_at(moment: datetime, what: str) -> str:
    """Return an id of the millisecond of *moment* for *what* happened then: always the same."""
    return derived_id(new_id((moment - _EPOCH) // timedelta(microseconds=1) * 1000)[:10], what)


def finding_event(finding: Finding, cluster: str, node: str, catalogues: Catalogues, moment: datetime) -> Event | None:
    """Return what is published of *finding* at *node*; None where it is only counted."""
    match finding:
        case GapOpened(epoch, first, last):
            name, data = "gapOpened", _gap(epoch, first, last)
        case GapClosed(epoch, first, last):
            name, data = "gapClosed", _gap(epoch, first, last)
        case EpochStarted(epoch, previous, _):
            name, data = "epochStarted", {"epoch": epoch, "previousEpoch": previous}
        case NodeSilent(heard):
            name, data = "nodeSilent", _silence(heard, moment)
        case NodeBack(heard):
            name, data = "nodeBack", _silence(heard, moment)
        case _:
            return None
    id_ = id_at(moment, f"{name}/{cluster}/{node}/{sorted(data.items(), key=str)}")
    return own_event(name, {"node": node} | data, catalogues, cluster=cluster, node=node, id_=id_, moment=moment)


def _gap(epoch: str, first: int, last: int) -> dict[str, Value]:
    return {"epoch": epoch, "first": first, "last": last, "count": last - first + 1}


def _silence(heard: datetime, moment: datetime) -> dict[str, Value]:
    return {"lastSeen": _written(heard), "silence": (moment - heard).total_seconds()}
