"""Every verb over a real broker, on each kind of store: nothing is lost, nothing done twice, whatever is killed."""

import json
import sys
import threading
from collections import Counter

import pytest

from consumers.store import audit, letters
from router.broker.topology import queue_of
from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for
from tests.webhooks import webhook

FILE = """\
version: 1
defaults: {retry: {attempts: 3, first: 1s}}
subscriptions:
  - {name: audit, on: quota, log: {}}
  - {name: lines, on: quota, log: {file: FOLDER/lines, store: false}}
  - {name: told, on: quota, notify: {to: team, title: "{{ id }}", body: "{{ data.filesetName }}"}}
  - {name: posted, on: quota, post: {url: "HOOK"}, concurrency: 4}
  - {name: ran, on: quota, run: {command: [PYTHON, -IS, FOLDER/note.py, FOLDER/ran], timeout: 20s}, concurrency: 2}
  - {name: called, on: quota, call: {function: "FOLDER/site.py:called"}}
  - {name: isolated, on: quota, call: {function: "FOLDER/site.py:isolated", isolate: true}}
  - {name: scripted, on: quota, scripts: {folders: [FOLDER/scripts]}}
  - {name: failing, on: quota, run: {command: ["false"]}, retry: {attempts: 2, first: 1s}}
"""
NOTE = """\
import os, sys
if os.environ["CLUSTERBUS_ATTEMPT"] == "1" and os.environ["CLUSTERBUS_VAR_blockUsage"] in ("3", "9"):
    sys.exit(3)
with open(sys.argv[1], "a") as file:
    file.write(os.environ["CLUSTERBUS_EVENT_ID"] + "\\n")
"""
FUNCTIONS = """\
from pathlib import Path

def _note(name, event):
    with Path(__file__).with_name(name).open("a") as file:
        file.write(event.id + "\\n")

def called(event):
    _note("called", event)
    return event.data

def isolated(event):
    _note("isolated", event)
"""
NAMES = ("audit", "lines", "told", "posted", "ran", "called", "isolated", "scripted", "failing")
ONCE = ("told", "posted", "ran", "called", "isolated", "scripted")


class Site:
    """Consumers over one file and one store, and what their verbs have done."""

    def __init__(self, url, folder, hook, store):
        self.folder, self.hook = folder, hook
        (folder / "scripts").mkdir()
        (folder / "scripts" / "handlers.conf").write_text("note.sh = quota\n")
        (folder / "scripts" / "note.sh").write_text(f'#!/bin/sh\necho "$CLUSTERBUS_EVENT_ID" >>{folder}/scripted\n')
        (folder / "scripts" / "note.sh").chmod(0o755)
        (folder / "note.py").write_text(NOTE)
        (folder / "site.py").write_text(FUNCTIONS)
        text = FILE.replace("FOLDER", str(folder)).replace("HOOK", hook.url).replace("PYTHON", sys.executable)
        settings = "consumers: {contacts: {team: {urls: [env:TEAM]}}}\n"
        team = f"json://{hook.address}/told"
        self.consumers = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            self.consumers.append(Program(url, folder / name, text, settings=settings, store=store, TEAM=team))

    def effects(self):
        """Return how often each verb was at work for each event."""
        found = {name: Counter(self._lines(name)) for name in ("ran", "called", "isolated", "scripted")}
        requests = [*self.hook.received]
        found["posted"] = Counter(json.loads(each.body)["id"] for each in requests if each.path == "/hook")
        found["told"] = Counter(json.loads(each.body)["title"] for each in requests if each.path == "/told")
        return found

    def _lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def begun(self):
        """Return which deliveries have begun and not ended, by subscription and event."""
        rows = self.consumers[0].rows(outcome="open")
        return Counter((row.subscription, row.event_id) for row in rows)

    def settled(self, events):
        """Wait until everything is done, and every failure kept."""
        one = self.consumers[0]
        for name in NAMES[:-1]:
            one.wait_rows(len(events), timeout=120, subscription=name, outcome="done")
        one.wait_rows(len(events), timeout=120, subscription="failing", outcome="dead")
        wait_for(lambda: len(self.letters()) == len(events), 60, "a letter for each failure")

    def letters(self):
        with self.consumers[0].store.reading() as transaction:
            return letters.find(transaction, limit=1000)


@pytest.fixture
def site(vhost_url, tmp_path, database):
    with webhook() as hook:
        made = Site(vhost_url, tmp_path, hook, database("store"))
        with made.consumers[0], made.consumers[1]:
            yield made


def happened(count):
    return [
        make_event(filesetName="a\0b \N{SNOWMAN}" if number % 2 else "plain", blockUsage=number)
        for number in range(count)
    ]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_each_verb_does_what_it_is_for_once_on_two_consumers_of_one_store(site, vhost_url, tap):
    events = happened(12)
    for each in site.consumers:
        each.start(*NAMES)

    publish(vhost_url, events)
    site.settled(events)
    wait_for(lambda: all(tap.count(queue_of(name)) == 0 for name in NAMES), 60, "empty queues")
    assert [each.running.stop() for each in site.consumers] == [0, 0]

    ids = {each.id for each in events}
    assert site.effects() == {name: Counter(ids) for name in ONCE}
    assert sorted(json.loads(line)["id"] for line in (site.folder / "lines").read_text().splitlines()) == sorted(ids)
    with site.consumers[0].store.reading() as transaction:
        assert audit.verify(transaction) is None
        assert audit.head(transaction).sequence == len(events)
    retried = [row for row in site.consumers[0].rows(subscription="ran") if row.outcome == "retry"]
    assert len(retried) == 2
    assert not any(each.logged("the database cannot be used") for each in site.consumers)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_only_what_had_begun_is_done_again_though_consumers_are_killed(site, vhost_url, tap):
    events = happened(20)
    one, two = site.consumers
    one.start(*NAMES)
    two.start(*NAMES)
    broken_off = Counter()
    coming = threading.Thread(target=publish, args=(vhost_url, events))
    coming.start()

    for victim, progress in ((one, 3), (two, 7), (one, 11)):
        wait_for(lambda progress=progress: len(site.effects()["ran"]) >= progress, 60, f"{progress} commands")
        for each in (one, two):
            each.running.kill()
        broken_off += site.begun()
        victim.start(*NAMES)
    coming.join(120)
    site.settled(events)
    wait_for(lambda: all(tap.count(queue_of(name)) == 0 for name in NAMES), 60, "empty queues")
    one.running.stop()
    two.running.stop()

    ids = {each.id for each in events}
    for name, counts in site.effects().items():
        assert counts.keys() == ids, name
        assert all(count <= 1 + broken_off[name, each] for each, count in counts.items()), name
    with one.store.reading() as transaction:
        assert audit.verify(transaction) is None
        assert audit.head(transaction).sequence == len(events)
