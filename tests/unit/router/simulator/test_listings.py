"""What the simulated mm commands print and change, asked in this process, and read as clusterbus reads them."""

import pytest

from router.cluster.callbacks.gpfs.installed import read
from router.cluster.gpfs import tables
from router.cluster.gpfs.cluster_nodes import members
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed, CommandMissing
from router.simulator.cluster_state import CallbackState
from router.simulator.commands import COMMANDS
from router.simulator.simulated_cluster import Cluster
from router.simulator.switches import Behaviour
from tests.mm_commands import answering

FOR_PROGRAMS = [
    "mmlscallback all -Y",
    "mmlscluster -Y",
    "mmgetstate -a -Y",
    "mmlsmgr -Y",
    "mmlsnodeclass --all -Y",
    "mmlsfs all -Y",
    "mmlsdisk gpfs1 -Y",
    "mmlsfileset gpfs1 -Y",
    "mmdf gpfs1 -Y",
    "mmlsquota -j projects -Y gpfs1",
    "mmrepquota -a -Y",
    "mmlssnapshot gpfs1 -Y",
]


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=12)
    cluster.add_callbacks(
        CallbackState(
            identifier="site-a",
            command="/bin/true",
            events=("mount", "unmount"),
            nodes=("cl01", "cl02"),
            priority=1.5,
            parms="%fsName a:b (100%)",
        ),
        CallbackState(identifier="site-b", command="/bin/true", events=("startup",), sync=True, timeout=30),
    )
    return cluster


@pytest.fixture
def ask(cluster):
    commands = Commands(answering(cluster))
    return lambda words, section=None: [row.values for row in commands.table(*words.split(), section=section)]


@pytest.fixture
def run(cluster):
    return lambda words: answering(cluster)(words.split() if isinstance(words, str) else words)


def values(rows, column):
    return [each[column] for each in rows]


@pytest.mark.parametrize("words", FOR_PROGRAMS)
def test_each_row_is_as_long_as_its_header(run, words):
    run("mmcrsnapshot gpfs1 a,projects:b")

    widths = {}
    for line in run(words).splitlines():
        fields = line.split(":")
        if len(fields) > 6:
            assert fields[-1] == ""
            widths.setdefault(tuple(fields[:2]), set()).add(len(fields))

    assert widths
    assert all(len(each) == 1 for each in widths.values())


@pytest.mark.parametrize("words", FOR_PROGRAMS)
@pytest.mark.parametrize("percent", ["encoded", "kept"])
def test_ragged_rows_say_the_same(cluster, run, words, percent):
    cluster.behave(percent=percent)
    run("mmcrsnapshot gpfs1 a,projects:b")
    exact = tables.rows(run(words))

    cluster.behave(rows="ragged")
    ragged = tables.rows(run(words))

    assert [each.values for each in ragged] == [each.values for each in exact]
    assert any(each.more for each in ragged) or len(ragged) == 1


def test_rows_that_are_ragged_are_shorter_and_longer_and_their_header_comes_again(cluster, run):
    cluster.behave(rows="ragged")

    lines = [line.split(":") for line in run("mmlscluster -Y").splitlines() if ":clusterNode:" in line]

    assert len({len(each) for each in lines}) > 2
    assert sum(each[2] == "HEADER" for each in lines) > 1


@pytest.mark.parametrize("listing", ["columns", "other_columns", "refused"])
@pytest.mark.parametrize("rows", ["exact", "ragged"])
@pytest.mark.parametrize("percent", ["encoded", "kept"])
def test_registrations_are_read_the_same_however_they_are_listed(cluster, listing, rows, percent):
    cluster.behave(listing=listing, rows=rows, percent=percent)

    first, second = read(Commands(answering(cluster)))

    assert (first.identifier, first.events, first.nodes) == ("site-a", ("mount", "unmount"), ("cl01", "cl02"))
    assert (first.priority, first.parms, first.sync) == (1.5, "%fsName a:b (100%)", False)
    assert (second.sync, second.timeout, second.nodes, second.priority) == (True, 30, (), None)


