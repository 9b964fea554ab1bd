"""Rules of alerts in subscription files, and what is wrong with them."""

import json
from pathlib import Path

import pytest

from consumers.alerts import shipped_rules
from consumers.subscriptions.validation import Report, check
from router.model.catalogue import Catalogues
from router.settings.models import Contact, Settings

SHIPPED = Catalogues.shipped()
RULE = "{name: a, opens: lowDiskSpace, closes_after: 2h, by: data.fsName"


def checked(tmp_path: Path, *rules: str, **files: str) -> Report:
    content = "".join(f"  - {each}\n" for each in rules)
    (tmp_path / "subscriptions.yaml").write_text(
        f"version: 1\nalerts:\n{content}" if rules else "version: 1\nalerts: []\n"
    )
    for name, rule in files.items():
        (tmp_path / f"{name}.yaml").write_text(f"version: 1\nalerts:\n  - {rule}\n")
    contacts = {"on-call": Contact(urls=("file:/etc/x",))}
    settings = Settings().model_copy(
        update={"consumers": Settings().consumers.model_copy(update={"contacts": contacts})}
    )
    return check(tmp_path, SHIPPED, settings, here=False)


def test_shipped_rules_are_in_force_without_any_file_that_names_them(tmp_path):
    report = checked(tmp_path)

    assert report.mistakes == ()
    assert {each.name for each in report.valid().alerts} == set(shipped_rules.fields())


def test_a_rule_of_the_site_changes_what_it_writes_of_the_shipped_one(tmp_path):
    found = checked(tmp_path, "{name: deadlock, closes_after: 5m}", "{name: node-down, enabled: false}", f"{RULE}}}")
    rules = {each.name: each for each in found.valid().alerts}

    assert rules["deadlock"].opens == ("deadlockDetected",)
    assert rules["deadlock"].closes_after != shipped_rules.rules()["deadlock"].closes_after
    assert not rules["node-down"].enabled
    assert rules["a"].by == ("data.fsName",)
    assert len(rules) == len(shipped_rules.fields()) + 1


