"""A PostgreSQL that is paused, cut off, stopped, read-only or slow: nothing is lost or done twice, and all goes on."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.store.database import Store
from consumers.subscriptions.models import Subscription
from router.cluster.facts.facts_store import FactStore
from router.pipeline.state import State
from tests import postgres
from tests.conftest import missing
from tests.consuming import Consumer, effect, lines, make_event, make_subscription, publish
from tests.flow import CLUSTERBUS
from tests.hung_disk import hanging
from tests.nodes import Sent
from tests.operating import invoke, json_lines
from tests.processes import environment
from tests.proxy import Mode, Proxy
from tests.rabbit import RabbitAdmin
from tests.routing import Site
from tests.waiting import SLACK, wait_for

MakeProxy = Callable[[str], Proxy]

BEGINS, ENDS = "the database cannot be used, its work waits", "the database can be used again"
LONG = 50.0
"""Seconds: the broker gives up a client of which it has heard nothing for 45."""


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    """A PostgreSQL of the test's own, to be broken."""
    try:
        with postgres.started(on_tcp=True) as server:
            yield server
    except postgres.Missing as error:
        missing(str(error))


@pytest.fixture
def way(server: postgres.Server, proxy: MakeProxy) -> Proxy:
    """The network before it."""
    return proxy(server.tcp_url)


def address(server: postgres.Server, way: Proxy, name: str) -> str:
    """Return the address, over *way*, of an empty database."""
    server.execute(f"CREATE DATABASE {name}")
    return way.url.replace("/postgres", f"/{name}")


class Both:
    """A router and a consumer, whose databases are on one server, and what they have done."""

    def __init__(self, site: Site, consumer: Consumer, folder: Path, url: str) -> None:
        self.site, self.consumer, self._folder, self._url = site, consumer, folder, url
        self._node = site.node("n1")
        self.sent: list[Sent] = []
        self.published: list[str] = []

    @staticmethod
    def subscriptions(folder: Path) -> list[Subscription]:
        return [
            make_subscription("logged", on=("gpfs.#",)),
            make_subscription("ran", effect(folder / "ran"), on=("gpfs.#",), concurrency=4),
        ]

    def work(self, count: int) -> None:
        """Send so many records to the router, which become deliveries."""
        new = [self._node.record("mount", "--fsName", f"fs{len(self.sent) + each}") for each in range(count)]
        self.site.send_many(new)
        self.sent += new

    def wait(self) -> None:
        """Return when all of it is done."""
        ids = {*(each.id for each in self.sent), *self.published}
        assert {each.id for each in self.site.wait_for_events(len(ids))} == ids
        self.consumer.wait_outcomes(len(ids), subscription="ran")
        self.consumer.wait_outcomes(len(ids), subscription="logged")

    def done(self) -> Counter[str]:
        """Return how often the handler was called for each event."""
        return Counter(line.split()[0] for line in lines(self._folder / "ran"))

    def said(self, program: str) -> list[dict[str, Any]]:
        """Return the log of "router" or "consumer"."""
        file = self._folder / f"{program}.log"
        return [json.loads(each) for each in lines(file) if each.startswith("{")]

    def sentences(self, program: str) -> list[str]:
        """Return what it logged about its database and its broker, in order."""
        ours = (BEGINS, ENDS, "lost the connection to the broker")
        return [each["event"] for each in self.said(program) if each["event"] in ours]


@pytest.fixture
def both(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin, server: postgres.Server, way: Proxy
) -> Iterator[Both]:
    state, store = address(server, way, "router"), address(server, way, "store")
    with Site(tmp_path, vhost_url, rabbit_admin, state=state) as site:
        consumer = Consumer(vhost_url, tmp_path, Both.subscriptions(tmp_path), store=store)
        with consumer:
            consumer.wait_ready()
            yield Both(site, consumer, tmp_path, vhost_url)


def begun(both: Both) -> bool:
    return all(BEGINS in both.sentences(each) for each in ("router", "consumer"))


def is_over(both: Both) -> bool:
    return all(both.sentences(each)[-1] == ENDS for each in ("router", "consumer"))


def pause(server: postgres.Server, _way: Proxy) -> Callable[[], None]:
    server.pause()
    return server.resume


def cut_off(_server: postgres.Server, way: Proxy) -> Callable[[], None]:
    way.mode = Mode.BLACK_HOLE

    def back() -> None:
        way.mode = Mode.PASS

    return back


