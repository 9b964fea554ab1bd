"""Private brokers, really started, stopped, killed and abandoned."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pika
import pytest

from router.errors import Refused, Unreachable
from router.local_broker import data_folder
from router.local_broker.data_folder import DataFolder
from router.local_broker.ports import free_ports, is_free
from router.local_broker.rabbitmq_container import PrivateContainer, engine_answers, image_at_hand
from router.local_broker.rabbitmq_node import PrivateNode, installed_server
from tests.conftest import missing
from tests.rabbit import RabbitAdmin, Tap, sync_queue_list
from tests.scraping import reached
from tests.waiting import wait_for

RULES = Path(__file__).parents[2] / "docker" / "prometheus" / "clusterbus.rules.yaml"
_KINDS = {"node": PrivateNode, "container": PrivateContainer}


@pytest.fixture(params=list(_KINDS))
def kind(request):
    """A kind of private broker that this machine can run; one of them is enough, also on CI."""
    if request.param == "container" and not (engine_answers() and image_at_hand()):
        pytest.skip("no Docker engine with RabbitMQ's image answers")
    if request.param == "node" and installed_server() is None:
        missing("rabbitmq-server is not installed")
    return _KINDS[request.param]


@pytest.fixture
def node():
    """The class of private nodes, where rabbitmq-server is installed."""
    if installed_server() is None:
        missing("rabbitmq-server is not installed")
    return PrivateNode


@pytest.mark.long
def test_it_keeps_its_address_and_its_data_over_a_kill_and_for_the_next_owner_of_its_folder(kind, tmp_path):
    with kind(tmp_path) as broker:
        url, name = broker.url, broker.home.name
        _put(url, "kept", b"1")

        sync_queue_list(broker)
        broker.kill()
        assert not broker.running
        assert is_free(broker.home.port("amqp"))
        broker.start()
        assert broker.url == url
        _put(url, "kept", b"2")

    with kind(tmp_path) as next_owner:
        assert (next_owner.home.name, next_owner.url) == (name, url)
        assert _drain(url, "kept") == [b"1", b"2"]
    if kind is PrivateContainer:
        assert _docker("volume", "rm", name).returncode == 0


@pytest.mark.long
def test_it_takes_definitions_and_orders_and_says_no_in_rabbitmqs_words(kind):
    with kind() as broker:
        broker.import_definitions({"vhosts": [{"name": "made"}]})

        assert "made" in broker.ctl("list_vhosts")
        with pytest.raises(Refused, match="no-such-vhost"):
            broker.ctl("set_permissions", "-p", "no-such-vhost", "clusterbus", ".*", ".*", ".*")
        assert broker.start() is broker


@pytest.mark.long
def test_a_broker_that_cannot_start_says_where_its_log_is_and_leaves_no_process(kind):
    broker = kind(config=["no_such_setting = 1"])

    with pytest.raises(Unreachable) as raised:
        broker.start()

    assert "tried to set no_such_setting, but there is no setting with that name" in str(raised.value)
    log = Path(re.search(r"(/\S+/output\.log)", str(raised.value))[1])
    assert log.stat().st_size > 0
    # Erlang's helper for child processes has a process group of its own, and ends when it sees that the broker is gone.
    wait_for(lambda: not _processes_of(log.parent), 30, f"no process of {log.parent} is left")
    shutil.rmtree(log.parent)


@pytest.mark.long
def test_an_owner_that_is_killed_takes_broker_epmd_and_folder_along(kind):
    with _owner(kind) as (owner, facts):
        folder = Path(facts["folder"])
        assert _processes_of(folder)

        owner.kill()

    wait_for(lambda: not _processes_of(folder), 30, f"no process of {folder} is left")
    wait_for(lambda: all(map(is_free, facts["ports"])), 30, "its ports are closed")
    assert not folder.exists()
    if kind is PrivateContainer:
        assert _docker("container", "inspect", facts["name"]).returncode != 0


@pytest.mark.long
def test_a_folder_is_free_again_soon_after_its_owner_was_killed(node, tmp_path):
    with _owner(node, tmp_path) as (owner, facts):
        with pytest.raises(Unreachable, match="another broker runs in"):
            node(tmp_path).start()

        owner.kill()

    wait_for(lambda: not _processes_of(tmp_path), 30, "the abandoned broker ended")
    home = DataFolder(tmp_path)
    home.close()
    assert home.name == facts["name"]


@pytest.mark.long
def test_brokers_that_start_at_the_same_moment_do_not_meet(node):
    brokers = [node(), node()]
    threads = [threading.Thread(target=broker.start) for broker in brokers]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    with brokers[0] as first, brokers[1] as second:
        _put(first.url, "here", b"x")
        assert first.url != second.url
        with contextlib.closing(Tap(second.url)) as tap:
            assert not tap.exists("here")


@pytest.mark.long
def test_a_node_listens_on_the_loopback_interface_only(node):
    with node(plugins=["rabbitmq_management", "rabbitmq_prometheus"]) as broker:
        ports = [broker.home.port(use) for use in ("amqp", "http", "prometheus", "distribution", "epmd")]

        name = broker.home.name
        listeners = _listeners()
        answer = RabbitAdmin(broker.http_url).call("GET", "cluster-name")

    loopback = {"0100007F", "00000000000000000000000001000000"}
    assert all(listeners[port] <= loopback for port in ports), listeners
    assert answer == {"name": name}


@pytest.mark.long
def test_the_metrics_of_a_broker_have_what_the_alert_rules_ask_for(kind):
    wanted = set(re.findall(r"\brabbitmq_\w+", RULES.read_text()))
    assert wanted

    with kind(plugins=["rabbitmq_prometheus"]) as broker:
        address, path = broker.metrics_url.removeprefix("http://").split("/", 1)
        text = reached(address, f"/{path}", 200)

    assert wanted <= set(re.findall(r"^rabbitmq_\w+", text, re.MULTILINE))


@pytest.mark.long
def test_a_port_that_is_taken_at_the_last_moment_is_given_up_for_another(kind, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        picks = iter([[taken, *free_ports(len(data_folder._PORTS) - 1)]])
        monkeypatch.setattr(data_folder, "free_ports", lambda count: next(picks, None) or free_ports(count))

        with kind() as broker:
            _put(broker.url, "works", b"x")

            assert broker.home.port("amqp") != taken


def _put(url, queue, body):
    # A quorum queue that has no leader yet, so soon after a start, refuses; and goes on refusing on the same channel.
    wait_for(lambda: _taken(url, queue, body), 60, "the broker takes a message")


def _taken(url, queue, body):
    with contextlib.closing(Tap(url)) as tap:
        tap.channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        try:
            tap.publish("", queue, body, pika.BasicProperties(delivery_mode=2))
        except pika.exceptions.NackError:
            return False
    return True


def _drain(url, queue):
    with contextlib.closing(Tap(url)) as tap:
        wait_for(lambda: tap.count(queue) == 2, 30, "both messages are back")
        return [taken.body for taken in tap.drain(queue)]


@contextlib.contextmanager
def _owner(kind, folder=None):
    """Start a process that owns a broker; give it, and what it says of the broker."""
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        f"from router.local_broker import {kind.__name__} as kind\n"
        "home = (broker := kind(Path(sys.argv[1]) if sys.argv[1] else None).start()).home\n"
        "ports = [home.port('amqp'), home.port('epmd')]\n"
        "print(json.dumps({'folder': str(home.path), 'name': home.name, 'ports': ports}), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as owner:
        yield owner, json.loads(owner.stdout.readline())


def _processes_of(folder):
    """Return the processes that were started for a broker in *folder*: they have it as cwd or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                os.fsencode(folder) in (process / "environ").read_bytes() or (process / "cwd").readlink() == folder
            ) and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def _listeners():
    """Return the ports that are listened on, each with the addresses, as the kernel writes them."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address, port = words[1].split(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def _docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
