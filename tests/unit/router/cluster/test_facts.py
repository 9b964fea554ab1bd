"""Facts of a cluster: read from what mm commands print, assembled from parts, kept and found again."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.cluster.facts import gather
from router.cluster.facts import gpfs_facts as gpfs
from router.cluster.facts.assemble import assemble
from router.cluster.facts.diff import differences
from router.cluster.facts.errors import FactsError
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.models import unknown
from router.cluster.facts.node_names import identities, spellings
from router.cluster.facts.parts import Answer, Reading
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed, CommandMissing
from router.errors import SettingsError
from router.settings.models import FactsSettings, Settings
from tests.extremes import TEXTS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AGE = timedelta(minutes=5)
NODE_COLUMNS = (
    "nodeNumber:daemonNodeName:ipAddress:adminNodeName:designation:otherNodeRoles:adminLoginName:otherNodeRolesAlias:"
)
STATE_COLUMNS = "nodeName:nodeNumber:state:quorum:nodesUp:totalNodes:remarks:cnfsState:daemonShortName:"
DISK_COLUMNS = "nsdName:driverType:sectorSize:failureGroup:metadata:data:status:availability:diskID:storagePool:"
FILESET_COLUMNS = "filesystemName:filesetName:id:rootInode:status:path:parentId:created:inodes:dataInKB:comment:"


def table(command, section, columns, *rows):
    head = f"{command}:{section}:HEADER:version:reserved:reserved:{columns}"
    return "\n".join([head, *(f"{command}:{section}:0:1:::{row}" for row in rows), ""])


PRINTED = {
    "mmlscluster": table("mmlscluster", "clusterSummary", "clusterName:clusterId:", "prod.site.org:4711:")
    + table(
        "mmlscluster",
        "clusterNode",
        NODE_COLUMNS,
        "1:nsd01-ib.site.org:10.1.0.1:nsd01.site.org:quorumManager:Z::perfmon:",
        "2:nsd02-ib.site.org:10.1.0.2:nsd02.site.org:quorum:G,X::gateway%2Cces:",
        "3:CL_03.site.org:10.1.0.3:CL_03.site.org:::::",
    ),
    "mmgetstate": table(
        "mmgetstate",
        "",
        STATE_COLUMNS,
        "nsd01-ib:1:active:2:2:3:quorum node:(undefined):nsd01-ib:",
        "nsd02-ib:2:down:0:0:3:quorum node:(undefined):nsd02-ib:",
        "CL_03:3:active:2:2:3::(undefined):CL_03:",
    ),
    "mmlsmgr": table("mmlsmgr", "filesystemManager", "filesystem:manager:managerIP:", "gpfs1:nsd02-ib:10.1.0.2:")
    + table("mmlsmgr", "clusterManager", "manager:", "nsd01-ib:"),
    "mmlsfs": "banner\n"
    + table(
        "mmlsfs",
        "",
        "deviceName:fieldName:data:remarks:",
        "gpfs1:defaultMountPoint:%2Fgpfs%2Fone::",
        "gpfs1:blockSize:4194304:system pool:",
        "gpfs1:blockSize:8388608:other pools:",
    ),
    "mmlsnodeclass": table(
        "mmlsnodeclass",
        "nodeClasses",
        "nodeClass:memberClasses:memberNodes:allMembers:",
        "io:web:nsd01-ib.site.org:nsd01-ib.site.org%2Cnsd02-ib.site.org:",
        "web::nsd02-ib.site.org:nsd02-ib.site.org:",
    ),
    "mmlsdisk": table(
        "mmlsdisk",
        "",
        DISK_COLUMNS,
        "disk1:nsd:512:1,0:Yes:No:ready:up:1:system:",
        "disk2:nsd:512:1:No:Yes:ready:down:43:nvme::3:2:2:1869606912:0A0A141A5AFAE386:::",
        "disk3:nsd:512:2:No:Yes:ready:up:",
    ),
    "mmlsfileset": table(
        "mmlsfileset", "", FILESET_COLUMNS, "gpfs1:root:0:3:Linked:%2Fgpfs%2Fone:--:now:9:9:root fileset:"
    ),
}


def answering(**changed):
    """Return what gives commands that print `PRINTED`, but for those *changed*: another text, or an error."""

    def run(words):
        said = {**PRINTED, **changed}.get(words[0])
        if said is None:
            raise CommandMissing(f"{words[0]} is not here")
        if isinstance(said, Exception):
            raise said
        return said

    return lambda _limit: Commands(run)


def asked(**changed):
    return gpfs.ask(answering(**changed), timedelta(seconds=1), timedelta(seconds=10))


def facts(at=NOW, age=AGE, **changed):
    readings = [Reading(part, each.content, NOW, NOW, each.reason) for part, each in asked(**changed).items()]
    return assemble("prod", readings, age)


@pytest.fixture
def store(database):
    with FactStore(database("facts")) as opened:
        yield opened


def test_what_the_commands_print_is_what_is_known():
    known = facts()

    assert known.nodes["nsd02-ib"].model_dump() == {
        "name": "nsd02-ib",
        "full_name": "nsd02-ib.site.org",
        "admin_name": "nsd02.site.org",
        "address": "10.1.0.2",
        "number": 2,
        "quorum": True,
        "manager": False,
        "roles": ("quorum", "gateway", "ces"),
        "state": "down",
    }
    assert known.manager == "nsd01-ib"
    assert known.quorum.model_dump() == {"needed": 2, "present": 1, "reached": False, "tiebreaker": False}
    file_system = known.file_systems["gpfs1"]
    assert (file_system.mount_point, file_system.manager) == ("/gpfs/one", "nsd02-ib")
    assert file_system.attributes["blockSize"] == "4194304"
    assert file_system.disks["disk2"].model_dump(include={"availability", "pool", "failure_group", "data"}) == {
        "availability": "down",
        "pool": "nvme",
        "failure_group": "1",
        "data": True,
    }
    assert file_system.filesets["root"].comment == "root fileset"
    assert known.node_classes == {"io": ("nsd01-ib", "nsd02-ib"), "web": ("nsd02-ib",)}
    assert known.missing == {}


@pytest.mark.parametrize(
    "spelling", ["nsd01-ib", "nsd01-ib.site.org", "nsd01.site.org", "nsd01", "10.1.0.1", "NSD01.site.org", "NSD01"]
)
def test_every_spelling_of_a_node_is_one_identity(spelling):
    known = facts()

    assert known.identity(spelling) == "nsd01-ib"
    assert known.at(NOW).values["nodes"][spelling]["number"] == 1


def test_an_identity_is_the_word_that_events_name_the_node_by():
    assert facts().identity("CL_03.site.org") == "cl-03"
    assert identities(["a.x.org", "a.y.org", "b.x.org"]) == ["a-x-org", "a-y-org", "b"]


def test_a_spelling_that_would_mean_two_nodes_means_none():
    names = spellings({"a": ["a.org", "admin.org"], "b": ["b.org", "admin.net"]})

    assert "admin" not in names
    assert names["admin.org"] == "a"


TWINS = table("mmlscluster", "clusterSummary", "clusterName:", "prod.a.org:") + table(
    "mmlscluster",
    "clusterNode",
    NODE_COLUMNS,
    "1:cl01.a.org:10.1.0.1:cl01.a.org:quorum::::",
    "2:cl01.b.org:10.1.0.2:cl01.b.org:::::",
    "3:cl02.b.org:10.1.0.3:cl02.b.org:::::",
)


def test_a_short_name_in_two_domains_is_neither_and_the_reason_names_both():
    known = facts(mmlscluster=TWINS)

    assert known.identity("cl01") is None
    assert known.shared_names == {"cl01": ("cl01.a.org", "cl01.b.org")}
    assert "'cl01' is cl01.a.org and cl01.b.org: use a full name" in known.at(NOW).missing
    assert facts().at(NOW).missing == ""


def test_a_row_that_is_too_short_has_nulls_and_one_that_is_too_long_loses_nothing():
    disks = facts().file_systems["gpfs1"].disks

    assert (disks["disk3"].availability, disks["disk3"].pool) == ("up", None)
    assert len(disks) == 3


@pytest.mark.parametrize(
    ("command", "said", "part", "reason"),
    [
        ("mmlsdisk", None, "disks/gpfs1", "mmlsdisk is not here"),
        ("mmlsdisk", CommandFailed(["mmlsdisk"], None, ""), "disks/gpfs1", "did not finish in time"),
        ("mmlsdisk", "no such thing", "disks/gpfs1", "it printed no table: no such thing"),
        ("mmlsdisk", table("mmlsdisk", "", "disk:status:", "a:ready:"), "disks/gpfs1", "no column nsdName, avail"),
        ("mmlsfileset", RuntimeError("odd"), "filesets/gpfs1", "RuntimeError: odd"),
        ("mmlsmgr", CommandFailed(["mmlsmgr"], 1, "busy"), "managers", "mmlsmgr: ended with 1: busy"),
        ("mmlsnodeclass", CommandFailed(["mmlsnodeclass"], 1, "what"), "node_classes", "what"),
        ("mmlsnodeclass", "no such option", "node_classes", "printed no table: no such option"),
        (
            "mmlsnodeclass",
            table("mmlsnodeclass", "", "nodeClass:members:", "io:n1:"),
            "node_classes",
            "neither allMembers nor memberNodes; its columns are nodeClass, members",
        ),
        ("mmlsnodeclass", table("mmlsnodeclass", "", "class:allMembers:", "io:n1:"), "node_classes", "no column nodeC"),
        (
            "mmlsmgr",
            table("mmlsmgr", "clusterManager", "manager:", "n1:")
            + table("mmlsmgr", "filesystemManager", "fs:manager:", "gpfs1:n1:"),
            "managers",
            "no column filesystem; its columns are fs, manager",
        ),
    ],
)
def test_a_command_that_fails_leaves_its_part_null_and_says_why(command, said, part, reason):
    known = facts(**{command: said})

    assert reason in known.missing[part]
    assert set(known.missing) == {part}
    assert known.nodes["nsd01-ib"].state == "active"


def test_nodes_and_file_systems_are_known_as_far_as_other_commands_tell():
    known = facts(mmlscluster=None, mmlsfs=None)

    assert known.nodes["nsd02-ib"].model_dump(include={"state", "quorum", "address"}) == {
        "state": "down",
        "quorum": True,
        "address": None,
    }
    assert known.file_systems["gpfs1"].manager == "nsd02-ib"
    assert known.file_systems["gpfs1"].mount_point is None
    assert known.file_systems["gpfs1"].disks["disk1"].availability == "up"
    assert set(known.missing) == {"cluster", "file_systems"}


def test_states_count_though_mmgetstate_failed_for_one_node():
    answers = asked(mmgetstate=CommandFailed(["mmgetstate"], 1, "nsd02 not reached", PRINTED["mmgetstate"]))

    assert answers["states"].content["nodes"]["1"]["state"] == "active"
    assert "nsd02 not reached" in answers["states"].reason


def test_quorum_is_reached_with_tiebreaker_disks_by_one_node():
    one = table("mmgetstate", "", STATE_COLUMNS, "nsd01-ib:1:active:1*:1:3:quorum node:::", "nsd02-ib:2:down:0:0:3::::")

    assert facts(mmgetstate=one).quorum.model_dump() == {
        "needed": 1,
        "present": 1,
        "reached": True,
        "tiebreaker": True,
    }


CUT = table("mmlscluster", "clusterSummary", "clusterName:clusterId:", "prod.site.org:4711:") + table(
    "mmlscluster",
    "clusterNode",
    NODE_COLUMNS,
    "1:nsd01-ib.site.org:10.1.0.1:nsd01.site.org:quorumManager:::",
    "2:nsd02-ib.site.org:10.1.0.2:nsd02.site.org:",
    "3:CL_03.site.org:10.1.0.3:CL_03.site.org::::",
)


def test_a_row_that_ends_before_the_roles_leaves_them_unknown_but_for_what_others_tell():
    silent = PRINTED["mmgetstate"].replace("quorum node", "").replace("nsd02-ib:2:down", "nsd02-ib:2:active")

    by_remarks, unknown = facts(mmlscluster=CUT), facts(mmlscluster=CUT, mmgetstate=silent)

    assert by_remarks.nodes["nsd02-ib"].model_dump(include={"quorum", "manager", "roles"}) == {
        "quorum": True,
        "manager": None,
        "roles": None,
    }
    assert by_remarks.quorum.reached is False
    assert (unknown.nodes["nsd02-ib"].quorum, unknown.nodes["cl-03"].quorum) == (None, False)
    assert (unknown.quorum.present, unknown.quorum.reached) == (1, None)


def classes(columns, *rows):
    return facts(mmlsnodeclass=table("mmlsnodeclass", "", columns, *rows)).node_classes


def test_a_node_class_has_all_members_or_those_of_its_nodes_and_classes():
    by_nodes = classes("memberClasses:x:nodeClassName:memberNodes:", "b::a:n1:", "a::b:n2%2Cn1:", "::empty::")

    assert classes("allMembers:nodeClass:", "n1,n2:io:") == {"io": ("n1", "n2")}
    assert by_nodes == {"a": ("n1", "n2"), "b": ("n2", "n1"), "empty": ()}


def test_a_class_in_several_rows_has_the_nodes_of_all_and_other_sections_are_left_alone():
    rows = classes("nodeClass:allMembers:", "io:n1:", "io:n2,n1:")
    more = PRINTED["mmlsdisk"] + table("mmlsdisk", "quorum", "numQuorumDisks:readQuorumValue:", "3:2:")

    assert rows == {"io": ("n1", "n2")}
    assert facts(mmlsdisk=more).file_systems == facts().file_systems


def test_a_class_with_members_that_are_not_listed_is_left_out_stale_and_with_the_reason():
    odd = table("mmlsnodeclass", "", "nodeClass:memberClasses:memberNodes:", "io:nsdNodes:n1:", "web::n2:")
    known = facts(mmlsnodeclass=odd)

    part = known.at(NOW).values["parts"]["node_classes"]
    assert known.node_classes == {"web": ("n2",)}
    assert part["stale"] is True
    assert part["reason"] == "mmlsnodeclass --user -Y: class io contains class nsdNodes, whose nodes are not listed"


def nodes_of(columns, *rows):
    return facts(mmlscluster=table("mmlscluster", "clusterNode", columns, *rows))


@pytest.mark.parametrize(
    ("letters", "names", "roles"),
    [
        ("Z", "perfmon", ("perfmon",)),
        ("X,Z", "ces,perfmon", ("ces", "perfmon")),
        ("X Z", "", ("ces", "perfmon")),
        ("?", "something_new", ("something_new",)),
        ("", "", ()),
        ("-", "(undefined)", ()),
    ],
)
def test_roles_are_the_names_of_the_alias_or_of_the_letters(letters, names, roles):
    columns = "daemonNodeName:nodeNumber:designation:otherNodeRolesAlias:otherNodeRoles:"

    known = nodes_of(columns, f"n1:1::{names.replace(',', '%2C')}:{letters}:")

    assert known.nodes["n1"].roles == roles
    assert known.at(NOW).values["stale"] is False


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (
            "daemonNodeName:nodeNumber:designation:otherNodeRoles:",
            "n1:1:quorum:Z,%C3%9F:",
            "otherNodeRoles has ß, and otherNodeRolesAlias does not name it",
        ),
        ("daemonNodeName:nodeNumber:designation:", "n1:1:quorum:", "neither otherNodeRolesAlias nor otherNodeRoles"),
        ("daemonNodeName:nodeNumber:designation:otherNodeRoles:", "n1:1:", "the row of n1 ends before its roles"),
    ],
)
def test_roles_that_are_not_understood_are_unknown_and_the_part_is_stale_with_the_reason(columns, row, reason):
    known = nodes_of(columns, row)

    part = known.at(NOW).values["parts"]["cluster"]
    assert known.nodes["n1"].roles is None
    assert part["stale"] is True
    assert reason in part["reason"]


def parsed(text):
    """Return the columns of each table in *text*, and its rows, by command and section."""
    tables = {}
    for line in text.splitlines():
        if ":" not in line:
            continue
        command, section, word, *rest = line.split(":")
        headers, found = tables.setdefault((command, section), ([], []))
        (headers if word == "HEADER" else found).append(rest[3:-1])
    return tables


@st.composite
def permuted(draw, text):
    """Return *text* with the columns of each table in another order, unknown ones among them, and repeated headers."""
    lines = []
    for (command, section), (headers, found) in parsed(text).items():
        columns = headers[0]
        others = draw(st.lists(st.sampled_from(["reserved", "newColumn", "zz"]), max_size=3))
        order = draw(st.permutations(range(len(columns) + len(others))))
        named = [*columns, *others]
        header = f"{command}:{section}:HEADER:version:reserved:reserved:{':'.join(named[at] for at in order)}:"
        lines.append(header)
        for row in found:
            if draw(st.booleans()):
                lines.append(header)
            # Some rows are longer than their header.
            cells = [*row[: len(columns)], *[""] * (len(columns) - len(row)), *("1%3A2" for _ in others)]
            lines.append(f"{command}:{section}:0:1:::{':'.join(cells[at] for at in order)}:")
    return "".join(f"{each}\n" for each in lines)


@pytest.mark.thorough
@given(st.data())
def test_facts_are_the_same_whatever_the_order_of_columns(data):
    printed = {command: data.draw(permuted(text), command) for command, text in PRINTED.items()}

    assert facts(**printed).model_dump() == facts().model_dump()


CELLS = st.lists(
    st.one_of(
        TEXTS.map(lambda text: quote(text, errors="replace")),
        st.sampled_from(["", "-", "%ZZ", "9" * 300, "9" * 300 + "*", "nsd01-ib", "@all", "n[1-99999999]"]),
    ),
    max_size=12,
)


@pytest.mark.thorough
@settings(max_examples=max(25, settings().max_examples // 4), suppress_health_check=list(HealthCheck))
@given(CELLS, st.booleans())
def test_a_row_of_any_values_hides_none_of_the_others_and_can_be_stored(tmp_path, cells, is_first):
    added = {}
    for command, text in PRINTED.items():
        lines = text.splitlines()
        for name, section in parsed(text):
            at = next(at for at, line in enumerate(lines) if line.startswith(f"{name}:{section}:HEADER:"))
            lines.insert(at + 1 if is_first else len(lines), f"{name}:{section}:0:1:::{':'.join(cells)}:")
        added[command] = "\n".join([*lines, ""])

    with FactStore(f"sqlite:///{tmp_path / 'facts.db'}") as store:
        store.write("prod", asked(**added), NOW)
        found = assemble("prod", store.known("prod"), AGE)

    assert {"nsd01-ib", "nsd02-ib"} <= found.nodes.keys()
    assert found.file_systems["gpfs1"].attributes["blockSize"] == "4194304"
    assert found.nodes["nsd02-ib"].state == "down"


def test_time_and_number_of_commands_are_bounded():
    moments = iter(range(1000))
    many = table("mmlsfs", "", "deviceName:fieldName:data:", *(f"fs{each}:inodeSize:4096:" for each in range(70)))

    late = gpfs.ask(answering(mmlsfs=many), timedelta(seconds=9), timedelta(seconds=20), lambda: next(moments))
    whole = asked(mmlsfs=many)

    assert "the other commands used up" in late["disks/fs69"].reason or "the limit is 64" in late["disks/fs69"].reason
    assert "the other commands used up" in late["disks/fs63"].reason
    assert whole["disks/fs63"].content is not None
    assert "there are 70 file systems, and the limit is 64" in whole["disks/fs64"].reason


def test_a_file_system_that_is_named_like_an_option_is_not_asked_about():
    odd = table("mmlsfs", "", "deviceName:fieldName:data:", "-Y:inodeSize:4096:")

    assert not [part for part in asked(mmlsfs=odd) if part.startswith("disks/")]


def test_facts_have_an_age_and_are_stale_past_their_limit():
    known = facts()

    fresh, old = known.at(NOW + timedelta(seconds=30)).values, known.at(NOW + timedelta(minutes=6)).values

    assert (fresh["age"], fresh["stale"]) == (30.0, False)
    assert (old["age"], old["stale"]) == (360.0, True)
    assert old["parts"]["states"] == {"age": 360.0, "stale": True, "reason": None}


def test_what_is_not_known_is_null_at_any_depth_to_templates():
    nothing = unknown("never read").for_templates()

    assert nothing["quorum"]["reached"] is None
    assert nothing["nodes"]["nsd99"]["address"] is None
    assert nothing["file_systems"]["x"]["mount_point"] is None
    assert facts().at(NOW).values["nodes"]["nsd99"]["address"] is None


def test_a_row_is_written_only_when_a_part_changed(store):
    for minute in range(3):
        store.write("prod", asked(), NOW + timedelta(minutes=minute))

    changes = store.history("prod", "states")

    assert [(each.moment, each.until) for each in changes] == [(NOW, NOW + timedelta(minutes=2))]
    assert {each.confirmed for each in store.known("prod")} == {NOW + timedelta(minutes=2)}


def test_what_was_known_at_a_moment_can_be_read_again(store):
    later = NOW + timedelta(minutes=10)
    store.write("prod", asked(), NOW)
    store.write("prod", asked(mmgetstate=PRINTED["mmgetstate"].replace("down", "active")), later)

    then = assemble("prod", store.known("prod", later - timedelta(seconds=1)), AGE)
    now = assemble("prod", store.known("prod"), AGE)

    assert (then.quorum.reached, now.quorum.reached) == (False, True)
    assert store.known("prod", NOW - timedelta(seconds=1)) == []
    before, after = store.history("prod", "states")[1].before, store.history("prod", "states")[1].content
    assert differences(before, after) == [("nodes.nsd02-ib.state", "down", "active")]


def test_a_part_that_fails_keeps_its_last_value_stale_with_the_reason(store):
    store.write("prod", asked(), NOW)
    store.write("prod", asked(mmlsdisk=None), NOW + timedelta(seconds=60))

    failing = assemble("prod", store.known("prod"), AGE)
    before = assemble("prod", store.known("prod", NOW + timedelta(seconds=30)), AGE)
    values = failing.at(NOW + timedelta(seconds=90)).values

    assert failing.file_systems["gpfs1"].disks["disk1"].availability == "up"
    assert values["parts"]["disks/gpfs1"] == {"age": 90.0, "stale": True, "reason": "mmlsdisk is not here"}
    assert values["parts"]["states"]["stale"] is False
    assert values["stale"] is True
    assert before.at(NOW + timedelta(seconds=30)).values["stale"] is False


def test_a_part_that_is_read_again_fails_no_more_and_its_failure_is_history(store):
    store.write("prod", asked(mmlsdisk=None), NOW)
    store.write("prod", asked(mmlsdisk=None), NOW + timedelta(seconds=60))
    store.write("prod", asked(), NOW + timedelta(seconds=120))
    store.write("prod", asked(mmlsdisk=None), NOW + timedelta(seconds=180))

    failures = [(each.moment, each.until) for each in store.history("prod", "disks/gpfs1") if each.reason]

    seconds = [[int((moment - NOW).total_seconds()) for moment in each] for each in failures]
    assert seconds == [[0, 60], [180, 180]]


def test_a_file_system_that_is_removed_is_gone_and_was_there(store):
    settings = Settings(facts=FactsSettings(cluster="prod"))
    gather.find(store, settings, NOW, answering())
    other = PRINTED["mmlsfs"].replace("gpfs1", "gpfs2")

    found = gather.find(store, settings, NOW + timedelta(minutes=1), answering(mmlsfs=other))

    assert sorted(found.gone) == ["disks/gpfs1", "filesets/gpfs1"]
    assert list(assemble("prod", store.known("prod"), AGE).file_systems) == ["gpfs2"]
    assert not [each.part for each in store.known("prod") if each.part.endswith("/gpfs1")]
    assert [each.part for each in store.known("prod", NOW) if each.part.endswith("/gpfs1")]


def test_what_is_old_is_forgotten_and_what_is_known_stays(store):
    for day in range(4):
        state = PRINTED["mmgetstate"].replace("down", f"state{day}")
        store.write("prod", asked(mmgetstate=state), NOW + timedelta(days=day))

    store.forget(NOW + timedelta(days=2))

    assert len(store.history("prod", "states")) == 2
    assert len(store.history("prod", "cluster")) == 1


def test_the_clusters_word_is_the_first_label_of_its_name_or_the_settings(store):
    found = gather.find(store, Settings(), NOW, answering())
    set_ = gather.find(store, Settings(facts=FactsSettings(cluster="other")), NOW, answering())

    assert (found.cluster, set_.cluster) == ("prod", "other")


def test_facts_of_nobody_knows_whom_are_refused_with_the_way_out(store):
    with pytest.raises(FactsError, match="the name of the cluster is not known"):
        gather.find(store, Settings(), NOW, answering(mmlscluster=None))


def test_hostile_values_are_kept_as_text(store):
    odd = table("mmlsfileset", "", FILESET_COLUMNS, "gpfs1:__class__:0:3:Linked:%FF%00%0A:::::%7B%7B x %7D%7D:")
    store.write("prod", asked(mmlsfileset=odd), NOW)

    fileset = assemble("prod", store.known("prod"), AGE).file_systems["gpfs1"].filesets["__class__"]

    assert (fileset.path, fileset.comment) == ("%FF\ufffd\n", "{{ x }}")


def test_a_store_of_another_version_is_refused(database):
    url = database("facts")
    with FactStore(url) as store, store.writing() as transaction:
        transaction.exec_driver_sql("UPDATE facts_alembic_version SET version_num = '99'")

    with pytest.raises(FactsError, match="is of version 99, this release reads version 2"):
        FactStore(url)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name"])
def test_a_store_that_is_none_is_refused(url):
    with pytest.raises(SettingsError, match="sqlite:"):
        FactStore(url)


def test_to_look_makes_no_store(tmp_path):
    assert FactStore.if_there(f"sqlite:///{tmp_path / 'facts.db'}") is None
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_says_nothing_is_no_part(store):
    store.write("prod", {"disks/x": Answer(None)}, NOW)

    assert store.known("prod") == []
