"""What `check` says of variables that may be absent from an event, or that no registration passes."""

import json

import pytest

from consumers.config import event_samples, synthetic_events
from consumers.inspection.test_runner import try_all
from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues
from router.settings.models import Settings

SHIPPED = Catalogues.shipped()


def warnings(folder, entry, settings=None):
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {{name: it, {entry}}}\n")
    report = check(file, SHIPPED, settings)
    assert report.mistakes == ()
    return [each.message for each in report.warnings]


POOL = 'run: {command: [/bin/echo, "{{ data.storagePool }}"]}'


@pytest.mark.parametrize(
    "entry",
    [
        f"on: noDiskSpace, {POOL}",
        f"on: noDiskSpace, where: 'data.fsName == \"gpfs2\"', {POOL}",
        "on: epochStarted, run: {command: [/bin/echo, '{{ data.previousEpoch }}']}",
        "on: failedJob, run: {command: [/bin/echo, '{{ data.user }}']}",
        "on: unmount, where: data.reason.contains('force'), log: {}",
    ],
)
def test_a_variable_that_may_not_apply_and_has_no_other_branch_is_warned_of(tmp_path, entry):
    [warning] = warnings(tmp_path, entry)

    assert "may not apply, and then" in warning


@pytest.mark.parametrize(
    "entry",
    [
        f"on: lowDiskSpace, {POOL}",
        f"on: noDiskSpace, where: data.storagePool != null, {POOL}",
        f"on: noDiskSpace, where: 'data.fsName == \"gpfs2\" && data.storagePool != null', {POOL}",
        f"on: noDiskSpace, guard: {{only_when: 'data.storagePool == \"data\"'}}, {POOL}",
        "on: noDiskSpace, run: {command: [/bin/echo, \"{{ data.storagePool or 'none' }}\"]}",
        "on: diskFailure, where: size(data.diskName) > 1, run: {command: [/bin/echo, '{{ data.diskName[1] }}']}",
        "on: unmount, where: 'data.reason != null && data.reason.contains(\"force\")', log: {}",
    ],
)
def test_what_a_filter_or_template_sees_to_is_not_warned_of(tmp_path, entry):
    assert warnings(tmp_path, entry) == []


def test_a_list_that_may_have_one_item_is_warned_of(tmp_path):
    [warning] = warnings(tmp_path, "on: diskFailure, run: {command: [/bin/echo, '{{ data.diskName[1] }}']}")

    assert warning.startswith("for some events of diskFailure")


@pytest.mark.parametrize(
    ("on", "variable", "at"),
    [("nodeLeave", "eventNode", 1), ("diskFailure", "diskName", 1), ("diskFailure", "diskName", 4)],
)
def test_an_item_that_only_longer_lists_have_is_warned_of_with_the_guard(tmp_path, on, variable, at):
    item, guard = f"data.{variable}[{at}]", f"size(data.{variable}) > {at} &&"

    [filters] = warnings(tmp_path, f"on: {on}, where: '{item} == \"node8\"', log: {{}}")
    [templates] = warnings(tmp_path, f"on: {on}, run: {{command: [/bin/echo, '{{{{ {item} }}}}']}}")

    assert f"{on}: some of these events do not match: index out of bounds: {at}" in filters
    assert filters.endswith(f"; if that is intended, write {guard} ...")
    assert templates.startswith(f"for some events of {on}: ")
    assert warnings(tmp_path, f"on: {on}, where: '{guard} {item} == \"node8\"', log: {{}}") == []


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("filesetLimitExceeded", "add it to gpfs.events and to gpfs.accept, because it reports the same crossing"),
        ("doneJob", "add it to qube.events; then run `clusterbus callbacks --source qube apply`"),
        ("config", "no such event comes: ccrFileChange is not registered"),
    ],
)
def test_an_event_that_no_registration_passes_is_warned_of_with_the_setting(tmp_path, on, said):
    [warning] = warnings(tmp_path, f"on: {on}, log: {{}}")

    assert said in warning
    assert warnings(tmp_path, "on: quota, log: {}") == []


