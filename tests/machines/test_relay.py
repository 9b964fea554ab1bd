"""The relay under its own unit, on machines with systemd: put there as sites do it, with all that the unit forbids."""

import json

import pytest

from packages import node_package
from router.cluster.nodes.release import release
from tests.hub_staging import MOMENT
from tests.shim_relay import drained
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

UNIT = "clusterbus-relay.service"
SPOOL = "/var/spool/clusterbus"
CAPTURE = "/usr/libexec/clusterbus/capture-gpfs"
METRICS = "/var/lib/prometheus/node-exporter"
PATIENCE = 60.0
INSTALL = {"deb": ["dpkg", "--install"], "rpm": ["rpm", "--install", "--nodeps"]}
REMOVE = {"deb": ["dpkg", "--purge"], "rpm": ["rpm", "--erase"]}


def captured(node, tap, event):
    """Have *event* captured on *node*, and return the one record that arrives at the broker."""
    node.run(CAPTURE, event, "--fsName", "gpfs1")
    (record,) = drained(tap, 1)
    return record


def failed_units(node):
    """What `systemctl --failed` lists there."""
    return node.run("systemctl", "--failed", "--plain", "--no-legend")


def test_a_node_that_was_deployed_carries_its_events_also_over_a_restart(site, boot, tap):
    node = boot("n1")
    site.add_node("n1")

    *_, deployed = site.nodes("deploy", "n1")
    first = captured(node, tap, "mount")
    node.run("systemctl", "restart", UNIT)
    second = captured(node, tap, "unmount")

    assert deployed == {"done": "n1", "unchanged": "", "failed": [], "unconnected": [], "warnings": []}
    assert [first.key, second.key] == ["gpfs.prod.mount.n1", "gpfs.prod.unmount.n1"]
    assert [first.headers["sequence"], second.headers["sequence"]] == [1, 2]
    assert node.state(UNIT, "ActiveState", "NRestarts", "User") == ["active", "0", "clusterbus"]
    *_, seen = site.nodes("status", "n1")
    assert seen == {"ok": "n1", "error": [], "warning": []}

    *_, removed = site.nodes("remove", "n1")

    assert removed["done"] == "n1"
    assert node.state(UNIT, "LoadState", "ActiveState") == ["not-found", "inactive"]


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_a_node_with_a_package_carries_its_events_as_soon_as_it_is_configured(site, boot, tap, tmp_path, form):
    node = boot("n1")
    package = node_package.build(form, tmp_path, release(), MOMENT)
    node.copy(package, f"/opt/{package.name}")

    node.run(*INSTALL[form], f"/opt/{package.name}")
    node.write("/etc/clusterbus/password", f"{site.add_user('n1')}\n", mode="0640", group="clusterbus")
    settings = f"[relay]\ncluster = prod\nbroker = {site.relay['broker']}\npassword-file = /etc/clusterbus/password\n"
    node.write("/etc/clusterbus/relay.conf", settings)
    node.run("systemctl", "enable", "--now", UNIT)

    assert captured(node, tap, "mount").key == "gpfs.prod.mount.n1"
    assert node.state(UNIT, "ActiveState", "NRestarts") == ["active", "0"]

    node.run(*REMOVE[form], node_package.NAME)

    assert node.call("systemctl", "is-active", UNIT).stdout == "inactive\n"


def test_the_relay_does_all_of_its_work_within_its_sandbox(site, boot, tap):
    node = boot("n1")
    site.add_node("n1")
    node.run("install", "-d", "-g", "nogroup", "-m", "1777", METRICS)
    site.relay |= {"metrics": f"{METRICS}/relay.prom", "rescan": "1"}
    site.nodes("deploy", "n1")

    # A folder that is missing, garbage, captures that found no room, in the spool and beside it.
    node.run("systemctl", "stop", UNIT)
    node.run("rmdir", f"{SPOOL}/kept", f"{SPOOL}/bad")
    node.write(f"{SPOOL}/new/garbage", "garbage\n")
    node.run("sh", "-c", f"umask 022; printf ff >>{SPOOL}/lost; printf e >>/run/clusterbus/lost")
    node.run("systemctl", "start", UNIT)
    arrived = drained(tap, 3)

    reports = sorted((each.properties.type, json.loads(each.body)["arguments"][:4]) for each in arrived)
    assert reports[:2] == [
        ("eventsLost", ["--count", "1", "--reason", "error; see syslog, or /run/clusterbus/unsaved"]),
        ("eventsLost", ["--count", "2", "--reason", "spool full"]),
    ]
    assert (reports[2][0], reports[2][1][:2]) == ("recordUnreadable", ["--file", "garbage"])
    node.run("test", "-e", f"{SPOOL}/bad/garbage.reason")
    made = node.run("stat", "--format=%A %G", f"{SPOOL}/kept", f"{SPOOL}/bad").splitlines()
    assert made == ["drwxr-s--- clusterbus"] * 2
    wait_for(
        lambda: "clusterbus_relay_lost_total 3\n" in node.call("cat", f"{METRICS}/relay.prom").stdout,
        PATIENCE,
        "the losses in the metrics",
    )
    node.run("sh", "-c", "umask 077; echo unsaved >/run/clusterbus/unsaved")
    *_, seen = site.nodes("status", "n1", code=1)
    losing = "neither the spool nor syslog took some callbacks: 8 bytes of them are in /run/clusterbus/unsaved"
    assert {"nodes": "n1", "reason": losing} in seen["error"]
    lost = "3 callbacks could not be stored since the spool was created (spool full: 2, other errors: 1)"
    assert sorted(each["reason"] for each in seen["warning"]) == ["1 file in bad/ of the spool", lost]


