"""What the doctor says of alarms, replicas, partitions, routers and clients: true and false, on real brokers."""

import os
import sys
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import yaml

from consumers.inspection.doctor import broker_cluster
from consumers.inspection.doctor.check_results import Finding
from router.broker.interface import Message
from router.broker.session import Session
from router.broker.topology import base, subscription
from router.broker.users.broker_state import BrokerState
from router.errors import Unreachable
from router.local_broker.rabbitmq_container import PrivateContainer, engine_answers, image_at_hand
from router.local_broker.rabbitmq_node import installed_server
from router.model.ids import new_id
from router.settings.sections.logins import BrokerSettings
from tests import containers
from tests.conftest import missing
from tests.consuming import make_event
from tests.flow import Running
from tests.operating import Program, invoke, json_lines
from tests.rabbit import Tap, wanted_image
from tests.waiting import wait_for

PATIENCE = 60.0
SLOW = 'version: 1\nsubscriptions:\n  - {name: slow, on: "gpfs.#", run: {command: [sleep, "600"]}}\n'

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def own(make_broker):
    """A broker of the test's own, with the topology and the queue of a subscription that nobody serves."""
    own = make_broker(plugins=["rabbitmq_management"])
    with Session(own.url, name="test") as session:
        session.declare(base() + subscription("left", ["#"]))
    return own


@pytest.fixture(params=["control", "management"])
def settings(request, own, tmp_path):
    """Settings to look into it, by each of the two ways."""
    if request.param == "control":
        return BrokerSettings(url=(own.url,), control=control_of(own))
    parts = urlsplit(own.http_url)
    password = tmp_path / "password"
    password.write_text(f"{parts.password}\n")
    password.chmod(0o600)
    password.chmod(0o600)
    where = f"http://{parts.username}@{parts.hostname}:{parts.port}"
    return BrokerSettings(url=(own.url,), management=where, management_password_file=password)


def control_of(broker):
    """The words that run rabbitmqctl for *broker*."""
    if isinstance(broker, PrivateContainer):
        return ("docker", "exec", "-i", broker.home.name, "rabbitmqctl")
    words = (f"{name}={value}" for name, value in broker._environment().items())
    return ("env", "-i", *words, str(installed_server().with_name("rabbitmqctl")))


def found(settings, names=("served",)):
    state = broker_cluster.look(settings)
    return [state] if isinstance(state, Finding) else list(broker_cluster.examine(state, names))


def said(settings, part, verdict):
    """What is found of *part* with this *verdict*."""
    return [each.seen for each in found(settings) if (each.part, each.verdict) == (part, verdict)]


def soon(settings, part, verdict, text):
    """Wait for it: the management API is some seconds late."""
    return wait_for(
        lambda: next((each for each in said(settings, part, verdict) if text in each), None), PATIENCE, f"{text!r}"
    )


@pytest.mark.long
def test_a_broker_that_is_well_is_called_so_and_queues_that_nobody_reads_are_named(settings):
    soon(settings, "broker", "ok", "its only node runs, without alarms and partitions")
    soon(settings, "broker", "ok", "each of our queues has its one replica, on the only node")
    unread = soon(settings, "subscriptions", "warning", "clusterbus.sub.left")

    assert unread == "nobody reads clusterbus.sub.left, which goes on filling; 0 deliveries wait"
    assert [each for each in found(settings, ["left"]) if each.part == "subscriptions"] == []
    assert said(settings, "broker", "error") == said(settings, "router", "ok") == []


@pytest.mark.long
def test_alarms_and_whom_they_block_are_named(settings, own):
    with Session(own.url, name="test-publisher") as session:
        own.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        own.ctl("set_disk_free_limit", "100000GB")
        soon(settings, "broker", "error", " is low on memory: the whole cluster blocks whoever publishes")
        soon(settings, "broker", "error", " is low on disk: the whole cluster blocks whoever publishes")
        assert said(settings, "broker", "ok") == ["each of our queues has its one replica, on the only node"]
        with pytest.raises(Unreachable, match="blocks publishing"):
            session.publish([Message("clusterbus.return", "nobody", b"{}", new_id())], limit=timedelta(seconds=3))
        soon(settings, "publishing", "error", "blocked connections (1): test-publisher")


