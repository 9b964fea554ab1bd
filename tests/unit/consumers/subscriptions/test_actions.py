"""Files of actions, and what subscriptions become that name one."""

import json

import pytest

from consumers.inspection.test_runner import try_all
from consumers.policies.guards import Guard
from consumers.subscriptions import validation
from consumers.subscriptions.actions import action_files
from consumers.subscriptions.models import Subscription
from router.model.catalogue import Catalogues
from router.settings.models import Settings

CATALOGUES = Catalogues.shipped()
ACTIONS = """\
version: 1
actions:
  - name: fix-disk
    purpose: Start disks.
    class: change
    parameters:
      fileSystem: {type: name, from: data.fsName}
      disks: {type: names, from: data.diskName}
      days: {type: integer, maximum: 10, default: 3}
    run:
      command: [/bin/echo, "{{ parameters.fileSystem }}", "{{ parameters.disks | join(';') }}", "{{ parameters.days }}"]
    guard: {at_most: {count: 2, by: data.fsName}, ask: {within: 1h}}
    retry: {attempts: 3, never_for: ["exit:64"]}
    limit: {most: 5, per: 1h}

  - name: wipe
    purpose: Wipe.
    class: destroy
    parameters:
      fileSystem: {type: name, purpose: what to wipe}
    run: {command: [/bin/echo, "{{ parameters.fileSystem }}"]}
"""


@pytest.fixture
def checked(tmp_path):
    """Give a function that checks one subscription, written as its keys, beside the actions above."""
    (tmp_path / "actions").mkdir()
    (tmp_path / "actions" / "site.yaml").write_text(ACTIONS)

    def check(keys: str, *, destroy=(), here=True, actions=ACTIONS):
        (tmp_path / "actions" / "site.yaml").write_text(actions)
        file = tmp_path / "subscriptions.yaml"
        lines = "\n    ".join(keys.splitlines())
        file.write_text(f"version: 1\nsubscriptions:\n  - name: s\n    {lines}\n")
        wanted = {"actions": [str(tmp_path / "actions")], "destroy": list(destroy), "callbacks": str(tmp_path / "none")}
        settings = Settings.model_validate({"consumers": wanted})
        return validation.check([file], CATALOGUES, settings, try_tests=try_all, here=here)

    return check


def told(found):
    return [f"{each.field}: {each.message}" for each in found]


def test_a_subscription_has_the_guards_of_its_action(checked):
    found = checked("on: diskFailure\naction: fix-disk").valid().subscriptions[0]

    assert found.guard.at_most[0].count == 2
    assert found.approval is not None
    assert found.retry.attempts == 3
    assert found.limit.most == 5


def test_what_a_subscription_sets_replaces_the_same_key_of_the_action(checked):
    keys = "on: diskFailure\naction: fix-disk\nguard: {at_most: 1}\nretry: {first: 1m}\nlimit: {most: 1, per: 2h}"
    found = checked(keys).valid().subscriptions[0]

    assert [(each.count, each.by) for each in found.guard.at_most] == [(1, ())]
    assert found.guard.ask is not None
    assert (found.retry.attempts, found.retry.never_for) == (3, ("exit:64",))
    assert (found.limit.most, str(found.limit.per)) == (1, "2:00:00")


def test_a_guard_of_an_action_reads_its_parameters(checked):
    own = 'guard: {only_if: [/usr/bin/test, "{{ parameters.fileSystem }}", "=", gpfs1]}'
    guarded = ACTIONS.replace("guard: {at_most", 'guard: {only_if: [/bin/true, "{{ parameters.days }}"], at_most')

    assert told(checked(f"on: diskFailure\naction: fix-disk\n{own}").mistakes) == []
    assert told(checked("on: diskFailure\naction: fix-disk", actions=guarded).mistakes) == []


