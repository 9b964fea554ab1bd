"""The verb `alert`: what may be written, and what each system gets."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.errors import Rejected
from consumers.subscriptions import validation
from consumers.verbs.alert import alertmanager, opsgenie, pagerduty
from consumers.verbs.alert.alert_change import AlertChange
from consumers.verbs.alert.receiver_options import OpsgenieOptions
from consumers.verbs.alert.remote_states import act_of
from consumers.verbs.alert.verb import AlertVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.alerts import ALERT, change
from tests.consuming import make_event

CATALOGUES = Catalogues.shipped()
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def of(name, **fields):
    return AlertChange.of(change(name, **fields))


def postable(alert, now=NOW):
    return alertmanager.postable(alert, now, MINUTE, "", ({}, {}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "says no receiver"),
        ({"alertmanager": []}, "says no receiver"),
        ({"alertmanager": "https://a.example.com", "url": "https://b.example.com"}, "has alertmanager and url"),
        ({"alertmanager": "https://u:hunter22@a.example.com"}, "contains a user or password"),
        ({"alertmanager": ["https://a.example.com"] * 2}, "twice"),
        ({"pagerduty": "hunter22"}, "is not a reference to a secret"),
        ({"pagerduty": {"key": "env:A", "region": "mars"}}, "'us' or 'eu'"),
        ({"opsgenie": {"key": "env:A", "responders": ["storage"]}}, "write team:NAME or user:NAME"),
        ({"opsgenie": {"key": "env:A", "priorities": {"warning": "P9"}}}, "P1"),
        ({"alertmanager": "https://a.example.com", "labels": {"a-b": "c"}}, "not the name of a label"),
        ({"alertmanager": "https://a.example.com", "labels": {"severity": "page"}}, "is set by clusterbus"),
        ({"alertmanager": "https://a.example.com", "labels": {"x": "{{ node }}"}}, "a label has to stay the same"),
        ({"alertmanager": "https://a.example.com", "every": "1s"}, "at least 10s"),
        ({"alertmanager": "https://a.example.com", "verify": False}, "always verified"),
    ],
)
def test_what_cannot_work_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message) as caught:
        AlertVerb.model_validate(fields)

    assert "hunter22" not in repr(caught.value.errors(include_input=False, include_url=False))


def test_a_text_or_list_in_place_of_the_options_names_alertmanagers():
    one, two = AlertVerb.model_validate("https://a.example.com"), AlertVerb.model_validate(["https://a", "https://b"])

    assert (one.alertmanager, two.alertmanager) == (("https://a.example.com",), ("https://a", "https://b"))
    assert AlertVerb.model_validate({"pagerduty": "env:A"}).pagerduty.key == "env:A"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("on: [alertOpened]\nalert: {pagerduty: 'env:A'}", "add alertClosed"),
        ("on: diskFailure\nalert: {pagerduty: 'env:A'}", "diskFailure is not a change of an alert"),
        ("on: alert\nalert: {pagerduty: 'env:A', labels: {a: b}}", "labels: is for `alertmanager` only"),
        ("on: alert\nalert: {pagerduty: 'env:A', body: x}", "body: is for `url` only"),
        ("on: alert\nalert: {url: 'https://a.example.com/', follow: 1m}", "follow: is for"),
        ("on: alert\nalert: {pagerduty: 'env:A', follow: 1m}", "need each other"),
        ("on: alert\nalert: {pagerduty: {key: 'env:A', token: 'env:B'}}", "need each other"),
        ("on: alert\nfold: {wait: 1m}\nalert: {pagerduty: 'env:A'}", "fold: cannot be used with alert"),
        ("on: alert\ndelay: {wait: 1m}\nalert: {pagerduty: 'env:A'}", "delay: cannot be used with alert"),
        ("on: alert\norder_by: node\nalert: {pagerduty: 'env:A'}", "order_by: cannot be used with alert"),
        ("on: alert\nguard: {only_when: 'true'}\nalert: {pagerduty: 'env:A'}", "guard: cannot be used with alert"),
        ("on: alert\nalert: {url: 'https://a.example.com/', body: '{{ data.nope }}'}", "no variable data.nope"),
        ("on: alert\nalert: {opsgenie: 'env:A', headers: {Authorization: 'env:B'}}", "is set by `opsgenie`"),
    ],
)
def test_check_names_the_field_and_the_way_out(tmp_path, entry, message):
    file = tmp_path / "subscriptions.yaml"
    text = "\n    ".join(["- name: it", *entry.splitlines()])
    file.write_text(f"version: 1\nsubscriptions:\n  {text}\n")

    report = validation.check([file], CATALOGUES, Settings(), here=False)

    assert any(message in str(each) for each in report.mistakes), report.mistakes
    assert all(each.line >= 3 for each in report.mistakes)


def test_the_labels_are_those_of_the_first_change_whatever_comes_later():
    first = of("alertOpened", severity="warning", node="n1", owner="storage")
    labels = alertmanager.labels_of(first, {"team": "a", "node": "mine"})

    assert labels == {
        "team": "a",
        "alertname": "soft-quota",
        "cluster": "prod",
        "node": "n1",
        "severity": "warning",
        "owner": "storage",
        "fsName": "gpfs1",
        "filesetName": "projects",
    }


def test_an_open_alert_lasts_for_several_intervals_and_a_closed_one_ends_when_it_was_closed():
    opened = postable(of("alertOpened", since="2026-11-20T14:00:00Z"))
    closed = postable(of("alertClosed", since="2026-11-20T14:00:00Z", until="2026-11-20T14:30:00Z"))

    assert (opened["startsAt"], opened["endsAt"]) == ("2026-11-20T14:00:00.000000Z", "2026-11-20T15:04:00.000000Z")
    assert closed["endsAt"] == "2026-11-20T14:30:00.000000Z"


moments = st.integers(-(10**6), 10**6).map(lambda each: NOW + timedelta(seconds=each))


@given(since=moments, until=moments)
def test_no_clock_of_a_node_makes_times_that_alertmanager_refuses(since, until):
    closed = of("alertClosed", since=since.isoformat(), until=until.isoformat())

    found = postable(closed)

    assert found["startsAt"] <= found["endsAt"] <= "2026-11-20T15:00:00.000000Z"


@given(st.lists(st.text(max_size=20), max_size=600))
def test_batches_are_small_and_leave_nothing_out(texts):
    alerts = [{"text": each} for each in texts]

    bodies = [*alertmanager.batches(alerts)]

    assert [each for _, body in bodies for each in json.loads(body)] == json.loads(json.dumps(alerts))
    assert all(len(places) <= alertmanager.LARGEST_BATCH for places, _ in bodies)
    assert len(bodies) <= len(alerts) // alertmanager.LARGEST_BATCH + 1


@given(name=st.text(min_size=1))
def test_any_name_becomes_a_label(name):
    assert alertmanager.re.fullmatch(alertmanager.LABEL, alertmanager.label_name(name))


def test_what_is_no_json_is_an_error_and_no_state():
    for text in ("", "[", "{}", "[]", '{"incidents": 1}', '{"data": []}', "[" * 100_000):
        with pytest.raises(ValueError, match=r"answer|Expecting"):
            pagerduty.remote_state(ALERT, text)
        with pytest.raises(ValueError, match=r"answer|Expecting"):
            opsgenie.remote_state(ALERT, text)
    assert pagerduty.remote_state(ALERT, '{"incidents": []}') is None


def test_of_several_incidents_the_newest_counts():
    answer = {
        "incidents": [
            {"status": "resolved", "created_at": "2026-11-20T10:00:00Z", "last_status_change_by": {"type": "user"}},
            {"status": "triggered", "created_at": "2026-11-20T11:00:00Z"},
        ]
    }

    assert pagerduty.remote_state(ALERT, json.dumps(answer)).state == "open"


def test_closing_there_closes_here_even_if_somebody_here_was_at_it():
    remote = pagerduty.RemoteState(ALERT, "closed", "Bob")

    assert act_of(remote, None, state="acknowledged", by="anna", system="pagerduty") == "close"
    assert act_of(remote, None, state="closed", by="", system="pagerduty") is None


def test_priorities_follow_the_severity_unless_the_site_says_otherwise():
    options = OpsgenieOptions(key="env:A", priorities={"info": "P1"})

    found = [
        opsgenie.request(of("alertOpened", severity=each), "", options).body["priority"]
        for each in ("critical", "info")
    ]

    assert found == ["P1", "P1"]


@pytest.mark.parametrize("broken", [{"alert": None}, {"since": "yesterday"}, {"change": "1"}, {"alert": ["x"]}])
def test_an_event_that_says_no_alert_is_refused(broken):
    with pytest.raises(Rejected):
        AlertChange.of(change("alertOpened", **broken))
    with pytest.raises(Rejected):
        AlertChange.of(make_event())


def test_the_page_shows_every_option():
    page = (Path(__file__).parents[4] / "consumers" / "verbs" / "alert" / "README.md").read_text()

    missing = [name for name in AlertVerb.model_fields if f"`{name}`" not in page]

    assert missing == []
