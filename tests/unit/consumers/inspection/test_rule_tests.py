"""Tests of rules of alerts, on a clock of their own."""

from pathlib import Path

import pytest
import yaml

from consumers.inspection import rule_tests
from consumers.inspection.test_runner import try_all
from consumers.subscriptions.validation import check
from router.model.catalogue import Catalogues

SPACE = "{event: lowDiskSpace, data: {fsName: gpfs1, storagePool: data}"
DISK = "{event: diskFailure, data: {fsName: gpfs1, diskName: 'd1,d2'}"
PAGE = """\
version: 1
subscriptions:
  - name: page
    on: alerts
    where: severity >= "error"
    log: {}
    tests:
      - {given: {event: alertOpened, severity: critical}, expect: logs}
      - {given: {event: alertOpened}, expect: not-delivered}
      - {given: {event: diskFailure, severity: critical}, expect: not-delivered}
"""
UP = "facts: {file_systems: {gpfs1: {disks: {d1: {availability: up}, d2: {availability: %s}}}}}"


def failures(tmp_path: Path, rule: str, *steps: str) -> list[str]:
    entry = {**yaml.safe_load(rule), "tests": [{"steps": [yaml.safe_load(each) for each in steps]}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"version": 1, "alerts": [entry]}))
    report = check(tmp_path, Catalogues.shipped(), here=False, try_rule_tests=rule_tests.failures)
    return [f"{each.field}: {each.message}" for each in report.mistakes]


def test_an_alert_opens_repeats_and_closes_by_quiet_at_its_time(tmp_path):
    steps = (
        f"{SPACE}, expect: opened, state: open, severity: warning}}",
        f"{{after: 30m, {SPACE[1:]}, expect: repeated}}",
        "{after: 1h59m, expect: nothing, state: open}",
        "{after: 1m, expect: closed, state: closed}",
    )

    assert failures(tmp_path, "{name: space}", *steps) == []


def test_the_severity_is_that_of_the_last_opening(tmp_path):
    steps = (
        f"{SPACE}, severity: warning}}",
        "{after: 1m, event: noDiskSpace, data: {fsName: gpfs1, storagePool: data}, severity: critical}",
    )

    assert failures(tmp_path, "{name: space}", *steps) == []


def test_facts_close_what_they_say_is_over_and_nothing_that_opened_since(tmp_path):
    steps = (
        f"{DISK}, expect: [opened, opened]}}",
        f"{{after: 1m, {UP % 'down'}, expect: closed}}",
        f"{{after: 1m, {DISK[1:]}, expect: [opened, repeated]}}",
        "{after: 10m, expect: nothing}",
        f"{{after: 1m, {UP % 'up'}, expect: [closed, closed]}}",
    )

    assert failures(tmp_path, "{name: disk-down}", *steps) == []


def test_reminders_end_once_somebody_takes_care(tmp_path):
    steps = (
        f"{DISK[:-1].replace(',d2', '')}}}, expect: opened}}",
        "{after: 9h, expect: [reminded, reminded]}",
        "{act: ack, expect: acknowledged, state: acknowledged}",
        "{after: 9h, expect: nothing}",
        "{act: close, expect: closed}",
    )

    assert failures(tmp_path, "{name: disk-down}", *steps) == []


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([f"{SPACE}, expect: closed}}"], "tests.1.steps.1: expected closed, got opened"),
        ([f"{SPACE}, severity: error}}"], "tests.1.steps.1: expected the severity error, got warning"),
        (
            ["{act: ack, expect: acknowledged}"],
            "tests.1.steps.1: expected acknowledged, got nothing; no alert is open by then",
        ),
        (["{after: 1h, state: open}"], "tests.1.steps.1: expected the state open, got no alert"),
        (
            ["{event: mount, expect: opened}"],
            "tests.1.steps.1: expected opened, got nothing; the event neither opens nor closes alerts of this rule",
        ),
        (["{event: lowDiskSpce}"], "tests.1.steps.1: no event type 'lowDiskSpce'; did you mean lowDiskSpace"),
        (["{event: lowDiskSpace, data: {fsNam: x}}"], "tests.1.steps.1: no variable data.fsNam; did you mean fsName?"),
        (["{after: 4000d}"], "tests.1: takes longer than 3650d, the maximum"),
    ],
)
def test_a_failed_test_says_what_happened(steps, said, tmp_path):
    (failure,) = failures(tmp_path, "{name: space}", *steps)

    assert failure.startswith(said)


def test_changes_that_repeat_are_counted_where_a_test_fails(tmp_path):
    rule = "{name: a, opens: lowDiskSpace, closes_after: 31d, remind: 1m, escalate: {after: 2d, to: owner}}"
    steps = (f"{SPACE}, expect: opened}}", "{after: 3d, expect: reminded}")

    (failed,) = failures(tmp_path, rule, *steps)

    assert "got reminded (2879 times), escalated, reminded (" in failed
    assert len(failed) < 200


def test_a_test_in_which_too_much_is_due_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(rule_tests, "_MOST_STEPS", 2_000)
    steps = (f"{DISK[:-1].replace(',d2', '')}}}, expect: opened}}", "{after: 2d}")

    (failure,) = failures(tmp_path, "{name: disk-down, remind: 1m}", *steps)

    assert failure == "tests.1.steps.2: more than 2000 things are due in this test: let less time pass"


def test_rules_that_are_switched_off_are_not_tried(tmp_path):
    assert failures(tmp_path, "{name: space, enabled: false}", f"{SPACE}, expect: closed}}") == []


def test_tests_of_subscriptions_on_alerts_say_how_severe_they_are(tmp_path):
    (tmp_path / "page.yaml").write_text(PAGE)

    (mistake,) = check(tmp_path, Catalogues.shipped(), here=False, try_tests=try_all).mistakes

    assert mistake.message == "given: diskFailure is always error: only changes of alerts have other severities"
