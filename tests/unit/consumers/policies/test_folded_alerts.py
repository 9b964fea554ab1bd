"""What a fold keeps of more alerts than it lists: how many changes, and whom they concern."""

from datetime import UTC, datetime

import pytest

from consumers.alerts.owners import Owners
from consumers.policies.throttling import Gathered
from consumers.store import rates_and_folds
from consumers.store.database import Store
from consumers.verbs.notify.recipients import Recipients
from router.model.catalogue import Catalogues
from tests.alerts import change

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LISTED = 200
KNOWN = ["storage-team", "on-call", "archive-team"]


@pytest.fixture(scope="module")
def gathered():
    """The group of an alert more than is listed, twice, whose owner and escalation contact no other alert has."""
    found = Gathered("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", NOW)
    for number in range(LISTED):
        found = found.with_event(change("alertOpened", alert=f"alert{number}", owner="storage-team"))
    rest = {"alert": "another", "owner": "archive-team", "escalatedTo": "on-call"}
    for number in (1, 2):
        found = found.with_event(change("alertEscalated", **rest, change=number))
    return found


def recipients(*otherwise):
    return Recipients(["owner"], otherwise, Owners((), Catalogues.shipped()), KNOWN)


def test_who_is_responsible_for_the_alerts_that_are_left_out_is_notified_too(gathered):
    fold = gathered.fold

    assert (len(fold.alerts), fold.unlisted) == (LISTED, 2)
    assert [*recipients().of(change("alertOpened"), None, fold)] == ["storage-team", "archive-team", "on-call"]


def test_an_alert_that_is_left_out_and_has_no_known_owner_goes_to_those_who_stand_in(gathered):
    more = gathered.with_event(change("alertOpened", alert="nobody's")).fold

    assert [*recipients("everybody").of(change("alertOpened"), None, more)][-1] == "everybody"


def test_they_are_kept_with_the_group_and_with_the_delivery(gathered, database):
    with Store(database("store")) as store, store.writing() as transaction:
        rates_and_folds.gather(transaction, "mail", "key", gathered)
        (kept,) = rates_and_folds.gathering(transaction, "mail", ["key"]).values()

    assert kept.fold.unlisted_contacts == [["archive-team", "on-call"]]
    assert "unlisted_contacts" not in kept.fold.as_dict(), "templates do not read it"


def test_no_more_pairs_of_contacts_are_kept_than_an_event_can_write_again_and_again(gathered):
    for number in range(300):
        gathered = gathered.with_event(change("alertOpened", alert=f"more{number}", owner=f"team{number}"))

    assert len(gathered.fold.unlisted_contacts) == LISTED
