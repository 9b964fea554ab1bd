"""The programs of the page "Subscribe to events" are run as they stand, with the rights of a service."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from clusterbus import events
from router.local_broker.ports import free_ports
from router.local_broker.private_broker import PrivateBroker
from router.local_broker.rabbitmq_container import PrivateContainer
from tests.javascript_packages import JavaScript
from tests.processes import bound, environment
from tests.rabbit import RabbitAdmin, SharedBroker, new_broker
from tests.service_queue import Service, service_in
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "clusterbus" / "README.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^<!-- program (\S+) -->\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
SNIPPETS = re.findall(r"^```python\n(from clusterbus .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
READS_QUEUE = ["clusterbus", "pika", "aio-pika", "faststream", "amqplib", "amqp-consume"]


@pytest.fixture
def service(vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Service]:
    """The service `tickets`."""
    with service_in(vhost_url, rabbit_admin) as service:
        yield service


@contextmanager
def running(words: Sequence[str], folder: Path, **variables: str) -> Iterator[Callable[[], str]]:
    """Run a program; yield a function that returns what it has printed."""
    output = folder / "output"
    known = environment(PYTHONPATH=str(ROOT), **variables)
    with (
        output.open("ab") as file,
        subprocess.Popen(
            bound(words),
            cwd=folder,
            env=known,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield partial(printed, output, process)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def printed(output: Path, process: subprocess.Popen[bytes]) -> str:
    """Return what the program has printed; fails if it has ended."""
    text = output.read_text()
    assert process.poll() is None, text
    return text


def lines(folder: Path) -> list[str]:
    """Return the lines about events that the program in *folder* has printed."""
    return [line for line in (folder / "output").read_text().splitlines() if line.startswith("gpfs.")]


def command(name: str, folder: Path, request: pytest.FixtureRequest | None) -> list[str]:
    """Return how the program *name* of the page is run."""
    if name == "amqplib":
        javascript: JavaScript = request.getfixturevalue("javascript")
        (folder / "page").mkdir()
        (folder / "page" / "program.js").write_text(PROGRAMS[name])
        return [javascript.node, str(javascript.put(folder / "page" / "program.js"))]
    if name == "amqp-consume":
        for tool in ("amqp-consume", "jq"):
            request.getfixturevalue("require")(tool)
        (folder / "program.sh").write_text(PROGRAMS[name])
        return ["sh", "-e", "program.sh"]
    (folder / "program.py").write_text(PROGRAMS[name])
    return [sys.executable, "program.py"]


@pytest.mark.parametrize("name", READS_QUEUE)
def test_a_program_of_the_page_handles_and_acknowledges_events(
    name: str, service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    published = service.publish_numbered(3)
    words = command(name, tmp_path, request)

    with running(words, tmp_path, CLUSTERBUS_URL=service.url) as output:
        wait_for(lambda: output().count("gpfs.softQuotaExceeded") >= 3, 30, "it prints the events")
        later = service.publish_numbered(1, first=3)
        wait_for(lambda: later[0].id in output(), 30, "it prints the event that comes now")
        wait_for(lambda: service.acknowledged() == 4, 60, "it acknowledges them")

    printed, wanted = lines(tmp_path), [f"gpfs.softQuotaExceeded {each.id}" for each in [*published, *later]]
    if name == "faststream":  # it handles several at once
        printed[:3], wanted[:3] = sorted(printed[:3]), sorted(wanted[:3])
    assert printed == wanted
    wait_for(lambda: service.tap.consumers(service.queue) == 0, 30, "it is gone")
    assert service.left() == []


def test_an_event_that_the_command_of_the_shell_cannot_handle_comes_again_and_then_is_a_dead_letter(
    vhost_url: str, rabbit_admin: RabbitAdmin, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with service_in(vhost_url, rabbit_admin, limit=2) as service:
        service.tap.publish("", service.queue, b"no JSON")
        (good,) = service.publish_numbered(1)
        words = command("amqp-consume", tmp_path, request)

        with running(words, tmp_path, CLUSTERBUS_URL=service.url) as output:
            wait_for(lambda: good.id in output(), 60, "it goes on")

        wait_for(lambda: service.tap.count(service.dead) == 1, 30, "its deliveries are used up")


@pytest.mark.long
def test_the_program_for_the_history_begins_where_it_is_told(
    broker: SharedBroker, make_broker: Callable[..., PrivateBroker], tmp_path: Path
) -> None:
    started, port = stream_broker(broker, make_broker)
    with service_in(started.url, RabbitAdmin(started.http_url)) as service:
        service.allow(history=True)
        published = service.publish_numbered(5)
        words = command("rstream", tmp_path, None)

        with running(words, tmp_path, CLUSTERBUS_URL=service.url, STREAM_PORT=str(port), OFFSET="2") as output:
            wait_for(lambda: published[4].id in output(), 30, "it prints the last event")
            published += service.publish_numbered(1, first=5)
            wait_for(lambda: published[5].id in output(), 30, "it prints the event that comes now")

    assert lines(tmp_path) == [f"gpfs.softQuotaExceeded {published[at].id} {at}" for at in range(2, 6)]


def stream_broker(shared: SharedBroker, make_broker: Callable[..., PrivateBroker]) -> tuple[PrivateBroker, int]:
    """Start a broker that speaks the protocol of streams too; return it, and the port."""
    # In a container, the port of another plugin, because that one is published.
    is_container = isinstance(new_broker(shared), PrivateContainer)
    place = "15692" if is_container else f"127.0.0.1:{free_ports(1)[0]}"
    started = make_broker(
        plugins=["rabbitmq_management", "rabbitmq_stream"], config=[f"stream.listeners.tcp.1 = {place}"]
    )
    return started, started.home.port("prometheus") if is_container else int(place.rpartition(":")[2])


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_snippets_about_the_client_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = [events.example("gpfs.diskFailure"), events.example("gpfs.softQuotaExceeded")]

    with events.double(known) as double:
        exec(compile(SNIPPETS[number], f"snippet {number}", "exec"), {"__name__": "__main__"})

    # One has a double of its own.
    assert double.finished == known or "events.double" in SNIPPETS[number]


def test_the_page_has_no_program_that_is_not_run() -> None:
    assert sorted(PROGRAMS) == sorted([*READS_QUEUE, "rstream"])
