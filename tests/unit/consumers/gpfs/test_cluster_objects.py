"""The cluster as objects: filesets, disks, snapshots and nodes, read by the names of columns; and node sets."""

import pytest

from consumers import gpfs
from consumers.gpfs import Callback, CallbackError, Cluster, Fileset, Filesystem, Invalid, NotThere
from router.cluster.callbacks.gpfs.installed import read
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.callbacks.gpfs.wanted import registrations
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed, NotUnderstood
from router.errors import SettingsError
from router.model.catalogue import load
from router.settings.models import CallbackOptions, ConsumersSettings, GpfsSettings, Settings
from router.simulator.install import install_capture
from router.simulator.simulated_cluster import Cluster as Simulated
from router.simulator.switches import Behaviour
from tests.mm_commands import answering

SCRIPT = "/tmp/myscript.sh"
GPFS = load("gpfs")


@pytest.fixture(params=["plain", "ragged"])
def commands(request, tmp_path):
    behaviour = Behaviour(rows="ragged") if request.param == "ragged" else Behaviour()
    cluster = Simulated.create(tmp_path / "cluster", nodes=6, file_systems=("mmfs1", "mmfs2"), behaviour=behaviour)
    install_capture(cluster)
    for node in cluster.nodes:
        node.install(SCRIPT, "#!/bin/sh\n")
    return use(answering(cluster), tmp_path)


def use(run, tmp_path):
    settings = Settings(
        gpfs=GpfsSettings(memory=tmp_path / "gpfs.json", events=("disk",)),
        consumers=ConsumersSettings(callbacks=tmp_path / "callbacks", subscriptions=tmp_path / "none.yaml"),
    )
    commands = Commands(run)
    gpfs.use(commands, settings, asker=Registrar(commands, settings.gpfs, GPFS), host="nsd01")
    return commands


def grow(fsName, filesetName):  # noqa: N803 - names of variables
    return fsName, filesetName


def test_a_file_system_has_filesets_with_the_values_that_mmlsfileset_prints(commands):
    filesets = Filesystem("mmfs1").filesets

    assert filesets.keys() == ["root", "projects", "scratch", "home", "cache"]
    assert str(filesets) == "root,projects,scratch,home,cache"
    assert ("projects" in filesets, "projcts" in filesets, len(filesets)) == (True, False, 5)
    projects = filesets["projects"]
    assert (projects.name, projects.filesystem, projects.path) == ("projects", "mmfs1", "/gpfs/mmfs1/projects")
    assert projects.properties["status"] == projects.status == "Linked"
    assert Fileset(Filesystem("/dev/mmfs1"), "root").comment == "root fileset"


def test_what_is_not_there_is_named_with_the_nearest(commands):
    with pytest.raises(NotThere, match=r"no fileset 'projcts'; did you mean projects\?"):
        _ = Filesystem("mmfs1").filesets["projcts"]
    with pytest.raises(NotThere, match="no fileset 'nowhere'"):
        _ = Fileset("mmfs1", "nowhere").path
    with pytest.raises(KeyError, match="no disk 'nsd99'"):
        _ = Filesystem("mmfs1").disks["nsd99"]
    with pytest.raises(CommandFailed):
        len(Filesystem("mmfs3").filesets)
    with pytest.raises(
        AttributeError, match=r"mount has no filesetName, so no fileset has it: use Cluster\(\)\.onMount"
    ):
        _ = Fileset("mmfs1", "projects").onMount


def test_a_file_system_has_disks_with_their_state(commands):
    disk = Filesystem("mmfs1").disks["nsd3"]

    assert (disk.name, disk.status, disk.availability, disk.pool) == ("nsd3", "ready", "up", "data")
    assert disk.properties["failureGroup"]
    assert len(Filesystem("mmfs2").disks) == 4


def test_a_function_of_a_fileset_is_called_for_its_events_alone(commands, tmp_path):
    projects = Filesystem("mmfs1").filesets["projects"]
    made = projects.onSoftQuotaExceeded.new(command=grow, callbackId="grow-projects")
    whole = Filesystem("mmfs1").onSoftQuotaExceeded.new(grow)

    text = (tmp_path / "callbacks" / "grow-projects.yaml").read_text()
    assert r"data.fsName == \"mmfs1\" && data.filesetName == \"projects\"" in text
    assert (made.filesystem, made.fileset, whole.fileset) == ("mmfs1", "projects", None)
    assert Callback("grow-projects").fileset == "projects"
    assert projects.onSoftQuotaExceeded.keys() == ["grow-projects"]
    assert Filesystem("mmfs1").filesets["scratch"].onSoftQuotaExceeded.keys() == []
    with pytest.raises(Invalid, match="cannot run a program for only one file system"):
        projects.onSoftQuotaExceeded.new(SCRIPT)


