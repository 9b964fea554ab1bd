"""The Ansible role installs a hub over ssh, changes nothing the second time, and refuses what would not work."""

from pathlib import Path

import pytest
import yaml

from consumers.programs.readiness import wait_served
from tests import containers
from tests.machines.test_hub import CONSUME, NAMES, ROUTER, USERS, configure, install

pytestmark = pytest.mark.timeout(1800)

ROLE = Path(__file__).parents[2] / "docker" / "ansible"
IMAGE = Path(__file__).with_name("ansible")
PLAYBOOK = ["ansible-playbook", "-i", "/opt/inventory", "/opt/ansible/hubs.yaml", "-e", "clusterbus_packages=/opt"]


@pytest.fixture
def ansible_image(node_image, shared):
    """The image of a machine with Ansible."""
    return containers.image(IMAGE, shared / "ansible.lock", NODE=node_image)


@pytest.fixture
def management(site, boot, hub_packages, ansible_image):
    """A machine that has the settings and secrets of a site, and from which root may log in on the hub."""
    machine = boot("mgmt", ansible_image)
    install(machine, hub_packages["deb"])
    configure(machine, site)
    machine.write("/etc/clusterbus/ca.pem", "a certificate\n")
    machine.write("/etc/clusterbus/secrets/mail", "mailto://mail.example.com\n", mode="0600")
    machine.write("/etc/clusterbus/secrets/users/clusterbus-operator/password", "secret\n", mode="0600")
    machine.copy(ROLE, "/opt/ansible")
    machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/deploy")
    hub = "hub ansible_user=deploy ansible_ssh_private_key_file=/etc/ssh/deploy"
    machine.write("/opt/inventory", f"[hubs]\n{hub} ansible_ssh_common_args='-o StrictHostKeyChecking=accept-new'\n")
    return machine


def played(machine, *words):
    """What a run of the role did on the hub: the numbers of its last line; and all that it said."""
    done = machine.call(*PLAYBOOK, *words, limit=600)
    said = done.stdout + done.stderr
    recap = [line for line in said.splitlines() if line.startswith("hub ")]
    assert recap, said
    return {name: int(number) for name, number in (word.split("=") for word in recap[-1].split(":")[1].split())}, said


def test_the_role_installs_a_hub_and_changes_only_what_differs(site, boot, management, ansible_image, caplog):
    caplog.set_level("ERROR", logger="pika")
    site.command("broker", "setup")
    hub = boot("hub", ansible_image)
    hub.write("/etc/ssh/authorized_keys", management.run("cat", "/etc/ssh/deploy.pub"))

    counts, said = played(management, "-e", '{"clusterbus_consumer_secrets": ["mail"]}')

    assert counts["failed"] == 0, said
    for unit, user in USERS.items():
        assert hub.state(unit, "ActiveState", "UnitFileState", "User") == ["active", "enabled", user], said
    wait_served(site.url_of("setup"), NAMES)
    for user in USERS.values():
        file = f"/etc/clusterbus/secrets/users/{user}/password"
        assert hub.run("stat", "--format=%U:%G %a", file) == f"root:{user} 640\n"
        assert hub.run("cat", file) == management.run("cat", file)
        assert hub.run("cat", file).strip() not in said
    assert hub.run("stat", "--format=%U:%G %a", "/etc/clusterbus/secrets/mail") == "root:clusterbus-consumer 640\n"
    hub.run("test", "!", "-e", "/etc/clusterbus/secrets/users/clusterbus-operator")
    assert hub.run("stat", "--format=%a", "/etc/clusterbus/scripts/note") == "755\n"

    counts, said = played(management, "-e", '{"clusterbus_consumer_secrets": ["mail"]}')

    assert (counts["failed"], counts["changed"]) == (0, 0), said

    started = [hub.state(unit, "MainPID") for unit in USERS]
    management.write(
        "/etc/clusterbus/subscriptions.yaml", "version: 1\nsubscriptions: [{name: x, on: none.such, log: {}}]\n"
    )
    counts, said = played(management)

    assert counts["failed"] == 1
    assert "none.such" in said
    assert [hub.state(unit, "MainPID") for unit in USERS] == started

    management.write("/etc/clusterbus/subscriptions.yaml", yaml.safe_dump(one("only")))
    counts, said = played(management)

    assert counts["failed"] == 0, said
    wait_served(site.url_of("setup"), ["only"])
    assert [hub.state(unit, "MainPID") for unit in (ROUTER, CONSUME)] == started


def one(name):
    """Subscriptions with one of this *name*."""
    return {"version": 1, "subscriptions": [{"name": name, "on": "mount", "log": {}}]}
