"""What router and consumer tell systemd, as programs on a real broker: ready, status, alive, stopping."""

import socket
import sqlite3
import sys
from contextlib import closing

import pytest

from tests.consuming import make_event
from tests.flow import Running
from tests.nodes import Node
from tests.operating import Program
from tests.proxy import Mode, Proxy
from tests.waiting import wait_for

PATIENCE = 30.0
FILE = 'version: 1\nsubscriptions:\n  - {name: audit, on: "#", log: {}}\n'
BROKEN = 'version: 1\nsubscriptions:\n  - {name: audit, on: "#", log: {}, nonsense: 1}\n'


class Systemd:
    """Listens where systemd would."""

    def __init__(self, folder):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
        self.told = []

    def _read(self):
        try:
            while True:
                self.told.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return

    def mark(self):
        """Return how much has been told so far."""
        self._read()
        return len(self.told)

    def wait(self, what, *, after=0):
        """Wait until a message has *what* in it; one that came *after* a mark."""

        def found():
            self._read()
            return next((each for each in self.told[after:] if what in each), None)

        return wait_for(found, PATIENCE, f"{what!r} among {self.told[-5:]}")

    def close(self):
        self._socket.close()


@pytest.fixture
def systemd(tmp_path_factory):
    # A folder of its own: the path of a socket may have a hundred characters only.
    found = Systemd(tmp_path_factory.mktemp("n"))
    yield found
    found.close()


@pytest.fixture
def proxy(vhost_url):
    with Proxy(vhost_url) as proxy:
        yield proxy


@pytest.fixture
def router(tmp_path, systemd, proxy):
    facts = {
        "CLUSTERBUS_BROKER": proxy.url,
        "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path / 'router.db'}",
        "CLUSTERBUS_BROKER_PROGRESS_LIMIT": "3s",
    }
    words = [sys.executable, "-m", "consumers.cli.main", "router"]
    running = Running("router", words, facts | systemd.environment, tmp_path)
    yield running
    running.kill()
    print(running.words())


def test_a_router_is_ready_when_it_reads_and_says_when_records_come(router, systemd, tap):
    router.start()
    systemd.wait("READY=1")
    assert tap.consumers("clusterbus.ingress") == 1
    systemd.wait("STATUS=standing by, or no node sends: no record came here yet; connected to amqp://")
    systemd.wait("WATCHDOG=1", after=systemd.mark())

    sent = Node("n1").record("mount", "--fsName", "gpfs1")
    tap.publish("clusterbus.ingress", sent.key, sent.body)

    systemd.wait("STATUS=active; connected to amqp://")
    assert router.stop() == 0, router.words()
    systemd.wait("STOPPING=1")


def test_a_router_whose_broker_is_away_is_ready_says_why_goes_on_living_and_recovers(router, systemd, proxy):
    proxy.mode = Mode.REFUSE
    router.start()
    systemd.wait("READY=1")
    systemd.wait("STATUS=problem: not connected to amqp://")
    systemd.wait("WATCHDOG=1", after=systemd.mark())

    away = systemd.mark()
    proxy.mode = Mode.PASS
    systemd.wait("; connected to amqp://", after=away)

    there = systemd.mark()
    proxy.mode = Mode.REFUSE
    proxy.reset()
    assert ", since 20" in systemd.wait("STATUS=problem: not connected to amqp://", after=there)


def test_a_consumer_says_what_it_serves_and_that_its_files_are_invalid(tmp_path, systemd, vhost_url):
    program = Program(vhost_url, tmp_path, FILE, **systemd.environment)
    try:
        program.start("audit")
        systemd.wait("READY=1")
        systemd.wait("STATUS=serving 1 subscriptions; connected to amqp://")

        program.replace(BROKEN)

        systemd.wait("RELOADING=1")
        systemd.wait("STATUS=problem: the subscription files are invalid: ")
        invalid = systemd.mark()
        program.replace(FILE)
        systemd.wait("STATUS=serving 1 subscriptions", after=invalid)
        assert program.running.stop() == 0
        systemd.wait("STOPPING=1")
    finally:
        program.running.kill()


@pytest.mark.long
def test_a_consumer_whose_store_cannot_be_written_says_so_and_is_not_stuck(tmp_path, systemd, vhost_url, tap):
    program = Program(vhost_url, tmp_path, FILE, **systemd.environment)
    try:
        program.start("audit")
        systemd.wait("READY=1")
        with closing(sqlite3.connect(tmp_path / "store.db")) as database:
            database.execute("BEGIN IMMEDIATE")  # nobody else may write meanwhile
            event = make_event()
            tap.publish("clusterbus.events", event.topic, event.to_json())
            systemd.wait("STATUS=problem: the store cannot be used: ")
            systemd.wait("WATCHDOG=1", after=systemd.mark())
            held = systemd.mark()
        systemd.wait("STATUS=serving 1 subscriptions", after=held)
    finally:
        program.running.kill()