def test_an_event_type_that_is_a_category_too_is_warned_of_twice(tmp_path):
    remembered = {"version": 1, "lacking": {"mount": "no such event"}}
    (tmp_path / "gpfs.json").write_text(json.dumps(remembered))
    settings = Settings.model_validate(
        {"gpfs": {"memory": tmp_path / "gpfs.json"}, "consumers": {"callbacks": tmp_path / "x"}}
    )

    first, second = warnings(tmp_path, "on: mount, log: {}", settings)

    assert "is an event type and a category" in first
    assert "this GPFS release refuses to register mount: no such event" in second


def test_settings_of_gpfs_that_are_invalid_are_a_fault_and_the_defaults_used(tmp_path):
    settings = Settings.model_validate(
        {"gpfs": {"events": ["nothingSuch"]}, "consumers": {"callbacks": tmp_path / "x"}}
    )

    assert warnings(tmp_path, "on: unmount, log: {}", settings) == []
    [fault] = check(tmp_path / "subscriptions.yaml", SHIPPED, settings).faults

    assert "`gpfs` is invalid: gpfs.events: 'nothingSuch' is neither an event nor a family" in fault.message


def test_settings_of_qube_that_are_invalid_are_a_fault_and_the_defaults_used(tmp_path):
    settings = Settings.model_validate(
        {"qube": {"events": ["nothingSuch"]}, "consumers": {"callbacks": tmp_path / "x"}}
    )

    assert warnings(tmp_path, "on: completeJob, log: {}", settings) == []
    [fault] = check(tmp_path / "subscriptions.yaml", SHIPPED, settings).faults

    assert (fault.file, fault.field) == ("settings", "qube")
    assert "`qube` is invalid: qube.events: " in fault.message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{event: unmount, at: '9999-12-31T23:59:59Z', times: 2, every: 1s}", "in the years 1970 to 8999"),
        ("{event: unmount, at: 9999-12-31T23:59:59Z}", "in the years 1970 to 8999"),
        ("{event: unmount, at: '0001-01-01T00:00:00+14:00'}", "in the years 1970 to 8999"),
        ("{event: unmount, times: 20000, every: 9999999d}", "takes longer than 3650d"),
    ],
)
def test_times_that_the_clock_of_a_test_cannot_have_are_mistakes(tmp_path, given, message):
    file = tmp_path / "subscriptions.yaml"
    tests = f"[{{given: {given}, expect: runs}}]"
    entry = f"{{name: it, on: unmount, fold: {{by: node, for: 1h}}, run: {{command: [/bin/true]}}, tests: {tests}}}"
    file.write_text(f"version: 1\nsubscriptions:\n  - {entry}\n")

    report = check(file, SHIPPED, here=False, try_tests=try_all)

    assert message in "".join(each.message for each in report.mistakes if each.field.startswith("tests"))


def test_a_memory_of_refusals_that_cannot_be_read_counts_as_none(tmp_path):
    (tmp_path / "gpfs.json").write_text("{")
    settings = Settings.model_validate(
        {"gpfs": {"memory": tmp_path / "gpfs.json"}, "consumers": {"callbacks": tmp_path / "x"}}
    )

    assert warnings(tmp_path, "on: unmount, log: {}", settings) == []


@pytest.mark.parametrize(
    ("entry", "made"),
    [
        ('on: "#", log: {}', []),
        ('on: [noDiskSpace, unmount], where: severity > "notice", log: {}', ["noDiskSpace", "unmount"]),
        (f"on: [noDiskSpace, unmount], where: data.storagePool == null, {POOL}", ["noDiskSpace", "unmount", "..."]),
    ],
)
def test_samples_are_made_only_of_what_an_expression_reads(tmp_path, monkeypatch, entry, made):
    found = []
    monkeypatch.setattr(event_samples, "sample", lambda *of: found.append(of[0].name) or synthetic_events.sample(*of))
    monkeypatch.setattr(event_samples, "variants", lambda *of: found.append("...") or synthetic_events.variants(*of))
    file = tmp_path / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - {{name: it, {entry}}}\n")

    check(file, SHIPPED)

    assert sorted(set(found)) == sorted(made)
