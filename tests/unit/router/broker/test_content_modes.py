"""An event in binary mode is the same event; what is none, or tries to be more, is left as it came."""

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.broker.content_modes import binary, structured
from router.broker.interface import Message
from router.errors import InvalidEvent
from router.model.events import Event
from router.pipeline.messages import message_of
from tests.consuming import make_event
from tests.extremes import EVENTS, HEADERS
from tests.unit.router.pipeline.test_messages import check

EVENT = make_event(subject="gpfs1/é", data={"fsName": "gpfs1", "blockUsage": 2**63 - 1, "blockLimit": None})


def read(message: Message) -> Event:
    return Event.from_json(structured(message.content_type, message.headers, message.body)[0])


@given(EVENTS)
def test_an_event_in_binary_mode_is_the_same_event(event: Event) -> None:
    message = message_of(event, {"published-at": "1"}, wire="binary")

    assert message.content_type == "application/json"
    assert json.loads(message.body) == event.data
    assert read(message) == event
    assert structured(message.content_type, message.headers, message.body)[1] == {
        name: each for name, each in message.headers.items() if not name.startswith("ce-")
    }


def test_the_headers_are_those_of_the_rabbitmq_binding() -> None:
    message = message_of(EVENT, wire="binary")

    assert message.headers.items() >= {"ce-specversion": "1.0", "ce-id": EVENT.id, "ce-type": EVENT.type}.items()
    assert "ce-datacontenttype" not in message.headers
    assert "ce-data" not in message.headers
    assert all(isinstance(each, str) for each in message.headers.values())


def test_attributes_of_newer_releases_are_headers_too() -> None:
    newer = Event.from_json(EVENT.to_json()[:-1] + b',"weight":3,"heavy":true}')

    _, headers = binary(newer) or pytest.fail("no binary mode")

    assert (headers["ce-weight"], headers["ce-heavy"]) == ("3", "true")


@pytest.mark.parametrize("name", ["subject", "malformed"])
def test_attributes_that_are_too_long_for_headers_are_published_in_structured_mode(name: str) -> None:
    long = make_event(**{name: "\N{GRINNING FACE}" * 4096})

    message = message_of(long, wire="binary")

    check(message)
    assert message.content_type == "application/cloudevents+json"
    assert read(message) == long


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_", "CE-", "ce-"])
def test_the_prefixes_and_types_of_amqp_1_0_are_read_too(prefix: str) -> None:
    message = message_of(EVENT, wire="binary")
    given_headers = {f"{prefix}{name[3:]}": each for name, each in message.headers.items() if name[:3] == "ce-"}
    # The name that says that there are others is written as its binding has it.
    headers: dict[str, Any] = {**given_headers, "ce-specversion": "1.0"} if prefix == "CE-" else given_headers
    headers[f"{prefix}time"] = datetime(2026, 11, 20, 15, 22, 7)  # noqa: DTZ001 - as pika makes it

    body, others = structured("application/json; charset=utf-8", headers, message.body)

    assert Event.from_json(body) == EVENT.model_copy(update={"time": "2026-11-20T15:22:07Z"})
    assert others == {}


@pytest.mark.parametrize(
    ("content_type", "headers", "body"),
    [
        ("application/cloudevents+json; charset=utf-8", {"ce-specversion": "1.0", "ce-id": "other"}, EVENT.to_json()),
        ("text/plain", {"ce-specversion": "1.0"}, b"text"),
        ("application/json", {"ce-id": "x"}, b"{}"),
        ("application/json", {"ce-specversion": "1.0"}, b"not JSON"),
        ("application/json", {"ce-specversion": "1.0"}, b'{},"id":"forged"'),
        ("application/json", {"ce-specversion": "1.0", "ce-id": b"\xff"}, b"{}"),
        (None, None, b"{}"),
    ],
)
def test_what_is_not_in_binary_mode_stays_as_it_is(content_type: str, headers: Any, body: bytes) -> None:
    assert structured(content_type, headers, body) == (body, headers or {})


@given(HEADERS, st.binary(max_size=30) | st.just(b"{}"))
def test_any_headers_and_body_are_at_most_no_event(headers: dict[str, Any], body: bytes) -> None:
    found, others = structured("application/json", {**headers, "ce-specversion": "1.0"}, body)

    assert isinstance(others, dict)
    with pytest.raises(InvalidEvent):
        Event.from_json(found)
