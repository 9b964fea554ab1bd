"""The program of a service is killed at any moment: nothing is lost, and nothing that it has acknowledged comes again.

With a store, the effects of all blocks are there exactly once.
"""

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import bound, environment
from tests.rabbit import RabbitAdmin
from tests.service_queue import Service, service_in
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
COUNT, KILLS = 300, 6

PLAIN = """
import os, time
from clusterbus import events

log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for event in events(service="tickets"):
    os.write(log, f"begins {event.id}\\n".encode())
    time.sleep(0.002)
    os.write(log, f"ends {event.id}\\n".encode())
"""

STORED = """
import os, signal, time
from clusterbus import events
from clusterbus.client.connection import Connection

moment, last = os.environ.get("MOMENT", ""), int(os.environ.get("LAST", -1))

def die(when, number):
    if when == moment and number == last:
        os.kill(os.getpid(), 9)

store = events.Store("store.db")
store.database.execute("CREATE TABLE IF NOT EXISTS effects (number INTEGER)")
store.database.commit()
add, ack = store.add, Connection.ack
number = -1

def adding(id):
    die("before the store", number)
    add(id)
    die("after the store", number)

def acking(self, arrival):
    ack(self, arrival)
    die("after the acknowledgement", number)

store.add, Connection.ack = adding, acking
given = dict(since="1h") if os.environ.get("HISTORY") else {}
stream = events("#", service="tickets", store=store, **given)
signal.signal(signal.SIGTERM, lambda *_: stream.stop())
for event in stream:
    number = event.data["number"]
    die("before the effect", number)
    store.database.execute("INSERT INTO effects VALUES (?)", (number,))
    time.sleep(0.002)
    die("after the effect", number)
"""


class Program:
    """A program of the service, in a folder, that a test kills and starts again."""

    def __init__(self, folder: Path, text: str, service: Service) -> None:
        self.folder, self._service = folder, service
        (folder / "program.py").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> None:
        """Start it, with *more* in its environment."""
        variables = environment(PYTHONPATH=str(ROOT), CLUSTERBUS_URL=self._service.url, **more)
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                bound([sys.executable, "program.py"]), cwd=self.folder, env=variables, stdout=output, stderr=output
            )

    def is_killed(self) -> bool:
        """Say whether the program was killed; fails if it ended by itself."""
        assert self._process
        code = self._process.poll()
        assert code in (None, -signal.SIGKILL), (self.folder / "output").read_text()
        return code is not None

    def kill(self) -> None:
        """Kill it, and wait until the broker knows."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Have it send what it has acknowledged and end."""
        assert self._end(signal.SIGTERM) == 0, (self.folder / "output").read_text()

    def _end(self, number: signal.Signals) -> int:
        assert self._process
        self._process.send_signal(number)
        code = self._process.wait(120)
        wait_for(lambda: self._service.tap.consumers(self._service.queue) == 0, 30, "the broker knows that it is gone")
        return code

    def lines(self) -> list[list[str]]:
        """Return what it has logged."""
        log = self.folder / "log"
        return [each.split() for each in log.read_text().splitlines()] if log.exists() else []

    def effects(self) -> list[int]:
        """Return the numbers of the events whose effects are in its database."""
        if not (self.folder / "store.db").exists():
            return []
        database = sqlite3.connect(self.folder / "store.db", timeout=30)
        try:
            return [number for (number,) in database.execute("SELECT number FROM effects")]
        except sqlite3.OperationalError:
            return []  # no table yet
        finally:
            database.close()


@pytest.fixture
def service(vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Service]:
    """The service `tickets`, whose messages may be delivered again as often as a test looks at them."""
    with service_in(vhost_url, rabbit_admin, limit=1_000_000) as service:
        service.allow(history=True)
        yield service


@pytest.fixture
def program(tmp_path: Path, service: Service, request: pytest.FixtureRequest) -> Iterator[Program]:
    """The program that the test names."""
    made = Program(tmp_path, request.param, service)
    yield made
    if made._process:
        made._process.kill()
        made._process.wait()


@pytest.mark.long
@pytest.mark.parametrize("program", [PLAIN], indirect=True)
def test_nothing_is_lost_and_nothing_acknowledged_comes_again(service: Service, program: Program) -> None:
    published = [each.id for each in service.publish_numbered(COUNT)]
    chance = random.Random(1)
    acknowledged: set[str] = set()

    for _ in range(KILLS):
        goal = len(program.lines()) + chance.randrange(1, 2 * COUNT // KILLS)
        seen = len(program.lines())
        program.start()
        wait_for(lambda goal=goal: len(program.lines()) >= min(goal, 2 * COUNT), 60, "it works")
        program.kill()
        begun = {event for _, event in program.lines()[seen:]}
        assert not begun & acknowledged
        acknowledged = {*published} - {*service.left()}

    seen = len(program.lines())
    program.start()
    wait_for(lambda: {event for what, event in program.lines() if what == "ends"} == {*published}, 120, "all are done")
    assert not {event for _, event in program.lines()[seen:]} & acknowledged


@pytest.mark.long
@pytest.mark.parametrize("program", [STORED], indirect=True)
@pytest.mark.parametrize("way", ["", "HISTORY"])
def test_with_a_store_all_effects_are_there_exactly_once(service: Service, program: Program, way: str) -> None:
    service.publish_numbered(COUNT)
    chance = random.Random(2)
    variables = {way: "1"} if way else {}

    for _ in range(KILLS):
        goal = len(program.effects()) + chance.randrange(1, COUNT // KILLS)
        program.start(**variables)
        wait_for(lambda goal=goal: len(program.effects()) >= goal, 60, "it works")
        program.kill()

    program.start(**variables)
    wait_for(lambda: len({*program.effects()}) == COUNT, 120, "all are done")
    # The history does not have this one: it comes from the queue, as the last of it.
    service.publish_numbered(1, first=COUNT, is_for_all=False)
    wait_for(lambda: COUNT in program.effects(), 60, "what was in the queue before this one is gone through")
    assert sorted(program.effects()) == [*range(COUNT + 1)]
    program.stop()
    assert service.left() == []


@pytest.mark.parametrize("program", [STORED], indirect=True)
@pytest.mark.parametrize(
    "moment",
    ["before the effect", "after the effect", "before the store", "after the store", "after the acknowledgement"],
)
def test_at_each_step_of_one_event_a_kill_repeats_nothing(service: Service, program: Program, moment: str) -> None:
    service.publish_numbered(4)

    program.start(MOMENT=moment, LAST="2")
    wait_for(program.is_killed, 60, "it kills itself")
    done = program.effects()
    program.start()

    wait_for(lambda: len(program.effects()) == 4, 60, "all are done")
    assert sorted(program.effects()) == [0, 1, 2, 3]
    assert done == ([0, 1, 2] if moment in ("after the store", "after the acknowledgement") else [0, 1])
