"""Which alerts an event would open or close, and who would be told."""

import json
from functools import partial

import pytest

from tests.operating import invoke

FILE = """\
version: 1
subscriptions:
  - {name: page, on: alerts, where: 'severity >= "error"', log: {}}
  - {name: opened, on: alertOpened, where: data.rule != "space", log: {}}
  - {name: off, on: alerts, mode: off, log: {}}
alerts:
  - {name: space, severity: warning}
  - {name: afm-home, enabled: false}
"""
SETTINGS = """\
consumers:
  contacts: {storage-team: {urls: file:/etc/x}, on-call: {urls: file:/etc/x}}
  owners:
    - {to: on-call}
    - {file_system: gpfs1, to: storage-team}
"""


@pytest.fixture
def route(tmp_path):
    """A function that runs `clusterbus route`; returns the output."""
    (tmp_path / "subscriptions.yaml").write_text(FILE)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    call = partial(invoke, {}, "--settings", str(tmp_path / "settings.yaml"))

    def run(*words: str) -> str:
        _, said = call("route", *words, "--file", str(tmp_path / "subscriptions.yaml"))
        return said

    return run


def alerts(said: str) -> list[dict]:
    return [found["alert"] for found in map(json.loads, said.splitlines()) if "alert" in found]


def test_what_opens_says_its_rule_owner_and_who_gets_it(route):
    (found,) = alerts(route("lowDiskSpace", "fsName=gpfs1", "storagePool=data", "--json"))

    assert found["opens"]
    assert (found["rule"], found["severity"]) == ("space", "warning")
    assert found["about"] == ["fsName=gpfs1", "storagePool=data"]
    assert (found["owner"], found["owners_row"]) == ("storage-team", 2)
    assert found["receivers"] == []


def test_each_node_is_an_alert_with_what_would_suppress_it(route):
    found = alerts(route("nodeLeave", "eventNode=n1,n2", "--json"))

    assert [each["node"] for each in found] == ["n1", "n2"]
    assert found[0]["suppressors"] == ["quorum-lost", "quorum-node-down"]
    assert found[0]["receivers"] == ["page", "opened"]
    assert (found[0]["owner"], found[0]["owners_row"]) == ("on-call", 1)


def test_what_closes_goes_to_all_that_may_have_got_the_opening(route):
    (found,) = alerts(route("nodeJoin", "eventNode=n1", "--json"))

    assert not found["opens"]
    assert found["receivers"] == ["page"]


@pytest.mark.parametrize(
    ("words", "claims"),
    [
        (("nodeJoin", "eventNode=n1"), True),
        (("nodeJoin", "eventNode=n1", "--node", "n1"), False),
        (("diskFailure", "diskName=d1"), False),
        (("nodeLeave", "eventNode=n1"), False),
    ],
)
def test_an_end_that_a_second_node_has_to_report_says_so(route, words, claims):
    said = route(*words)

    assert {each["claims"] for each in alerts(route(*words, "--json"))} == {claims}
    assert ("what another node reported closes when a second one reports the end, or after 1h" in said) is claims


def test_a_rule_that_is_switched_off_opens_nothing(route):
    assert alerts(route("afmHomeDisconnected", "--json")) == []


def test_people_read_the_same(route):
    said = route("nodeLeave", "eventNode=n1")

    assert "▲ node-down  opens an alert, error" in said
    assert "about     eventNode=n1" in said
    assert "owner     on-call, by the setting consumers.owners, row 1: the rest" in said
    assert "sent to   page, opened" in said
    assert "muted     while an alert of quorum-lost or quorum-node-down is open for n1 or its cluster" in said
    assert "▽ node-down  closes the alert, if it is open" in route("nodeJoin", "eventNode=n1")


def test_a_change_of_an_alert_can_be_of_any_severity(route):
    assert "✓ page" in route("alertOpened", "--severity", "critical")
    assert "✗ page" in route("alertOpened", "--severity", "notice")
    assert "nodeLeave is always warning" in route("nodeLeave", "--severity", "critical")
