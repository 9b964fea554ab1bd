"""The ids of the router's own events."""

from datetime import UTC, datetime, timedelta

import pytest

from router.model import ids
from router.model.catalogue import Catalogues
from router.pipeline.gap_detection import EpochStarted, GapOpened
from router.pipeline.reports.finding_events import finding_event
from router.pipeline.reports.finding_reports import Found, Report

CATALOGUES = Catalogues.shipped()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EPOCH = ids.new_id(NOON - MINUTE)


def id_of(finding: Found, moment: datetime = NOON, node: str = "n1", count: int = 1) -> str:
    return finding_event(Report(finding, count), "prod", node, CATALOGUES, moment).id


def test_two_routers_report_the_start_of_an_epoch_under_one_id_whenever_and_after_whatever_they_hear_of_it() -> None:
    first, second = id_of(EpochStarted(EPOCH, None)), id_of(EpochStarted(EPOCH, ids.new_id(NOON)), NOON + MINUTE)

    assert first == second
    assert ids.moment_of(first) == NOON - MINUTE


def test_the_starts_of_different_epochs_and_on_different_nodes_have_different_ids() -> None:
    other = ids.new_id(NOON - MINUTE)

    found = [
        id_of(EpochStarted(EPOCH, None)),
        id_of(EpochStarted(other, None)),
        id_of(EpochStarted(EPOCH, None), node="n2"),
    ]

    assert len(set(found)) == len(found)


@pytest.mark.parametrize("epoch", [ids.new_id(NOON + MINUTE), "7" + "Z" * 25], ids=["soon", "last"])
def test_no_id_is_of_a_moment_to_come(epoch: str) -> None:
    assert ids.moment_of(id_of(EpochStarted(epoch, None))) == NOON


@pytest.mark.parametrize(("finding", "count"), [(EpochStarted(EPOCH, None), 2), (GapOpened(EPOCH, 1, 2), 1)])
def test_other_reports_are_of_the_moment_they_were_made(finding: Found, count: int) -> None:
    found = [id_of(finding, each, count=count) for each in (NOON, NOON + MINUTE)]

    assert [ids.moment_of(each) for each in found] == [NOON, NOON + MINUTE]
