"""The tests inside subscriptions."""

import json
import textwrap

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.inspection.test_runner import try_all
from consumers.subscriptions.validation import check, load
from router.model.catalogue import Catalogues

SHIPPED = Catalogues.shipped()

DISK = """
on: diskFailure
where: data.fsName == "gpfs1"
run: {command: [/bin/echo, "{{ data.fsName }}", "{{ data.diskName | join(';') }}"]}
"""
SPACE = """
on: lowDiskSpace
run: {command: [/bin/true]}
"""


def written(folder, entry, *tests):
    text = entry.strip() + "\ntests:\n" + "\n".join(f"  - {{{each}}}" for each in tests)
    file = folder / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions:\n  - name: it\n{textwrap.indent(text, '    ')}\n")
    return file


def failing(folder, entry, *tests):
    """Return (field, message) of what fails."""
    return [
        (each.field, each.message)
        for each in check(written(folder, entry, *tests), SHIPPED, try_tests=try_all).mistakes
    ]


GOOD = "event: diskFailure, data: {fsName: gpfs1, diskName: [nsd3]}"
OTHER = "event: diskFailure, data: {fsName: gpfs2, diskName: [nsd3]}"
DASH = "event: diskFailure, data: {fsName: gpfs1, diskName: -f}"


@pytest.mark.parametrize(
    "test",
    [
        f"given: {{{GOOD}}}, expect: runs",
        f"given: {{{GOOD}}}, expect: delivered",
        f"given: {{{GOOD}}}, expect: {{effect: {{command: [/bin/echo, gpfs1, nsd3]}}}}",
        f"given: {{{GOOD}}}, expect: {{word: runs, deliveries: 1}}",
        f"given: {{{OTHER}}}, expect: not-delivered",
        f"given: {{{DASH}}}, expect: rejected",
        f"given: [{{{GOOD}}}, {{{OTHER}}}, {{{GOOD}}}], expect: {{deliveries: 2}}",
        "given: {event: diskFailure}, expect: runs",
    ],
)
def test_what_comes_as_expected_is_no_mistake(tmp_path, test):
    assert failing(tmp_path, DISK, test) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            f"given: {{{OTHER}}}, expect: runs",
            'expected runs, but the event is not delivered: where is false: data.fsName == "g',
        ),
        (
            f"given: {{{GOOD}}}, expect: not-delivered",
            'expected not-delivered, but it runs: {"command": ["/bin/echo", "',
        ),
        (f"given: {{{DASH}}}, expect: runs", "expected runs, but the delivery is rejected: "),
        (f"given: {{{GOOD}}}, expect: rejected", "expected rejected, but it runs: "),
        (
            f"given: {{{GOOD}}}, expect: notifies",
            "expect: unknown word 'notifies': write one of delivered, not-delivered, rejected, runs",
        ),
        (f"given: {{{GOOD}}}, expect: {{effect: {{command: [x]}}}}", 'but command is ["/bin/echo", "gpfs1", "nsd3"]'),
        (f"given: {{{GOOD}}}, expect: {{effect: {{comand: [x]}}}}", "but the effect has command"),
        (f"given: {{{GOOD}}}, expect: {{deliveries: 2}}", "expected 2 deliveries, got 1"),
        ("given: {event: diskFailur}, expect: runs", "given: no event type 'diskFailur'; did you mean diskFailure?"),
        ("given: {event: diskFailure, data: {fsNam: x}}, expect: runs", "no variable data.fsNam; did you mean fsName"),
    ],
)
def test_what_comes_otherwise_is_a_mistake_that_says_both(tmp_path, test, said):
    (mistake,) = failing(tmp_path, DISK, f"given: {{{GOOD}}}, expect: runs", test)

    assert mistake[0] == "tests.2"
    assert said in mistake[1]