def test_null_removes_what_an_action_sets_and_that_is_told(checked):
    report = checked("on: diskFailure\naction: fix-disk\nguard: {ask: null}\nlimit: null")

    assert report.valid().subscriptions[0].approval is None
    assert report.valid().subscriptions[0].limit is None
    assert sorted(told(report.warnings)) == [
        "guard.ask: removes what the action fix-disk sets",
        "limit: removes what the action fix-disk sets",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("action: fix-disc", "action.name: there is no action fix-disc; did you mean fix-disk?"),
        ("action: {name: fix-disk, with: {disk: a}}", "no parameter disk; did you mean disks?"),
        ("action: {name: fix-disk, with: {days: 11}}", "action.with.days: for diskFailure: 11 is not between 0 and 10"),
        ('action: {name: fix-disk, with: {fileSystem: "-a"}}', "action.with.fileSystem: for diskFailure: '-a' is not"),
        ('action: {name: fix-disk, with: {fileSystem: "{{ data.fsname }}"}}', "no variable data.fsname; did you mean"),
        ('action: {name: fix-disk, with: {fileSystem: "{{ parameters.days }}"}}', "parameters are those of an action"),
        ("action: wipe", "needs the parameter fileSystem: what to wipe"),
        ("action: fix-disk\nretry: {never_for: [unreachable]}", "unreachable"),
        ("action: {name: fix-disk, wiht: {}}", "unknown key; did you mean with?"),
        ('run: {command: [/bin/echo, "{{ parameters.x }}"]}', "parameters are those of an action: write data.x"),
        ('action: fix-disk\nguard: {only_if: [/bin/test, "{{ parameters.dsk }}"]}', "no parameter dsk"),
        ('action: fix-disk\nguard: {acts_on: "{{ parameters.fileSystem }}"}', "parameter fileSystem is no node"),
    ],
)
def test_a_mistake_in_the_use_of_an_action_is_told(checked, keys, message):
    found = told(checked(f"on: diskFailure\n{keys}").mistakes)

    assert any(message in each for each in found), found


def test_an_event_that_cannot_give_a_parameter_is_told(checked):
    found = told(checked("on: [diskFailure, nodeLeave]\naction: fix-disk").mistakes)

    assert any("action.with.disks: for nodeLeave" in each and "the event has no diskName" in each for each in found)


def test_an_action_that_destroys_makes_check_fail_until_the_settings_list_it(checked):
    keys = "on: diskFailure\naction: {name: wipe, with: {fileSystem: '{{ data.fsName }}'}}"

    refused, listed = checked(keys), checked(keys, destroy=["wipe"])

    assert refused.subscriptions is not None  # consumers serve it, and refuse each delivery
    assert any("consumers.destroy does not list it" in each for each in told(refused.faults))
    assert told(listed.faults) == []
    assert listed.valid().subscriptions[0].approval is not None


def test_tests_in_a_file_know_the_verb(checked):
    test = (
        "on: diskFailure\naction: fix-disk\ntests:\n"
        "  - given: {event: diskFailure, data: {fsName: gpfs1, diskName: 'nsd1,nsd2'}}\n"
        "    expect: {word: acts, effect: {action: fix-disk, command: [/bin/echo, gpfs1, nsd1;nsd2, '3']}}\n"
        "  - given: {event: diskFailure, data: {fsName: --force, diskName: nsd1}}\n    expect: rejected"
    )

    assert told(checked(test).mistakes) == []
    wrong = told(checked(test.replace("gpfs1, nsd1;nsd2", "gpfs2, nsd1;nsd2")).mistakes)
    assert len(wrong) == 1
    assert "command" in wrong[0]


@pytest.mark.thorough
def test_a_changed_action_changes_the_meaning_of_its_subscriptions(checked):
    keys = "on: diskFailure\naction: fix-disk"

    before = checked(keys).valid()
    after = checked(keys, actions=ACTIONS.replace("/bin/echo", "/bin/cat")).valid()

    assert before.digest != after.digest
    assert before.digest == checked(keys).valid().digest


