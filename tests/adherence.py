"""Whether a message adheres to the schemas that it names: of the attributes, and of the data."""

import json
from functools import cache

from jsonschema import Draft202012Validator

from router.model.catalogue import Catalogues
from router.model.events import Event
from router.schemas.envelope import of_event
from router.sources.event_schemas import of_data

SHIPPED = Catalogues.shipped()
ENVELOPE = Draft202012Validator(of_event())


@cache
def named(address: str) -> Draft202012Validator:
    """Return what validates data by the schema that events name *address*."""
    [found] = [each for each in SHIPPED.all() if SHIPPED[each.source].schema_of(each) == address]
    return Draft202012Validator(of_data(found, SHIPPED[found.source]))


def check(event: Event) -> None:
    """Fail unless the message of *event* adheres to the schema of events, and its data to the one that it names."""
    message = json.loads(event.to_json())
    assert [each.message for each in ENVELOPE.iter_errors(message)] == []
    if event.dataschema:
        assert [each.message for each in named(event.dataschema).iter_errors(message["data"])] == []