@pytest.mark.parametrize(
    ("rule", "given", "count"),
    [
        ("fold: {by: [data.fsName], wait: 30s}", "times: 10, every: 1s", 1),
        ("fold: {by: [data.fsName], wait: 30s}", "times: 10, every: 1m", 10),
        ("fold: {wait: 30s, repeat: 4h}", "times: 10, every: 1m", 2),
        ("once_per: {interval: 1h}", "times: 10, every: 10m", 2),
        ("once_per: {interval: 1h}", "times: 10, every: 1s", 1),
        ("limit: {most: 3, per: 1m, rest: skip}", "times: 10, every: 1s", 3),
        ("limit: {most: 3, per: 1m}", "times: 10, every: 1s", 10),
        ("fold: {wait: 30s}\nlimit: {most: 1, per: 1h, rest: skip}", "times: 10, every: 1m", 1),
    ],
)
def test_folds_and_rates_decide_on_the_tests_own_clock(tmp_path, rule, given, count):
    test = f"given: {{event: lowDiskSpace, {given}}}, expect: {{deliveries: {count}}}"

    assert failing(tmp_path, SPACE + rule, test) == []


def test_a_fold_stands_for_all_its_events(tmp_path):
    entry = SPACE.replace("[/bin/true]", '[/bin/echo, "{{ fold.count }}", "{{ fold.nodes }}"]')
    given = ", ".join(f"{{event: lowDiskSpace, node: n{number}}}" for number in range(1, 5))
    test = f'given: [{given}], expect: {{deliveries: 1, effect: {{command: [/bin/echo, "4", "n[1-4]"]}}}}'

    assert failing(tmp_path, entry + "fold: {wait: 30s}", test) == []


def test_a_subscription_that_is_off_or_in_shadow_is_tested_as_if_it_were_live(tmp_path):
    for mode in ("off", "shadow"):
        assert failing(tmp_path, f"{DISK}mode: {mode}", f"given: {{{GOOD}}}, expect: runs") == []


@pytest.mark.parametrize(
    ("test", "field", "said"),
    [
        ("given: {evnt: x}, expect: runs", "tests.1.given.evnt", "did you mean event?"),
        (f"given: {{{GOOD}}}, expect: {{delivries: 1}}", "tests.1.expect.delivries", "did you mean deliveries?"),
        (f"given: {{{GOOD}}}, expects: runs", "tests.1.expects", "did you mean expect?"),
        (f"given: {{{GOOD}, at: noon}}, expect: runs", "tests.1.given.at", "is not a time"),
        (f"given: {{{GOOD}, every: 5}}, expect: runs", "tests.1.given.every", "is not a duration"),
        (f"given: {{{GOOD}}}, expect: {{}}", "tests.1.expect", "expects nothing"),
    ],
)
def test_a_test_that_is_written_wrongly_is_a_mistake_whoever_reads_it(tmp_path, test, field, said):
    mistakes = check(written(tmp_path, DISK, test), SHIPPED).mistakes

    assert [(each.field, said in each.message) for each in mistakes if each.field == field] == [(field, True)]


def test_the_consumer_does_not_run_tests_and_a_subscription_means_the_same_with_and_without(tmp_path):
    with_test = load(written(tmp_path, DISK, f"given: {{{OTHER}}}, expect: runs"), SHIPPED)
    without = load(written(tmp_path, DISK, f"given: {{{GOOD}}}, expect: runs"), SHIPPED)

    assert with_test.digest == without.digest


def test_what_this_machine_cannot_try_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    entry = DISK.replace("run: {", "run: {user: daemon, ")

    report = check(written(tmp_path, entry, f"given: {{{GOOD}}}, expect: runs"), SHIPPED, try_tests=try_all)

    assert report.mistakes == report.faults == ()
    (warning,) = [each for each in report.warnings if each.field == "tests.1"]
    assert "cannot run on this machine: only root can run a command" in warning.message


def test_the_command_check_runs_them(tmp_path):
    file = written(tmp_path, DISK, f"given: {{{OTHER}}}, expect: runs")

    done = CliRunner().invoke(app, ["check", str(file), "--json"])

    (row,) = [json.loads(line) for line in done.output.splitlines()]
    assert (done.exit_code, row["entry"], row["field"], row["line"]) == (1, "it", "tests.1", 8)
