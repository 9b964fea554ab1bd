"""Broker URLs, turns and pauses."""

import random
from datetime import timedelta

import pytest

from router.broker.addresses import Pauses, parse, tls_context, turns
from router.errors import SettingsError


def test_a_url_says_where_and_as_whom():
    address = parse("amqp://router:s%2Fcret@mq1:5673/my%2Fbus")

    assert (address.host, address.port, address.vhost) == ("mq1", 5673, "my/bus")
    assert (address.user, address.password, address.tls) == ("router", "s/cret", False)


def test_what_a_url_leaves_out_has_its_usual_value():
    plain, safe = parse("amqp://mq1"), parse("amqps://mq1")

    assert (plain.port, plain.vhost, plain.user, plain.password) == (5672, "/", "guest", "guest")
    assert (safe.port, safe.tls) == (5671, True)


def test_tls_options_have_rabbitmqs_own_names():
    address = parse(
        "amqps://mq1/?cacertfile=/ca.pem&certfile=/me.pem&keyfile=/me.key&server_name_indication=mq&auth_mechanism=external"
    )

    assert (address.authority, address.certificate, address.key) == ("/ca.pem", "/me.pem", "/me.key")
    assert (address.server_name, address.external, address.user) == ("mq", True, None)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://mq1", "is not amqp://"),
        ("amqp://", "is not amqp://"),
        ("amqp://u:secret@mq1:port/", "is not a URL"),
        ("amqps://u:secret@mq1/?cacertfil=/x", "did you mean cacertfile"),
        ("amqp://u:secret@mq1/?auth_mechanism=external", "needs amqps"),
        ("mq1:5672", "is not amqp://"),
        ("u:secret@mq1", "is not amqp://"),
        ("amqp://u:secret/x@mq1/", "as %2F"),
        ("amqp://u:12/secret@mq1/", "as %2F"),
        ("amqp://u:12?secret@mq1/", "as %2F"),
        ("amqp://u:12#secret@mq1/", "as %2F"),
    ],
)
def test_what_is_no_broker_is_named_with_the_way_out_and_without_its_password(url, words):
    with pytest.raises(SettingsError, match=words) as caught:
        parse(url)

    assert "secret" not in str(caught.value)


def test_a_password_is_never_shown():
    address = parse("amqp://router:s3cret@mq1/bus")

    assert "s3cret" not in f"{address} {address!r}"


def test_a_certificate_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"/nowhere/ca\.pem"):
        tls_context(parse("amqps://mq1/?cacertfile=/nowhere/ca.pem"))


def test_brokers_are_tried_in_turn_in_an_order_of_ones_own():
    addresses = [parse(f"amqp://mq{number}") for number in range(3)]
    brokers = turns(addresses, random.Random(1))

    first = [next(brokers) for _ in range(3)]

    assert {each.host for each in first} == {"mq0", "mq1", "mq2"}
    assert [next(brokers) for _ in range(3)] == first
    assert len({tuple(next(turns(addresses, random.Random(seed))) for _ in "x") for seed in range(20)}) == 3


class Greatest(random.Random):
    def random(self) -> float:
        return 1.0


def test_pauses_double_to_their_bound_after_each_round_of_brokers_and_begin_again():
    pauses = Pauses(timedelta(seconds=1), timedelta(seconds=5), Greatest(), each=2)

    assert [pauses.next().total_seconds() for _ in range(8)] == [1, 1, 2, 2, 4, 4, 5, 5]
    pauses.reset()
    assert pauses.next().total_seconds() == 1


def test_pauses_never_overflow_however_long_the_broker_is_away():
    pauses = Pauses(timedelta(seconds=1), timedelta(seconds=30), random.Random(1))
    pauses.count = 10_000

    assert timedelta() <= pauses.next() <= timedelta(seconds=30)
