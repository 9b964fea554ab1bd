"""Which broker is chosen, and what keeps private brokers apart; no broker is started."""

import socket
import stat
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from router.broker.private import GivenBroker, PrivateContainer, PrivateNode, find
from router.broker.private.broker import command
from router.broker.private.finding import choose
from router.broker.private.home import Home
from router.broker.private.machine import services_held
from router.broker.private.node import installed_server
from router.broker.private.ports import answers, free_ports, is_free, outside, until
from router.errors import Refused, SettingsError, Unreachable


@dataclass
class Bare:
    """A machine that has what it is made with, and notes what it was asked."""

    has: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    installed: bool = False

    def container(self):
        return self._ask("container")

    def server(self):
        return self._ask("server")

    def may_install(self):
        return self._ask("may_install")

    def install(self):
        self.installed = True

    def _ask(self, what):
        self.asked.append(what)
        return what in self.has


@pytest.mark.parametrize(
    ("has", "kind", "choice"),
    [
        (("container", "server", "may_install"), "", "container"),
        (("server", "may_install"), "", "node"),
        (("may_install",), "", "install"),
        (("container", "server"), "node", "node"),
        (("container", "may_install"), "node", "install"),
        (("container", "server"), "container", "container"),
    ],
)
def test_the_first_of_container_server_and_package_is_taken_and_kind_forces_one(has, kind, choice):
    assert choose(None, kind, Bare(has)) == choice


def test_a_given_address_is_taken_without_looking_at_the_machine():
    machine = Bare(("container", "server"))

    broker = find("amqp://mq1", environment={}, machine=machine)

    assert isinstance(broker, GivenBroker)
    assert (broker.url, broker.ours, machine.asked) == ("amqp://mq1", False, [])


def test_nothing_is_asked_past_what_decides():
    machine = Bare(("server", "may_install"))

    choose(None, "", machine)

    assert machine.asked == ["container", "server"]


def test_a_machine_with_nothing_is_told_what_to_install_in_one_line():
    with pytest.raises(Unreachable) as raised:
        find(None, environment={}, machine=Bare())

    assert str(raised.value).count("\n") == 0
    assert "install rabbitmq-server or Docker" in str(raised.value)


def test_a_forced_container_without_an_engine_is_an_error_not_a_node():
    with pytest.raises(Unreachable, match="docker info"):
        find(None, environment={"CLUSTERBUS_BROKER_KIND": "container"}, machine=Bare(("server",)))


def test_an_unknown_kind_is_named_with_the_right_ones():
    with pytest.raises(SettingsError, match=r"'podman': write container or node"):
        find(None, environment={"CLUSTERBUS_BROKER_KIND": "podman"}, machine=Bare(("server",)))


def test_the_package_is_installed_where_that_was_chosen_and_only_then():
    machines = [Bare(("may_install",)), Bare(("server", "may_install"))]

    brokers = [find(None, environment={}, machine=machine) for machine in machines]

    assert [type(broker) for broker in brokers] == [PrivateNode, PrivateNode]
    assert [machine.installed for machine in machines] == [True, False]


def test_a_folder_with_data_keeps_the_kind_that_wrote_them(tmp_path):
    of_node, of_container, fresh = tmp_path / "node", tmp_path / "container", tmp_path / "fresh"
    for folder in (of_node, of_container):
        Home(folder).close()
    (of_node / "mnesia").mkdir()
    machine = Bare(("container", "server"))

    found = [find(None, folder=folder, environment={}, machine=machine) for folder in (of_node, of_container, fresh)]

    assert [type(broker) for broker in found] == [PrivateNode, PrivateContainer, PrivateContainer]


def test_names_passwords_and_ports_stay_from_one_use_of_a_folder_to_the_next(tmp_path):
    first = Home(tmp_path / "broker")
    first.close()

    second = Home(tmp_path / "broker")
    second.close()

    assert (first.name, first.password, first.cookie) == (second.name, second.password, second.cookie)
    assert first.port("amqp") == second.port("amqp")


def test_a_port_that_somebody_took_meanwhile_is_given_up(tmp_path):
    home = Home(tmp_path / "broker")
    home.close()

    with socket.create_server(("127.0.0.1", home.port("amqp"))):
        again = Home(tmp_path / "broker")
    again.close()

    assert again.port("amqp") != home.port("amqp")
    assert again.name == home.name


def test_two_brokers_never_share_a_folder(tmp_path):
    first = Home(tmp_path / "broker")

    with pytest.raises(Unreachable, match="another broker runs on"):
        Home(tmp_path / "broker")

    first.close()
    Home(tmp_path / "broker").close()


def test_only_its_owner_reads_what_is_secret(tmp_path):
    home = Home(tmp_path / "broker")
    home.configure(["rabbitmq_management"], ["heartbeat = 20"])
    home.close()

    files = [tmp_path / "broker" / name for name in ("identity.json", "rabbitmq.conf", "lock")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "broker", *files]] == [0o700] + 3 * [0o600]
    assert "heartbeat = 20\n" in (tmp_path / "broker" / "rabbitmq.conf").read_text()
    assert home.password not in repr(home)


def test_a_temporary_folder_goes_and_its_logs_stay_where_they_are_wanted():
    gone, kept = Home(None), Home(None)

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
        Home(tmp_path)

    assert (tmp_path / "identity.json").read_text() == content


def test_a_folder_that_is_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "broker").write_text("")

    with pytest.raises(Unreachable, match=str(tmp_path / "broker")):
        Home(tmp_path / "broker")


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
    with pytest.raises(Unreachable, match="no-such-command could not be run"):
        command(["no-such-command"])


@pytest.mark.parametrize("before", [None, "#!/bin/sh\nexit 104\n"])
def test_no_service_may_start_while_packages_are_installed_and_the_policy_before_is_put_back(tmp_path, before):
    policy = tmp_path / "policy-rc.d"
    if before is not None:
        policy.write_text(before)

    with suppress(KeyboardInterrupt), services_held(policy):
        answer = subprocess.run([policy], check=False).returncode
        raise KeyboardInterrupt

    assert answer == 101  # "forbidden", to invoke-rc.d
    assert (policy.read_text() if policy.exists() else None) == before


def test_the_policy_is_put_back_also_after_an_earlier_run_of_ours_was_killed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("the machine's own")
    killed = services_held(policy)
    killed.__enter__()

    with services_held(policy):
        pass

    assert policy.read_text() == "the machine's own"


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
        self._thread.join(5)
        self._listener.close()
