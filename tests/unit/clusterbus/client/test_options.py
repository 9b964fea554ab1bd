"""Arguments and the environment of a service's program; each mistake says what to write instead."""

from datetime import UTC, datetime, timedelta

import pytest

from clusterbus import SettingsError
from clusterbus.client.options import Options, options
from clusterbus.client.since import position
from tests.consuming import make_event


def made(*on, environment=None, **given) -> Options:
    arguments = {
        "service": "tickets",
        "queue": None,
        "url": None,
        "password_file": None,
        "since": None,
        "prefetch": 10,
        "patience": timedelta(seconds=1),
    }
    return options(on, environment=environment or {}, **arguments | given)


def test_arguments_come_before_the_environment(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"password-{name}\n")
        (tmp_path / name).chmod(0o600)
    environment = {
        "CLUSTERBUS_URL": "amqp://svc-a@mq1/ amqp://svc-a@mq2/",
        "CLUSTERBUS_PASSWORD_FILE": str(tmp_path / "one"),
        "CLUSTERBUS_SERVICE": "a",
    }

    of_environment = made(service=None, environment=environment)
    of_arguments = made(service="b", url="amqp://svc-b@mq3/", password_file=tmp_path / "two", environment=environment)

    assert of_environment.queue == "clusterbus.svc.a"
    assert [(str(each), each.password) for each in of_environment.addresses()] == [
        ("amqp://svc-a@mq1:5672", "password-one"),
        ("amqp://svc-a@mq2:5672", "password-one"),
    ]
    assert of_arguments.queue == "clusterbus.svc.b"
    assert [(str(each), each.password) for each in of_arguments.addresses()] == [
        ("amqp://svc-b@mq3:5672", "password-two")
    ]


def test_a_client_certificate_needs_no_password():
    found = made(url="amqps://mq1/?certfile=/c&keyfile=/k&auth_mechanism=external")

    assert [each.external for each in found.addresses()] == [True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"service": None}, r"which service is this\? Give service=, or set CLUSTERBUS_SERVICE"),
        ({"prefetch": 0}, "prefetch is 0"),
        ({"since": "2h"}, "since= reads the history, which has the events of everybody"),
        ({"on": ["#"], "since": "soon"}, "since=: 'soon' is not a time: write a duration.*, or the id of an event"),
        ({"on": ["#"], "since": datetime(2026, 11, 20)}, "without a time zone"),  # noqa: DTZ001 - that is the point
        ({"on": ["#"], "since": timedelta.max}, "too long ago"),
        ({"on": [["disk", "quota"]]}, r'is no text: write events\("disk", "quota"\)'),
        ({"on": ["gpfs.*.disk.%.x.y"]}, "'%' is not a word"),
    ],
)
def test_wrong_arguments_are_errors_at_once(given, message):
    on = given.pop("on", [])

    with pytest.raises(ValueError, match=message):
        made(*on, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no broker: give url=, or set CLUSTERBUS_URL"),
        ({"url": "amqp://svc-tickets@mq1/"}, "no password for amqp://svc-tickets@mq1:5672: give password_file="),
        ({"url": "amqp://svc-tickets@mq1/", "password_file": "/nowhere/p"}, "/nowhere/p: No such file.*copy the file"),
        ({"url": "amqp://:x@mq1/"}, "broker mq1: the URL names no user"),
        ({"url": "http://u:secret@mq1/"}, r"is not amqp://"),
    ],
)
def test_addresses_that_cannot_be_used_are_errors_that_show_no_password(given, message):
    with pytest.raises(SettingsError, match=message) as raised:
        made(**given).addresses()

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ([], True),
        (["#"], True),
        (["quota"], True),
        (["softQuotaExceeded"], True),
        (["gpfs.softQuotaExceeded"], True),
        (["gpfs.*.quota.#"], True),
        (["gpfs.*.disk.#", "quota"], True),
        (["disk"], False),
        (["gpfs.diskFailure"], False),
        (["gpfs.other.quota.#"], False),
    ],
)
def test_what_a_program_takes_is_named_by_type_category_or_pattern(on, wanted):
    event = make_event()

    assert made(*on).wants(event.category, event.name, event.type, event.topic) is wanted


def test_since_is_a_duration_a_time_or_an_event():
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)

    assert position("30m", noon).interval(noon) == "1801s"
    assert position(timedelta(minutes=30), noon) == position("30m", noon)
    assert position("2026-11-20T11:00Z", noon).moment == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert position(datetime(2026, 11, 20, 11, tzinfo=UTC)).moment == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert position("01HF7YAT00CH9F3S5GQX0ZJ1YV").after == "01HF7YAT00CH9F3S5GQX0ZJ1YV"
    # Clocks differ: what a clock ahead of the broker's calls the past may be the future.
    assert position("2026-11-20T13:00Z", noon).interval(noon) == "1s"