def test_relays_that_do_not_start_are_told_with_their_last_words_and_leave_nothing(site, boot, tap):
    nodes = [boot("n1"), boot("n2")]
    for node in nodes:
        site.add_node(node.host)
        node.run("mkdir", SPOOL)
        node.run("systemd-run", "--unit=holder", "flock", SPOOL, "sleep", "infinity")
        wait_for(lambda: node.call("flock", "-n", SPOOL, "true").returncode, PATIENCE, "the spool is held")  # noqa: B023

    *_, answer = site.nodes("deploy", "n[1-2]", code=1)

    assert [each["nodes"] for each in answer["failed"]] == ["n[1-2]"], answer
    (failed,) = answer["failed"]
    assert f"another relay uses the spool {SPOOL}: stop it first" in failed["reason"]
    assert "Failed with result 'exit-code'" in failed["reason"]
    assert 'See "' not in failed["reason"]
    for node in nodes:
        assert node.state(UNIT, "LoadState", "ActiveState") == ["not-found", "inactive"]
        assert failed_units(node) == ""
        node.run("systemctl", "stop", "holder")
    *_, answer = site.nodes("deploy", "n[1-2]")
    assert answer["done"] == "n[1-2]"
    assert captured(nodes[1], tap, "mount").key == "gpfs.prod.mount.n2"


def test_settings_that_the_relay_refuses_are_told_in_its_words_and_the_old_ones_hold(site, boot, tap):
    node = boot("n1")
    site.add_node("n1")
    site.nodes("deploy", "n1")
    site.relay["window"] = "0"

    *_, answer = site.nodes("deploy", "n1", code=1)

    (failed,) = answer["failed"]
    assert "window is '0': give a number from 1 to 5000" in failed["reason"]
    assert captured(node, tap, "mount").key == "gpfs.prod.mount.n1"
    assert failed_units(node) == ""


def test_relays_that_are_not_connected_are_told_with_the_reason_and_those_that_are_pass(site, boot, tap):
    nodes = [boot("n1"), boot("n2")]
    for node in nodes:
        site.add_node(node.host)
    site.secrets.joinpath("n2", "password").write_text("wrong\n")

    *_, deployed = site.nodes("deploy", "n[1-2]", code=1)

    assert (deployed["done"], deployed["failed"]) == ("n[1-2]", [])
    (unconnected,) = deployed["unconnected"]
    assert unconnected["nodes"] == "n2"
    assert unconnected["reason"].startswith("its relay does not send: broker denied the connection: ")
    nodes[1].run(CAPTURE, "mount", "--fsName", "gpfs1")
    *each, seen = site.nodes("status", "n[1-2]", code=1)
    assert seen["ok"] == "n1"
    (wrong,) = seen["error"]
    assert wrong["nodes"] == "n2"
    assert wrong["reason"].endswith("; 1 records wait there")
    found = {one["node"]: one["connection"] for one in each}
    assert (found["n1"]["problem"], found["n1"]["unsent"], found["n2"]["unsent"]) == ("", 0, 1)
    assert found["n1"]["broker"] == f"amqp://n1@broker:5672/{site.vhost}"
    (text,) = nodes[1].state(UNIT, "StatusText")
    assert text.startswith("problem: broker denied the connection: ")

    site.secrets.joinpath("n2", "password").write_text("secret-of-n2\n")
    *_, deployed = site.nodes("deploy", "n[1-2]")
    assert (deployed["done"], deployed["unconnected"]) == ("n2", [])