def stop(server: postgres.Server, _way: Proxy) -> Callable[[], None]:
    server.stop()
    return server.start


def make_read_only(server: postgres.Server, _way: Proxy) -> Callable[[], None]:
    server.set("default_transaction_read_only", "on")
    # Who connects now may still write, by saying so.
    return lambda: server.set("default_transaction_read_only", "off")


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("break_it", "seconds"),
    [(pause, LONG), (cut_off, LONG), (stop, 0.0), (make_read_only, 0.0)],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_while_the_database_is_away_the_broker_stays_and_nothing_is_lost_or_repeated(
    both: Both, server: postgres.Server, way: Proxy, break_it: Any, seconds: float, capsys: Any
) -> None:
    both.work(50)
    both.wait()
    mend = break_it(server, way)
    since = time.monotonic()
    both.work(300)
    publish_beside(both, 20)

    wait_for(lambda: begun(both), 25, "both say that their database cannot be used")
    told = time.monotonic() - since
    # What is waited for is that nothing happens meanwhile.
    wait_for(lambda: time.monotonic() - since > seconds, 60, "the broker would have missed heartbeats")
    mend()
    back = time.monotonic()
    wait_for(lambda: is_over(both), 30, "both say that it can be used again")
    recovered = time.monotonic() - back
    both.wait()

    with capsys.disabled():
        print(
            f"\n{break_it.__name__}: told after {told:.1f} s, recovered after {recovered:.1f} s, "
            f"all done after {time.monotonic() - back:.1f} s"
        )
    assert both.sentences("router") == [BEGINS, ENDS]
    assert both.sentences("consumer") == [BEGINS, ENDS]
    assert both.site.left() == 0
    assert both.done() == Counter([*(each.id for each in both.sent), *both.published])


