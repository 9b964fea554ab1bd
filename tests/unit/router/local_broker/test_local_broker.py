"""Which broker is chosen, and what keeps private brokers apart; no broker is started."""

import socket
import stat
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from router.errors import Refused, SettingsError, Unreachable
from router.local_broker.choose import GivenBroker, choose, find
from router.local_broker.data_folder import DataFolder
from router.local_broker.ports import answers, free_ports, is_free, outside, until
from router.local_broker.private_broker import command
from router.local_broker.rabbitmq_container import PrivateContainer
from router.local_broker.rabbitmq_node import PrivateNode, installed_server, plugins_needed


@dataclass
class Bare:
    """A machine that has what it is made with, and notes what it was asked."""

    has: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def container(self):
        return self._ask("container")

    def server(self):
        return self._ask("server")

    def _ask(self, what):
        self.asked.append(what)
        return what in self.has


@pytest.mark.parametrize(
    ("has", "kind", "choice"),
    [
        (("container", "server"), "", "container"),
        (("server",), "", "node"),
        (("container", "server"), "node", "node"),
        (("container", "server"), "container", "container"),
    ],
)
def test_the_first_of_container_and_server_is_taken_and_kind_forces_one(has, kind, choice):
    assert choose(None, kind, Bare(has)) == choice


def test_a_given_address_is_taken_without_looking_at_the_machine():
    machine = Bare(("container", "server"))

    broker = find("amqp://mq1", environment={}, machine=machine)

    assert isinstance(broker, GivenBroker)
    assert (broker.url, machine.asked) == ("amqp://mq1", [])


def test_nothing_is_asked_past_what_decides():
    machine = Bare(("container", "server"))

    choose(None, "", machine)

    assert machine.asked == ["container"]


def test_a_machine_with_nothing_is_told_what_to_install_in_one_line():
    with pytest.raises(Unreachable) as raised:
        find(None, environment={}, machine=Bare())

    assert str(raised.value).count("\n") == 0
    assert "install rabbitmq-server or Docker" in str(raised.value)


def test_a_forced_container_without_an_engine_is_an_error_not_a_node():
    with pytest.raises(Unreachable, match="docker info"):
        find(None, environment={"CLUSTERBUS_BROKER_KIND": "container"}, machine=Bare(("server",)))


def test_a_forced_node_without_the_server_is_an_error_and_not_a_container():
    with pytest.raises(Unreachable, match="install rabbitmq-server"):
        find(None, environment={"CLUSTERBUS_BROKER_KIND": "node"}, machine=Bare(("container",)))


def test_an_unknown_kind_is_named_with_the_right_ones():
    with pytest.raises(SettingsError, match=r"'podman': write container or node"):
        find(None, environment={"CLUSTERBUS_BROKER_KIND": "podman"}, machine=Bare(("server",)))


def test_a_folder_with_data_keeps_the_kind_that_wrote_them(tmp_path):
    of_node, of_container, fresh = tmp_path / "node", tmp_path / "container", tmp_path / "fresh"
    for folder in (of_node, of_container):
        DataFolder(folder).close()
    (of_node / "mnesia").mkdir()
    machine = Bare(("container", "server"))

    found = [find(None, folder=folder, environment={}, machine=machine) for folder in (of_node, of_container, fresh)]

    assert [type(broker) for broker in found] == [PrivateNode, PrivateContainer, PrivateContainer]


def test_names_passwords_and_ports_stay_from_one_use_of_a_folder_to_the_next(tmp_path):
    first = DataFolder(tmp_path / "broker")
    first.close()

    second = DataFolder(tmp_path / "broker")
    second.close()

    assert (first.name, first.password, first.cookie) == (second.name, second.password, second.cookie)
    assert first.port("amqp") == second.port("amqp")


def test_a_port_that_somebody_took_meanwhile_is_given_up(tmp_path):
    home = DataFolder(tmp_path / "broker")
    home.close()

    with socket.create_server(("127.0.0.1", home.port("amqp"))):
        again = DataFolder(tmp_path / "broker")
    again.close()

    assert again.port("amqp") != home.port("amqp")
    assert again.name == home.name


def test_two_brokers_never_share_a_folder(tmp_path):
    first = DataFolder(tmp_path / "broker")

    with pytest.raises(Unreachable, match="another broker runs in"):
        DataFolder(tmp_path / "broker")

    first.close()
    DataFolder(tmp_path / "broker").close()


def test_only_its_owner_reads_what_is_secret(tmp_path):
    home = DataFolder(tmp_path / "broker")
    home.configure(["rabbitmq_management"], ["heartbeat = 20"])
    home.close()

    files = [tmp_path / "broker" / name for name in ("identity.json", "rabbitmq.conf", "lock")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "broker", *files]] == [0o700] + 3 * [0o600]
    assert "heartbeat = 20\n" in (tmp_path / "broker" / "rabbitmq.conf").read_text()
    assert home.password not in repr(home)


