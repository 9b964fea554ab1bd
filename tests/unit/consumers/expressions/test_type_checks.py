"""Conditions that are the same for every event are found, with the one that was meant."""

import pytest

from consumers.errors import FilterError
from consumers.expressions.cel_syntax.tree import source, walk
from consumers.expressions.filters import Filter
from consumers.expressions.type_checks.checker import check, domains
from consumers.expressions.type_checks.evaluation import TooLong
from consumers.expressions.type_checks.event_domains import Selected
from router.model.catalogue import Catalogues
from tests.consuming import make_event

CATALOGUES = Catalogues.shipped()


def selected(on: str) -> Selected:
    if on == "*":
        return Selected.everything(CATALOGUES)
    return Selected(CATALOGUES, tuple(kind for name in on.split() for kind in CATALOGUES.find(name)))


REFUSED = [
    (
        "diskFailure",
        'data.diskName == "nsd3"',
        'is never true: data.diskName is a list, such as ["nsd01", "nsd02"]; write "nsd3" in data.diskName',
    ),
    ("diskFailure", '"nsd3" != data.diskName', 'write !("nsd3" in data.diskName)'),
    ("nodeLeave", 'data.eventNode != "test01"', 'write !("test01" in data.eventNode)'),
    (
        "diskFailure",
        'data.diskName in ["nsd1", "nsd2"]',
        'write data.diskName.exists(each, each in ["nsd1", "nsd2"])',
    ),
    ("diskFailure", 'data.diskName.startsWith("n")', 'write data.diskName.exists(each, each.startsWith("n"))'),
    ("diskFailure", 'data.diskName.contains("nsd3")', 'write "nsd3" in data.diskName'),
    ("diskFailure", 'data.diskName["a"] == "nsd3"', "data.diskName is a list, whose items have numbers, from 0"),
    ("diskFailure", "data.diskName.exists(d, d == 5)", 'd == 5 is never true: d is a text; write d == "5"'),
    ("diskFailure", "data.diskName.all(d, d)", "d is a text, and all() takes a condition"),
    ("diskFailure", "size(data.diskName) == 0", "is never true"),
    ("softQuotaExceeded", "data.filesetName == 2", 'a text, such as "projects"; write data.filesetName == "2"'),
    ("softQuotaExceeded", "data.filesUsage % 2 == 3", "is never true: data.filesUsage % 2 is from -1 to 1"),
    ("diskFailure", "data.diskName == []", "data.diskName == [] is never true: data.diskName is a list, such as"),
    ("diskFailure", "data.diskName != []", "data.diskName != [] is true for every event"),
    ("nodeLeave", "data.eventNode != data.eventNode", "is never true: both sides are the same"),
    ("softQuotaExceeded", "data.blockUsage < data.blockUsage", "is never true: both sides are the same"),
    ("softQuotaExceeded", "data.fsName == data.fsName", "is true for every event: both sides are the same"),
    (
        "softQuotaExceeded deadlockDetected",
        "(has(data.blockUsage) || data.waiterLength == 0) && data.waiterLength == 1",
        "its parts, joined by &&, exclude each other",
    ),
    ("softQuotaExceeded", 'data.quotaType == "user"', "is one of FILESET, GRP, USR; did you mean USR?"),
    ("softQuotaExceeded", 'data.quotaType == "group"', "is one of FILESET, GRP, USR; did you mean GRP?"),
    ("softQuotaExceeded", 'data.quotaType == "usr"', 'write data.quotaType == "USR"'),
    ("softQuotaExceeded", 'data.quotaType in ["USER", "GROUP"]', "is one of FILESET, GRP, USR"),
    ("softQuotaExceeded", 'data.quotaType in ["USR", "GROUP"]', 'data.quotaType == "GROUP" is never true'),
    ("*", 'data.quotaType != "user"', "is true for every event: data.quotaType is one of FILESET, GRP, USR"),
    ("nsdCksumMismatch", 'data.ckRole == "Server"', 'write data.ckRole == "server"'),
    ("runFailed", "data.final == true", "data.final is one of no, yes"),
    ("runFailed", 'data.final == "true"', "data.final is one of no, yes"),
    ("runFailed", 'data.eventType == "diskFailure"', 'data.eventType is written "gpfs.diskFailure"'),
    ("runFailed", 'data.eventType in ["GPFS.diskFailure"]', 'data.eventType is written "gpfs.diskFailure"'),
    (
        "softQuotaExceeded",
        'data.eventName == "diskFailure"',
        "never true: data.eventName is always softQuotaExceed",
    ),
    ("softQuotaExceeded", 'data.eventName == "softQuotaExceeded"', "is true for every event"),
    ("softQuotaExceeded", 'data.eventName == "gpfs.softQuotaExceeded"', "is never true"),
    (
        "softQuotaExceeded",
        'data.blockUsage > "5"',
        "compares a whole number with a text, which always fails; write data",
    ),
    ("softQuotaExceeded", 'data.blockUsage == "5"', "is never true: data.blockUsage is a whole number"),
    ("softQuotaExceeded", "data.blockUsage != 0.5", "is true for every event: data.blockUsage is a whole number"),
    ("softQuotaExceeded", "size(data.blockUsage) > 3", "size() does not take a whole number"),
    ("softQuotaExceeded", 'data.blockUsage.startsWith("5")', 'write string(data.blockUsage).startsWith("5")'),
    ("softQuotaExceeded", "data.blockUsage > null", "is never possible with null"),
    ("softQuotaExceeded", "data.blockUsage / 0 > 1", "divides by zero"),
    (
        "softQuotaExceeded",
        "data.blockUsage * 1.1 > 5",
        "by *, which always fails; write double(data.blockUsage) * 1.1",
    ),
    (
        "softQuotaExceeded",
        "double(data.blockUsage) / data.blockQuota > 0.9",
        "write double(data.blockUsage) / double(data.blockQuota)",
    ),
    ("softQuotaExceeded", 'severity == "WARNING"', 'severity is always warning; write severity == "warning"'),
    ("softQuotaExceeded", 'severity >= "warning"', "is true for every event: severity is always warning"),
    (
        "softQuotaExceeded usageUnderSoftQuota",
        'severity > "error"',
        "is never true: severity is one of info, warning",
    ),
    ("softQuotaExceeded", 'type == "softQuotaExceeded"', 'write type == "gpfs.softQuotaExceeded"'),
    ("softQuotaExceeded mount", 'type == "gpfs.diskFailure"', "is one of gpfs.mount, gpfs.softQuotaExceeded here"),
    ("softQuotaExceeded mount", 'category == "Quota"', 'write category == "quota"'),
    ("softQuotaExceeded mount", 'source == "gpfs"', 'write source.startsWith("/gpfs/")'),
    ("softQuotaExceeded mount", 'type.startsWith("softQuota")', "is never true"),
    ("*", 'scope == "Global"', 'scope is one of global, local; write scope == "global"'),
    ("*", 'severity in ["warning", "WARNING"]', 'severity == "WARNING" is never true'),
    ("*", 'category in ["disk", "nodes"]', "did you mean node?"),
    ("*", "data.fsName in [5]", 'data.fsName is a text, such as "gpfs1"'),
    ("*", 'node == "nsd01.example.org"', 'node is a short name; write node == "nsd01"'),
    ("*", 'data.fsName == ""', "write data.fsName == null"),
    ("*", 'data.fsName == "gpfs 1"', "is never true"),
    ("*", '"x" in data', "is never true"),
    (
        "*",
        '"x" in data.fsName',
        '`in` looks into lists, which always fails; write data.fsName.contains("x")',
    ),
    ("*", 'data.fsName.matches("[")', "cannot be evaluated: '[' not a valid regex"),
    ("*", 'data.fsName.matches("(")', "cannot be evaluated: '(' not a valid regex: unclosed group, which always fails"),
    ("*", 'matches(data.fsName, "x")', 'write data.fsName.matches("x")'),
    ("*", 'timestamp(time).getHours("Europe/Berlin") >= 24', "is from 0 to 23"),
    ("*", "timestamp(time).getDayOfWeek() == 7", "is from 0 to 6"),
    ("*", "time.getHours() > 5", "write timestamp(time).getHours()"),
    ("*", 'time > timestamp("2026-01-01T00:00:00Z")', "write timestamp(time) > timestamp("),
    ("*", 'timestamp(time) > timestamp("2026-01-01")', 'write it as in timestamp("2026-01-31T18:00:00Z")'),
    ("*", 'duration("1d") > duration("1h")', 'duration("1d") cannot be read: write it as in duration("36h30m")'),
    ("*", 'specversion == "1.0"', "is true for every event"),
    ("mount", "true", "is true for every event: leave it out"),
    ("*", "node", "the filter is not true or false: node is a text"),
    ("*", 'cluster == "prod" || true', "is true for every event"),
    ("*", "!data.fsName", "data.fsName is a text, and ! takes a condition"),
    ("*", 'data.fsName && node == "a"', "is a text, and && and || join conditions"),
    ("diskFailure", 'data.fsName == "gpfs1" || data.diskName == "nsd3"', 'data.diskName == "nsd3" is never true'),
    ("diskFailure", 'data.fsName == "a" && data.fsName == "b"', "its parts, joined by &&, exclude each other"),
    ("diskFailure", 'data.fsName != "a" || data.fsName != "b"', "is true for every event"),
    ("softQuotaExceeded", "data.blockUsage > 5 && data.blockUsage < 6", "exclude each other"),
    (
        "softQuotaExceeded diskFailure",
        "data.blockUsage > size(data.diskName)",
        "no selected event can have data.block",
    ),
    ("nodeLeave", 'node == "a" ? severity == "x" : true', 'severity == "x" is never true'),
    ("nodeLeave", "facts.names[data.eventNode] == facts.manager", "write facts.names[data.eventNode[0]]"),
    ("nodeLeave", 'facts.quorum.reached == "true"', "write facts.quorum.reached == true"),
    ("nodeLeave", "facts.quorum.reached > 1", "compares a condition with a whole number"),
    ("nodeLeave", 'facts.down == "nsd01"', 'write "nsd01" in facts.down'),
    ("nodeLeave", 'facts.nodes[node].state == "Active"', 'facts.nodes[node].state is written "active"'),
    ("nodeLeave", 'facts.nodes[node].state in ["active", "Down"]', 'is written "down"'),
    ("nodeLeave", '"CES" in facts.nodes[node].roles', 'facts.nodes[node].roles is written "ces"'),
    ("nodeLeave", "facts.nodes[node].state == 1", "facts.nodes[node].state is a text"),
    ("nodeLeave", "5 in facts.nodes[node].roles", "is never true"),
    ("diskFailure", 'node == "NSD01"', 'node has only a-z, 0-9 and -; write node == "nsd01"'),
    ("*", 'node == "nsd_01"', 'write node == "nsd-01"'),
    ("*", 'node != "NSD01"', "is true for every event: node has only a-z, 0-9 and -"),
    ("*", 'node in ["NSD01", "NSD02"]', 'write node in ["nsd01", "nsd02"]'),
    ("diskFailure", 'node in ["nsd01", "NSD02"]', 'node == "NSD02" is never true'),
    ("diskFailure", 'node.startsWith("NSD")', 'write node.startsWith("nsd")'),
    ("*", 'node.contains("_")', 'write node.contains("-")'),
    ("*", 'node.endsWith(".example.org")', "node has only a-z, 0-9 and -"),
    ("nodeLeave", 'facts.manager == "nsd01.example.org"', 'write facts.manager == "nsd01"'),
    ("nodeLeave", '"nsd01.example.org" in facts.down', 'write "nsd01" in facts.down'),
    ("diskFailure", 'facts.file_systems[data.fsName].manager == "NSD01"', 'manager == "nsd01"'),
    ("nodeLeave", 'facts.names["NSD01"] == "NSD01"', 'write facts.names["NSD01"] == "nsd01"'),
    ("nodeLeave", 'facts.nodes[node].name == "NSD01"', 'write facts.nodes[node].name == "nsd01"'),
    ("nodeLeave", '"NSD01.x" in facts.node_classes["ces"]', 'write "nsd01" in facts.node_classes["ces"]'),
    ("nodeLeave", "size(facts.down) > 100", "is never true: size(facts.down) is from 0 to 100"),
    ("diskFailure", "facts.file_systems[data.fsName].down.size() > 100", "is never true"),
    ("nodeLeave", "data.eventNode == node", "write data.eventNode.exists(n, facts.names[n] == node)"),
    ("nodeLeave", "data.eventNode != node", "write !(data.eventNode.exists(n, facts.names[n] == node))"),
    ("nodeLeave", "data.eventNode.contains(node)", "write data.eventNode.exists(n, facts.names[n] == node)"),
    ("diskFailure", '"nsd1,nsd2" in data.diskName', 'write ["nsd1", "nsd2"].exists(n, n in data.diskName)'),
    ("diskFailure", 'data.diskName == "nsd1,nsd2"', 'write ["nsd1", "nsd2"].exists(n, n in data.diskName)'),
    ("diskFailure", 'data.diskName.contains("nsd1, nsd2")', 'write ["nsd1", "nsd2"].exists(n, n in data.diskName)'),
    ("diskFailure", 'data.diskName.exists(d, d == "nsd1,nsd2")', 'write d in ["nsd1", "nsd2"]'),
    ("nodeLeave", '"node7,node8" in data.eventNode', 'write ["node7", "node8"].exists(n, n in data.eventNode)'),
    (
        "*",
        'time < "18:00"',
        'never true: time is as in "2026-01-31T18:00:00.000000000Z"; write timestamp(time).getHours(',
    ),
    ("*", 'time > "06:00"', "true for every event: time is as in"),
    ("*", '"06:00" < time', 'write timestamp(time).getHours("Europe/Berlin") >= 6'),
    ("*", 'time == "2026-11-30"', 'write time.startsWith("2026-11-30")'),
    ("*", 'time != "2026-11-30"', 'write !time.startsWith("2026-11-30")'),
    ("*", 'time > "yesterday"', "is never true: time is as in"),
    ("*", 'time in ["2026-11-30"]', "is never true"),
    ("*", "sequence > 5", "write int(sequence) > 5"),
    ("*", 'sequence > "5"', "is never true"),
    ("softQuotaExceeded", "data.quotaType == 2", "is one of FILESET, GRP, USR"),
    ("softQuotaExceeded", 'data.quotaType in ["USR", 2]', "data.quotaType == 2 is never true"),
    ("softQuotaExceeded", "data.filesetName > 2", "compares a text with a whole number"),
    ("*", '(node != "a" || node != "a") && node == "a"', "its parts, joined by &&, exclude each other"),
    ("*", 'type == "diskFailure"', 'is never true: type is a text; write type == "gpfs.diskFailure"'),
    ("diskFailure", 'data.fsName in "gpfs1,gpfs2"', 'write data.fsName in ["gpfs1", "gpfs2"]'),
    (
        "softQuotaExceeded",
        "data.blockUsage > 4611686018427387904 * 1024",
        "cannot be evaluated: the result is larger than a whole number can be, which always fails",
    ),
    ("softQuotaExceeded", "data.blockUsage > 9223372036854775807", "is never true: data.blockUsage is a whole number"),
    ("softQuotaExceeded", "data.blockUsage <= 9223372036854775807", "is true for every event"),
    ("diskFailure", "size(data) > 1000", "is never true: size(data) is from 0 to "),
    ("diskFailure", '"a" in data.diskName && data.diskName == null', "data.diskName == null is never true"),
]


