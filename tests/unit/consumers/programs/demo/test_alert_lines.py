"""How the demo shows changes of alerts, and what they came to."""

from datetime import timedelta

import pytest

from consumers.programs.demo import alert_lines
from tests.alerts import ALERT, NOON, OTHER, alert_row, change

RULES = {ALERT: "soft-quota", OTHER: "node-down"}
END = "2026-11-20T12:01:05.000000Z"


@pytest.mark.parametrize(
    ("event", "title", "detail"),
    [
        (change("alertOpened", severity="error"), "alert opened", "error"),
        (change("alertOpened", suppressedBy=OTHER), "alert suppressed", "by node-down"),
        (change("alertOpened", suppressedBy="unknown"), "alert suppressed", "by unknown"),
        (change("alertRepeated", openings=4), "alert repeated", "4 times"),
        (change("alertAcknowledged", by="anna", comment="on it"), "alert acknowledged", "by anna: on it"),
        (change("alertClosed", until=END), "alert closed", "after 1 min 5 s"),
        (change("alertClosed", until=END, cause="fact"), "alert closed", "after 1 min 5 s (facts)"),
        (change("alertClosed", until=END, cause="quiet"), "alert closed", "after 1 min 5 s (quiet)"),
        (change("alertReminded"), "alert reminded", ""),
    ],
)
def test_a_change_is_shown_in_a_few_words(event, title, detail):
    assert (alert_lines.title(event), alert_lines.detail(event, RULES)) == (title, detail)


def test_an_alert_is_about_its_node_or_the_first_values():
    assert alert_lines.about(change("alertOpened", nodes="cl04")) == "cl04"
    about = ["fsName=gpfs1", "filesetName=projects", "quotaID=4"]
    assert alert_lines.about(change("alertOpened", nodes=None, about=about)) == "gpfs1/projects"


@pytest.mark.parametrize(
    ("row", "told", "knows"),
    [
        (alert_row(), [], "nobody"),
        (alert_row(by="anna"), ["page-on-call"], "anna, page-on-call"),
        (alert_row(suppressed_by=OTHER), [], "nobody, suppressed by node-down"),
    ],
)
def test_the_table_says_who_knows(row, told, knows):
    assert alert_lines.result(row, NOON, told, RULES).knows == knows


def test_an_alert_that_is_closed_was_open_until_then():
    row = alert_row(state="closed", until=NOON + timedelta(seconds=30))

    result = alert_lines.result(row, NOON + timedelta(hours=1), [], RULES)

    assert (result.seconds, result.is_open) == (30, False)