@pytest.mark.parametrize("switch", [{"listing": "refused"}, {"release": "4.2"}])
@pytest.mark.parametrize("words", ["mmlscallback -Y", "mmlssnapshot gpfs1 -Y"])
def test_an_old_release_refuses_rows(cluster, run, switch, words):
    cluster.behave(**switch)

    with pytest.raises(CommandFailed, match=r"no option '-Y'(.|\n)*Usage:"):
        run(words)


def test_the_nodes_are_listed_with_their_roles(cluster):
    found = members(Commands(answering(cluster)))

    assert [each.name for each in found if each.quorum] == ["nsd01", "nsd02", "nsd03"]
    assert len(found) == 12


def test_a_public_sample_is_what_the_simulator_prints(run):
    assert "mmgetstate::0:1:::nsd01:1:active:2:3:12:quorum node:(undefined):nsd01:" in run("mmgetstate -a -Y")
    assert "mmlsmgr:filesystemManager:0:1:::gpfs1:nsd01:10.0.0.1:" in run("mmlsmgr -Y")
    assert (
        run("mmlsdisk gpfs1 -Y").splitlines()[-1].startswith("mmlsdisk::0:1:::nsd4:nsd:512:2:No:Yes:ready:up:4:data:")
    )


def test_the_state_of_a_daemon_follows_joins_and_leaves(cluster, ask):
    cluster.raise_event("nodeLeave", {"eventNode": "cl03"})

    states = {each["nodeName"]: each["state"] for each in ask("mmgetstate -a -Y")}

    assert states.pop("cl03") == "down"
    assert set(states.values()) == {"active"}


def test_without_quorum_daemons_wait_and_file_systems_answer_nothing(cluster, ask, run):
    cluster.raise_event("nodeLeave", {"eventNode": "nsd01,nsd02"})

    assert {each["state"] for each in ask("mmgetstate -a -Y")} == {"arbitrating", "down"}
    for words in ("mmlsmgr -Y", "mmlsdisk gpfs1 -Y", "mmlsquota -Y", "mmlssnapshot gpfs1", "mmlsfileset gpfs1 -Y"):
        with pytest.raises(CommandFailed, match="no quorum: 1 quorum nodes are up, 2 are needed"):
            run(words)


def test_managers_move_and_are_listed(cluster, ask):
    cluster.raise_event("nodeLeave", {"eventNode": "nsd01"})

    assert values(ask("mmlsmgr -Y", "clusterManager"), "manager") == ["nsd02"]
    assert {each["filesystem"]: each["manager"] for each in ask("mmlsmgr -Y", "filesystemManager")}["gpfs1"] == "nsd02"


def test_the_attributes_of_file_systems_are_a_row_each(ask):
    rows = ask("mmlsfs all -Y")

    mounts = {each["deviceName"]: each["data"] for each in rows if each["fieldName"] == "defaultMountPoint"}
    assert mounts == {"gpfs1": "/gpfs/gpfs1", "gpfs2": "/gpfs/gpfs2"}
    assert values(ask("mmlsfs gpfs2 -T -Y"), "fieldName") == ["defaultMountPoint"]


def test_a_disk_that_fails_is_down_until_it_is_started(cluster, ask, run):
    cluster.raise_event("diskFailure", {"fsName": "gpfs1", "diskName": "nsd3,nsd4,nowhere"})

    down = [each["nsdName"] for each in ask("mmlsdisk gpfs1 -Y") if each["availability"] == "down"]
    run(["mmchdisk", "gpfs1", "start", "-d", "nsd3;nsd4"])

    assert down == ["nsd3", "nsd4"]
    assert {each["availability"] for each in ask("mmlsdisk gpfs1 -Y")} == {"up"}


