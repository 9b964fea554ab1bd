"""Events that have not happened, made as the router would make them: what rehearsals and tests are tried with.

Variables are given as a source gives them, as texts, and typed by the catalogue.  Where none is given at all, the
event has all of its variables, with the catalogue's examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from router import topics
from router.catalogue import Catalogue, Catalogues, EventType
from router.errors import RouterError
from router.events import Event, Value
from router.records import Record, new_id
from router.translation import event_of

from .errors import OccasionError, did_you_mean

NODE, CLUSTER = "node1", "sample"
"""Where it happens, unless that is said."""

_NAME = "eventName"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def named(text: str, catalogues: Catalogues) -> EventType:
    """Return the event type that *text* names, `diskFailure` or `gpfs.diskFailure`; raises OccasionError.

    >>> named("gpfs.diskFailure", Catalogues.shipped()).type
    'gpfs.diskFailure'
    """
    source, _, name = text.rpartition(".")
    found = [each for each in catalogues.find(name) if source in ("", each.source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise OccasionError(f"{text} is an event type of several sources: write {' or '.join(e.type for e in found)}")
    near = catalogues.near(name)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `clusterbus catalogue` shows all"
    raise OccasionError(f"no event type {text!r}{hint}")


def imagine(
    event_type: EventType,
    variables: Mapping[str, Value],
    catalogues: Catalogues,
    *,
    moment: datetime,
    node: str = NODE,
    cluster: str = CLUSTER,
) -> Event:
    """Return the event of *event_type* that the router makes of *variables*; raises OccasionError.

    A value that does not fit its type stays text, and is named in `malformed`, as for any event.
    """
    catalogue = catalogues.of(event_type.source)
    given = variables or _examples(event_type, catalogue)
    arguments: list[str] = []
    for name, value in given.items():
        arguments += [f"--{_spelled(name, event_type, catalogue)}", _text(name, value, catalogue)]
    record = Record(
        id=new_id((moment - _EPOCH) // timedelta(microseconds=1) * 1000),
        source=event_type.source,
        event=event_type.name,
        cluster=topics.word(cluster),
        node=topics.word(node),
        captured_at=f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z",
        boot="",
        arguments=tuple(arguments),
    )
    try:
        return event_of(record, event_type, catalogue)
    except (RouterError, ValueError) as error:
        raise OccasionError(f"{event_type.type} can't be made of this: {error}") from error


def _examples(event_type: EventType, catalogue: Catalogue) -> Mapping[str, Value]:
    sample = catalogue.sample(event_type)
    # The one example that is another one for each event type.
    return sample | {_NAME: event_type.name} if _NAME in sample else sample


def _spelled(name: str, event_type: EventType, catalogue: Catalogue) -> str:
    """Return *name* as the catalogue spells it; raises OccasionError where the event type has no such variable."""
    theirs = {each.name for each in catalogue.of(event_type)}
    variable = catalogue.variable(name)
    if variable is not None and variable.name in theirs:
        return variable.name
    if variable is not None:
        raise OccasionError(f"{event_type.name} cannot have data.{variable.name}; it has {', '.join(sorted(theirs))}")
    near = did_you_mean(name, theirs) or did_you_mean(name, catalogue.variables)
    raise OccasionError(f"no variable data.{name}{near or f'; there are {chr(44).join(sorted(theirs))}'}")


def _text(name: str, value: Value, catalogue: Catalogue) -> str:
    """Return *value* as the source would give it: nothing, where it does not apply."""
    if value is None:
        return ""
    if isinstance(value, list):
        variable = catalogue.variable(name)
        return ((variable and variable.separator) or ",").join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
