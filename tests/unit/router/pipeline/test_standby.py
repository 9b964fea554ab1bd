"""Which router works and which stands by, as far as a router can know."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from router.pipeline.standby import activity
from router.programs.health import Activity

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("heard", "doing"),
    [
        (NOW - timedelta(seconds=119), "active"),
        (NOW - timedelta(seconds=121), "standing by, or no node sends: no record came here for two minutes"),
        (None, "standing by, or no node sends: no record came here yet"),
    ],
)
def test_what_a_router_does(heard, doing):
    router = SimpleNamespace(activity=Activity("routing", 3, 4), ingress=SimpleNamespace(heard=heard))
    assert activity(router, NOW) == Activity(doing, 3, 4)