def test_disks_are_stopped_suspended_and_resumed(ask, run):
    run("mmchdisk gpfs1 stop -d nsd1")
    run("mmchdisk gpfs1 suspend -d nsd2")

    states = {each["nsdName"]: (each["status"], each["availability"]) for each in ask("mmlsdisk gpfs1 -Y")}
    listed = run("mmlsdisk gpfs1 -e")
    run("mmchdisk gpfs1 start -a")
    run("mmchdisk gpfs1 resume -a")

    assert (states["nsd1"], states["nsd2"], states["nsd3"]) == (("ready", "down"), ("suspended", "up"), ("ready", "up"))
    assert "nsd2" in listed
    assert "nsd3" not in listed
    assert run("mmlsdisk gpfs1 -e") == ""


def test_a_quota_follows_its_events(cluster, ask):
    quota = {"fsName": "gpfs1", "filesetName": "projects"}
    cluster.raise_event("softQuotaExceeded", quota)
    [over] = ask("mmlsquota -j projects -Y gpfs1")
    cluster.raise_event("usageUnderSoftQuota", quota | {"blockUsage": "17"})
    [under] = ask("mmlsquota -j projects -Y gpfs1")

    assert int(over["blockUsage"]) > int(over["blockQuota"])
    assert over["blockGrace"] == "7 days"
    assert (under["blockUsage"], under["blockGrace"]) == ("17", "none")


def test_a_quota_of_a_user_is_listed_for_all_file_systems(ask):
    rows = ask("mmlsquota -u alice -Y")

    assert values(rows, "filesystemName") == ["gpfs1", "gpfs2"]
    assert set(values(rows, "quotaType")) == {"USR"}


def test_a_report_of_quotas_has_a_banner_before_each_header(run):
    lines = run("mmrepquota -Y gpfs1").splitlines()

    banners = [place for place, line in enumerate(lines) if line.startswith("*** Report for")]
    assert len(banners) == 3
    assert all(":HEADER:" in lines[place + 1] for place in banners)


def test_snapshots_are_made_listed_and_deleted(ask, run):
    made = run("mmcrsnapshot gpfs1 daily,projects:daily")
    run("mmcrsnapshot gpfs1 weekly -j projects,scratch")

    rows = ask("mmlssnapshot gpfs1 -Y")
    run("mmdelsnapshot gpfs1 projects:daily")
    run("mmdelsnapshot gpfs1 weekly -j projects")

    assert "Snapshot :daily created with id 1." in made
    names = [(each["directory"], each["fileset"], each["snapID"]) for each in rows]
    assert names == [
        ("daily", "", "1"),
        ("daily", "projects", "2"),
        ("weekly", "projects", "3"),
        ("weekly", "scratch", "4"),
    ]
    assert values(ask("mmlssnapshot gpfs1 -Y"), "snapID") == ["1", "4"]
    assert values(ask("mmlssnapshot gpfs1 -s global -Y"), "snapID") == ["1"]
    assert values(ask("mmlssnapshot gpfs1 -j scratch -Y"), "directory") == ["weekly"]
    assert ask("mmlssnapshot gpfs2 -Y") == []


@pytest.mark.parametrize(("snapshot_fileset", "fileset"), [("global", "global"), ("undefined", "UNDEFINED")])
def test_a_snapshot_raises_its_event(cluster, run, snapshot_fileset, fileset):
    cluster.behave(snapshot_fileset=snapshot_fileset)
    cluster.add_callbacks(
        CallbackState(
            identifier="s", command="/bin/echo", events=("snapshotCreated",), parms="%snapshotID %filesetName"
        )
    )

    run("mmcrsnapshot gpfs1 daily")

    assert cluster.node("nsd01").log.read_text().splitlines()[-1] == f"1 {fileset}"


