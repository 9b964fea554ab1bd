"""How full pools are and how much of their quotas filesets use, as mmdf and mmrepquota print it; by a setting."""

from consumers.expressions.facts_cache import sample
from consumers.expressions.filters import Filter
from consumers.expressions.templates import Template
from router.cluster.facts import gpfs_facts as gpfs
from router.cluster.facts.assemble import assemble
from router.cluster.facts.parts import Reading
from router.cluster.facts.usage import MOST, pools, quotas
from router.cluster.gpfs.errors import CommandFailed
from tests.consuming import make_delivery, make_event
from tests.unit.router.cluster.test_facts import AGE, NOW, answering, asked, table

# The columns are recalled, not recorded: sections of disks, pools, totals and inodes.
MMDF = (
    table(
        "mmdf",
        "nsd",
        "nsdName:storagePool:diskSize:failureGroup:metadata:data:freeBlocks:freeBlocksPct:freeFragments:",
        "disk1:system:781422592:1:Yes:No:429092864:55:152824:",
    )
    + table(
        "mmdf",
        "poolTotal",
        "poolName:poolSize:freeBlocks:freeBlocksPct:freeFragments:freeFragmentsPct:maxDiskSize:",
        "system:783308292096:380564840448:49:10024464464:1:1153081262080:",
        "data:3064453922816:94625353728:3:2041005120:0:3860104580096:",
        "empty:0:0:0:0:0:0:",
        "odd:many:-:::::",
    )
    + table("mmdf", "fsTotal", "fsSize:freeBlocks:freeBlocksPct:freeFragments:freeFragmentsPct:", "1:1:1:1:1:")
    + table("mmdf", "inode", "usedInodes:freeInodes:allocatedInodes:maxInodes:", "430741822:27191938:457933760:9:")
)
QUOTA_COLUMNS = (
    "filesystemName:quotaType:id:name:blockUsage:blockQuota:blockLimit:blockInDoubt:blockGrace:"
    "filesUsage:filesQuota:filesLimit:filesInDoubt:filesGrace:remarks:quota:defQuota:fid:filesetname:"
)
MMREPQUOTA = "*** Report for FILESET quotas on gpfs1\n" + table(
    "mmrepquota",
    "",
    QUOTA_COLUMNS,
    "gpfs1:FILESET:0:root:337419744:0:0:163840:none:1395:0:0:400:none:i:on:off:::",
    "gpfs1:FILESET:408:projects:341467872:2147483648:2147483648:0:7 days:6286:2000000:2000000:0:none:e:on:off:::",
    "gpfs1:USR:7:anna:1:2:3:0:none:1:2:3:0:none:e:on:off:::",
)
USED = 'facts.file_systems[data.fsName].pools["data"].used > 90.0'
QUOTA = "facts.file_systems[data.fsName].quotas[data.filesetName].block_usage"


def known(**changed):
    answers = gpfs.ask(answering(mmdf=MMDF, mmrepquota=MMREPQUOTA, **changed), AGE, AGE, usage=True)
    return assemble("prod", [Reading(part, each.content, NOW, NOW, each.reason) for part, each in answers.items()], AGE)


def test_pools_are_read_with_what_is_used_in_percent():
    assert pools(MMDF).content == {
        "system": {"size": 783308292096, "free": 380564840448, "used": 51.4},
        "data": {"size": 3064453922816, "free": 94625353728, "used": 96.9},
        "empty": {"size": 0, "free": 0, "used": None},
        "odd": {"size": None, "free": None, "used": None},
    }


def test_quotas_of_filesets_with_limits_are_read():
    (quota,) = quotas(MMREPQUOTA).content.items()

    assert quota == (
        "projects",
        {
            "block_usage": 341467872,
            "block_quota": 2147483648,
            "block_limit": 2147483648,
            "files_usage": 6286,
            "files_quota": 2000000,
            "files_limit": 2000000,
            "block_grace": "7 days",
            "files_grace": "none",
        },
    )


def test_of_very_many_quotas_some_are_kept_and_the_part_says_so():
    rows = (f"gpfs1:FILESET:{at}:f{at}:1:2:3:0:none:1:2:3:0:none:e:on:off:::" for at in range(MOST + 5))

    answer = quotas(table("mmrepquota", "", QUOTA_COLUMNS, *rows))

    assert len(answer.content) == MOST
    assert answer.reason == f"{MOST + 5} filesets have quotas, and the limit is {MOST}"


def test_filters_and_templates_read_both():
    event = make_event(filesetName="projects")
    facts = known().at(NOW)

    assert Filter(USED).matches(event, facts).matched
    assert Filter(QUOTA).value_of(event, facts) == 341467872
    text = "{{ facts.file_systems[data.fsName].pools['system'].used }} {{ facts.file_systems.x.pools.y.used or '?' }}"
    assert Template(text).render_text(make_delivery(event, known=facts)) == "51.4 ?"


def test_they_are_read_only_where_the_settings_say_so():
    assert not [part for part in asked() if part.startswith(("pools/", "quotas/"))]
    without = assemble("prod", [Reading(part, each.content, NOW, NOW) for part, each in asked().items()], AGE)

    assert (without.file_systems["gpfs1"].pools, without.missing) == (None, {})
    assert not Filter(USED).matches(make_event(), without.at(NOW)).matched


def test_a_command_that_fails_is_named_and_the_rest_is_known():
    answers = gpfs.ask(answering(mmdf=CommandFailed(["mmdf"], 1, "busy"), mmrepquota=MMREPQUOTA), AGE, AGE, usage=True)
    readings = [Reading(part, each.content, NOW, NOW, each.reason) for part, each in answers.items()]
    facts = assemble("prod", readings, AGE)

    assert set(facts.missing) == {"pools/gpfs1"}
    assert "busy" in facts.missing["pools/gpfs1"]
    assert facts.file_systems["gpfs1"].quotas["projects"].files_usage == 6286


def test_of_a_file_system_that_is_removed_the_usage_is_gone_too():
    answers = asked(mmlsfs="banner\n" + table("mmlsfs", "", "deviceName:fieldName:data:remarks:", "other:a:b::"))

    assert gpfs.gone(["pools/gpfs1", "quotas/gpfs1", "disks/gpfs1", "pools/other"], answers) == [
        "pools/gpfs1",
        "quotas/gpfs1",
        "disks/gpfs1",
    ]


def test_samples_for_checks_have_them():
    event = make_event(filesetName="projects")

    assert Filter(QUOTA).value_of(event, sample(event)) == 1