def test_rules_are_part_of_the_digest_and_their_tests_are_not(tmp_path):
    tests = "tests: [{steps: [{event: lowDiskSpace, expect: opened}]}]"
    files = (f"{RULE}}}", f"{RULE}, remind: 1h}}", f"{RULE}, {tests}}}")
    digests = [checked(tmp_path, each).valid().digest for each in files]

    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["5"], "entry 1: must be a mapping with name, opens, and closes or closes_after"),
        ([f"{RULE}, remin: 1h}}"], "a: remin: unknown key; did you mean remind?"),
        (["{name: a, opens: lowDiskSpace}"], "a: says nothing that closes it: add `closes`"),
        (["{name: node-dwn, remind: 1h}"], "node-dwn: says nothing that opens it: add `opens`; did you mean node-down"),
        (
            ["{name: node-dwn, enabled: false}"],
            "name: there is no shipped rule of this name to switch off; did you mean",
        ),
        (
            ["{name: a, opens: lowDiskSpce, closes_after: 1h}"],
            "a: opens: no event type, category or pattern 'lowDiskSpce'; did",
        ),
        (
            [f"{RULE}, opens_if: data.storagPool == 'a'}}"],
            "opens_if: no variable data.storagPool; did you mean storagePool?",
        ),
        ([f"{RULE}, opens_if: severity == 'info'}}"], "opens_if: severity == 'info' is never true"),
        (
            [f"{RULE}, closes_if: node == 'a'}}"],
            "closes_if: says which events close the alert, and `closes` names none",
        ),
        (
            ["{name: a, opens: quota, closes: usageUnderSoftQuota, by: data.fsName}"],
            "closes: usageUnderSoftQuota is in `opens` too, and such an event opens the alert: leave it out there",
        ),
        ([f"{RULE}, owner: owner}}"], "owner: the owner is who consumers.owners in the settings says: leave it out"),
        ([f"{RULE}, ask_every: 5s}}"], "ask_every: says how often facts are asked, and no `closes_when` asks them"),
        ([f"{RULE}, closes_when: node == 'a'}}"], "closes_when: reads no facts, so it never changes"),
        ([f"{RULE}, closes_when: facts.quorum.reachd}}"], "closes_when: there is no facts.quorum.reachd; did you mean"),
        (["{name: a, opens: nodeLeave, closes: nodeJoin, by: data.fsName}"], "by: nodeLeave cannot have data.fsName"),
        (
            ["{name: a, opens: lowDiskSpace, closes: nodeJoin, by: data.fsName}"],
            "nodeJoin cannot have data.fsName, so they close",
        ),
        (["{name: deadlock, by: data.fsName}"], "deadlock: by: deadlockDetected cannot have data.fsName"),
        ([f"{RULE}, severity_if: {{error: data.x > 1}}}}"], "severity_if.error: no variable data.x"),
        ([f"{RULE}, summary: '{{{{ data.fsNam }}}}'}}"], "summary: no variable data.fsNam; did you mean fsName?"),
        ([f"{RULE}, owner: on-cal}}"], "owner: no contact 'on-cal'; did you mean on-call?"),
        ([f"{RULE}, escalate: {{after: 1h, to: on-cal}}}}"], "escalate.to: no contact 'on-cal'"),
        ([f"{RULE}, suppresses: node-donw}}"], "suppresses.1: there is no rule 'node-donw'; did you mean node-down"),
        ([f"{RULE}, suppresses: [a]}}"], "suppresses.1: a rule cannot suppress itself"),
        (
            ["{name: node-silent, suppresses: node-down}"],
            "no alert of them would notify anybody: node-silent suppresses node-down suppresses node-silent",
        ),
        ([f"{RULE}}}", f"{RULE}}}"], "a: name: the name a is already used at"),
    ],
)
def test_each_mistake_has_its_place_and_a_way_out(rules, said, tmp_path):
    mistakes = [str(each) for each in checked(tmp_path, *rules).mistakes]

    assert any(said in each for each in mistakes), mistakes


def test_one_name_in_two_files_is_a_mistake(tmp_path):
    (mistake,) = checked(tmp_path, f"{RULE}}}", other=f"{RULE}}}").mistakes

    assert mistake.message.startswith("the name a is already used at ")


def test_contacts_and_the_owner_can_be_named(tmp_path):
    report = checked(tmp_path, f"{RULE}, owner: on-call, escalate: {{after: 1h, to: owner}}}}")

    assert report.mistakes == ()


@pytest.mark.parametrize(
    "rule",
    [
        "{name: a, opens: [nodeLeave, nodeJoin], opens_if: node == 'x', closes: nodeJoin, by: data.eventNode}",
        "{name: a, opens: 'gpfs.one.node.*.*.*', closes: 'gpfs.two.node.*.*.*', by: data.eventNode}",
    ],
)
def test_what_opens_in_other_cases_only_may_close(rule, tmp_path):
    assert checked(tmp_path, rule).mistakes == ()


def test_what_opens_some_alerts_is_a_warning_where_others_close_them(tmp_path):
    (warning,) = checked(
        tmp_path, "{name: a, opens: [nodeLeave, nodeJoin], closes: nodeJoin, closes_after: 1h, by: data.eventNode}"
    ).warnings

    assert "nodeJoin is in `opens` too" in str(warning)


def test_a_rule_that_is_switched_off_closes_no_circle(tmp_path):
    report = checked(tmp_path, "{name: node-silent, suppresses: node-down}", "{name: node-down, enabled: false}")

    assert report.mistakes == ()


def test_null_takes_a_field_of_a_shipped_rule_away(tmp_path):
    nothing = "closes: null, by: null, suppresses: null, severity_if: null, group: null"
    found = checked(tmp_path, f"{{name: node-down, closes_after: 1h, {nothing}}}").valid()
    rule = next(each for each in found.alerts if each.name == "node-down")

    assert (rule.closes, rule.by, rule.suppresses, rule.severity_if, rule.group) == ((), (), (), {}, None)
    assert rule.opens == ("nodeLeave",)


