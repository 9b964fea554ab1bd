"""Types of events for which `where` or `only_when` can never be true are left out of the checks that follow."""

import pytest

from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues

SHIPPED = Catalogues.shipped()


def checked(folder, entry):
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {{name: it, {entry}}}\n")
    return check(file, SHIPPED)


DISKS = "run: {command: [/bin/echo, \"{{ data.diskName | join(',') }}\"]}"
NAME = "'{{ data.fsName }}'"
ON_GPFS1 = "'data.fsName == \"gpfs1\"'"
FS = 'run: {command: [/bin/echo, "{{ data.fsName }}"]}'


@pytest.mark.parametrize(
    "entry",
    [
        f"on: [softQuotaExceeded, diskFailure], where: 'type == \"gpfs.diskFailure\"', {DISKS}",
        f"on: [softQuotaExceeded, diskFailure], where: 'category == \"disk\" && size(data.diskName) > 1', {DISKS}",
        f"on: [diskFailure, nodeLeave], where: has(data.fsName), {FS}",
        f"on: [diskFailure, nodeLeave], guard: {{only_when: has(data.fsName)}}, {FS}",
        f"on: [diskFailure, nodeLeave], where: has(data.fsName), guard: {{only_when: {ON_GPFS1}}}, {FS}",
        f"on: [diskFailure, nodeLeave], where: has(data.fsName), once_per: {{by: data.fsName, interval: 1h}}, {FS}",
        f"on: [diskFailure, nodeLeave], where: has(data.fsName), guard: {{only_if: [/bin/test, {NAME}]}}, {FS}",
    ],
)
def test_types_that_a_filter_excludes_are_not_checked_further(tmp_path, entry):
    report = checked(tmp_path, entry)

    assert (report.mistakes, report.faults, report.warnings) == ((), (), ())


@pytest.mark.parametrize(
    "entry",
    [
        f"on: [diskFailure, nodeLeave], where: 'node == \"n9\"', {FS}",
        f'on: [diskFailure, nodeLeave], where: \'type != "gpfs.diskFailure" || data.fsName == "gpfs9"\', {FS}',
        "on: diskFailure, where: 'data.fsName == \"gpfs9\"', run: {command: [/bin/echo, '{{ data.diskName }}']}",
        f"on: [diskFailure, nodeLeave], guard: {{only_when: 'facts.manager == \"n9\"'}}, {FS}",
    ],
)
def test_a_filter_that_is_false_for_the_values_of_the_sample_hides_no_fault(tmp_path, entry):
    assert [each.field for each in checked(tmp_path, entry).mistakes] == ["run.command.2"]


def guarded(where, only_when):
    return f"on: diskFailure, where: '{where}', guard: {{only_when: '{only_when}'}}, run: {{command: [/bin/true]}}"


@pytest.mark.parametrize(
    ("where", "only_when"),
    [
        ('data.fsName == "gpfs1"', 'data.fsName == "gpfs2"'),
        ('node in ["nsd01", "nsd02"]', 'node == "nsd03" && facts.quorum.reached'),
    ],
)
def test_an_only_when_that_excludes_all_that_where_lets_pass_is_a_mistake(tmp_path, where, only_when):
    [mistake] = checked(tmp_path, guarded(where, only_when)).mistakes

    assert mistake.field == "guard.only_when"
    assert mistake.message.startswith("is never true for an event that matches `where`")


@pytest.mark.parametrize(
    ("where", "only_when"),
    [
        ('data.fsName != "gpfs1"', 'data.fsName == "gpfs2"'),
        ("facts.quorum.reached", "!facts.quorum.reached"),
        ('facts.manager == "nsd01"', 'facts.manager == "nsd02"'),
    ],
)
def test_facts_may_change_before_only_when_is_asked(tmp_path, where, only_when):
    assert checked(tmp_path, guarded(where, only_when)).mistakes == ()