def test_snapshots_of_a_fileset_are_its_own(commands):
    projects = Filesystem("mmfs1").filesets["projects"]
    made = projects.snapshots.new("daily-1")
    Filesystem("mmfs1").snapshots.new("@GMT-2026.11.20")

    assert commands.recorded[-2] == "mmcrsnapshot mmfs1 daily-1 -j projects"
    assert (made.fileset, projects.snapshots.keys()) == ("projects", ["daily-1"])
    assert sorted(Filesystem("mmfs1").snapshots.keys()) == ["@GMT-2026.11.20", "projects:daily-1"]
    projects.snapshots.destroy("daily-1")
    assert len(projects.snapshots) == 0


@pytest.mark.parametrize("name", ["-j", "", "a b", "a,b", "a:b", "x" * 256])
def test_a_snapshot_with_a_name_that_is_an_option_or_a_list_is_refused(commands, name):
    with pytest.raises(CallbackError, match="cannot name a snapshot"):
        Filesystem("mmfs1").snapshots.new(name)

    assert commands.recorded == []


def test_a_table_without_the_columns_that_are_needed_is_not_understood(tmp_path):
    use(lambda words: f"{words[0]}::HEADER:version:reserved:reserved:name:state:\n{words[0]}::0:1:::a:b:\n", tmp_path)

    for what in (
        Filesystem("mmfs1").filesets,
        Filesystem("mmfs1").disks,
        Filesystem("mmfs1").snapshots,
        Cluster().filesystems,
    ):
        with pytest.raises(NotUnderstood, match=r"has no column .*; its columns are name, state"):
            len(what)


def test_a_node_is_in_the_nodes_by_each_of_its_names(commands):
    nodes = Cluster().nodes

    assert all(each in nodes for each in ("nsd01", "nsd01.prod.example", "10.0.0.1", "localhost", nodes["nsd02"]))
    assert "nsd99" not in nodes
    assert [each.name for each in nodes] == nodes.keys()


TWINS = "mmlscluster:clusterNode:HEADER:version:reserved:reserved:adminNodeName:daemonNodeName:designation:ipAddress:\n"


def test_nodes_with_the_same_short_name_are_all_listed_by_their_full_names(tmp_path):
    rows = [f"mmlscluster:clusterNode:0:1:::{name}:{name}:quorum:10.1.0.1:\n" for name in ("n1.a", "n1.b", "n2.b")]
    use(lambda _: TWINS + "".join(rows), tmp_path)

    assert Cluster().nodes.keys() == ["n1.a", "n1.b", "n2"]
    assert "n1" not in Cluster().nodes
    with pytest.raises(NotThere, match=r"'n1' is n1\.a and n1\.b: use a full name"):
        _ = Cluster().nodes["n1"]


# node sets


@pytest.mark.parametrize(
    ("nodes", "expanded"),
    [
        ("nsd[01-02]", "nsd01,nsd02"),
        ("cl03,nsd[01,02]", "cl03,nsd01,nsd02"),
        (["quorumNodes", "cl0[3-4]"], "quorumNodes,cl03,cl04"),
    ],
)
def test_a_node_set_of_a_callback_is_expanded(commands, nodes, expanded):
    Callback("test1", SCRIPT, "startup", node=nodes).create()

    assert commands.recorded == [f"mmaddcallback test1 --command {SCRIPT} --event startup -N {expanded}"]
    assert ",".join(next(each for each in read(commands) if each.identifier == "test1").nodes) == expanded


@pytest.mark.parametrize("nodes", ["nsd[01-", "@io", "nsd*", "nsd[1-99999999]", "nsd[01-04]!nsd02"])
def test_what_gpfs_would_not_understand_is_refused_by_a_callback_and_by_the_settings(commands, nodes):
    with pytest.raises(Invalid, match="nodes: "):
        Callback("test1", SCRIPT, "startup", node=nodes).create()
    with pytest.raises(SettingsError, match=r"gpfs\.global_nodes: nodes: .*node classes of GPFS"):
        registrations(GPFS, GpfsSettings(events=("quorumReached",), global_nodes=(nodes,)))
    with pytest.raises(SettingsError, match=r"gpfs\.options\.disk\.nodes: nodes: "):
        registrations(GPFS, GpfsSettings(events=("disk",), options={"disk": CallbackOptions(nodes=(nodes,))}))

    assert commands.recorded == []


def test_node_sets_of_the_settings_are_expanded_in_the_plan():
    wanted = GpfsSettings(
        events=("quorumReached", "disk"),
        global_nodes=("quorumNodes", "nsd[01-03]"),
        options={"disk": CallbackOptions(nodes=("nsd[01-02],siteNodes",))},
    )

    nodes = {each.identifier: each.nodes for each in registrations(GPFS, wanted)}

    others = [each for name, each in nodes.items() if name != "clusterbus-disk"]
    assert nodes["clusterbus-disk"] == ("nsd01", "nsd02", "siteNodes")
    assert others == [("quorumNodes", "nsd01", "nsd02", "nsd03")]
