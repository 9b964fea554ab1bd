"""Python callbacks for real: mm commands as programs, and a function that a consumer calls for a simulated event."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumers import gpfs
from consumers.gpfs import Cluster
from consumers.gpfs.functions.storage import subscription_name
from consumers.programs.readiness import wait_served
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.cluster.nodes.capture_script import COMMAND
from router.cluster.nodes.files import File
from router.cluster.nodes.release import release
from router.model.catalogue import load
from router.settings.models import ConsumersSettings, GpfsSettings, Settings
from router.simulator.install import install, install_capture
from router.simulator.simulated_cluster import Cluster as Simulated
from tests.flow import Flow
from tests.mm_commands import answering
from tests.waiting import wait_for

LOG = ""
SCRIPT = "/tmp/myscript.sh"
ROOT = Path(__file__).parents[2]


def stamped(text):
    return f"{text}\n"


def logger(eventNode):  # noqa: N803 - a variable's name
    with open(LOG, "a") as log:  # noqa: PTH123 - as people write it
        log.write(stamped(eventNode))
    return eventNode


@pytest.fixture
def simulated(tmp_path):
    cluster = Simulated.create(tmp_path / "cluster", nodes=3, file_systems=("mmfs1",))
    install_capture(cluster)
    for node in cluster.nodes:
        node.install(SCRIPT, "#!/bin/sh\n")
    return cluster


@pytest.fixture
def settings(tmp_path):
    return Settings(
        gpfs=GpfsSettings(memory=tmp_path / "gpfs.json", commands=tmp_path / "bin"),
        consumers=ConsumersSettings(callbacks=tmp_path / "callbacks"),
    )


def put_there(root):
    """Put the shim into *root* as a package does."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/group").write_text("clusterbus:x:4242:\n")
    shim = release()
    for each in (*shim.files, File(COMMAND, shim.script.encode(), 0o755)):
        path = root / each.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.content)
        path.chmod(each.mode)
    for each in shim.folders:
        path = root / str(each["path"]).lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, 0, 4242 if each["group"] == "clusterbus" else 0)
        path.chmod(each["mode"])


PROGRAM = """
from consumers.gpfs import Callback, Cluster, get_cmd_cache

def logger(eventNode):
    return eventNode

Cluster().onShutdown.new(logger, callbackId="log1")
Callback("test1", "/tmp/myscript.sh", "startup", node="nsd01").create()
print(*get_cmd_cache()[-2:], sep="\\n")
"""


@pytest.mark.long
def test_a_program_of_ones_own_works_by_the_settings_of_its_machine_and_its_functions_are_written(
    simulated, settings, tmp_path
):
    install(tmp_path / "bin", simulated.folder)
    (tmp_path / "mine.py").write_text(PROGRAM)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "CLUSTERBUS_GPFS_COMMANDS": str(tmp_path / "bin"),
        "CLUSTERBUS_GPFS_MEMORY": str(settings.gpfs.memory),
        "CLUSTERBUS_CONSUMERS_CALLBACKS": str(settings.consumers.callbacks),
        "CLUSTERBUS_NODES_TRANSPORT": "local",
        "CLUSTERBUS_NODES_ROOT": f"{simulated.folder}/nodes/{{node}}/root",
    }
    for node in simulated.nodes:
        put_there(node.root)

    done = subprocess.run(
        [sys.executable, tmp_path / "mine.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first.startswith("mmaddcallback clusterbus-daemon ")
    assert second == f"mmaddcallback test1 --command {SCRIPT} --event startup -N nsd01"
    assert (settings.consumers.callbacks / "log1.py").read_text() == "def logger(eventNode):\n    return eventNode\n"


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_function_is_called_by_the_consumer_for_an_event_of_the_cluster(
    simulated, settings, tmp_path, vhost_url, monkeypatch
):
    commands = Commands(answering(simulated))
    asker = Registrar(commands, settings.gpfs, load("gpfs"))
    gpfs.use(commands, settings, asker=asker, host="nsd01")
    monkeypatch.setitem(globals(), "LOG", str(tmp_path / "shutdown.log"))
    node = simulated.node("cl01")
    flow = Flow(tmp_path, vhost_url, nodes=("cl01",), relay_options=("--spool", str(node.spool)))
    flow.environment["CLUSTERBUS_CONSUMERS_CALLBACKS"] = str(settings.consumers.callbacks)

    with flow:
        # There is no folder of callbacks yet: the consumer sees it come.
        callback = Cluster().onShutdown.new(logger)
        name = subscription_name(callback.id)
        wait_served(vhost_url, [name])
        simulated.raise_event("shutdown", node="cl01")
        (row,) = wait_for(lambda: [each for each in flow.delivered(name) if each.outcome], 30, "an outcome")

        callback.delete()
        wait_for(lambda: f'"removed": ["{name}"]' in flow.consumer.words(), 20, "the consumer to follow")

    assert (row.outcome, row.attempt) == ("done", 1)
    assert (tmp_path / "shutdown.log").read_text() == "cl01.prod.example\n"
