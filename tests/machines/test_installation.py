"""A site from empty machines, as INSTALL.md says: its commands are run where it says that they are run.

GPFS is simulated on mgmt; on the brokers, `systemctl` is a stand-in, and so is `dnf` on the machines with rpm.
"""

import json
import time
from contextlib import contextmanager

import pytest

from tests.machines.rig import BROKERS, DATABASE, HUBS, MANAGEMENT, NODES, SITE, WITH_SYSTEMD
from tests.machines.traffic import Traffic, consumers_of
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1699)

PATIENCE = 60.0
FIRST = "Raise a first event"
ON_NODES = """
  - name: names
    on: fsstruct
    run: {command: [sh, -c, "echo $CLUSTERBUS_NODE_NAME $(id -un)"], nodes: "nsd01,cl02"}
"""


@pytest.fixture
def flowing(rig, follow, pytestconfig):
    """A context in which events flow from all nodes; afterwards they balance."""

    @contextmanager
    def traffic(run, kept_since=lambda: 0.0):
        follow(FIRST)
        Traffic.prepare(rig)
        events = Traffic(rig, run, pytestconfig.getoption("--rig-events"))
        events.begin()
        events.flows(time.time())
        yield events
        events.flows(time.time())
        events.end(kept_since()).check()

    return traffic


def gaps_of(rig):
    """Of which nodes the router has reported that sequence numbers are missing."""
    words = ("tail", "clusterbus.prod.continuity.gapOpened.#", "--since", "1h ago", "--no-follow", "--json")
    said = rig[MANAGEMENT].run("clusterbus", "--log-level", "ERROR", *words)
    return {json.loads(line)["node"] for line in said.splitlines()}


def test_brokers_are_one_cluster_and_everything_answers_over_tls(rig, follow):
    follow("Set up PostgreSQL")

    said = rig["mq1"].run("rabbitmqctl", "--formatter", "json", "cluster_status")
    assert all(f"rabbit@{host}" in said for host in BROKERS)
    for place, *more in (
        *((f"{host}:{port}",) for host in BROKERS for port in (5671, 15671)),
        ("db1:5432", "-starttls", "postgres"),
        ("sink:443",),
    ):
        trusting = ("-CAfile", f"{SITE}/ca.pem", "-verify_return_error", "-verify_hostname", place.partition(":")[0])
        rig["mgmt"].run("sh", "-c", 'exec openssl s_client "$@" </dev/null', "sh", "-connect", place, *trusting, *more)
    for host in BROKERS:
        assert rig["mgmt"].call("timeout", "5", "bash", "-c", f"echo >/dev/tcp/{host}/5672").returncode != 0


def test_a_first_event_is_mailed_and_posted(rig, follow):
    follow(FIRST)

    for name in ("mails", "posts"):
        wait_for(lambda: rig.received(name), PATIENCE, f"the event is in {name}")  # noqa: B023
    (mail,), (post,) = rig.received("mails"), rig.received("posts")
    assert mail["to"] == ["storage@example.com"]
    assert json.loads(post["body"])["data"]["filesetName"] == "projects"


def test_a_subscription_runs_a_command_on_nodes(rig, follow, page):
    follow(FIRST)
    page.run(rig, "Let subscriptions run commands on nodes")
    for host in (MANAGEMENT, *HUBS):
        file = "/etc/clusterbus/subscriptions.yaml"
        rig[host].write(file, rig[host].run("cat", file) + ON_NODES)
    wait_for(lambda: consumers_of(rig, "clusterbus.sub.names") == sorted(HUBS), PATIENCE, "both hubs serve it")

    rig["nsd02"].run("/usr/libexec/clusterbus/capture-gpfs", "fsstruct", "--fsName", "gpfs1")

    words = ("clusterbus", "deliveries", "--subscription", "names", "--json")
    wait_for(lambda: rig[MANAGEMENT].run(*words), PATIENCE, "the command has run")
    found = json.loads(rig[MANAGEMENT].run(*words).splitlines()[0])
    assert found["outcome"] == "done", found
    said = {each["nodes"]: each["text"] for each in found["result"]["output"]}
    assert said == {"nsd01": "nsd01 clusterbus-run\n", "cl02": "cl02 clusterbus-run\n"}


