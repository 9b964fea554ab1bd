"""Router and consumers under their own units, on a machine with systemd, installed from the package."""

import json
import re

import pytest
import yaml

from consumers.programs.readiness import wait_served
from router.broker.topology import INGRESS
from tests.containers import call
from tests.nodes import Node
from tests.rabbit import Tap
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1200)

ROUTER, CONSUME = "clusterbus-router.service", "clusterbus-consume.service"
USERS = {ROUTER: "clusterbus-router", CONSUME: "clusterbus-consumer"}
PATIENCE = 60.0

SUBSCRIPTIONS = {
    "version": 1,
    "subscriptions": [
        {"name": "audit", "on": "mount", "log": {"file": "/var/log/clusterbus/events.jsonl"}},
        {"name": "syslog", "on": "mount", "log": {"syslog": {}}},
        {
            "name": "command",
            "on": "mount",
            "run": {"command": ["touch", "/var/lib/clusterbus/consumer/{{ data.fsName }}"]},
        },
        {"name": "job", "on": "mount", "run": {"command": ["sleep", "10"], "detach": True}},
        {"name": "function", "on": "mount", "call": {"function": "site_handlers:words", "isolate": True}},
        {"name": "scripts", "on": "mount", "scripts": {"folders": ["/etc/clusterbus/scripts"]}},
    ],
}
NAMES = [each["name"] for each in SUBSCRIPTIONS["subscriptions"]]
HANDLERS = "def words(fsName):\n    return f'{fsName} was mounted'\n"


INSTALL = {"deb": ["dpkg", "--install"], "rpm": ["rpm", "--upgrade", "--nodeps"]}


def install(machine, package):
    """Install *package* there, over an earlier one too; return what that says."""
    machine.copy(package, f"/opt/{package.name}")
    done = machine.call(*INSTALL[package.suffix[1:]], f"/opt/{package.name}", limit=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def configure(hub, site):
    """Write what a hub of *site* needs: settings, a password for each program, subscriptions and what they run."""
    settings = {"broker": {"url": f"amqp://broker/{site.vhost}"}}
    for section, user in (("router", "clusterbus-router"), ("consumers", "clusterbus-consumer")):
        file = f"/etc/clusterbus/secrets/users/{user}/password"
        settings[section] = {"broker": {"user": user, "password_file": file}}
        hub.run("install", "-d", "-m", "0750", "-g", user, f"/etc/clusterbus/secrets/users/{user}")
        hub.write(file, f"{site.add_user(user)}\n", mode="0640", group=user)
    hub.write("/etc/clusterbus/clusterbus.yaml", yaml.safe_dump(settings))
    hub.write("/etc/clusterbus/subscriptions.yaml", yaml.safe_dump(SUBSCRIPTIONS))
    hub.write("/etc/clusterbus/handlers/site_handlers.py", HANDLERS)
    hub.write("/etc/clusterbus/scripts/handlers.conf", "note = mount\n")
    hub.write("/etc/clusterbus/scripts/note", "#!/bin/sh\ncat >/var/lib/clusterbus/consumer/noted\n", mode="0755")


def outcomes(hub):
    """How the attempts of each subscription ended; null for one that has not."""
    as_user = ["runuser", "-u", "clusterbus-consumer", "--", "clusterbus", "--log-level", "ERROR"]
    found = {}
    for line in hub.run(*as_user, "deliveries", "--json").splitlines():
        row = json.loads(line)
        found.setdefault(row["subscription"], []).append(row["outcome"])
    return found


@pytest.fixture
def hub(request, site, boot, hub_packages):
    """A machine on which the product is installed from the deb, or a package as the test says; nothing runs yet."""
    site.command("broker", "setup")
    hub = boot("hub")
    install(hub, hub_packages[getattr(request, "param", "deb")])
    configure(hub, site)
    for unit in (ROUTER, CONSUME):
        assert hub.state(unit, "ActiveState", "UnitFileState") == ["inactive", "disabled"]
    return hub


@pytest.mark.parametrize("hub", ["deb", "rpm"], indirect=True)
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
    assert json.loads(hub.run("cat", "/var/lib/clusterbus/consumer/noted"))["id"] == sent.id
    hub.run("test", "-e", "/var/lib/clusterbus/consumer/gpfs1")
    for unit, user in USERS.items():
        assert hub.state(unit, "ActiveState", "NRestarts", "User") == ["active", "0", user]


def status(hub, unit):
    """The line that `systemctl status` shows of *unit*."""
    (found,) = hub.state(unit, "StatusText")
    return found


def shows(hub, unit, text):
    """Wait until the status of *unit* has *text* in it."""
    wait_for(lambda: text in status(hub, unit), PATIENCE, f"{text!r} in the status of {unit}: {status(hub, unit)!r}")


def asked(hub, code):
    """What the doctor says of the services there, by unit; it ends with *code*."""
    done = hub.call("clusterbus", "doctor", "--part", "services", "--json")
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{re.split('[: ]', each['seen'])[0]}.service": each["verdict"] for each in found}


def test_systemd_shows_what_programs_say_and_restarts_one_that_is_stuck_but_none_without_a_broker(hub, site):
    for unit in (ROUTER, CONSUME):
        hub.write(f"/etc/systemd/system/{unit}.d/watchdog.conf", "[Service]\nWatchdogSec=20\n")
    hub.run("systemctl", "daemon-reload")
    hub.run("systemctl", "start", CONSUME, ROUTER)
    for unit, text in ((ROUTER, "no record came here yet; connected to"), (CONSUME, "serving 6 subscriptions; conn")):
        shows(hub, unit, text)
        assert hub.state(unit, "ActiveState", "NRestarts") == ["active", "0"]

    call("network", "disconnect", site.network, hub.name)
    for unit in (ROUTER, CONSUME):
        shows(hub, unit, f"not connected to amqp://{USERS[unit]}@broker")
    hub.run("systemctl", "restart", ROUTER)
    shows(hub, ROUTER, "not connected to amqp://clusterbus-router@broker")
    assert asked(hub, 1) == {ROUTER: "error", CONSUME: "error"}
    warned = hub.run("journalctl", "--priority=warning", "--output=cat", f"--unit={ROUTER}")
    assert "the broker is unreachable" in warned
    assert "router.broker.amqp.connections" in warned
    call("network", "connect", site.network, hub.name)
    for unit in (ROUTER, CONSUME):
        shows(hub, unit, f"; connected to amqp://{USERS[unit]}@broker")
        assert hub.state(unit, "ActiveState", "NRestarts") == ["active", "0"]

    assert asked(hub, 0) == {ROUTER: "ok", CONSUME: "ok"}
    for unit in (ROUTER, CONSUME):
        hub.run("systemctl", "kill", "--signal=STOP", unit)
        wait_for(lambda: hub.state(unit, "NRestarts") == ["1"], PATIENCE, f"{unit} is restarted")  # noqa: B023
        shows(hub, unit, f"; connected to amqp://{USERS[unit]}@broker")