@pytest.mark.long
def test_routers_are_counted_and_their_states_compared(settings, own, tmp_path):
    with ExitStack() as stack:

        def start(name, state):
            facts = {"CLUSTERBUS_BROKER": own.url, "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{tmp_path / state}.db"}
            words = [sys.executable, "-m", "consumers.cli.main", "router"]
            running = Running(name, words, facts, tmp_path).start()
            stack.callback(running.kill)
            return running

        start("first", "one")
        soon(settings, "router", "ok", "one router runs, on ")
        second = start("second", "one")
        soon(settings, "router", "ok", "2 routers run with one state, on ")
        second.kill()
        start("third", "other")
        different = soon(settings, "router", "error", "2 routers run with different states: ")

    assert f"{tmp_path / 'one'}.db" in different
    assert f"{tmp_path / 'other'}.db" in different


@pytest.mark.long
def test_unacknowledged_deliveries_are_counted(settings, own, tmp_path):
    program = Program(own.url, tmp_path, SLOW)
    try:
        program.start("slow")
        tap, event = Tap(own.url), make_event()
        tap.publish("clusterbus.events", event.topic, event.to_json())
        tap.close()

        def unacknowledged():
            state = broker_cluster.look(settings)
            return isinstance(state, BrokerState) and broker_cluster.unacknowledged(state, "clusterbus.sub.slow") == 1

        wait_for(unacknowledged, PATIENCE, "one delivery is unacknowledged")
        arguments = ("--settings", str(file_of(settings, tmp_path)), "doctor", "--json")
        parts = ("--part", "subscriptions", "--part", "broker")

        def named():
            # On a busy machine rabbitmqctl may not answer in time, and then doctor does not know.
            _, output = invoke(program.environment, *arguments, *parts)
            (slow,) = [each for each in json_lines(output) if each["part"] == "slow"]
            return slow["seen"].startswith("served; 0 deliveries wait, 1 is unacknowledged, the oldest is ")

        wait_for(named, PATIENCE, "doctor names it")
    finally:
        program.running.kill()


