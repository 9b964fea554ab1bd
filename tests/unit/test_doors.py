"""Every door through which something foreign comes in, under extreme values: nothing ends, nothing else is harmed.

`pytest tests/unit/test_doors.py --hypothesis-profile long` tries a hundred times as much.
"""

import io
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Self
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterbus.client.double import Double, DoubleSource
from clusterbus.client.history import History
from clusterbus.client.options import options
from clusterbus.client.since import position
from clusterbus.client.source import Deliver
from clusterbus.client.stream import Stream
from consumers.alerts.owners import Owners
from consumers.cli.dead_letters import groups
from consumers.cli.main import app
from consumers.dead_letters import editing, replay
from consumers.dead_letters.keeper import Keeper
from consumers.dead_letters.kept_letters import find
from consumers.deliveries import Report
from consumers.delivery.metrics.latencies import Latencies
from consumers.errors import ConsumerError, LetterError
from consumers.folds import Fold
from consumers.inspection.explain import trace
from consumers.inspection.history import look_up
from consumers.inspection.live_dry_run import dry_run
from consumers.policies.guards import Guard
from consumers.policies.retry import attempt
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.processes.job_files import RESULT, Job, JobError
from consumers.store import audit, silences
from consumers.store.retention.schedule import Retention
from consumers.store.silences import Silence
from consumers.subscriptions import validation
from consumers.subscriptions.actions import action_files
from consumers.verbs.alert import alertmanager, opsgenie, pagerduty
from consumers.verbs.alert.remote_states import RemoteState
from consumers.verbs.call import results
from consumers.verbs.interface import Surroundings
from consumers.verbs.post.connections import tokens
from consumers.verbs.post.content import Contents
from consumers.verbs.post.verb import PostVerb
from consumers.verbs.scripts import conf_file
from consumers.verbs.scripts.verb import ScriptsVerb
from router.broker import topology
from router.broker.history import queue_ages
from router.broker.history.queue_ages import Held
from router.broker.interface import Arrival, Message, Settlement
from router.broker.topology import DEAD, INGRESS, PUBLISHED_AT, REJECTED, RETURN, UNROUTED, queue_of
from router.cluster.callbacks.gpfs import installed
from router.cluster.fleet import fanout_lines
from router.cluster.gpfs import tables
from router.cluster.nodes import installer_answer
from router.errors import InvalidEvent, RouterError
from router.metrics.exposition import Metric, Scrape
from router.metrics.web_server import Page, WebServer
from router.model.bounds import EVENT, KEY, LETTER_HEADERS, LETTER_HEADERS_SIZE
from router.model.catalogue import Catalogues
from router.model.events import CONTENT_TYPE, Event
from router.model.ids import is_id
from router.model.records import Provenance, parse, written
from router.pipeline.metrics.measures import Measures
from router.services import producer, service_files
from router.services import replay as service_replay
from router.settings import loading
from router.settings.models import ConsumersSettings, Settings
from shim import records
from shim import settings as relay_settings
from tests import alerting, extremes
from tests.alerting import AlertBench
from tests.broker.memory import fits
from tests.consuming import QUICK, make_delivery, make_event, make_subscription
from tests.engines import Bench, TellVerb
from tests.extremes import EVENT_BODIES, EVENTS, HEADERS, LINES, SCALARS, TEXTS, TREES, mutated
from tests.nodes import NOON, Node
from tests.scraping import Scraped
from tests.stored_history import StoredHistory
from tests.unit.router.pipeline.test_router import Bench as RouterBench

CATALOGUES = Catalogues.shipped()


@dataclass(frozen=True)
class Door:
    """What comes in, and the function that takes it; *refusals* are what that may raise to refuse it."""

    values: st.SearchStrategy[Any]
    opened: Callable[[Path], Callable[[Any], object]]
    refusals: tuple[type[Exception], ...] = ()


OUTSIDE = st.sampled_from([CONTENT_TYPE, "application/json", "", "text/plain; charset=utf-7"]) | TEXTS
"""Content types of messages."""

STRANGE_IDS = TEXTS | st.sampled_from(["7" + "Z" * 25, "0" * 26, "76EZ91ZPZZ" + "Z" * 16, make_event().id])


def taking(function: Callable[[Any], object]) -> Callable[[Path], Callable[[Any], object]]:
    """Return the door of a function that needs nothing else."""
    return lambda _folder: function