def test_no_program_reads_the_password_of_another(rig, follow):
    follow(FIRST)

    secrets = "/etc/clusterbus/secrets"
    users = {"clusterbus-router", "clusterbus-consumer"}
    for user in users:
        for kind in ("users", "databases"):
            may = {each for each in users if not _reads(rig["hub1"], user, f"{secrets}/{kind}/{each}/password")}
            assert may == {user}
    for user in (*users, "nobody"):
        assert _reads(rig[MANAGEMENT], user, f"{secrets}/administrator")
        assert _reads(rig[MANAGEMENT], user, f"{secrets}/users/clusterbus-operator/password")


def test_a_broker_that_joins_gets_a_replica_of_each_queue(rig, follow, page):
    follow(FIRST)
    few = "with fewer replicas than"
    # As it is before a broker has joined: without replicas on it.
    rig["mq1"].run("rabbitmq-queues", "shrink", "rabbit@mq3")
    streams = (
        "runuser",
        "-u",
        "rabbitmq",
        "--",
        "env",
        "HOME=/var/lib/rabbitmq",
        "/usr/lib/rabbitmq/bin/rabbitmq-streams",
    )
    rig["mq1"].run(*streams, "delete_replica", "clusterbus.history", "rabbit@mq3", "--vhost", "clusterbus")
    wait_for(lambda: few in _doctor(rig), PATIENCE, "doctor names the queues")

    page.run(rig, "Add brokers")

    wait_for(lambda: few not in _doctor(rig), PATIENCE, "doctor has nothing to say about replicas")


def _doctor(rig):
    return rig[MANAGEMENT].call("clusterbus", "doctor").stdout


def _reads(machine, user, file):
    return machine.call("runuser", "-u", user, "--", "cat", file).returncode


@pytest.fixture
def long(pytestconfig):
    """For a test that takes minutes."""
    if not pytestconfig.getoption("--rig-faults"):
        pytest.skip("it takes long: --rig-faults")


def test_every_password_is_rotated_while_events_flow(rig, follow, flowing, page):
    follow(FIRST)
    before = secrets_of(rig)

    with flowing("rotation"):
        page.run(rig, "Rotate a password")

    after = secrets_of(rig)
    same = {file for file, digest in before.items() if after[file] == digest}
    # As the page shows it for one node of each kind.
    assert same == {f"/etc/clusterbus/secrets/nodes/{node}/password" for node in ("nsd02", "cl02")}


def secrets_of(rig):
    words = ("sh", "-c", "sha256sum $(find /etc/clusterbus/secrets -name password -o -name administrator)")
    lines = (line.split() for line in rig[MANAGEMENT].call(*words).stdout.splitlines())
    return {file: digest for digest, file in lines}


def test_databases_of_an_earlier_day_are_restored_and_the_events_go_on(long, rig, flowing, page):
    with flowing("backup"):
        page.run(rig, "Back up")
    restored = []

    # What was delivered between backup and restore is not in the store any more, and not delivered again.
    with flowing("restore", kept_since=lambda: restored[0]):
        page.run(rig, "Restore")
        restored.append(time.time())

    wait_for(lambda: gaps_of(rig) == set(NODES), 2 * PATIENCE, "the router reports the numbers since the backup")
    assert "missing from the sequences" in _doctor(rig)
    rig[MANAGEMENT].run("clusterbus", "nodes", "gaps", ",".join(NODES), "--accept", "--comment", "restored")
    assert "missing from the sequences" not in _doctor(rig)


def test_uninstalling_leaves_nothing(rig, follow, page):
    follow(FIRST)

    page.run(rig, "Uninstall")
    rig.forget()

    # systemd removes a unit's private folders a moment after the unit has stopped.
    wait_for(lambda: not leftovers(rig), PATIENCE, f"nothing is left: {leftovers(rig)}")
    assert rig["mq1"].run("rabbitmqctl", "--quiet", "list_users").splitlines()[1:] == []
    databases = rig[DATABASE].run("runuser", "-u", "postgres", "--", "psql", "--list", "--quiet")
    assert "clusterbus" not in databases


def leftovers(rig):
    """What is named after us on machines with systemd, but for backups."""
    find = "find /etc /usr /var /run -xdev -name '*clusterbus*' -not -path '/usr/lpp/*' -not -path '/var/backups/*'"
    units = "systemctl list-units --all --plain --no-legend '*clusterbus*'"
    look = f"{find}; getent passwd | grep clusterbus; {units}; true"
    return [f"{host}: {each}" for host in WITH_SYSTEMD for each in rig[host].run("sh", "-c", look).splitlines()]
