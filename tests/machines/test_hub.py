"""Router and consumers under their own units, on a machine with systemd, installed from the wheel."""

import json
from pathlib import Path

import pytest
import yaml

from consumers.programs.readiness import wait_served
from router.broker.topology import INGRESS
from tests.nodes import Node
from tests.rabbit import Tap
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
ROUTER, CONSUME = "clusterbus-router.service", "clusterbus-consume.service"
PATIENCE = 60.0

SUBSCRIPTIONS = {
    "version": 1,
    "subscriptions": [
        {"name": "audit", "on": "mount", "log": {"file": "/var/log/clusterbus/events.jsonl"}},
        {"name": "syslog", "on": "mount", "log": {"syslog": {}}},
        {"name": "command", "on": "mount", "run": {"command": ["touch", "/var/lib/clusterbus/{{ data.fsName }}"]}},
        {"name": "job", "on": "mount", "run": {"command": ["sleep", "10"], "detach": True}},
        {"name": "function", "on": "mount", "call": {"function": "site_handlers:words", "isolate": True}},
        {"name": "scripts", "on": "mount", "scripts": {"folders": ["/etc/clusterbus/scripts"]}},
    ],
}
NAMES = [each["name"] for each in SUBSCRIPTIONS["subscriptions"]]
HANDLERS = "def words(fsName):\n    return f'{fsName} was mounted'\n"


@pytest.fixture
def hub(site, boot, hub_image):
    """A machine on which the product, its units and its users are installed, and nothing runs yet."""
    site.command("broker", "setup")
    hub = boot("hub", hub_image)
    password = site.add_user("hub")
    for folder, name in (
        (ROOT / "router/units", "clusterbus-router"),
        (ROOT / "consumers/units", "clusterbus-consume"),
    ):
        hub.copy(folder / f"{name}.service", f"/etc/systemd/system/{name}.service")
        hub.copy(folder / f"{name}.sysusers", f"/usr/lib/sysusers.d/{name}.conf")
    hub.run("systemd-sysusers")
    hub.run("systemctl", "daemon-reload")
    settings = {"broker": {"url": f"amqp://hub@broker/{site.vhost}", "password_file": "/etc/clusterbus/password"}}
    hub.write("/etc/clusterbus/password", f"{password}\n", mode="0640", group="clusterbus")
    hub.write("/etc/clusterbus/clusterbus.yaml", yaml.safe_dump(settings))
    hub.write("/etc/clusterbus/subscriptions.yaml", yaml.safe_dump(SUBSCRIPTIONS))
    hub.write("/etc/clusterbus/handlers/site_handlers.py", HANDLERS)
    hub.write("/etc/clusterbus/scripts/handlers.conf", "note = mount\n")
    hub.write("/etc/clusterbus/scripts/note", "#!/bin/sh\ncat >/var/lib/clusterbus/noted\n", mode="0755")
    return hub


def outcomes(hub):
    """How the attempts of each subscription ended; null for one that has not."""
    as_user = ["runuser", "-u", "clusterbus", "--", "clusterbus", "--log-level", "ERROR"]
    found = {}
    for line in hub.run(*as_user, "deliveries", "--json").splitlines():
        row = json.loads(line)
        found.setdefault(row["subscription"], []).append(row["outcome"])
    return found


def test_every_verb_does_its_work_within_the_units_and_a_job_outlives_a_restart(hub, site, caplog):
    caplog.set_level("ERROR", logger="pika")  # it warns of each queue that is looked for before it is there
    hub.run("systemctl", "start", CONSUME, ROUTER)
    wait_served(site.url_of("setup"), NAMES)
    site.add_user("n1")
    sent = Node("n1").record("mount", "--fsName", "gpfs1")
    tap = Tap(site.url_of("n1"))
    tap.publish(INGRESS, sent.key, sent.body, sent.properties)
    tap.close()

    wait_for(lambda: hub.call("pgrep", "--full", "sleep 10").returncode == 0, PATIENCE, "the job has begun")
    hub.run("systemctl", "reload", CONSUME)
    hub.run("systemctl", "restart", CONSUME, ROUTER)

    done = {name: ["done"] for name in NAMES}
    wait_for(lambda: outcomes(hub) == done, PATIENCE, f"all are done: {outcomes(hub)}")
    assert json.loads(hub.run("cat", "/var/log/clusterbus/events.jsonl").splitlines()[0])["id"] == sent.id
    assert 'data.fsName="gpfs1"' in hub.run("journalctl", "--output=cat", "--grep=^gpfs.mount")
    assert json.loads(hub.run("cat", "/var/lib/clusterbus/noted"))["id"] == sent.id
    hub.run("test", "-e", "/var/lib/clusterbus/gpfs1")
    for unit in (ROUTER, CONSUME):
        assert hub.state(unit, "ActiveState", "NRestarts", "User") == ["active", "0", "clusterbus"]