def taking_file(name: str, function: Callable[[Path], object]) -> Callable[[Path], Callable[[str], object]]:
    """Return the door of a file *name* that *function* reads."""

    def opened(folder: Path) -> Callable[[str], object]:
        def take(content: str) -> object:
            (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
            return function(folder / name)

        return take

    return opened


def ingress(folder: Path) -> Callable[[tuple[bytes, dict[str, Any], str, str]], object]:
    """A record at the router; after it, an honest one still becomes an event."""
    bench, honest = RouterBench(f"sqlite:///{folder / 'router.db'}"), Node("honest")
    bench.restart(measures=Measures())

    def take(value: tuple[bytes, dict[str, Any], str, str]) -> None:
        body, headers, id_, key = value
        bench.memory.another(user="evil").publish(Message(INGRESS, key, body, id_, headers=headers), lambda _: None)
        sent = honest.record("mount", at=bench.now())
        bench.send(sent)
        history = bench.memory.model.queue(topology.HISTORY).ready
        assert sent.id in {each.id for each in history}
        history.clear()
        assert bench.owed() == 0

    return take


@dataclass
class Serving:
    """An engine with a subscription and the keeper; *take* brings a message, and then an honest event."""

    bench: Bench

    @classmethod
    def opened(cls, folder: Path, **fields: Any) -> "Serving":
        bench = Bench(f"sqlite:///{folder / 'store.db'}")
        bench.handler = lambda _delivery: Report()
        bench.latencies = Latencies()
        bench.start(make_subscription("act", TellVerb(), **fields))
        Keeper(bench.broker, bench.store, bench.clock).start()
        bench.broker.run()
        return cls(bench)

    def take(
        self, exchange: str, key: str, body: bytes, id_: str, headers: dict[str, Any], kind: str = CONTENT_TYPE
    ) -> None:
        foreign = self.bench.broker.another(user="stranger")
        foreign.publish(Message(exchange, key, body, id_, content_type=kind, headers=headers), lambda _: None)
        self.works()

    def works(self) -> None:
        """Fail unless an honest event is still handled, and nothing but it is owed."""
        event = make_event()
        self.bench.publish(event)
        self.bench.broker.advance(timedelta(minutes=2))
        assert event.id in {each[1] for each in self.bench.calls}
        (reader,) = self.bench.broker.model.queue(queue_of("act")).subscribers
        assert not reader.unsettled


def subscription_queue(exchange: str) -> Callable[[Path], Callable[[Any], object]]:
    """A message in the queue of a subscription, which a stranger's user has published to *exchange*."""

    def opened(folder: Path) -> Callable[[Any], object]:
        serving = Serving.opened(folder)

        def take(value: tuple[bytes, dict[str, Any], str]) -> None:
            body, headers, id_ = value
            routed = headers | {"subscription": "act"} if exchange == RETURN else headers
            serving.take(exchange, make_event().topic, body, id_, routed)

        return take

    return opened


def own_queue(folder: Path) -> Callable[[Any], object]:
    """A message that a stranger puts into one of our queues, past every exchange; it may be of any content type."""
    serving = Serving.opened(folder)

    def take(value: tuple[str, bytes, dict[str, Any], str, str]) -> None:
        queue, body, headers, id_, kind = value
        serving.take("", queue, body, id_, headers, kind)

    return take


REHEARSED = """\
version: 1
subscriptions:
  - {name: act, on: gpfs.#, where: 'timestamp(time).getFullYear() > 2000', run: {command: ["true", "{{ time }}"]}}
  - {name: kept, on: quota, where: 'data.fsName == "gpfs1"', log: {}}
"""


def history_readers(folder: Path) -> Callable[[list[tuple[bytes, dict[str, Any], str, str]]], object]:
    """Messages in the history among honest events, which each program that reads it still finds."""

    class Source(DoubleSource):
        def __init__(self, line: StoredHistory) -> None:
            super().__init__(Double([], lambda _double: None))
            self.line = line

        def start(self, deliver: Deliver) -> None:
            line: Any = self.line
            history = History(line, line, position("1h"), deliver, lambda: deliver(None))
            history.begin()
            line.run()

        def ack(self, _arrival: Arrival) -> None:
            pass

        def dead_letter(self, _arrival: Arrival) -> None:
            pass

    file = folder / "s.yaml"
    file.write_text(REHEARSED)

    def take(strange: list[tuple[bytes, dict[str, Any], str, str]]) -> None:
        first, last = (make_event(time=written(datetime.now(UTC))) for _ in range(2))
        around = [(each.to_json(), {}, each.id, each.topic) for each in (first, last)]
        stored = [
            Arrival(topology.HISTORY, topology.EVENTS, key, body, id_, None, headers, redelivered=False, tag=None)
            for body, headers, id_, key in (around[0], *strange, around[1])
        ]
        line: Any = lambda: StoredHistory(stored)  # noqa: E731 - a new one for each reader

        ids = [each.id for each in Stream(Source(line()), SERVICE_OPTIONS, None, dedupe=False)]
        assert [ids[0], ids[-1]] == [first.id, last.id]
        assert look_up(line(), last.id, datetime.now(UTC)) == last
        portion = service_replay.history(
            line(), timedelta(hours=1), service_replay.of_ids({last.id}), patience=timedelta(seconds=9)
        )
        assert portion.events[-1].body == last.to_json()
        for each in stored:
            message = service_replay.message_of(each, "tickets", "mark")
            assert message.body == each.body
            assert fits(message)
        ages, problem = queue_ages.read(line, {"all": Held(["#"], len(stored)), "last": Held([last.topic], 1)})
        assert (problem, ages.keys()) == ("", {"all", "last"})
        with (
            redirect_stdout(io.StringIO()) as output,
            patch("consumers.inspection.live_dry_run.run_until_stopped", run),
        ):
            dry_run(line(), Settings(), [file], back=timedelta(hours=1), now=datetime.now(UTC), as_json=False)
        assert last.id in output.getvalue()
        tail = ["tail", "--since", "1h", "--no-follow"]
        assert last.topic in printed(tail, line())
        assert last.id in printed([*tail, "--json"], line())

    return take


def run(line: StoredHistory) -> None:
    """Run *line* to its end, without signals."""
    line.run()


def printed(words: list[str], line: StoredHistory) -> str:
    """Return what the command *words* prints that reads the history of *line*."""
    output = io.StringIO()
    with (
        redirect_stdout(output),
        redirect_stderr(output),
        patch("router.cli.events.connect", lambda *_, **__: line),
        patch("router.cli.events.run_until_stopped", run),
        pytest.raises(SystemExit) as ended,
    ):
        app(words)
    assert ended.value.code in {None, 0}, output.getvalue()
    assert all(each.isprintable() or each == "\n" for each in output.getvalue())
    return output.getvalue()


def receiver(octets: bytes) -> None:
    """What a receiver answers to `post`, octet for octet."""

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(octets)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        handler = PostVerb(url=url, timeout=timedelta(seconds=20), proxy="none").handler(Surroundings("act"))
        server = Thread(target=answer, args=(listening,))
        server.start()
        outcome: Any = attempt(make_delivery(), handler, QUICK)
        server.join()
        handler.close()
    assert len(json.dumps(outcome.result)) < 20_000
    assert len(getattr(outcome, "reason", "")) < 3000


def binary_mode(folder: Path) -> Callable[[tuple[bytes, dict[str, Any]]], object]:
    """A message that may be an event in binary mode, in the queue of a subscription."""
    serving = Serving.opened(folder)

    def take(value: tuple[bytes, dict[str, Any]]) -> None:
        body, headers = value
        serving.take(topology.EVENTS, make_event().topic, body, "id", headers, "application/json")

    return take


def letter_queues(folder: Path) -> Callable[[Any], object]:
    """A message that the keeper moves into the store; then it is listed, explained, edited and replayed."""
    serving = Serving.opened(folder)

    def take(value: tuple[bytes, dict[str, Any], str, str, str, Any]) -> None:
        body, headers, id_, exchange, text, tree = value
        serving.take(exchange, "some.key", body, id_, headers)
        letters = find(serving.bench.store)
        groups(letters)
        for letter in letters:
            assert len(letter.body) <= EVENT
            assert len(letter.headers) <= LETTER_HEADERS + 4
            assert len(json.dumps(letter.headers)) <= LETTER_HEADERS_SIZE + 2**10
            trace(serving.bench.store, letter.event_id)
            with suppress(LetterError):
                assert fits(replay.message_of(letter, "NONCE", "operator"))
            with suppress(LetterError, InvalidEvent):
                event = replay.event_of(letter)
                for word in (text, f"data.{text}"):
                    with suppress(LetterError):
                        editing.with_settings(event, [word], CATALOGUES)
                replay.amend(serving.bench.store, letter, {text: tree}, by=text, clock=serving.bench.clock)

    return take


def service_program(_folder: Path) -> Callable[[bytes], object]:
    """A message in the queue of a service, read by its program; after it comes an honest event."""

    class Source(DoubleSource):
        def start(self, deliver: Deliver) -> None:
            self._deliver = deliver
            deliver(hostile)

        def ack(self, arrival: Arrival) -> None:
            self._next() if arrival is hostile else super().ack(arrival)

        def dead_letter(self, arrival: Arrival) -> None:
            self._next() if arrival is hostile else super().dead_letter(arrival)

    hostile = Arrival("", "", "", b"", "", None, {}, redelivered=False, tag=None)

    def take(body: bytes) -> None:
        nonlocal hostile
        honest = make_event()
        hostile = replace(hostile, body=body)
        double = Double([honest], lambda _double: None)
        assert honest in [*Stream(Source(double), SERVICE_OPTIONS, None, dedupe=True)]

    return take


def gate(**fields: Any) -> Callable[[Path], Callable[[Any], object]]:
    """Events at a gate that is made by *fields* of a subscription."""

    def opened(folder: Path) -> Callable[[Any], object]:
        serving = Serving.opened(folder, **fields)

        def take(events: list[Event]) -> None:
            serving.bench.publish_at_once(events)
            serving.bench.broker.advance(timedelta(minutes=2))
            assert not any(each.unreadable for each in serving.bench.engine.counts.values())

        return take

    return opened


def breakers(folder: Path) -> Callable[[Any], object]:
    """Targets of any name that fail."""
    serving = Serving.opened(folder)

    def take(names: list[str]) -> None:
        serving.bench.depends_on = tuple(names)
        serving.bench.handler = lambda _delivery: Report("connect", "refused", blamed=frozenset(names))
        serving.bench.publish(make_event())
        serving.bench.depends_on, serving.bench.handler = (), lambda _delivery: Report()
        serving.works()

    return take


def silenced(folder: Path) -> Callable[[Any], object]:
    """Silences with any author, comment and condition that the command has stored."""
    serving, numbers = Serving.opened(folder), count(1)

    def take(value: tuple[str, str, str]) -> None:
        where, author, comment = value
        now = serving.bench.clock()
        silence = Silence(f"{next(numbers):026d}", "act", where, author, comment, now, now + timedelta(seconds=1))
        with serving.bench.store.writing() as transaction:
            silences.add(transaction, silence)
        serving.bench.publish(make_event())
        serving.works()

    return take


def scripts(folder: Path) -> Callable[[Any], object]:
    """Events for the verb `scripts`, whose handlers.conf names a script for all of them."""
    script = folder / "act"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    (folder / "handlers.conf").write_text("* act\n")
    handler = ScriptsVerb(folders=(folder,)).handler(Surroundings("act"))

    def take(event: Event) -> None:
        with suppress(ConsumerError):
            handler.plan(make_delivery(event, "act"))

    return take


def posted(_folder: Path) -> Callable[[Any], object]:
    """Events for the verb `post` in binary mode, whose headers are one line of plain ASCII each."""
    contents = Contents(PostVerb(url="https://a.example.com/", wire="binary"))

    def take(values: tuple[Event, str]) -> None:
        event, text = values[0], values[1].encode("utf-8", "replace").decode()
        changed = event.model_copy(update={"subject": text, "traceparent": text, "malformed": text})
        headers, body = contents.of(make_delivery(changed, "a", folded=Fold(2, text, text, text)))
        assert all(each.isascii() and each.isprintable() for pair in headers.items() for each in pair)
        json.loads(body)

    return take


def token(body: bytes) -> None:
    """The answer of a token server, which gives a token for a header and how long it holds."""
    found, seconds = tokens.token_in(body, "the token server")
    assert found.isascii() and found.isprintable() and " " not in found  # noqa: PT018 - one thing
    assert 0 <= seconds <= 86400


def produced(values: tuple[str, str, dict[str, Any]]) -> None:
    """What a program publishes, which the router accepts."""
    event, cluster, data = values
    message = producer.message(producer.record("slurm", event, data, cluster=cluster, node="clusterbus-svc-jobs"))
    parse(message.body, Provenance(message.key, "clusterbus-svc-jobs", {}))


def alert_queue(folder: Path) -> Callable[[Any], object]:
    """A message in the queue of alerts, which a stranger has published; after it, an honest event opens an alert."""
    bench, numbers = AlertBench(f"sqlite:///{folder / 'store.db'}"), count(1)

    def take(value: tuple[bytes, dict[str, Any], str]) -> None:
        body, headers, id_ = value
        foreign, node = bench.broker.another(user="stranger"), f"n{next(numbers)}.example.org"
        topic = alerting.make_event("nodeLeave", node="n").topic
        foreign.publish(Message(topology.EVENTS, topic, body, id_, headers=headers), lambda _: None)
        bench.see("nodeLeave", node=node)
        assert [each for each in bench.alerts(("open",)) if node in str(each.about)]
        bench.see("nodeJoin", node=node)

    return take


def acts_elsewhere(folder: Path) -> Callable[[Any], object]:
    """What other systems answer when they are asked about an alert, which is then changed as they say."""
    bench = AlertBench(f"sqlite:///{folder / 'store.db'}")
    bench.see("nodeLeave", node="n1.example.org")
    (alert,) = bench.alerts(("open",))

    def states(answer: str) -> Iterator[RemoteState | None]:
        readings: list[Callable[[], RemoteState | None]] = [
            lambda: pagerduty.remote_state(alert.id, answer),
            lambda: opsgenie.remote_state(alert.id, answer),
            lambda: alertmanager.silenced(answer, answer, [alert.id])[alert.id],
        ]
        for each in readings:
            with suppress(ValueError):
                yield each()
        with suppress(ValueError):
            opsgenie.processed(200, answer)
        assert opsgenie.request_id(answer).isprintable()

    def take(body: bytes) -> None:
        for remote in states(body.decode("utf-8", "replace").replace("ALERT", alert.id)):
            if remote:
                assert len(remote.by) <= 200
                assert len(remote.comment) <= 1000
                what = {"closed": "note", "acknowledged": "ack", "open": "unack"}[remote.state]
                bench.act(alert, what, by=remote.author("other"), comment=remote.comment, cause="remote")
        bench.advance(timedelta(seconds=10))
        assert all(each.alert == alert.id for each in bench.history(alert))

    return take


def action_file(file: Path) -> object:
    own = Settings().consumers.model_copy(update={"actions": (file,)})
    return action_files.read(Settings().model_copy(update={"consumers": own}))


def owners_file(file: Path) -> None:
    """Settings with owners, which are asked about events."""
    found = loading.load(system=file, environment={})
    owners = Owners(found.settings.consumers.owners, CATALOGUES)
    for event in (make_event(), make_event(fsName=7, filesetName=["a"], eventNode=["n[1-3]", ""])):
        owners.of(event)


def retention(folder: Path) -> Callable[[Any], object]:
    """Events in the audit that claim any time."""
    serving = Serving.opened(folder)
    kept = ConsumersSettings(jobs=folder / "jobs", keep_audit=timedelta(days=1))

    def take(times: list[str]) -> None:
        with serving.bench.store.writing() as transaction:
            audit.append(transaction, [make_delivery(make_event(time=each)) for each in times])
        Retention(serving.bench.store, kept, lambda: datetime.now(UTC), lambda _pause, _function: None).portion()
        with serving.bench.store.reading() as transaction:
            assert audit.verify(transaction) is None

    return take


class Accepting:
    """A session with a broker that takes everything that fits into a frame."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def publish(self, messages: list[Message]) -> list[Settlement]:
        """Take *messages*."""
        assert all(len(each.key.encode()) <= KEY and is_id(each.id) for each in messages)
        return [Settlement.CONFIRMED for _ in messages]


def command_line(_folder: Path) -> Callable[[Any], object]:
    """`clusterbus emit` with any words."""

    def take(words: list[str]) -> None:
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output), patch("router.cli.events.open_session", open_session):
            with pytest.raises(SystemExit) as ended:
                app(["emit", "--unknown", f"--node={words[0]}", f"--cluster={words[1]}", "--", *words[2:]])
            assert ended.value.code in {None, 0, 1, 2}, output.getvalue()

    def open_session(_context: object, _name: str) -> Accepting:
        return Accepting()

    return take


SERVICE_OPTIONS = options(
    ["gpfs.#"],
    service="tickets",
    queue=None,
    url=None,
    password_file=None,
    since=None,
    prefetch=1,
    patience=timedelta(seconds=1),
)
OUR_QUEUES = [queue_of("act"), DEAD, REJECTED, UNROUTED, topology.ALERTS]
HEAD = st.builds(
    lambda status, headers: f"HTTP/1.1 {status}\r\n{''.join(headers)}\r\n".encode("utf-8", "surrogatepass"),
    st.sampled_from(["200 OK", "204", "410 Gone", "429 \x1b[2J", "503 x", "999", "20", "-1", "301 Moved"]) | TEXTS,
    st.lists(
        st.builds(
            "{}: {}\r\n".format,
            st.sampled_from(["Retry-After", "Content-Length", "Transfer-Encoding", "Location", "Content-Encoding"])
            | TEXTS,
            SCALARS | st.sampled_from(["chunked", "gzip", "Fri, 31 Dec 9999 23:59:59 -2359", "-1", "1e9", "9" * 5000]),
        ),
        max_size=4,
    ),
)


def latin(body: bytes) -> str:
    return body.decode("latin-1")


def listed(bodies: list[bytes]) -> bytes:
    return b"[%s]" % b",".join(bodies)


def relay_conf(file: Path) -> object:
    return relay_settings.load(["--config", str(file), "--allow-root"], {})


def job_result(file: Path) -> object:
    job = Job(file.parent)
    return job.read(RESULT), job.state()


MESSAGES = st.tuples(EVENT_BODIES, HEADERS, TEXTS)
WORDS = (
    TEXTS | st.sampled_from(["fsName=gpfs1", "gpfs.mount", "x.y", "x" * 100]) | st.tuples(TEXTS, TEXTS).map("=".join)
)
LETTERS = st.tuples(EVENT_BODIES, HEADERS, TEXTS, st.sampled_from([DEAD, REJECTED, UNROUTED]), WORDS, TREES)
MANY = st.lists(EVENTS, min_size=1, max_size=4)
NODE_RECORD = json.loads(Node("evil").record("mount", at=NOON).body)
SPOOL_FILE = f"{1:019d}.{NODE_RECORD['id']}.json"
RULE = {"name": "low", "opens": "lowDiskSpace", "closes_after": "2h", "by": "data.fsName", "where": "data.fsName != ''"}
SUBSCRIPTION = {
    "name": "a",
    "on": ["gpfs.#"],
    "where": "data.fsName == 'gpfs1'",
    "severity": "warning",
    "run": {"command": ["true", "{{ data.fsName }}"], "nodes": "n[1-2]"},
    "retry": {"attempts": 3},
    "fold": {"by": ["data.fsName"], "wait": "30s"},
    "guard": {"at_most": 1},
    "concurrency": 2,
}
OWNERS: dict[str, Any] = {
    "contacts": {"team": {"urls": ["mailto://mail.example.org?to=a@example.org&from=x@example.org"]}},
    "owners": [{"to": "team", "nodes": "n[1-3]", "file_system": "/dev/gpfs1", "fileset": ["a"], "node_class": "c"}],
}
ACTION = {"summary": "a", "class": "observe", "parameters": {"node": {"type": "node"}}, "run": {"command": ["true"]}}
SERVICE = {"name": "tickets", "on": ["gpfs.#"], "severity": "warning", "clusters": "prod", "max_bytes": "2 GiB"}
INCIDENT = {
    "status": "acknowledged",
    "created_at": "2026-11-20T12:00:00Z",
    "acknowledgements": [{"acknowledger": {"summary": "Anna"}}],
    "last_status_change_by": {"type": "user_reference", "summary": "Anna"},
}
OPSGENIE = {"status": "open", "acknowledged": True, "report": {"acknowledgedBy": "anna"}, "isSuccess": True}
MUTED = {
    "id": "s1",
    "createdBy": "anna",
    "comment": "planned",
    "annotations": {"alert": "ALERT"},
    "status": {"silencedBy": ["s1"]},
}
TARGET = Metric("breaker_open", "gauge", "1.", ("target",))


def metrics_request(_folder: Path) -> Callable[[bytes], object]:
    """A request, whose answer has one head."""
    with WebServer("router.metrics", "127.0.0.1:0", {"/metrics": Page(b"up 1\n")}.get) as server:
        pass  # no connection is needed

    def take(request: bytes) -> None:
        head, _, body = server._answer(request).partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 (200|400|404|431) ", head)
        assert len(head.split(b"\r\n")) == 5
        assert b"\r" not in body

    return take


def labelled(text: str) -> None:
    """A label, which is one line and parsed again."""
    scrape = Scrape()
    scrape.add(TARGET, 1, text)
    (series,) = Scraped(scrape.text().decode()).by("target", "breaker_open")
    assert series.isprintable()


KEYS = TEXTS | st.sampled_from(
    ["gpfs.prod.mount.evil", "gpfs.prod.nodeLeave.evil", "clusterbus.x.heartbeat.evil", "...."]
)

ATTRIBUTES = st.sampled_from([*Event.model_fields, "later", "data", "", "\u00e9", "x-death"])
IN_BINARY_MODE = st.builds(
    lambda valid, wrong, prefix: {f"{prefix}{name}": each for name, each in {**valid, **wrong}.items()},
    st.just(make_event().model_dump(exclude={"data"}, exclude_none=True)),
    st.dictionaries(ATTRIBUTES, TREES | st.binary(max_size=9) | st.just(datetime(1, 1, 1, tzinfo=UTC)), max_size=3),
    st.sampled_from(["ce-", "cloudEvents:", "cloudEvents_"]),
)

DOORS: dict[str, Door] = {
    "a record, and all around it, from a node": Door(st.tuples(mutated(NODE_RECORD), HEADERS, TEXTS, KEYS), ingress),
    "a file in the spool": Door(
        mutated(NODE_RECORD),
        taking(lambda body: records.check(SPOOL_FILE, body, "prod")),
        (records.Unreadable,),
    ),
    "a message in a subscription's queue, from a stranger": Door(MESSAGES, subscription_queue(topology.EVENTS)),
    "a message that comes back to a subscription": Door(MESSAGES, subscription_queue(RETURN)),
    "a message in binary mode, from a stranger": Door(
        st.tuples(
            TREES.map(json.dumps).map(str.encode) | st.binary(max_size=50) | st.sampled_from(extremes.DEEP),
            IN_BINARY_MODE,
        ),
        binary_mode,
    ),
    "messages for the keeper, then listed, edited and replayed": Door(
        st.tuples(EVENT_BODIES, HEADERS, TEXTS, st.sampled_from([DEAD, REJECTED, UNROUTED]), TEXTS, TREES),
        letter_queues,
    ),
    "a message that a stranger puts into a queue of ours": Door(
        st.tuples(st.sampled_from(OUR_QUEUES), EVENT_BODIES, HEADERS, STRANGE_IDS, OUTSIDE), own_queue
    ),
    "messages of strangers in the history, for each that reads it": Door(
        st.lists(
            st.tuples(
                EVENT_BODIES,
                HEADERS | st.dictionaries(st.sampled_from([PUBLISHED_AT]), SCALARS | st.just("9" * 16), max_size=1),
                STRANGE_IDS,
                TEXTS | st.just(make_event().topic),
            ),
            max_size=4,
        ),
        history_readers,
    ),
    "what a receiver answers": Door(
        st.builds(bytes.__add__, HEAD, st.binary(max_size=100) | st.just(b"x" * 200_000)) | st.binary(max_size=100),
        taking(receiver),
    ),
    "an event in history": Door(EVENT_BODIES, taking(Event.from_json), (InvalidEvent,)),
    "a message at the program of a service": Door(EVENT_BODIES, service_program),
    "values at `fold`": Door(MANY, gate(fold=Folding(by=("data.a",)))),
    "values at `once_per`": Door(MANY, gate(once_per=OncePer(by=("data.a", "data.b"), interval=timedelta(hours=1)))),
    "values at `limit`": Door(MANY, gate(limit=Limit(most=1, per=timedelta(hours=1), by=("data.b",)))),
    "values at `guard.at_most`": Door(MANY, gate(guard=Guard(at_most=1))),
    "values at `order_by`": Door(MANY, gate(order_by=("data.a",))),
    "names of targets at circuit breakers": Door(st.lists(TEXTS, max_size=3), breakers),
    "silences": Door(st.tuples(TEXTS | st.just("data.a > 1"), TEXTS, TEXTS), silenced),
    "events for the verb `scripts`": Door(EVENTS, scripts),
    "events for the verb `post` in binary mode": Door(st.tuples(EVENTS, TEXTS), posted),
    "an answer of a token server": Door(
        mutated({"access_token": "a", "token_type": "Bearer", "expires_in": 3600})
        | st.builds(
            lambda life: json.dumps({"access_token": "a", "token_type": "bearer", "expires_in": life}).encode(),
            SCALARS | st.just(10**400),
        ),
        taking(token),
        (tokens.NoToken,),
    ),
    "events of programs that publish": Door(
        st.tuples(TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3), max_size=3)),
        taking(produced),
        (ValueError, RouterError),
    ),
    "times of events at retention": Door(st.lists(st.sampled_from(extremes.TIMES), max_size=5), retention),
    "words of `emit`": Door(st.lists(WORDS, min_size=3, max_size=5), command_line, (RouterError,)),
    "an installer's answer": Door(
        mutated({"differs": [["/usr/a", "is missing"]], "spool": {"lost": {"f": 1, "d": 0, "e": 0}, "waiting": 7}}).map(
            lambda body: body.decode("utf-8", "replace")
        ),
        taking(installer_answer.read),
        (installer_answer.Unreadable,),
    ),
    "a line of the fan-out": Door(
        mutated({"node": "n1", "code": 0, "seconds": 0.1, "output": "7"}),
        taking(lambda line: fanout_lines.read(line, {"n1"})),
        (fanout_lines.InvalidLine,),
    ),
    "what a function returns": Door(TREES, taking(results.reported)),
    "what a job's folder has": Door(
        mutated({"ended": "finished", "exit": 0}).map(lambda body: body.decode("latin-1")),
        taking_file(RESULT, job_result),
        (JobError,),
    ),
    "subscription files": Door(
        LINES | TREES.map(json.dumps), taking_file("s.yaml", lambda file: validation.check([file], CATALOGUES))
    ),
    "a subscription in a file": Door(
        mutated(SUBSCRIPTION).map(lambda body: b'{"version": 1, "subscriptions": [%s]}' % body).map(latin),
        taking_file("s.yaml", lambda file: validation.check([file], CATALOGUES)),
    ),
    "owners and contacts in settings files": Door(
        mutated(OWNERS).map(lambda body: b'{"consumers": %s}' % body).map(latin)
        | mutated(OWNERS["owners"][0])
        .map(lambda body: b'{"consumers": {"contacts": {"team": {}}, "owners": [%s]}}' % body)
        .map(latin),
        taking_file("clusterbus.yaml", owners_file),
        (RouterError,),
    ),
    "rules of alerts in subscription files": Door(
        mutated(RULE).map(lambda body: b'{"version": 1, "alerts": [%s]}' % body).map(latin),
        taking_file("s.yaml", lambda file: validation.check([file], CATALOGUES)),
    ),
    "files of actions": Door(
        mutated(ACTION).map(lambda body: b'{"version": 1, "actions": {"a": %s}}' % body).map(latin),
        taking_file("a.yaml", action_file),
    ),
    "files of services": Door(
        LINES | mutated(SERVICE).map(lambda body: b'{"version": 1, "services": [%s]}' % body).map(latin),
        taking_file("tickets.yaml", lambda file: service_files.read(file.parent, CATALOGUES)),
    ),
    "a message in the queue of alerts, from a stranger": Door(MESSAGES, alert_queue),
    "what other systems say of alerts": Door(
        st.lists(mutated(INCIDENT), max_size=3).map(listed).map(lambda body: b'{"incidents": %s}' % body)
        | mutated(OPSGENIE).map(lambda body: b'{"requestId": "r", "data": %s}' % body)
        | st.lists(mutated(MUTED), max_size=3).map(listed),
        acts_elsewhere,
    ),
    "settings files": Door(
        LINES | TREES.map(json.dumps),
        taking_file("clusterbus.yaml", lambda file: loading.load(system=file, environment={})),
        (RouterError,),
    ),
    "relay.conf": Door(LINES, taking_file("relay.conf", relay_conf), (relay_settings.SettingsError,)),
    "handlers.conf": Door(LINES.map(lambda text: text.encode("utf-8", "surrogatepass")), taking(conf_file.parse)),
    "tables that mm commands print": Door(LINES, taking(tables.rows)),
    "a request at the address of metrics": Door(
        st.binary(max_size=300)
        | st.builds(lambda path: f"GET {path} HTTP/1.1\r\n\r\n".encode("utf-8", "replace"), TEXTS),
        metrics_request,
    ),
    "labels of metrics": Door(TEXTS, taking(labelled)),
    "callbacks that mm commands print": Door(LINES, taking(installed.from_text), (RouterError,)),
}
"""All doors: what is new gets a line here."""


@pytest.mark.thorough
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", DOORS)
def test_extreme_values_end_nothing(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    take = door.opened(tmp_path)

    @settings(max_examples=max(25, settings().max_examples // 4), suppress_health_check=list(HealthCheck))
    @given(door.values)
    def taken(value: Any) -> None:
        with suppress(*door.refusals):
            take(value)

    taken()
