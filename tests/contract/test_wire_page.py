"""The page about events on the wire shows what we send; its commands run, and its programs read our messages."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from router.broker.content_modes import _ROOM
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.ids import traceparent
from router.pipeline.messages import message_of
from router.schemas.envelope import ALWAYS
from tests.javascript_packages import JavaScript

PAGE = (Path(__file__).parents[2] / "router" / "schemas" / "README.md").read_text()
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
EVENT, HEADERS = (json.loads(text) for kind, text in BLOCKS if kind == "json")
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
COMMANDS = [shlex.split(line, comments=True) for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


def test_the_event_is_shown_as_it_is_sent_in_both_modes() -> None:
    event = Event.from_json(json.dumps(EVENT).encode())
    structured, binary = message_of(event), message_of(event, wire="binary")

    assert json.loads(structured.body) == EVENT
    assert (dict(binary.headers), json.loads(binary.body)) == (HEADERS, EVENT["data"])
    assert event.traceparent == traceparent(event.id)
    assert EVENT["dataschema"] == Catalogues.shipped()["gpfs"].schema_of(Catalogues.shipped()["gpfs"].event(event.name))
    assert f"more\nthan {_ROOM // 1024} KiB" in PAGE
    assert f"`{structured.content_type}`" in PAGE
    assert f"`{binary.content_type}`" in PAGE


def test_each_attribute_is_in_the_table() -> None:
    table = PAGE[PAGE.index("## The attributes") : PAGE.index("## What an id means")]
    rows = re.findall(r"^\| (`[^|]*`) \| (yes)? ?\| (.+) \|$", table, re.MULTILINE)
    shown = {name: bool(always) for names, always, _ in rows for name in re.findall(r"`(\w+)`", names)}

    assert shown == {name: name in ALWAYS for name in Event.model_fields}


def test_each_event_that_is_named_is_in_the_catalogue() -> None:
    own = Catalogues.shipped()["clusterbus"]
    named = set(re.findall(r"`clusterbus\.(\w+)`", PAGE)) - {"history"}
    gaps = PAGE[PAGE.index("## Finding gaps") : PAGE.index("## Schemas")]
    listed = {
        name for row in re.findall(r"^\|.*", gaps, re.MULTILINE) for name in re.findall(r"clusterbus\.(\w+)", row)
    }

    assert named <= own.events.keys()
    assert listed == {each.name for each in own.events.values() if each.category == "continuity"}
    assert own.event("eventsLost").category == "relay"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_do_what_the_page_says(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    given = [str(folder) if each.startswith("/srv") else each for each in words[1:]]

    done = CliRunner().invoke(app, given)

    assert done.exit_code == 0, done.output
    assert (folder / "gpfs.softQuotaExceeded" / "1.json").exists() == ("--all" in words)


@pytest.mark.parametrize("wire", ["structured", "binary"])
def test_the_program_for_release_2_of_the_sdk_reads_the_event(wire: Any) -> None:
    message = message_of(Event.from_json(json.dumps(EVENT).encode()), wire=wire)
    names: dict[str, Any] = {
        "properties": SimpleNamespace(headers=dict(message.headers), content_type=message.content_type),
        "body": message.body,
    }

    exec(PROGRAMS[0], names)

    assert names["event"].get_attributes()["id"] == EVENT["id"]
    assert names["event"].get_data() == EVENT["data"]


@pytest.mark.long
@pytest.mark.parametrize("wire", ["structured", "binary"])
def test_the_program_for_release_1_of_the_sdk_reads_the_event(wire: Any, release_1: dict[str, str]) -> None:
    message = message_of(Event.from_json(json.dumps(EVENT).encode()), wire=wire)
    made = f"""
from types import SimpleNamespace
properties = SimpleNamespace(headers={dict(message.headers)!r}, content_type={message.content_type!r})
body = {message.body!r}
{PROGRAMS[1]}
print(event["id"], event.data["blockUsage"])
"""
    words = [sys.executable, "-c", made]
    done = subprocess.run(words, env=release_1, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == f"{EVENT['id']} {EVENT['data']['blockUsage']}\n", done.stderr


@pytest.mark.parametrize("wire", ["structured", "binary"])
def test_the_program_in_javascript_reads_the_event(wire: Any, javascript: JavaScript, tmp_path: Path) -> None:
    message = message_of(Event.from_json(json.dumps(EVENT).encode()), wire=wire)
    properties = {"headers": dict(message.headers), "contentType": message.content_type}
    [(_, program)] = [each for each in BLOCKS if each[0] == "javascript"]
    given, rest = program.split("\n\n", 1)
    content = json.dumps(message.body.decode())
    made = f"const message = {{ properties: {json.dumps(properties)}, content: Buffer.from({content}) }};"
    file = tmp_path / "page" / "program.mjs"
    file.parent.mkdir()
    file.write_text(f"{given}\n{made}\n{rest}\nconsole.log(JSON.stringify([event.id, event.data]));\n")

    assert json.loads(javascript.run(file)) == [EVENT["id"], EVENT["data"]]
