"""Values that somebody hopes will be run, expanded or believed: through every verb they are shown as they are."""

import json
import sys

import pytest

from router.broker.topology import queue_of
from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for
from tests.webhooks import mail_server, webhook

SHORT = [
    "; touch CANARY",
    "$(touch CANARY)",
    "`touch CANARY`",
    "-oProxyCommand=touch CANARY",
    "@all",
    "../../x",
    "{{ 7*7 }}{% raw %}",
    "a\nBcc: eve@example.com\n\n.\n<b>",
    "\x1b[2J%s\r*",
    "'\"\\",
]
LARGE = "x" * (1 << 20)
HANDLER = """
import json
def write(filesetName):
    with open({place!r}, "a") as file:
        file.write(json.dumps(filesetName) + "\\n")
"""
SCRIPT = """#!/bin/sh
cat >> PLACE
echo >> PLACE
"""
FILE = """\
version: 1
defaults: {retry: {attempts: 1}}
subscriptions:
  - name: here
    on: quota
    run: {command: [PYTHON, -IS, WORDS, FOLDER/here, "value={{ data.filesetName }}"]}
  - name: bare
    on: quota
    run: {command: [PYTHON, -IS, WORDS, FOLDER/bare, "{{ data.filesetName }}"]}
  - name: fanned
    on: quota
    run: {command: [PYTHON, -IS, WORDS, FOLDER/fanned, "value={{ data.filesetName }}"], nodes: "n[1-2]", timeout: 30s}
  - name: nodes
    on: quota
    run: {command: [PYTHON, -IS, WORDS, FOLDER/nodes, x], nodes: "{{ data.filesetName }}", timeout: 30s}
  - name: posted
    on: quota
    post: {url: HOOK, body: {value: "{{ data.filesetName }}"}}
  - {name: whole, on: quota, post: {url: HOOK}}
  - name: told
    on: quota
    notify: {to: team, title: "{{ data.filesetName }}", body: "value={{ data.filesetName }}"}
  - {name: called, on: quota, call: "hostile_handlers:write"}
  - {name: scripted, on: quota, scripts: {folders: FOLDER/scripts}}
  - {name: lines, on: quota, log: {file: FOLDER/lines}}
"""
NAMES = ("here", "bare", "fanned", "nodes", "posted", "whole", "told", "called", "scripted", "lines")


@pytest.fixture
def folder(tmp_path):
    """A folder with what the handlers are made of; nothing in it is anybody else's."""
    (tmp_path / "words.py").write_text(
        "import json,sys\nopen(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + chr(10))\n"
    )
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "hostile_handlers.py").write_text(HANDLER.format(place=str(tmp_path / "called")))
    scripts = tmp_path / "scripts"
    scripts.mkdir(mode=0o755)
    (scripts / "handlers.conf").write_text("keep.sh = quota\n")
    (scripts / "keep.sh").write_text(SCRIPT.replace("PLACE", str(tmp_path / "scripted")))
    (scripts / "keep.sh").chmod(0o755)
    return tmp_path


def shown(path):
    """Return the JSON lines in *path*."""
    return [json.loads(line) for line in path.read_text().split("\n") if line] if path.exists() else []


@pytest.mark.long
@pytest.mark.timeout(180)
def test_no_value_is_run_expanded_or_believed_by_any_verb(vhost_url, folder, tap):

    canary = folder / "canary"
    values = [each.replace("CANARY", str(canary)) for each in SHORT]
    events = [make_event(filesetName=each) for each in values]
    with mail_server() as mails, webhook() as hook:
        settings = {
            "contacts": {"team": {"urls": [mails.url()]}},
            "handlers": [str(folder / "handlers")],
            "transport": "local",
        }
        text = FILE.replace("PYTHON", sys.executable).replace("WORDS", str(folder / "words.py"))
        text = text.replace("FOLDER", str(folder)).replace("HOOK", hook.url)
        with Program(vhost_url, folder, text, settings=json.dumps({"consumers": settings})).start(*NAMES) as program:
            publish(vhost_url, [*events, large := make_event(filesetName=LARGE)])
            rows = program.wait_rows(len(NAMES) * (len(events) + 1), timeout=90)
            wait_for(lambda: all(tap.count(queue_of(each)) == 0 for each in NAMES), 20, "empty queues")
            restarted = program.running.process.poll()

    outcomes = {(row.subscription, row.event_id): row for row in rows}
    words = [f"value={each}" for each in values]
    assert not canary.exists()
    assert restarted is None
    # Here, and on nodes: one word, as it is.
    assert sorted(shown(folder / "here")) == sorted([each] for each in words)
    assert sorted(shown(folder / "fanned")) == sorted([each] for each in words * 2)
    assert sorted(shown(folder / "bare")) == sorted([each] for each in values if not each.startswith("-"))
    (dashed,) = [each for each in events if each.data["filesetName"].startswith("-")]
    assert outcomes["bare", dashed.id].outcome == "dead"
    # None is a node: nothing was looked up, nothing run.
    assert not (folder / "nodes").exists()
    assert {outcomes["nodes", each.id].outcome for each in events} == {"dead"}
    # In a body, a mail, a function, on standard input, in a file.
    bodies = [json.loads(each.body) for each in hook.received]
    assert sorted(each["value"] for each in bodies if "value" in each) == sorted(values)
    assert sorted(each["data"]["filesetName"] for each in bodies if "data" in each) == sorted([*values, LARGE])
    assert sorted(shown(folder / "called")) == sorted([*values, LARGE])
    scripted = {each["id"]: each["data"]["filesetName"] for each in shown(folder / "scripted")}
    lines = {each["id"]: each["data"]["filesetName"] for each in shown(folder / "lines")}
    assert scripted == lines == {each.id: each.data["filesetName"] for each in (*events, large)}
    assert len(mails.mails) == len(events) + 1
    for mail in mails.mails:
        assert mail.recipients == ["team@example.com>"] or len(mail.recipients) == 1
        assert "bcc" not in mail.headers
        assert len(mail.headers["subject"]) == 1
    told = "\n".join(each.texts["text/plain"] for each in mails.mails)
    # What a chat takes for a call of everybody is told, and calls nobody.
    assert "value=@all" not in told
    assert "value=@all" in told.replace("\u200b", "").replace("\u2060", "")
    for each in (f"value=$(touch {canary})", "value=../../x", "value={{ 7*7 }}{% raw %}"):
        assert each in told
    assert "\x1b" not in told
    # A megabyte is too long for a word of a command, and for a template: given up, and said so.
    for name in ("here", "bare", "fanned", "nodes", "posted"):
        assert outcomes[name, large.id].outcome == "dead", name
        assert len(outcomes[name, large.id].reason) < 3000
    for name in ("whole", "told", "called", "scripted", "lines"):
        assert outcomes[name, large.id].outcome == "done", name
