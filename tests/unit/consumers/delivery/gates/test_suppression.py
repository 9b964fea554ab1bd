"""Who does not get what another alert suppresses."""

import pytest

from consumers.delivery.gates.suppression import SuppressionGate
from consumers.delivery.states import Arrived
from consumers.verbs.notify.verb import NotifyVerb
from tests.alerts import OTHER, change
from tests.consuming import make_delivery, make_event, make_subscription
from tests.engines import START

NOTIFY = NotifyVerb(to=("team",))


def answers(event):
    admitted = Arrived(make_delivery(event)).admit_as_new("")
    return [*SuppressionGate().ask(None, [admitted], START).values()]


def test_a_suppressed_change_is_skipped_with_the_alert_that_suppresses_it():
    (skipped,) = answers(change("alertOpened", suppressedBy=OTHER))

    assert (skipped.word, skipped.reason) == (
        "suppressed",
        f"suppressed by {OTHER}: clusterbus alerts show {OTHER}",
    )


def test_what_no_alert_suppresses_passes():
    assert not answers(change("alertOpened"))
    assert not answers(make_event(suppressedBy=OTHER))


@pytest.mark.parametrize(
    ("where", "left_out"),
    [
        (None, True),
        ('alert.rule == "a"', True),
        ("data.suppressedBy != null", False),
        ("alert.suppressedBy == null", False),
    ],
)
def test_a_filter_that_asks_for_it_decides_itself(where, left_out):
    assert make_subscription("a", NOTIFY, where=where).leaves_out_suppressed is left_out
    assert not make_subscription("a", where=where).leaves_out_suppressed
