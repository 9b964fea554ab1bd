"""The SDKs of CloudEvents read every event that we publish, in both content modes, and understand what we mean."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event

from router.broker.interface import Message
from router.model.catalogue import Catalogues, EventType, Kind, unknown
from router.model.events import Event, Wire
from router.model.records import Record
from router.pipeline.mapping import event_of
from router.pipeline.messages import message_of
from tests.javascript_packages import SOURCES, JavaScript

SITE = Catalogues.shipped()
TYPES = [*SITE.all(), unknown("slurm", "jobDone")]
HOSTILE = "a\x00\x01\n\r\x7f\x85\u2028\u202e\ufdd0\uffff\U0010ffff\N{GRINNING FACE}é%22\"'\\{{ 1 }}"
EXTREME: dict[Kind, list[str]] = {
    "integer": [str(2**63 - 1), str(-(2**63)), "0", "lots"],
    "number": ["1e308", "-0.0", "0.1", "NaN"],
    "text": [HOSTILE, "x" * 9000, "caf\udce9", "\ud800"],
    "word": [HOSTILE, "-", "x" * 5000, "\u202e"],
    "node": ["n1", "n1.example.com", HOSTILE, "é"],
    "names": ["a,b", HOSTILE, ",".join("ab" * 50), "é"],
    "nodes": ["n1,n2", HOSTILE, ",".join(f"n{number}" for number in range(100)), ""],
}
FORMS = len(EXTREME["text"])


def made(event_type: EventType, form: int) -> Event:
    """Return the event of a record whose values are all the *form*-th of the extreme ones; the last form has none."""
    catalogue = SITE.of(event_type.source)
    words = ["--strange", HOSTILE]
    for variable in catalogue.of(event_type) if form < FORMS else ():
        words += [f"--{variable.name}", EXTREME[variable.type][form]]
    record = Record(
        id=f"01KAG2V0M3Y8ZT6Q4XJ5W9E7R{form}",
        source=event_type.source,
        event=event_type.name,
        cluster="prod",
        node="nsd01",
        captured_at="2026-11-20T15:22:07.980656123Z",
        boot="",
        arguments=tuple(words if form < FORMS else ()),
        epoch="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
        sequence=form + 1,
    )
    return event_of(record, event_type, catalogue)


EVENTS = [made(each, form) for each in TYPES for form in range(FORMS + 1)]
MESSAGES = [message_of(each, wire=wire) for wire in get_args(Wire) for each in EVENTS]


def lines() -> str:
    """Return all messages as an SDK gets them: what AMQP has as the content type is a header in HTTP."""
    return "".join(
        json.dumps({"headers": {**each.headers, "content-type": each.content_type}, "body": each.body.decode()}) + "\n"
        for each in MESSAGES
    )


def check(found: list[dict[str, Any]]) -> None:
    """Fail unless *found* are the events of all messages; numbers may be as exact as those of JavaScript."""
    assert len(found) == len(MESSAGES)
    for message, event, read in zip(MESSAGES, [*EVENTS, *EVENTS], found, strict=True):
        wanted = event.model_dump(exclude={"data"}, exclude_none=True)
        data = read.pop("data")
        assert rounded(read) == rounded(wanted), message
        assert rounded(data) == rounded(event.data), message


def rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: rounded(each) for name, each in tree.items()}
    return float(tree) if isinstance(tree, int) else tree


def test_the_messages_are_of_both_modes_and_of_every_kind() -> None:
    kinds = [each.content_type for each in MESSAGES]

    assert kinds.count("application/json") > len(EVENTS) / 2
    assert any(each.dataschema is None for each in EVENTS)
    assert any("subject" in (each.malformed or "") for each in EVENTS)


def test_the_python_sdk_of_release_2_reads_them() -> None:
    for message, event in zip(MESSAGES, [*EVENTS, *EVENTS], strict=True):
        headers = {name: str(each) for name, each in message.headers.items()}
        found = from_rabbitmq_event(RabbitMQMessage(headers, message.content_type, message.body))

        wanted = event.model_dump(exclude={"data", "time"}, exclude_none=True)
        attributes = dict(found.get_attributes())
        assert attributes.pop("time") == event.moment
        assert attributes == wanted
        assert found.get_data() == event.data


def test_the_python_sdk_of_release_1_reads_them(release_1: dict[str, str]) -> None:
    program = Path(__file__).parents[1] / "read_events.py"
    done = subprocess.run(
        [sys.executable, program],
        input=lines(),
        env=release_1,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    check([json.loads(each) for each in done.stdout.splitlines()])


def test_the_javascript_sdk_reads_them(javascript: JavaScript) -> None:
    # Texts in JSON may have characters that `splitlines` takes for the end of a line.
    printed = javascript.run(SOURCES / "read_events.mjs", given=lines()).rstrip("\n").split("\n")

    found = [json.loads(each) for each in printed]

    assert [each for each in found if "refused" in each] == []
    for each in found:
        # It has milliseconds.
        each["time"] = each["time"].replace(".980Z", ".980656123Z")
    check(found)


@pytest.mark.long
def test_an_sdk_refuses_what_is_no_event(javascript: JavaScript) -> None:
    wrong = message_of(EVENTS[0], wire="binary")
    headers = {**wrong.headers, "content-type": wrong.content_type, "ce-source": ""}

    printed = javascript.run(SOURCES / "read_events.mjs", given=json.dumps({"headers": headers, "body": "{}"}) + "\n")

    assert "refused" in json.loads(printed)
    assert isinstance(wrong, Message)
