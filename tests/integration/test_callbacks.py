"""`clusterbus callbacks` on a simulated cluster, with its commands as programs, and the shim as it was deployed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from router.sources.gpfs.simulator import Cluster
from router.sources.gpfs.simulator.answering import answering
from router.sources.gpfs.simulator.installing import install

ROOT = Path(__file__).parents[2]
FOREIGN = [
    "site-audit",
    "--command",
    "/usr/libexec/clusterbus/capture-gpfs",
    "--event",
    "diskFailure",
    "--parms",
    "x %fsName",
]
# Runs the program beside it, and then kills who asked for it, at the call whose number is in a file.
KILLER = """#!/bin/sh
count=$(cat "$0.count" 2>/dev/null || echo 0)
[ "$count" = "$(cat "$0.at" 2>/dev/null)" ] && kill -9 $PPID
echo $((count + 1)) > "$0.count"
exec "$0.real" "$@"
"""


class Site:
    """A cluster of three nodes whose commands are programs, with settings for `clusterbus`."""

    def __init__(self, folder):
        self.cluster = Cluster.create(folder / "cluster", nodes=3)
        self.answer = answering(self.cluster)
        self.bin, self.file = folder / "bin", folder / "clusterbus.yaml"
        install(self.bin, self.cluster.folder)
        for node in self.cluster.nodes:
            (node.root / "etc").mkdir(parents=True)
            (node.root / "etc/group").write_text("clusterbus:x:4242:\n")
            (folder / "secrets" / node.name).mkdir(parents=True)
            (folder / "secrets" / node.name / "password").write_text("of a test\n")
            (folder / "secrets" / node.name / "password").chmod(0o600)
        self.settings = {
            "gpfs": {"commands": str(self.bin), "memory": str(folder / "gpfs.json"), "events": ["disk", "quota"]},
            "nodes": {
                "transport": "local",
                "root": f"{self.cluster.folder}/nodes/{{node}}/root",
                "relay": {"cluster": "prod", "broker": "amqps://mq1.example/clusterbus"},
                "secrets": str(folder / "secrets"),
            },
        }

    def run(self, *words, code=0, **gpfs):
        """Run `clusterbus` in a process of its own; return what it printed."""
        self.file.write_text(yaml.safe_dump({**self.settings, "gpfs": {**self.settings["gpfs"], **gpfs}}))
        command = [sys.executable, "-m", "consumers.cli", "--settings", str(self.file), *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def registered(self):
        return self.answer(["mmlscallback", "-Y"])


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_from_nothing_to_a_record_on_the_node_and_back(site):
    site.run("nodes", "deploy")
    site.answer(["mmaddcallback", *FOREIGN])
    before = site.registered()

    shown = site.run("callbacks", "plan")
    applied = site.run("callbacks", "apply", "--yes")
    (run,) = (
        each
        for each in site.cluster.raise_event("diskFailure", {"fsName": "gpfs1", "diskName": "gpfs1_nsd01"})
        if each.identifier == "clusterbus-disk"
    )
    captured = [
        json.loads(each.read_text())
        for each in (site.cluster.node(run.node).root / "var/spool/clusterbus/new").iterdir()
    ]

    assert "mmaddcallback clusterbus-disk --command /usr/libexec/clusterbus/capture-gpfs --event diskFailure" in shown
    assert [line for line in applied.splitlines() if line.startswith("> ")][0].startswith(
        "> mmaddcallback clusterbus-quota"
    )
    assert run.exit_code == 0
    assert {(each["source"], each["event"], each["node"]) for each in captured} >= {("gpfs", "diskFailure", run.node)}
    assert "nothing to do" in site.run("callbacks", "plan")
    assert json.loads(site.run("callbacks", "show", "clusterbus-disk", "--json"))["variables"][:2] == [
        "eventName",
        "eventNode",
    ]

    site.run("callbacks", "remove", "--yes")
    assert site.registered() == before


def test_nothing_is_registered_while_a_node_has_another_capture(site):
    site.run("nodes", "deploy")
    (site.cluster.node("cl01").root / "usr/libexec/clusterbus/capture.py").write_text("print('mine')\n")
    before = site.registered()

    refused = site.run("callbacks", "apply", "--yes", code=1)
    asked = site.run("callbacks", "apply", code=2)
    site.run("callbacks", "apply", "--yes", "--except", "cl01")

    assert "1 nodes are not ready" in refused
    assert "cl01.prod.example: /usr/libexec/clusterbus/capture.py" in refused
    assert "--yes" in asked
    assert before != site.registered()


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_killed_between_two_commands_the_next_apply_finishes(site, moment):
    site.run("nodes", "deploy")
    site.run("callbacks", "apply", "--yes")
    for name in ("mmaddcallback", "mmdelcallback"):
        (site.bin / name).rename(site.bin / f"{name}.real")
        (site.bin / name).write_text(KILLER)
        (site.bin / name).chmod(0o755)
        # Both count in one file, since it is the number of the change that matters.
        (site.bin / f"{name}.count").symlink_to(site.bin / "count")
        (site.bin / f"{name}.at").symlink_to(site.bin / "at")
    (site.bin / "at").write_text(f"{moment}\n")

    changed = {"parameters": {"*": ["upNodes"]}}
    site.run("callbacks", "apply", "--yes", code=-signal.SIGKILL, **changed)
    between = site.registered()
    (site.bin / "at").unlink()
    site.run("callbacks", "apply", "--yes", **changed)

    assert all(event in between for event in ("diskFailure", "softQuotaExceeded", "usageUnderSoftQuota"))
    assert "nothing to do" in site.run("callbacks", "plan", **changed)
    assert site.registered().count("clusterbus-") == 2


def test_away_from_a_cluster_it_says_where_it_should_be_run(site):
    said = site.run("callbacks", "plan", code=3, commands="/nonexistent")

    assert "mmlscallback is not here: run this on a node of the cluster, or set gpfs.commands" in said
    assert os.sep in said