@pytest.mark.parametrize(("on", "text", "said"), REFUSED)
def test_a_condition_that_is_the_same_for_every_event_is_refused_with_the_one_that_was_meant(on, text, said):
    (found,) = [each.message for each in check(Filter(text), selected(on)) if not each.warning]

    assert said in found


def accepted(text, events):
    """Whether *text* is a filter that can be true: one that is always true has the right spelling at least."""
    try:
        return all(each.warning or each.is_always for each in check(Filter(text), events))
    except FilterError:
        return False


@pytest.mark.parametrize(("on", "text"), [each[:2] for each in REFUSED])
def test_what_an_error_says_to_write_is_accepted(on, text):
    parts = {source(node, text) for node, _ in walk(Filter(text).tree)}
    for each in check(Filter(text), selected(on)):
        meant = each.message.partition("; write ")[2]
        instead = [meant, *(text.replace(part, f"({meant})") for part in parts)]
        assert not meant or any(accepted(each, selected(on)) for each in instead), meant


@pytest.mark.parametrize(
    ("on", "text", "said"),
    [
        ("nodeLeave", "node in data.eventNode", "write data.eventNode.exists(n, facts.names[n] == node)"),
        (
            "nodeLeave",
            "facts.manager == data.clusterManager",
            "write facts.manager == facts.names[data.clusterManager]",
        ),
        ("nodeLeave", "data.eventNode.exists(n, n == node)", "write facts.names[n] == node"),
        ("nodeLeave", "data.eventNode.exists(n, n in facts.down)", "write facts.names[n] in facts.down"),
        ("nodeLeave", "facts.down.exists(n, n in data.eventNode)", "exists(each, facts.names[each] == n)"),
        ("nodeLeave", "node in [data.clusterManager]", "may be written in another way"),
        ("diskFailure", 'data.fsName == "/dev/gpfs1"', 'data.fsName is written without /dev/, as in "gpfs1"'),
        ("*", 'data.fsName in ["gpfs2", "/dev/gpfs1"]', 'data.fsName is written without /dev/, as in "gpfs1"'),
        (
            "softQuotaExceeded",
            "data.blockUsage / data.blockQuota > 0.9",
            "write double(data.blockUsage) / double(data.blockQuota)",
        ),
        ("softQuotaExceeded", "data.blockUsage / 1024 > 5", "write double(data.blockUsage) / 1024.0"),
        ("softQuotaExceeded", 'data.quotaType == "fileset"', 'data.quotaType is written "FILESET"'),
        ("*", 'type == "gpfs.softQuotaExceded"', "did you mean gpfs.softQuotaExceeded"),
        ("nodeLeave", 'facts.nodes[node].state == "actve"', "did you mean active?"),
        (
            "nodeLeave",
            '"Z" in facts.nodes[node].roles',
            '"Z" is no known value of facts.nodes[node].roles; known are quorum',
        ),
        ("nodeLeave", 'facts.nodes[node].roles.exists(r, r == "cess")', "did you mean ces?"),
        ("*", 'type == "gpfs.ofANewerRelease"', "is no known value of type"),
    ],
)
def test_what_may_not_be_intended_is_a_warning(on, text, said):
    found = list(check(Filter(text), selected(on)))

    assert said in " ".join(each.message for each in found if each.warning)