def test_suppressing_what_is_switched_off_is_a_warning(tmp_path):
    report = checked(tmp_path, "{name: space, enabled: false}", f"{RULE}, suppresses: space}}")

    assert [str(each) for each in report.warnings if "switched off" in each.message]
    assert report.mistakes == ()


@pytest.mark.parametrize(
    ("on", "where", "said"),
    [
        ("alerts", 'data.rule == "dsik-down"', "no rule of alerts 'dsik-down'; did you mean disk-down or node-down?"),
        (
            "alertClosed",
            'alert.rule in ["space", "robot-amr"]',
            "no rule of alerts 'robot-amr'; did you mean robot-arm?",
        ),
        ("alerts", 'data.rule != "robot-arm" && "space" == data.rule', ""),
        ("alerts", 'data.rule.startsWith("nod")', ""),
    ],
)
def test_a_filter_that_names_a_rule_that_there_is_not_is_a_warning(tmp_path, on, where, said):
    file = tmp_path / "subscriptions.yaml"
    entry = {"name": "a", "on": on, "where": where, "log": {}}
    rule = {"name": "robot-arm", "opens": "diskFailure", "closes_after": "1h"}
    file.write_text(json.dumps({"version": 1, "alerts": [rule], "subscriptions": [entry]}))

    report = check(file, SHIPPED)

    assert report.mistakes == ()
    assert [said in str(each) for each in report.warnings if "rule of alerts" in str(each)] == [True] * bool(said)


def test_an_attribute_that_is_looked_for_among_variables_is_named(tmp_path):
    (mistake,) = checked(tmp_path, f"{RULE}, opens_if: 'data.severity == \"error\"'}}").mistakes

    assert str(mistake).endswith("opens_if: no variable data.severity: write severity, which every event has")


def test_what_is_as_shipped_is_not_remarked_on(tmp_path):
    switched_off = "{name: deadlock, enabled: false}", "{name: node-down, remind: 1h}"
    report = checked(
        tmp_path, "{name: fileset-limit, remind: 1h}", "{name: soft-quota, severity: error}", *switched_off
    )

    assert report.mistakes == report.warnings == ()


def of_alerts(tmp_path: Path, where: str) -> list[str]:
    text = f"version: 1\nsubscriptions:\n  - {{name: a, on: alerts, where: '{where}', log: {{}}}}\n"
    (tmp_path / "subscriptions.yaml").write_text(text)
    return [each.message for each in check(tmp_path, SHIPPED, here=False).mistakes]


def test_filters_of_subscriptions_on_alerts_know_that_alerts_have_any_severity(tmp_path):
    assert of_alerts(tmp_path, 'severity >= "error" && data.suppressedBy == null') == []
    assert of_alerts(tmp_path, 'data.state != "closed" && severity == "info"') == []


def test_filters_of_subscriptions_on_alerts_are_checked_by_the_values_that_alerts_have(tmp_path):
    assert "data.state is one of acknowledged, closed, open" in of_alerts(tmp_path, 'data.state == "opn"')[0]
    assert "is never true" in of_alerts(tmp_path, 'severity == "fatal"')[0]


def test_owners_between_whom_nothing_decides_are_a_mistake(tmp_path):
    (tmp_path / "subscriptions.yaml").write_text("version: 1\nsubscriptions: []\n")
    owners = [{"to": "on-call", "file_system": "gpfs1"}, {"to": "storage", "file_system": ["gpfs1", "gpfs2"]}]
    contacts = {"on-call": {"urls": "file:/etc/x"}}
    settings = Settings.model_validate({"consumers": {"owners": owners, "contacts": contacts}})

    mistakes = [str(each) for each in check(tmp_path, SHIPPED, settings, here=False).mistakes]

    assert "settings: consumers.owners.2.to: no contact 'storage'; known contacts are on-call" in mistakes
    assert any(
        "consumers.owners.2: row 1 is as specific, and both match file_system gpfs1" in each for each in mistakes
    )
