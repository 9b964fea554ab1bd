"""Events on the wire: what is written is read back, what is not ours is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidEvent
from router.model.events import Event

FIELDS: dict[str, Any] = {
    "id": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
    "type": "gpfs.softQuotaExceeded",
    "source": "/gpfs/prod/nsd01",
    "subject": "gpfs1/projects",
    "time": "2026-11-20T15:22:07.980656123Z",
    "cluster": "prod",
    "node": "nsd01",
    "category": "quota",
    "severity": "warning",
    "scope": "local",
    "data": {"fsName": "gpfs1", "blockLimit": None},
}

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3)
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5))
def test_an_event_is_read_back_as_it_was_written(data: dict[str, Any]) -> None:
    event = Event(**FIELDS | {"data": data})

    again = Event.from_json(event.to_json())

    assert again == event
    assert [type(value) for value in again.data.values()] == [type(value) for value in data.values()]


def test_absent_attributes_are_left_out_and_nulls_in_data_are_not() -> None:
    written = json.loads(Event(**FIELDS | {"subject": None}).to_json())

    assert "subject" not in written
    assert "traceparent" not in written
    assert written["data"] == {"fsName": "gpfs1", "blockLimit": None}
    assert written["specversion"] == "1.0"


def test_the_topic_is_made_of_the_event() -> None:
    assert Event(**FIELDS).topic == "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01"
    assert Event(**FIELDS | {"subject": None}).topic == "gpfs.prod.quota.softQuotaExceeded.-.nsd01"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"id": "x"}, "id"),
        ({"severity": "terrible"}, "severity"),
        ({"colour": ["red"]}, "colour"),
        ({"data": {"a": {"b": 1}}}, "data"),
        ({"specversion": "0.3"}, "specversion"),
    ],
)
def test_what_is_no_event_is_refused_with_the_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidEvent, match=f"not an event: {where}"):
        Event.from_json(json.dumps(FIELDS | change).encode())


def test_attributes_of_a_newer_release_are_kept() -> None:
    body = json.dumps(FIELDS | {"colour": "red", "weight": 3, "heavy": True}).encode()

    event = Event.from_json(body)

    assert json.loads(event.to_json()).items() >= {"colour": "red", "weight": 3, "heavy": True}.items()
    assert event.as_dict()["colour"] == "red"


@given(st.binary(max_size=40))
def test_random_bytes_are_no_event(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        Event.from_json(body)
