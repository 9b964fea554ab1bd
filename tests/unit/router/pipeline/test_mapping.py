"""Events are CloudEvents to the letter, whatever a record says; their data adheres to the schema that they name."""

import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model.bounds import SUBJECT
from router.model.catalogue import Catalogue, Catalogues, EventType
from router.model.events import Event
from router.model.records import Record
from router.pipeline.mapping import event_of, own_event
from router.settings.models import Settings
from router.settings.sections.router_section import RouterSettings
from router.settings.site_catalogue import catalogues
from router.sources.event_schemas import of_data
from tests.nodes import NOON

SHIPPED = Catalogues.shipped()
TYPES = SHIPPED.all()
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef]")
VALUES = [
    *("", "UNDEFINED", "0", "-1", str(2**63 - 1), str(-(2**63)), "1e308", "12.5", "a,b", "a b", "caf\udce9", "\ud800"),
    *("\x00\x1f\x7f\x85", "gpfs1\nX-Evil: 1", "\ufdd0\ufffe\U0010ffff", "\u2028\u202e", "{{ 1 }}", "x" * 5000),
]
TEXTS = st.sampled_from(VALUES) | st.text(max_size=20)


def is_text(value: str) -> bool:
    """Say whether CloudEvents allows *value* in an attribute; written once more, and slower."""
    return not FORBIDDEN.search(value) and all(ord(each) & 0xFFFE != 0xFFFE for each in value)


def check(event: Event, catalogue: Catalogue) -> None:
    """Fail unless *event* is a CloudEvent, and its data what its `dataschema` says."""
    attributes = event.model_dump(exclude={"data"}, exclude_none=True)
    for name, value in attributes.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        assert isinstance(value, str)
        assert value
        assert is_text(value), name
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", event.time)
    assert re.fullmatch("(/[A-Za-z0-9_-]+){3}", event.source)
    assert (event.traceparent or "").endswith("-00")
    if event.dataschema:
        schema = of_data(catalogue.event(event.name), catalogue)
        assert event.dataschema == schema["$id"]
        jsonschema.validate(event.data, schema, cls=jsonschema.Draft202012Validator)


def record(event_type: EventType, *arguments: str, **fields: Any) -> Record:
    facts: dict[str, Any] = {"captured_at": "2026-11-20T15:22:07.980656123Z", "boot": "", "arguments": arguments}
    facts |= {"source": event_type.source, "event": event_type.name, "cluster": "prod", "node": "nsd01", **fields}
    return Record(id="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", **facts)


@pytest.mark.thorough
@given(st.data())
def test_every_event_is_a_cloudevent_whatever_its_record_says(data: st.DataObject) -> None:
    event_type = data.draw(st.sampled_from(TYPES))
    catalogue = SHIPPED[event_type.source]
    names = st.sampled_from([each.name for each in catalogue.of(event_type)] or ["x"])
    given_values = data.draw(st.dictionaries(names, TEXTS, max_size=8))
    words = [word for name, value in given_values.items() for word in (f"--{name}", value)]
    strange = data.draw(st.lists(TEXTS, max_size=2))

    check(event_of(record(event_type, *strange, *words), event_type, catalogue), catalogue)


@pytest.mark.parametrize("event_type", TYPES, ids=lambda each: each.type)
def test_every_event_type_is_typed_by_its_examples(event_type: EventType) -> None:
    catalogue = SHIPPED[event_type.source]
    words = [word for each in catalogue.of(event_type) for word in (f"--{each.name}", each.example)]

    event = event_of(record(event_type, *words), event_type, catalogue)

    assert (event.malformed, event.dataschema) == (None, f"urn:clusterbus:{event_type.source}:{event_type.name}:1")
    check(event, catalogue)


def test_a_subject_has_no_control_characters_and_says_so() -> None:
    quota, gpfs = SHIPPED["gpfs"].event("softQuotaExceeded"), SHIPPED["gpfs"]

    event = event_of(record(quota, "--fsName", "gpfs1", "--filesetName", "a\x01b\x7f"), quota, gpfs)
    long = event_of(record(quota, "--fsName", "x" * (SUBJECT + 1)), quota, gpfs)
    plain = event_of(record(quota, "--fsName", "gpfs1", "--filesetName", "é"), quota, gpfs)

    assert (event.subject, event.malformed) == ("gpfs1/a\ufffdb\ufffd", "subject")
    assert event.data["filesetName"] == "a\x01b\x7f"
    assert (len(long.subject or ""), long.malformed) == (SUBJECT, "subject")
    assert (plain.subject, plain.malformed) == ("gpfs1/é", None)


def test_an_own_event_has_no_control_characters_in_its_subject() -> None:
    facts = {"subscription": "a\nb", "eventType": "gpfs.mount", "eventId": "x"}

    event = own_event("runFailed", facts, SHIPPED, cluster="c", node="n", id_="0" * 26, moment=NOON)

    check(event, SHIPPED["clusterbus"])
    assert "\ufffd" in (event.subject or "")


def test_data_that_does_not_adhere_to_the_schema_names_none() -> None:
    quota, gpfs = SHIPPED["gpfs"].event("softQuotaExceeded"), SHIPPED["gpfs"]

    event = event_of(record(quota, "--blockUsage", "lots"), quota, gpfs)

    assert (event.dataschema, event.malformed) == (None, "blockUsage")


def test_sequences_sort_as_text_within_an_epoch() -> None:
    mount, gpfs = SHIPPED["gpfs"].event("mount"), SHIPPED["gpfs"]

    events = [event_of(record(mount, sequence=each), mount, gpfs) for each in (1, 2, 10**12 - 1)]
    none, beyond = (event_of(record(mount, sequence=each), mount, gpfs) for each in (None, 10**12))

    assert [each.sequence for each in events] == sorted(str(each.sequence) for each in events)
    assert {each.sequencetype for each in events} == {"PerEpoch"}
    assert {(each.sequence, each.sequencetype) for each in (none, beyond)} == {(None, None)}


def test_a_site_that_serves_the_schemas_names_them_by_url() -> None:
    settings = Settings(router=RouterSettings(schemas="https://hub.example.com/schemas/"))
    site = catalogues(settings)
    mount = site["gpfs"].event("mount")

    event = event_of(record(mount), mount, site["gpfs"])
    own = own_event("gapOpened", {}, site, cluster="c", node="n", id_="0" * 26, moment=NOON)

    assert event.dataschema == "https://hub.example.com/schemas/gpfs.mount/1.json"
    assert own.dataschema == "https://hub.example.com/schemas/clusterbus.gapOpened/1.json"


@pytest.mark.parametrize(
    "url", ["hub/schemas", "ftp://hub/x", "https://u:p@hub/x", "https://hub/x?y", "https://hub/a b"]
)
def test_what_is_no_url_for_schemas_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL to serve schemas at"):
        RouterSettings(schemas=url)


def test_a_variable_with_usual_words_may_have_others() -> None:
    gpfs = SHIPPED["gpfs"]
    quota = gpfs.event("softQuotaExceeded")

    check(event_of(record(quota, "--quotaType", "PROJECT"), quota, gpfs), gpfs)
    assert replace(gpfs, version=2).schema_of(quota).endswith(":2")
