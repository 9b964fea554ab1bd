"""Synthetic events, made as the router makes events, for checks, dry runs and tests of subscriptions.

Variables are texts, as a source gives them, and the catalogue types them.  Without any, or where the others are filled
in, the event has the variables that the registrations of this site pass, with the examples of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from router.errors import RouterError
from router.model import event_words, node_words, topics
from router.model.catalogue import EVENT_NAME, Catalogue, EventType, Variable
from router.model.events import OWN, Event, Severity, Value
from router.model.ids import NONE, new_id
from router.model.records import Record, written
from router.pipeline.mapping import OF_RELAYS, event_of

from ..errors import SyntheticEventError
from .registrations import Registrations

NODE, CLUSTER = "node1", "sample"
"""Where the event happens by default."""

_MANY = 10
"""How many items the longest lists of samples have."""

_THEN = datetime(2026, 1, 1, tzinfo=UTC)
"""When samples happen."""


def synthetic_event(
    event_type: EventType,
    variables: Mapping[str, Value],
    registrations: Registrations,
    *,
    moment: datetime,
    node: str = NODE,
    cluster: str = CLUSTER,
    completed: bool = False,
) -> Event:
    """Return the event of *event_type* that the router makes of *variables*.

    Raises UnknownVariable, and SyntheticEventError if the values cannot be those of an event.

    Without any, they are the examples of what *registrations* pass; with *completed*, so are those that are not given.
    A value that does not fit its type stays a text, and `malformed` names it, as in any event.
    """
    catalogue = registrations.catalogues.of(event_type.source)
    texts = {} if variables and not completed else examples(event_type, registrations)
    texts |= {
        event_words.variable(name, event_type, catalogue).name: _text(name, each, catalogue)
        for name, each in variables.items()
    }
    return _made(event_type, texts, catalogue, moment, node, cluster)


def of_severity(event: Event, severity: Severity | None, event_type: EventType) -> Event:
    """Return *event* of *event_type* with *severity*, if any.  Raises SyntheticEventError if no such event has it."""
    if severity is None:
        return event
    if severity not in event_type.severities:
        usual = " or ".join(event_type.severities)
        raise SyntheticEventError(f"{event_type.name} is always {usual}: only changes of alerts have other severities")
    return event.model_copy(update={"severity": severity})


def examples(event_type: EventType, registrations: Registrations) -> dict[str, str]:
    """Return the texts that *registrations* pass with a sample of *event_type*, all that it may have given."""
    catalogue = registrations.catalogues.of(event_type.source)
    possible = registrations.possible(event_type)
    # GPFS passes the variables of a whole family, and those of the other events do not apply.
    texts = {
        name: catalogue.variables[name].example if name in possible else ""
        for name in registrations.variables(event_type)
    }
    return texts | {EVENT_NAME: event_type.name} if EVENT_NAME in texts else texts


def sample(event_type: EventType, registrations: Registrations) -> Event:
    """Return a sample of *event_type* as it may come to this site, with all of its variables."""
    catalogue = registrations.catalogues.of(event_type.source)
    return _made(event_type, examples(event_type, registrations), catalogue, _THEN, NODE, CLUSTER)


def variants(event_type: EventType, registrations: Registrations) -> Iterator[Event]:
    """Yield samples that differ: each optional variable is absent alone, all are, and lists have one item or ten."""
    catalogue = registrations.catalogues.of(event_type.source)
    full = examples(event_type, registrations)
    optional = [name for name in registrations.optional(event_type) if full.get(name)]
    forms = [full | {name: ""} for name in optional]
    forms += [
        full | {name: shape(text, catalogue.variables[name]) for name, text in full.items()}
        for shape in (_one, _several)
    ]
    forms += [full | dict.fromkeys(optional, "")]
    if event_type.source == OWN:
        # What we do not know ourselves is left out, or null.
        forms += [{name: text for name, text in full.items() if name not in optional}]
        forms += [{name: text for name, text in full.items() if name != each} for each in optional]
    different = {tuple(each.items()): each for each in forms if each != full}
    for each in different.values():
        yield _made(event_type, each, catalogue, _THEN, NODE, CLUSTER)


def _one(text: str, variable: Variable) -> str:
    return text.split(variable.separator, maxsplit=1)[0] if variable.separator else text


def _several(text: str, variable: Variable) -> str:
    if not variable.separator or not text:
        return text
    items = text.split(variable.separator)
    first, dot, rest = items[0].partition(".")
    return variable.separator.join((*items, *(f"{first}-{at}{dot}{rest}" for at in range(len(items) + 1, _MANY + 1))))


def _made(
    event_type: EventType, texts: Mapping[str, str], catalogue: Catalogue, moment: datetime, node: str, cluster: str
) -> Event:
    through_relay = event_type.source != OWN or event_type.category in OF_RELAYS
    record = Record(
        id=new_id(moment),
        source=event_type.source,
        event=event_type.name,
        cluster=topics.word(cluster),
        node=node_words.word_of(node) or topics.ABSENT,
        captured_at=written(moment),
        boot="",
        arguments=tuple(word for name, text in texts.items() for word in (f"--{name}", text)),
        epoch=NONE if through_relay else None,
        sequence=1 if through_relay else None,
    )
    try:
        return event_of(record, event_type, catalogue)
    except (RouterError, ValueError) as error:
        raise SyntheticEventError(f"{event_type.type} cannot be made from these variables: {error}") from error


def _text(name: str, value: Value, catalogue: Catalogue) -> str:
    """Return *value* as the source gives it: an empty text where it does not apply."""
    if value is None:
        return ""
    if isinstance(value, list):
        variable = catalogue.variable(name)
        return ((variable and variable.separator) or ",").join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
