"""An event that only the site's catalogue file knows has its category, severity and typed values on the whole way."""

import json
from pathlib import Path

import pytest

from tests.flow import Flow
from tests.unit.router.settings.test_site_catalogue import GOOD


@pytest.mark.timeout(240)
def test_an_event_of_a_newer_release_is_routed_with_its_category_and_types(vhost_url: str, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(GOOD)
    flow = Flow(tmp_path, vhost_url)
    for program in (flow.router, flow.consumer):
        program._environment["CLUSTERBUS_ROUTER_CATALOGUE"] = str(tmp_path / "catalogue.yaml")

    with flow:
        flow.captured("nsd01", "tierMoved", "--fsName", "gpfs1", "--movedFiles", "12", "--movers", "n1;n2")
        (entry,) = flow.wait_audited(1)

    event = json.loads(entry.body)
    assert entry.topic == "gpfs.prod.tiering.tierMoved.gpfs1.nsd01"
    assert event["severity"] == "notice"
    assert event["data"] == {"eventName": "tierMoved", "fsName": "gpfs1", "movedFiles": 12, "movers": ["n1", "n2"]}