def file_of(settings, folder):
    """Write *settings* into a file."""
    file = folder / "clusterbus.yaml"
    names = ("control", "management", "management_password_file")
    given = {name: getattr(settings, name) for name in names if name in settings.model_fields_set}
    plain = {name: list(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
    file.write_text(yaml.safe_dump({"broker": plain}))
    return file


@pytest.mark.long
def test_what_cannot_be_looked_at_is_said_and_not_called_good(own, tmp_path):
    for settings, why in (
        (BrokerSettings(url=(own.url,), control=("/nowhere/rabbitmqctl",)), "this machine has no /nowhere/rabbitmqctl"),
        (BrokerSettings(url=(f"{own.url.rstrip('/')}/other",), control=control_of(own)), "no queues of ours"),
        (BrokerSettings(url=(own.url,), control=("false",)), "false"),
    ):
        finding = broker_cluster.look(settings)

        assert isinstance(finding, Finding)
        assert (finding.part, finding.verdict) == ("broker", "warning")
        assert finding.seen.startswith("not known: alarms, partitions, replicas, unacknowledged messages, standby")
        assert why in finding.seen


class Cluster:
    """Three brokers in containers, of which only the first is one at first."""

    def __init__(self, network, stack):
        self.network, self.names = network, [f"{network}-{number}" for number in (1, 2, 3)]
        for name in self.names:
            stack.callback(containers.call, "rm", "--force", "--volumes", name)
            containers.run(
                *("run", "--detach", "--name", name, "--hostname", name, "--network", network),
                *("--label", containers.LABEL, "--env", "RABBITMQ_ERLANG_COOKIE=of-the-test", wanted_image()),
                *("rabbitmq-server",),
            )
        for name in self.names:
            wait_for(lambda: self.has_started(name), PATIENCE, f"{name} has started")  # noqa: B023

    def has_started(self, name):
        return self.call(name, "rabbitmqctl", "--quiet", "await_startup", "--timeout", "50").returncode == 0

    def call(self, name, *words):
        return containers.call("exec", "--env", "RABBITMQ_ERLANG_COOKIE=of-the-test", name, *words)

    def run(self, name, *words):
        done = self.call(name, *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def join(self, name):
        for words in (["stop_app"], ["join_cluster", f"rabbit@{self.names[0]}"], ["start_app"]):
            self.run(name, "rabbitmqctl", "--quiet", *words)

    def has_khepri(self):
        """Whether the brokers keep users and queues by consensus: nodes that were cut off then join again."""
        flags = self.call(self.names[0], "rabbitmqctl", "--quiet", "list_feature_flags", "name", "state")
        return "khepri_db\tenabled" in flags.stdout

    @property
    def settings(self):
        control = ("docker", "exec", "-i", "--env", "RABBITMQ_ERLANG_COOKIE=of-the-test", self.names[0], "rabbitmqctl")
        (address,) = containers.run(
            *("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'),
            self.names[0],
        ).splitlines()
        return BrokerSettings(url=(f"amqp://test:test@{address}/",), control=control)


@pytest.fixture
def cluster():
    if os.environ.get("CLUSTERBUS_NO_MACHINES"):
        pytest.skip("CLUSTERBUS_NO_MACHINES is set: no machines are started")
    if not engine_answers() or not image_at_hand(wanted_image()):
        missing("three brokers need containers")
    with ExitStack() as stack:
        network = stack.enter_context(containers.network())
        yield Cluster(network, stack)


@pytest.mark.long
def test_a_cluster_that_grew_lost_a_node_or_is_torn_apart_is_not_called_good(cluster):
    first, second, third = cluster.names
    for words in (["add_user", "test", "test"], ["set_permissions", "test", ".*", ".*", ".*"]):
        cluster.run(first, "rabbitmqctl", "--quiet", *words)
    settings = cluster.settings
    with Session(settings.url, name="test") as session:
        session.declare(base())
    assert said(settings, "broker", "ok")[-1] == "each of our queues has its one replica, on the only node"

    cluster.join(second)
    cluster.join(third)
    grown = soon(settings, "broker", "error", "queues with fewer replicas than 3, on a cluster of 3: ")
    assert " (1 of 1)" in grown

    for name in (second, third):
        cluster.run(first, "rabbitmq-queues", "--quiet", "grow", f"rabbit@{name}", "all")
        cluster.run(
            first,
            "/usr/lib/rabbitmq/bin/rabbitmq-streams",
            "--quiet",
            "add_replica",
            "clusterbus.history",
            f"rabbit@{name}",
        )
    soon(settings, "broker", "ok", "each of our queues has its 3 replicas")
    soon(settings, "broker", "ok", "3 nodes run, without alarms and partitions")

    containers.run("network", "disconnect", cluster.network, third)
    soon(settings, "broker", "error", f"rabbit@{third} is not running")
    soon(settings, "broker", "warning", "queues with replicas that are down: ")
    containers.run("network", "connect", cluster.network, third)
    if cluster.has_khepri():
        soon(settings, "broker", "ok", "3 nodes run, without alarms and partitions")
        soon(settings, "broker", "ok", "each of our queues has its 3 replicas")
    else:
        torn = soon(settings, "broker", "error", " is cut off from rabbit@")
        assert f"rabbit@{third}" in torn
    containers.run("kill", second, third)
    soon(settings, "broker", "error", "queues without a majority of their replicas take and give nothing: ")