@pytest.mark.parametrize(
    ("on", "text"),
    [
        ("diskFailure", '"nsd3" in data.diskName && data.fsName == "gpfs1"'),
        ("diskFailure", 'data.diskName.exists(d, d.startsWith("nsd")) && size(data.diskName) > 1'),
        ("diskFailure", 'data.diskName[0] == "nsd3"'),
        ("softQuotaExceeded", "double(data.blockUsage) / double(data.blockQuota) > 0.9"),
        ("softQuotaExceeded", "has(data.blockQuota) && data.blockQuota != null && data.blockUsage > data.blockQuota"),
        ("softQuotaExceeded", "data.blockUsage > 5 && data.blockUsage < 7"),
        ("softQuotaExceeded usageUnderSoftQuota", 'severity >= "warning"'),
        ("softQuotaExceeded mount", 'type == "gpfs.mount" || data.blockUsage > 1.5'),
        ("softQuotaExceeded mount", "!has(data.blockUsage) || data.blockUsage > 1"),
        ("deadlockDetected", "data.waiterLength > 300 && data.waiterLength != 301.5"),
        ("*", 'severity >= "warning" && type.startsWith("gpfs.")'),
        ("*", 'cluster == "prod" && node.matches("^nsd[0-9]+$")'),
        ("*", 'timestamp(time).getHours("Europe/Berlin") >= 18 || timestamp(time).getDayOfWeek("Europe/Berlin") == 0'),
        ("*", 'timestamp(time) > timestamp("2026-01-01T00:00:00Z") + duration("1h")'),
        ("*", 'subject == null || subject.startsWith("gpfs1/")'),
        ("*", '"fsName" in data && data["fsName"] != "scratch"'),
        ("*", 'facts.file_systems[data.fsName].attributes.blockSize == "4194304"'),
        ("*", "data.eventNode.exists(n, facts.nodes[n].quorum) && facts.parts['states'].age < 60"),
        ("*", '(data.blockUsage == null ? 0 : data.blockUsage) > 5 || data.exists(name, name == "fsName")'),
        ("*", '{"gpfs1": 5}[data.fsName] < 9 && data.fsName + "/" + data.filesetName == subject'),
        ("*", 'source.startsWith("/gpfs/prod/") && time > "2026-11-20" && type(data.blockUsage) == int'),
        ("*", "malformed == null"),
        ("softQuotaExceeded", "data.blockUsage >= 9223372036854775807 || data.blockUsage < -9223372036854775807"),
        ("diskFailure", "size(data) > 5"),
        ("*", 'time > "2026" && time <= "2026-11-30T18:00" || time > "2026-11-30T18:00:00+01:00"'),
        ("*", 'time == "2026-11-30T18:00:00.000000000Z" || time.contains("T03:") || int(sequence) > 5'),
        ("nodeLeave", "size(facts.down) > 99 && facts.names[data.clusterManager] in facts.down"),
        ("diskFailure", '["nsd1", "nsd2"].exists(d, d in data.diskName)'),
        ("*", "true"),
        ("nodeLeave", "facts.names[data.eventNode[0]] == facts.manager"),
        ("nodeLeave", "data.eventNode.exists(n, facts.names[n] == facts.manager)"),
        ("nodeLeave", 'facts == null || facts.quorum.reached && "ces" in facts.nodes[node].roles'),
        ("nodeLeave", "facts.quorum.reached && !facts.stale && facts.age < 300"),
        ("nodeLeave", 'facts.nodes[node].state != "active" || size(facts.down) > 2'),
        ("nodeLeave", 'facts.missing["states"] == null'),
    ],
)
def test_what_can_be_true_and_false_is_accepted_without_a_word(on, text):
    assert list(check(Filter(text), selected(on))) == []