def test_a_class_of_the_sites_own_is_used_in_a_registration(cluster, ask, run):
    run("mmcrnodeclass web -N cl03,cl04")
    run("mmaddcallback w --command /bin/true --event startup -N web")

    assert ask("mmlsnodeclass --user -Y") == [
        {"nodeClass": "web", "memberClasses": "", "memberNodes": "cl03,cl04", "allMembers": "cl03,cl04"}
    ]
    assert len(cluster.raise_event("startup", node="cl04")) == 2
    assert len(cluster.raise_event("startup", node="cl05")) == 1
    run("mmdelnodeclass web")
    assert ask("mmlsnodeclass --user -Y") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("mmlsfs gpfs9 -Y", "no file system 'gpfs9'(.|\n)*did you mean gpfs"),
        ("mmlsdisk gpfs1 -d nsd99", "no disk 'nsd99'"),
        ("mmlsdisk", "one device"),
        ("mmchdisk gpfs1 start", "either -a or -d is needed"),
        ("mmchdisk gpfs1 stop -a", "-a is allowed with start and resume only"),
        ("mmchdisk gpfs1 empty -a", "cannot 'empty'"),
        ("mmcrsnapshot gpfs1 a,b/c", "cannot be the name of a snapshot"),
        ("mmcrsnapshot gpfs1 nowhere:a", "no fileset 'nowhere'"),
        ("mmcrsnapshot gpfs1 a --expiration-time soon", "yyyy-mm-dd"),
        ("mmdelsnapshot gpfs1 a", "no snapshot :a"),
        ("mmlsquota -u nobody -Y", "'nobody' does not exist"),
        ("mmlsquota -u a -g b", "exclude each other"),
        ("mmlsfileset gpfs1 project", "did you mean projects"),
        ("mmlsnodeclass web", "no node class 'web'"),
        ("mmcrnodeclass all -N cl01", "cannot be a new node class"),
        ("mmgetstate -N nowhere", "no node or node class"),
    ],
)
def test_what_is_refused_is_told_with_the_usage(cluster, run, words, says):
    before = cluster.state

    with pytest.raises(CommandFailed, match=f"{words.split()[0]}: (.|\n)*{says}(.|\n)*Usage:\n{words.split()[0]}"):
        run(words)

    assert cluster.state == before


def test_a_snapshot_is_made_once(run):
    run("mmcrsnapshot gpfs1 daily")

    with pytest.raises(CommandFailed, match="has a snapshot :daily already"):
        run("mmcrsnapshot gpfs1 daily")


def test_a_command_that_the_simulator_lacks_is_told_as_missing(run):
    with pytest.raises(CommandMissing, match="the simulator has no command mmcrfs"):
        run("mmcrfs gpfs9")


@pytest.mark.parametrize("words", [each.removesuffix(" -Y").replace(" -Y ", " ") for each in FOR_PROGRAMS])
def test_each_list_has_a_form_for_people(run, words):
    if words == "mmlssnapshot gpfs1":
        run("mmcrsnapshot gpfs1 daily")

    text = run(words)

    assert text.strip()
    assert not tables.has_header(text)


def test_every_command_has_a_usage_that_begins_with_its_name():
    assert all(usage.startswith(f"{name} ") and usage.endswith("\n") for name, (_, usage) in COMMANDS.items())


def test_the_switches_have_defaults_that_are_all_documented():
    said = Behaviour.__doc__ or ""

    assert [name for name in Behaviour.model_fields if f"`{name}`" not in said] == []


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_value_that_holds_a_line_end_of_unicode_is_still_one_row(end: str) -> None:
    header = "mmlsfileset::HEADER:version:reserved:reserved:filesetName:comment:"
    forged = f"x{end}mmlsfileset::HEADER:1:::comment:filesetName:{end}mmlsfileset::0:1:::root"

    found = tables.rows(f"{header}\nmmlsfileset::0:1:::home:{forged}:\nmmlsfileset::0:1:::last::\n")

    assert [each.values["filesetName"] for each in found] == ["home", "last"]
    assert found[0].values["comment"] == f"x{end}mmlsfileset"
