"""`clusterbus callbacks` on a simulated cluster: after a real deployment, and killed between its commands."""

import json
import os
import signal
import sys

import pytest
import typer
import yaml
from typer.testing import CliRunner

from router.cli import callbacks, nodes
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed
from router.settings import loading
from router.simulator.install import install, install_capture
from router.simulator.simulated_cluster import Cluster
from tests import forking
from tests.mm_commands import answering

CAPTURE = "usr/libexec/clusterbus/capture.py"
FOREIGN = [
    "site-audit",
    "--command",
    "/usr/libexec/clusterbus/capture-gpfs",
    "--event",
    "mount",
    "--parms",
    "x %fsName",
]
# Runs the program beside it, and at the call whose number is in a file kills who asked for it instead.
KILLER = """#!/bin/sh
count=$(cat "$0.count" 2>/dev/null || echo 0)
[ "$count" = "$(cat "$0.at" 2>/dev/null)" ] && kill -9 $PPID
echo $((count + 1)) > "$0.count"
exec "$0.real" "$@"
"""


class Site:
    """A cluster of three nodes, and the settings to bring clusterbus to it."""

    def __init__(self, folder):
        self.cluster = Cluster.create(folder / "cluster", nodes=3)
        self.answer = answering(self.cluster)
        self.bin, self.file = folder / "bin", folder / "clusterbus.yaml"
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
        self.app = typer.Typer()
        self.app.add_typer(nodes.nodes_app, name="nodes")
        self.app.add_typer(callbacks.callbacks_app, name="callbacks")

        @self.app.callback()
        def root(context: typer.Context) -> None:
            context.obj = loading.load(self.file, environment={}, system=self.file)

    def run(self, *words, code=0, **gpfs):
        """Run `clusterbus`, with the cluster's commands in this process; return what it printed."""
        self._write(gpfs)
        ended = CliRunner().invoke(self.app, words)
        assert ended.exit_code == code, (ended.output, ended.exception)
        return ended.output

    def start(self, *words, code=0, **gpfs):
        """Run it as a program, and the cluster's commands too."""
        self._write(gpfs)
        command = [sys.executable, "-m", "consumers.cli.main", "--settings", str(self.file), *words]
        ended = forking.run(command, self.file.parent, environment=os.environ)
        assert ended.code == code, ended.output
        return ended.output

    def _write(self, gpfs):
        self.file.write_text(yaml.safe_dump({**self.settings, "gpfs": {**self.settings["gpfs"], **gpfs}}))

    def registered(self):
        return self.answer(["mmlscallback", "-Y"])


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = Site(tmp_path)
    for module in (callbacks, nodes):
        monkeypatch.setattr(module, "of_settings", lambda _: Commands(site.answer))
    return site


def test_from_nothing_to_a_record_on_the_node_and_back(site):
    site.run("nodes", "deploy")
    site.answer(["mmaddcallback", *FOREIGN])
    before = site.registered()

    applied = site.run("callbacks", "apply", "--yes")
    (run,) = site.cluster.raise_event("diskFailure", {"fsName": "gpfs1", "diskName": "gpfs1_nsd01"})
    spool = site.cluster.node(run.node).root / "var/spool/clusterbus/new"
    captured = [json.loads(each.read_text()) for each in spool.iterdir()]

    assert "> mmaddcallback clusterbus-disk --command /usr/libexec/clusterbus/capture-gpfs --event disk" in applied
    assert (run.identifier, run.exit_code) == ("clusterbus-disk", 0)
    assert [(each["source"], each["event"], each["node"]) for each in captured] == [("gpfs", "diskFailure", run.node)]
    assert site.run("callbacks", "plan") == "nothing to do\n"
    assert "GPFS still runs the shim there" in site.run("nodes", "remove", "cl01", code=1)

    site.run("callbacks", "remove", "--yes")
    assert site.registered() == before


def test_nothing_is_registered_while_a_node_has_another_capture_unless_it_is_said_to_be_away(site):
    site.run("nodes", "deploy")
    (site.cluster.node("cl01").root / CAPTURE).write_text("print('mine')\n")
    before = site.registered()
    (site.cluster.node("cl02").root / CAPTURE).unlink()

    refused = CliRunner().invoke(site.app, ["callbacks", "apply", "--yes"]).exception
    assert str(refused).startswith("2 nodes are not ready for callbacks; run `clusterbus nodes deploy` there:")
    assert f"cl01.prod.example: /{CAPTURE} has different content" in str(refused)
    assert f"cl02.prod.example: /{CAPTURE} is missing" in str(refused)
    assert site.registered() == before
    site.answer(["mmaddcallback", *FOREIGN])
    # GPFS itself wants the command on each node.
    install_capture(site.cluster)
    site.run("callbacks", "apply", "--yes", "--except", "nsd01,cl[01-02]")
    assert site.run("callbacks", "plan") == "nothing to do\n"


def test_killed_between_two_commands_the_next_apply_finishes(site):
    install_capture(site.cluster)
    everybody = ("--yes", "--except", "nsd01,cl[01-02]")
    site.run("callbacks", "apply", *everybody)
    install(site.bin, site.cluster.folder)
    for name in ("mmaddcallback", "mmdelcallback"):
        (site.bin / name).rename(site.bin / f"{name}.real")
        (site.bin / name).write_text(KILLER)
        (site.bin / name).chmod(0o755)
        # Both count in one file, since it is the number of the change that matters.
        (site.bin / f"{name}.count").symlink_to(site.bin / "count")
        (site.bin / f"{name}.at").symlink_to(site.bin / "at")
    (site.bin / "at").write_text("1\n")
    changed = {"parameters": {"*": ["upNodes"]}}

    site.start("callbacks", "apply", *everybody, code=-signal.SIGKILL, **changed)
    between = site.registered()
    site.run("callbacks", "apply", *everybody, **changed)

    assert "clusterbus-quota-2" in between
    assert "clusterbus-quota:" in between
    assert "diskFailure" in between
    assert site.run("callbacks", "plan", **changed) == "nothing to do\n"
    assert site.registered().count("clusterbus-") == 2


def test_what_gpfs_says_in_several_lines_is_shown_in_several_lines(site):
    site.run("nodes", "deploy")
    answer = site.answer

    def refusing(words):
        if words[0] == "mmaddcallback":
            raise CommandFailed(words, 1, "mmaddcallback: Incorrect option\nUsage:\n  mmaddcallback identifier")
        return answer(words)

    site.answer = refusing

    said = site.run("callbacks", "apply", "--yes", code=1)

    assert "mmaddcallback: Incorrect option\nUsage:\n  mmaddcallback identifier\n" in said


def test_what_a_site_adds_to_the_catalogue_is_registered(site, tmp_path):
    (tmp_path / "catalogue.yaml").write_text(
        "version: 1\ngpfs:\n  variables: {tierName: {type: word}}\n"
        "  events:\n    tierMoved: {category: disk, meaning: Files moved., variables: [tierName]}\n"
    )
    site.settings["router"] = {"catalogue": str(tmp_path / "catalogue.yaml")}
    install_capture(site.cluster)

    planned = site.run("callbacks", "plan")

    assert "--event diskFailure,tierMoved" in planned
    assert "--tierName %tierName" in planned


def test_away_from_a_cluster_it_says_where_it_should_be_run(site):
    said = site.start("callbacks", "plan", code=3, commands="/nonexistent")

    assert "mmlscallback does not exist: run this on a node of the cluster, or set gpfs.commands" in said
