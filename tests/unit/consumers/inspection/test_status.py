"""The verdict of `clusterbus status`, and what Nagios reads of it."""

from datetime import timedelta

import pytest

from consumers.inspection.doctor.check_results import Finding
from consumers.inspection.status import nagios
from consumers.inspection.status.overview import Overview
from consumers.store.waiting_deliveries import WaitingDeliveries
from tests.alerts import NOON, alert_row

DOWN = Finding("broker", "error", "no answer", unreachable=True)
ERROR, WARNING, WELL = (Finding("router", each, f"it is {each}") for each in ("error", "warning", "ok"))


def overview(**fields):
    return Overview(NOON, **{"letters": 0, "findings": [WELL], **fields})


@pytest.mark.parametrize(
    ("fields", "severity", "verdict", "word", "code"),
    [
        ({}, "error", "ok", "OK", 0),
        ({"counts": {"info": 3}}, "error", "ok", "OK", 0),
        ({"counts": {"warning": 1}}, "error", "warning", "WARNING", 1),
        ({"counts": {"warning": 1}}, "warning", "error", "CRITICAL", 2),
        ({"counts": {"error": 1}}, "error", "error", "CRITICAL", 2),
        ({"counts": {"error": 1}}, "critical", "warning", "WARNING", 1),
        ({"findings": [WARNING]}, "error", "warning", "WARNING", 1),
        ({"findings": [ERROR]}, "critical", "error", "CRITICAL", 2),
        ({"paused": ["subscription a is stopped"]}, "error", "warning", "WARNING", 1),
        ({"findings": [DOWN], "unknown": ["no answer"]}, "error", "unknown", "UNKNOWN", 3),
        ({"findings": [WARNING], "unknown": ["no answer"]}, "error", "unknown", "UNKNOWN", 3),
        # What is known to be wrong is not hidden by what is not known.
        ({"counts": {"critical": 1}, "unknown": ["no answer"]}, "error", "error", "CRITICAL", 2),
    ],
)
def test_the_verdict_is_the_worst_that_is_known_and_unknown_is_never_good(fields, severity, verdict, word, code):
    seen = overview(**fields)

    text, ended = nagios.line(seen, severity)

    assert seen.verdict(severity) == verdict
    assert (text.split()[1], ended) == (word, code)


def test_a_plugin_prints_one_line_with_numbers_after_the_only_bar():
    alert = alert_row(summary="full | 99 %\nsecond line", severity="critical")
    waiting = [WaitingDeliveries("mail", 2, 1, NOON - timedelta(minutes=5))]

    text, _ = nagios.line(overview(alerts=[alert], counts={"critical": 1}, waiting=waiting, letters=4), "error")

    said, bar, numbers = text.partition("|")
    assert "\n" not in text
    assert (bar, "full / 99 %" in said) == ("|", True)
    assert numbers.split() == [
        "alerts_critical=1",
        "alerts_error=0",
        "alerts_warning=0",
        "alerts_other=0",
        "letters=4",
        "waiting=3",
        "oldest_waiting=300s",
        "errors=0",
        "warnings=0",
    ]


def test_numbers_that_are_not_known_are_left_out():
    text, _ = nagios.line(overview(letters=None, unknown=["the store cannot be read"]), "error")

    assert "alerts_" not in text
    assert "the store cannot be read" in text


def test_without_anything_the_reason_is_all_that_is_said():
    assert nagios.failure("SettingsError: a | b") == ("CLUSTERBUS UNKNOWN - SettingsError: a / b", 3)


def test_programs_read_alerts_counts_and_who_was_notified():
    row = alert_row(since=NOON - timedelta(hours=1))
    facts = overview(alerts=[row], counts={"warning": 1}, notified={row.id: {"team": "done"}}).as_dict("error")

    (alert,) = facts["alerts"]["worst"]
    assert (alert["age"], alert["notified"], facts["verdict"]) == (3600, {"team": "done"}, "warning")
    assert overview(asked_alerts=False).as_dict("error")["alerts"] is None
