"""When the facts that an expression reads were confirmed."""

from datetime import UTC, datetime, timedelta

import pytest

from consumers.alerts import fact_parts
from consumers.config.registrations import Registrations
from consumers.config.synthetic_events import synthetic_event
from consumers.expressions.filters import Filter
from router.cluster.facts.views import Known
from router.model.catalogue import Catalogues
from router.model.event_words import named

THEN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = {"cluster": 9, "states": 8, "managers": 7, "file_systems": 6, "disks/gpfs1": 5, "disks/gpfs2": 4}
KNOWN = Known(
    {"file_systems": {"gpfs1": {}, "gpfs2": {}}},
    confirmed={part: THEN + timedelta(minutes=each) for part, each in MINUTES.items()},
)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("facts.quorum.reached", 8),
        ("facts.manager == node", 7),
        ("facts.file_systems.gpfs1.manager == node", 6),
        ("size(facts.file_systems[data.fsName].down) == 0", 5),
        ("facts.file_systems.all(name, facts.file_systems[name].disks.d1.availability == 'up')", 4),
        ("facts.nodes[facts.file_systems.gpfs2.manager].state == 'active'", 6),
        ("facts.stale", 4),
        ("facts.file_systems.gpfs3.disks.d1.availability == 'up'", None),
        ("facts.file_systems[data.fsName].filesets.f1.status == 'Linked'", None),
        ("data.fsName == 'gpfs1'", None),
    ],
)
def test_the_oldest_part_that_is_read_decides(text, minutes):
    catalogues = Catalogues.shipped()
    event_type = named("lowDiskSpace", catalogues)
    event = synthetic_event(event_type, {"fsName": "gpfs1"}, Registrations(catalogues), moment=THEN)

    moment = fact_parts.confirmed(Filter(text).facts, KNOWN, event)

    assert moment == (None if minutes is None else THEN + timedelta(minutes=minutes))
