"""Maps records to events, and makes the events of clusterbus itself.  Pure."""

from collections.abc import Mapping
from datetime import datetime

from ..errors import Rejection
from ..model.bounds import FIRST_YEAR, REASON, SKEW, SUBJECT
from ..model.catalogue import EVENT_NAME, Catalogue, Catalogues, EventType, unknown
from ..model.events import OWN, PER_EPOCH, SEQUENCES, Event, Value, attribute
from ..model.ids import traceparent
from ..model.records import Record, written
from ..model.topics import ABSENT
from ..sources.arguments import ARGUMENTS, Decoded, fitted
from ..sources.decoders import decode
from ..sources.event_limits import limited
from ..sources.event_schemas import adheres

HEARTBEAT = "clusterbus.heartbeat"
OF_RELAYS = ("relay", "unknown")
"""Categories of own events that a node may report; only the router and consumers may report the others."""


def event_type_of(record: Record, catalogues: Catalogues, *, trusted: bool) -> EventType:
    """Return the event type of *record*, one of category `unknown` if no catalogue has it.

    Raises Rejection if a node that is not *trusted* reports what only the router or a consumer may report.
    """
    found = catalogues.of(record.source).get(record.event) or unknown(record.source, record.event)
    if record.source == OWN and found.category not in OF_RELAYS and not trusted:
        raise Rejection(f"a node may not report {found.type}: only the router and consumers may")
    return found


def event_of(record: Record, event_type: EventType, catalogue: Catalogue) -> Event:
    """Return the event of *record*, within the bounds of `model.bounds`; the same record always gives the same event.

    Its time is what the record says: `believed` compares it with the time of arrival.
    """
    decoded = limited(_with_name(decode(record.arguments, catalogue), event_type, catalogue))
    malformed = decoded.malformed
    if record.cut is not None and ARGUMENTS not in malformed:
        # The last kept argument may be an incomplete value, and must not pass for a complete one.
        malformed = (*malformed, ARGUMENTS)
    subject = _subject(event_type, decoded.data)
    if subject is not None and (fitting := attribute(subject[:SUBJECT])) != subject:
        subject, malformed = fitting, (*malformed, "subject")
    # A longer one would no longer sort as text.
    in_order = record.sequence is not None and record.sequence < SEQUENCES
    is_typed = not malformed or adheres(decoded.data, decoded.malformed, catalogue)
    return Event(
        id=record.id,
        type=event_type.type,
        source=f"/{record.source}/{record.cluster}/{record.node}",
        subject=subject,
        time=record.captured_at,
        dataschema=_schema(event_type, catalogue) if is_typed else None,
        cluster=record.cluster,
        node=record.node,
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        sequence=f"{record.sequence:012d}" if in_order else None,
        sequencetype=PER_EPOCH if in_order else None,
        epoch=record.epoch,
        traceparent=traceparent(record.id),
        malformed=" ".join(malformed) or None,
        data=decoded.data,
    )


def believed(event: Event, received: datetime) -> Event:
    """Return *event*, with the time *received* instead of its own if its node cannot have captured it then.

    Such times are those later than *received*, and those before 1970.  Where the skew of clocks does not explain it,
    `malformed` then names `time`.
    """
    if event.moment <= received and event.moment.year >= FIRST_YEAR:
        return event
    # Otherwise one node could end in advance what others will report as begun: alerts are in the order of these times.
    changed: dict[str, str] = {"time": written(received)}
    if not received < event.moment <= received + SKEW:
        changed["malformed"] = " ".join([*(event.malformed or "").split(), "time"])
    return event.model_copy(update=changed)


def _with_name(decoded: Decoded, event_type: EventType, catalogue: Catalogue) -> Decoded:
    """Return *decoded* with the event's name, where its source has a variable for that and did not give it."""
    if EVENT_NAME not in catalogue.variables or decoded.data.get(EVENT_NAME) is not None:
        return decoded
    others = {name: value for name, value in decoded.data.items() if name != EVENT_NAME}
    # First, so that no limit of the number of variables drops it.
    return Decoded({EVENT_NAME: event_type.name, **others}, decoded.malformed)


def _schema(event_type: EventType, catalogue: Catalogue) -> str | None:
    return catalogue.schema_of(event_type) if event_type.name in catalogue.events else None


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
    """Return an event of clusterbus itself: *name* of its catalogue, about *node*; long texts of *data* are cut."""
    catalogue = catalogues.of(OWN)
    event_type = catalogue.event(name)
    clean = {key: fitted(value, REASON) if isinstance(value, str) else value for key, value in data.items()}
    subject = _subject(event_type, clean)
    return Event(
        id=id_,
        type=event_type.type,
        source=f"/{OWN}/{cluster}/{node}",
        subject=subject and attribute(subject),
        time=written(moment),
        dataschema=_schema(event_type, catalogue),
        cluster=cluster,
        node=node,
        category=event_type.category,
        severity=event_type.severity,
        scope=event_type.scope,
        traceparent=traceparent(id_),
        data=clean,
    )