def publish_beside(both: Both, count: int) -> None:
    """Publish events past the router, so that the consumer has work as well."""
    events = [make_event() for _ in range(count)]
    publish(both._url, events)
    both.published += [each.id for each in events]


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION slow()
"""


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_database_that_is_too_slow_for_a_batch_gets_smaller_ones(both: Both, server: postgres.Server) -> None:
    both.work(1)
    both.wait()
    for each in SLOW.strip().split(";\n"):
        server.execute(each, database="router")
    # As many as a batch takes: twice as long as a transaction may.
    both.work(200)
    both.wait()

    assert both.sentences("router") == [BEGINS, ENDS]
    assert both.site.left() == 0
    assert both.done() == Counter(each.id for each in both.sent)


COMMANDS = {
    "consumers.store": [["deliveries"], ["dead", "list"], ["why", "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"], ["silences", "list"]],
    "facts.store": [["facts", "show"]],
}


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("break_it", [pause, cut_off, stop])
def test_commands_end_in_time_with_their_code_and_name_the_database(
    server: postgres.Server, way: Proxy, tmp_path: Path, vhost_url: str, break_it: Any
) -> None:
    url = address(server, way, "store")
    Store(url).close()
    FactStore(url).close()
    facts = {"CLUSTERBUS_CONSUMERS_STORE": url, "CLUSTERBUS_FACTS_STORE": url, "CLUSTERBUS_BROKER": vhost_url}
    mend = break_it(server, way)

    done = {
        setting: [
            run_command([CLUSTERBUS, *words], environment=environment(**facts), cwd=tmp_path) for words in commands
        ]
        for setting, commands in COMMANDS.items()
    }

    mend()
    for setting, several in done.items():
        for code, said, seconds in several:
            assert (code, seconds < 20 * SLACK) == (3, True), said
            assert f"{setting} postgresql://me@127.0.0.1:{way.port}/store" in said.replace("\n", " ")


def run_command(words: list[str], **options: Any) -> tuple[int, str, float]:
    since = time.monotonic()
    done = subprocess.run(
        words, check=False, env=options["environment"], cwd=options["cwd"], capture_output=True, text=True
    )
    return done.returncode, done.stderr, time.monotonic() - since


def copied(server: postgres.Server, old: str, new: str) -> None:
    """Let the database *new* be what *old* is now."""
    server.disconnect()
    server.execute(f"DROP DATABASE IF EXISTS {new} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {new} TEMPLATE {old}")


def stop_both(both: Both) -> None:
    both.site.router.stop()
    both.consumer.stop()


def start_both(both: Both) -> None:
    both.site.router.start()
    both.consumer.start().wait_ready()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_databases_restored_from_an_old_backup_repeat_no_finished_delivery_and_no_event_under_another_id(
    both: Both, server: postgres.Server
) -> None:
    both.work(20)
    both.wait()
    stop_both(both)
    for name in ("router", "store"):
        copied(server, name, f"{name}_backup")
    start_both(both)
    both.work(40)
    both.wait()
    stop_both(both)
    for name in ("router", "store"):
        copied(server, f"{name}_backup", name)

    start_both(both)
    both.work(10)
    # Relays whose confirms were lost send them again; the state has forgotten them.
    both.site.send(*both.sent[20:60])
    both.wait()

    assert both.site.left() == 0
    done = both.done()
    assert {done[each.id] for each in (*both.sent[:20], *both.sent[60:])} == {1}
    # The store has forgotten these too, and they were published again: as the same events.
    assert {done[each.id] for each in both.sent[20:60]} <= {1, 2}
    assert len(done) == 70
    (node,) = nodes_of(both).values()
    assert [(gap.first, gap.last) for gap in node.epochs[-1].gaps] == []


def nodes_of(both: Both) -> Any:
    with State(both.site.state) as state, state.transaction() as transaction:
        return transaction.nodes([("prod", both._node.name)])


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kept", ["an old backup", "nothing"])
def test_a_router_without_its_latest_state_tells_of_a_gap_or_begins_anew_and_consumers_repeat_nothing(
    both: Both, server: postgres.Server, kept: str
) -> None:
    both.work(20)
    both.wait()
    both.site.router.stop()
    copied(server, "router", "backup")
    both.site.router.start()
    both.work(40)
    both.wait()
    both.site.router.stop()
    copied(server, "backup" if kept == "an old backup" else "template0", "router")

    both.site.router.start()
    both.site.send(both.sent[59])
    both.work(10)
    both.wait()

    assert both.site.left() == 0
    assert both.done() == Counter(each.id for each in both.sent)
    (node,) = nodes_of(both).values()
    gaps = [(gap.first, gap.last) for gap in node.epochs[-1].gaps]
    assert gaps == ([(21, 59)] if kept == "an old backup" else [])


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_disk_that_hangs_under_sqlite_is_said_at_once_and_costs_nothing_else(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin
) -> None:
    hung, hangs = tmp_path / "hung", tmp_path / "hangs"
    hung.mkdir()
    with Site(
        tmp_path,
        vhost_url,
        rabbit_admin,
        state=f"sqlite:///{hung / 'router.db'}",
        environment=hanging(tmp_path, hung, while_there=hangs),
    ) as site:
        node = site.node("n1")
        sent = [node.record("mount", "--fsName", f"fs{number}") for number in range(40)]
        site.send(*sent[:20])
        site.wait_for_events(20)
        hangs.touch()
        site.send(*sent[20:])

        # Its thread stands still: another one says so.
        wait_for(lambda: BEGINS in site.router.words(), 25, "the router says that its disk does not answer")
        assert len(site.events()) == 20
        hangs.unlink()

        assert {each.id for each in site.wait_for_events(40)} == {each.id for each in sent}
        wait_for(lambda: ENDS in site.router.words(), 10, "the router says that its disk answers again")
        assert site.router.words().count(BEGINS) == 1
        assert site.left() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("break_it", [pause, cut_off, stop], ids=lambda each: each.__name__)
def test_doctor_says_within_seconds_that_a_database_does_not_answer(
    server: postgres.Server, way: Proxy, break_it: Callable[[postgres.Server, Proxy], Callable[[], None]]
) -> None:
    name = f"doctor_{break_it.__name__}"
    url = address(server, way, name)
    with State(url), Store(url):
        pass
    settings = {"CLUSTERBUS_BROKER": "amqp://127.0.0.1:1/", "CLUSTERBUS_BROKER_PATIENCE": "1s"}
    settings |= {"CLUSTERBUS_ROUTER_STATE": url, "CLUSTERBUS_CONSUMERS_STORE": url}

    def asked() -> dict[str, list[str]]:
        _, output = invoke(settings, "doctor", "--part", "router", "--part", "store", "--json")
        found = json_lines(output)
        return {part: [each["verdict"] for each in found if each["part"] == part] for part in ("router", "store")}

    assert asked() == {"router": ["ok"], "store": ["ok"]}
    mend = break_it(server, way)
    begun = time.monotonic()
    try:
        assert asked() == {"router": ["error"], "store": ["error"]}
        assert time.monotonic() - begun < 35 * SLACK
    finally:
        mend()