def test_a_temporary_folder_goes_and_its_logs_stay_where_they_are_wanted():
    gone, kept = DataFolder(None), DataFolder(None)

    gone.close()
    kept.close(keep=True)

    assert not gone.path.exists()
    assert kept.path.exists()
    for file in kept.path.iterdir():
        file.unlink()
    kept.path.rmdir()


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"name": "../x"}', '{"name": "x"}', '{"name": 1, "ports": []}'])
def test_a_damaged_identity_is_named_and_not_overwritten(tmp_path, content):
    (tmp_path / "identity.json").write_text(content)

    with pytest.raises(Unreachable, match=r"identity\.json"):
        DataFolder(tmp_path)

    assert (tmp_path / "identity.json").read_text() == content


def test_a_folder_that_is_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "broker").write_text("")

    with pytest.raises(Unreachable, match=str(tmp_path / "broker")):
        DataFolder(tmp_path / "broker")


def test_ports_are_free_different_and_none_that_the_kernel_hands_out():
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())

    ports = free_ports(6)

    assert len(set(ports)) == 6
    assert all(is_free(port) for port in ports)
    assert not any(low <= port <= high for port in ports)
    assert not set(ports) & {5672, 15672, 25672, 4369}


def test_where_the_kernel_hands_out_everything_there_is_nothing_outside():
    assert outside(1024, 65535) == []


def test_a_server_that_is_not_ours_is_not_taken_for_it():
    with _Answering(b"AMQP server of cluster other") as port:
        assert answers(port, "other")
        assert not answers(port, "ours")


def test_a_server_that_never_answers_costs_the_patience_and_no_more():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(silent.getsockname()[1], "ours", patience=timedelta(milliseconds=50))


def test_a_server_that_never_stops_talking_is_not_listened_to_for_ever():
    with _Answering(b"x" * 200_000) as port:
        assert not answers(port, "ours")


def test_waiting_ends_with_what_is_waited_for_or_with_the_limit():
    seen = iter([False, False, True])

    assert until(lambda: next(seen), timedelta(seconds=5))
    assert not until(lambda: False, timedelta(milliseconds=30))


def test_the_newest_server_is_taken_by_number_not_by_spelling(tmp_path):
    for version in ("3.9.13", "3.10.8", "3.10.8-rc"):
        script = tmp_path / f"lib/rabbitmq/lib/rabbitmq_server-{version}/sbin/rabbitmq-server"
        script.parent.mkdir(parents=True)
        script.write_text("")
        script.chmod(0o755 if version != "3.10.8-rc" else 0o644)

    newest = installed_server(tmp_path)

    assert newest is not None
    assert newest.parent.parent.name == "rabbitmq_server-3.10.8"
    assert installed_server(tmp_path / "lib") is None


def test_a_failing_command_speaks_for_itself():
    with pytest.raises(Refused, match="No such file"):
        command(["ls", "/no/such/folder"])
    with pytest.raises(Unreachable, match="cannot run no-such-command"):
        command(["no-such-command"])


class _Answering:
    """A server that says one thing to whoever connects."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while True:
            client, _ = self._listener.accept()
            with client:
                if client.recv(8) != b"AMQP\x00\x00\x09\x01":
                    return
                try:
                    client.sendall(self._words)
                except ConnectionError:
                    continue

    def __enter__(self):
        self._thread.start()
        return self._listener.getsockname()[1]

    def __exit__(self, *_):
        with socket.create_connection(self._listener.getsockname()):
            pass
        self._thread.join(120)
        self._listener.close()


def test_a_plugin_needs_others_and_parts_of_erlang(tmp_path):
    needs = {"rabbit": "kernel,ra", "ra": "kernel,\n  seshat", "seshat": "stdlib", "mqtt": "rabbit", "odd": ""}
    for plugin, applications in needs.items():
        folder = tmp_path / f"{plugin}-3.10.8" / "ebin"
        folder.mkdir(parents=True)
        (folder / f"{plugin}.app").write_text(f"{{application, {plugin}, [{{applications, [{applications}]}}]}}.")

    assert plugins_needed(tmp_path, ["rabbit"]) == ["ra-3.10.8", "rabbit-3.10.8", "seshat-3.10.8"]
    assert plugins_needed(tmp_path, ["mqtt", "odd", "missing"]) == [
        "mqtt-3.10.8",
        "odd-3.10.8",
        "ra-3.10.8",
        "rabbit-3.10.8",
        "seshat-3.10.8",
    ]
