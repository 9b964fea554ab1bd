"""Synthetic events are as real ones are."""

from datetime import UTC, datetime

import pytest

from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from router.model.catalogue import Catalogues
from shim.capture import record_now

CATALOGUES = Catalogues.shipped()


@pytest.mark.parametrize(
    ("name", "word"), [("NSD01.example.org", "nsd01"), ("nsd_01", "nsd-01"), ("nsd01", "nsd01"), ("", "-")]
)
def test_the_node_has_the_word_that_capture_gives_it(name, word):
    kind = CATALOGUES["gpfs"].event("diskFailure")
    registrations = Registrations(CATALOGUES)

    event = synthetic_event(kind, {}, registrations, moment=datetime.now(UTC), node=name)

    assert event.node == word
    if name:
        assert event.node == record_now("gpfs", "diskFailure", [], name.partition(".")[0]).node