def test_values_that_on_excludes_are_the_same_for_every_event():
    kind = CATALOGUES["gpfs"].event("diskFailure")
    only = Selected(CATALOGUES, (kind,), clusters=frozenset({"prod"}), nodes=frozenset({"nsd01"}))

    for text in ('cluster == "test"', 'node == "nsd02"', 'cluster != "test"'):
        assert [each.warning for each in check(Filter(text), only)] == [False]


def test_a_blank_in_a_name_makes_no_list_of_it():
    (found,) = check(Filter('data.fsName == "gpfs 1"'), selected("diskFailure"))

    assert "; write " not in found.message


def test_the_number_of_an_event_is_read_as_advised():
    event = make_event().model_copy(update={"sequence": "000000000042"})

    assert Filter("int(sequence) > 5").matches(event).matched
    assert not Filter("int(sequence) > 42").matches(event).matched


def many(parts: int) -> Filter:
    return Filter(" || ".join(f'data.fsName == "fs{each}" && severity >= "error"' for each in range(parts)))


@pytest.mark.thorough
def test_a_long_filter_is_checked_for_all_events():
    everything = Selected.everything(CATALOGUES)

    assert domains(many(30), everything)
    assert list(check(many(30), everything)) == []


@pytest.mark.thorough
def test_a_filter_that_takes_too_many_steps_is_accepted_without_a_check():
    everything = Selected.everything(CATALOGUES)

    with pytest.raises(TooLong):
        domains(many(60), everything)
    assert list(check(many(60), everything)) == []