def test_a_subscription_with_an_action_is_the_same_after_a_way_through_json(checked):
    found = checked("on: diskFailure\naction: fix-disk").valid().subscriptions[0]

    again = Subscription.model_validate(json.loads(json.dumps(found.model_dump(mode="json"))))

    assert again.meaning == found.meaning
    assert again.verb == found.verb


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("purpose: Start disks.\n    class: change", "class: change"), "fix-disk: purpose: is missing"),
        (("class: change", "class: chnage"), "class"),
        (("type: names", "type: nmes"), "parameters.disks.type"),
        (("from: data.diskName", "form: data.diskName"), "unknown key; did you mean from?"),
        (("name: wipe", "name: fix-disk"), "the name fix-disk is already used at"),
        (("{{ parameters.days }}", "{{ data.days }}"), "run.command.4: reads data.days"),
        (("version: 1", "version: 2"), "version"),
        (("actions:", "action:"), "unknown key"),
        (("attempts: 3", "attempts: 0"), "retry.attempts"),
        (("exit:64", "http:503"), "http"),
    ],
)
def test_mistakes_in_files_of_actions_have_their_lines(checked, change, message):
    report = checked("on: diskFailure\nlog: {}", actions=ACTIONS.replace(*change))

    assert report.subscriptions is None
    assert any(message in str(each) and each.line for each in report.mistakes), report.mistakes


def test_an_empty_file_of_actions_is_a_mistake_as_while_an_editor_writes_it(checked):
    report = checked("on: diskFailure\naction: disk-status", actions="# nothing\n")

    assert report.subscriptions is None
    assert any("is empty: it needs `version: 1` and `actions:`" in str(each) for each in report.mistakes)


def test_a_site_that_names_no_action_reads_none_unless_it_is_checked(checked, monkeypatch):
    read = []
    monkeypatch.setattr(action_files, "read", read.append)

    checked("on: diskFailure\nlog: {}", here=False)

    assert read == []


def test_every_shipped_action_has_no_mistake_and_a_purpose():
    found = action_files.read(Settings.model_validate({"consumers": {"actions": []}}))

    assert [*found.mistakes, *found.warnings] == []
    assert len(found.definitions) >= 12
    for each in found.definitions.values():
        assert each.action.purpose.endswith(".")
        assert each.is_shipped


def test_limits_of_shipped_actions_hold_over_all_subscriptions_and_runs_by_hand():
    shipped = action_files.read(Settings.model_validate({"consumers": {"actions": []}})).definitions.values()
    limits = [
        limit for each in shipped for limit in Guard.model_validate(each.action.defaults.get("guard", {})).at_most or ()
    ]

    assert len(limits) > 5
    assert {each.per for each in limits} == {"action"}


def test_an_action_of_the_site_wins_over_a_shipped_one(tmp_path):
    (tmp_path / "site.yaml").write_text(ACTIONS.replace("fix-disk", "start-disk"))

    found = action_files.read(Settings.model_validate({"consumers": {"actions": [str(tmp_path)]}}))

    assert found.definitions["start-disk"].action.purpose == "Start disks."
    assert not found.definitions["start-disk"].is_shipped
    assert found.definitions["resume-disk"].is_shipped


def test_a_file_that_others_can_write_is_not_read(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text(ACTIONS)
    file.chmod(0o666)

    found = action_files.read(Settings.model_validate({"consumers": {"actions": [str(tmp_path)]}}))

    assert any("is writable by other users" in each.message for each in found.mistakes)
    assert "fix-disk" not in found.definitions


def test_a_file_that_is_named_must_exist_and_the_default_folder_may_not(tmp_path):
    missing = action_files.read(Settings.model_validate({"consumers": {"actions": [str(tmp_path / "a.yaml")]}}))
    default = action_files.read(Settings())

    assert any("cannot be read" in each.message for each in missing.mistakes)
    assert list(default.mistakes) == []


def test_what_is_no_yaml_in_a_folder_of_actions_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")

    found = action_files.read(Settings.model_validate({"consumers": {"actions": [str(tmp_path)]}}))

    assert any("notes.txt" in each.file for each in found.warnings)
