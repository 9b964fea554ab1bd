"""The services of `examples/services` do what their pages say, in Python and in JavaScript, with a service's rights."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.consuming import make_event
from tests.javascript_packages import SOURCES, JavaScript
from tests.processes import bound, environment
from tests.rabbit import RabbitAdmin
from tests.service_queue import PASSWORD, Service, service_in
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "services"


@dataclass
class Program:
    """One of the two services, with its own folder for tickets."""

    words: list[str]
    folder: Path
    read: Callable[[Path], list[tuple[str, str]]]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, url: str) -> None:
        """Start it."""
        variables = environment(
            PYTHONPATH=str(ROOT),
            CLUSTERBUS_URL=url,
            CLUSTERBUS_SERVICE="tickets",
            TICKETS_DATABASE=str(self.folder / "tickets"),
            TICKETS_FILE=str(self.folder / "tickets"),
        )
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                bound(self.words), cwd=self.folder, env=variables, stdout=output, stderr=output
            )

    def end(self, signal_: signal.Signals) -> int:
        """Send it a signal, and return its exit code."""
        assert self.process
        self.process.send_signal(signal_)
        return self.process.wait(60)

    def tickets(self) -> list[tuple[str, str]]:
        """Return the id of the event, and the title, of each ticket."""
        return self.read(self.folder / "tickets") if (self.folder / "tickets").exists() else []

    def output(self) -> str:
        """Return what it has printed since it was started last."""
        return (self.folder / "output").read_text()


def of_database(path: Path) -> list[tuple[str, str]]:
    database = sqlite3.connect(path, timeout=30)
    try:
        return [*database.execute("SELECT event, title FROM tickets ORDER BY number")]
    except sqlite3.OperationalError:
        return []  # no table yet
    finally:
        database.close()


def of_lines(path: Path) -> list[tuple[str, str]]:
    whole = path.read_text().rpartition("\n")[0]
    return [(each["event"], each["title"]) for each in map(json.loads, whole.splitlines())]


@pytest.fixture
def service(vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Service]:
    """The service `tickets`."""
    with service_in(vhost_url, rabbit_admin) as service:
        yield service


@pytest.fixture(params=["python", "javascript"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    """One of the two services; killed at the end."""
    if request.param == "python":
        made = Program([sys.executable, str(EXAMPLES / "python" / "tickets.py")], tmp_path, of_database)
    else:
        javascript: JavaScript = request.getfixturevalue("javascript")
        program = javascript.put(EXAMPLES / "javascript" / "tickets.js")
        made = Program([javascript.node, str(program)], tmp_path, of_lines)
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()


def test_each_event_gets_one_ticket_whatever_is_killed(service: Service, program: Program) -> None:
    published = [make_event(severity="critical", node=f"node{number}") for number in range(60)]
    for part in (published[:20], published[20:40], published[40:]):
        seen = len(program.tickets())
        program.start(service.url)
        # Each comes twice, as after a failover of the broker.
        service.publish(*(each for each in part for _ in range(2)))
        wait_for(lambda seen=seen: len(program.tickets()) > seen + 2, 60, "it opens tickets")
        program.end(signal.SIGKILL)

    # Whether it has begun to work shows in a ticket for one more event.
    published.append(make_event(severity="critical", node="node60"))
    service.publish(published[-1])
    program.start(service.url)
    wait_for(lambda: len(program.tickets()) >= 61, 60, "all tickets are open")
    assert program.end(signal.SIGTERM) == 0
    assert sorted(program.tickets()) == sorted(
        (each.id, f"[high] softQuotaExceeded on {each.node}: gpfs1/projects") for each in published
    )


def test_what_it_cannot_handle_is_a_dead_letter_and_it_goes_on(service: Service, program: Program) -> None:
    service.publish(make_event(severity="info"))
    service.tap.publish("", service.queue, b"no event")
    good = make_event()
    service.publish(good)

    program.start(service.url)

    wait_for(lambda: [each for each, _ in program.tickets()] == [good.id], 60, "the good one gets a ticket")
    wait_for(lambda: service.tap.count(service.dead) == 2, 60, "the others are dead letters")
    assert program.end(signal.SIGTERM) == 0
    assert service.left() == []


@pytest.mark.long
def test_a_lost_connection_is_opened_again(service: Service, program: Program) -> None:
    program.start(f"amqp://{service.user}:{PASSWORD}@127.0.0.1:1/ {service.url}")
    first, second = make_event(), make_event()
    service.publish(first)
    wait_for(lambda: len(program.tickets()) == 1, 60, "it works")

    wait_for(lambda: service.admin.close_connections(service.vhost, service.user), 60, "the broker lists it")
    service.publish(second)

    wait_for(lambda: len(program.tickets()) == 2, 60, "it works again")
    assert [each for each, _ in program.tickets()] == [first.id, second.id]


def test_a_wrong_password_ends_it_with_a_sentence(service: Service, program: Program) -> None:
    program.start(service.url.replace(PASSWORD, "wrong"))
    assert program.process

    assert program.process.wait(60) == 1
    assert re.search(r"^tickets: .*ACCESS.REFUSED", program.output(), re.MULTILINE | re.IGNORECASE)


def test_the_tests_of_the_python_service_pass(tmp_path: Path) -> None:
    for each in ("tickets.py", "test_tickets.py"):
        shutil.copy(EXAMPLES / "python" / each, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT), PYTEST_ADDOPTS="", TICKETS_DATABASE=":memory:"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_javascript_service_asks_for_the_packages_that_it_is_tested_with() -> None:
    files = EXAMPLES / "javascript" / "package.json", SOURCES / "package.json"
    wanted, tested = (json.loads(file.read_text())["dependencies"] for file in files)

    assert wanted.items() <= tested.items()
