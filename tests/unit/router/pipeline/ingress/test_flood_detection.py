"""Which nodes send more than their share, and when they are quiet again."""

from datetime import timedelta

import pytest

from router.pipeline.ingress.flood_detection import BURST_OCTETS, BURST_RECORDS, FLOOD, QUIET, WINDOW, Flood, Meter
from tests.nodes import NOON

SECOND = timedelta(seconds=1)


def send(meter: Meter, node: str, records: int, octets: int = 1500, moment: timedelta = timedelta()) -> list[Flood]:
    found = [meter.count(node, octets, NOON + moment) for _ in range(records)]
    return [each for each in found if each]


def burst(meter: Meter, moment: timedelta = timedelta()) -> None:
    send(meter, "honest", 1, moment=moment)
    send(meter, "loud", BURST_RECORDS + 1, moment=moment)


def test_a_node_is_set_aside_with_the_first_record_beyond_a_burst() -> None:
    meter = Meter()
    send(meter, "honest", 1)

    send(meter, "loud", BURST_RECORDS)
    assert not meter.aside
    send(meter, "loud", 1)
    assert set(meter.aside) == {"loud"}


def test_a_node_is_set_aside_for_a_few_large_records_but_not_for_one() -> None:
    meter = Meter()
    send(meter, "honest", 1)

    send(meter, "loud", 1, octets=2 * BURST_OCTETS)
    assert not meter.aside
    send(meter, "loud", 1, octets=2000)
    assert set(meter.aside) == {"loud"}


def test_a_burst_is_no_flood_until_it_adds_up() -> None:
    meter = Meter()
    burst(meter)
    assert send(meter, "loud", 100) == [], "a burst goes by without a word"

    (flood,) = send(meter, "loud", 2000)

    assert flood.records == flood.octets // 1500 > BURST_RECORDS
    assert FLOOD < flood.octets <= FLOOD + 1500


def test_bursts_now_and_then_are_no_flood() -> None:
    meter = Meter()
    found: list[Flood] = []
    for number in range(50):
        moment = number * 20 * SECOND
        send(meter, "honest", 1, moment=moment)
        found += send(meter, "loud", BURST_RECORDS + 1, moment=moment)

    assert found == []
    assert set(meter.aside) == {"loud"}


def test_a_node_that_sends_alone_harms_nobody() -> None:
    meter = Meter()
    send(meter, "alone", 20 * BURST_RECORDS)

    assert not meter.aside


def test_many_nodes_that_are_all_busy_are_no_flood() -> None:
    meter = Meter()
    for _ in range(3 * BURST_RECORDS):
        for name in ("a", "b", "c"):
            send(meter, name, 1)

    assert not meter.aside


@pytest.mark.parametrize("later", [WINDOW, -timedelta(hours=1)], ids=["later", "the clock is set back"])
def test_what_was_sent_in_earlier_windows_does_not_count(later: timedelta) -> None:
    meter = Meter()
    for moment in (timedelta(), later):
        send(meter, "honest", 1, moment=moment)
        send(meter, "busy", BURST_RECORDS, moment=moment)

    assert not meter.aside


def test_a_node_is_released_after_half_a_minute_in_which_it_is_quiet() -> None:
    meter = Meter()
    burst(meter)
    send(meter, "loud", 2000)
    for second in range(1, 60):
        # A few records in each second are quiet, a hundred in one are not.
        send(meter, "loud", 100 if second == 7 else 5, moment=second * SECOND)
        if ended := meter.quiet(NOON + second * SECOND):
            break

    assert (second, ended) == (7 + QUIET // SECOND, {"loud": True})
    assert not meter.aside


def test_a_burst_that_was_no_flood_ends_as_none() -> None:
    meter = Meter()
    burst(meter)

    assert meter.quiet(NOON + QUIET) == {"loud": False}


def test_the_flood_of_an_earlier_router_ends_too() -> None:
    meter = Meter()
    meter.set_aside("loud", NOON, is_flood=True)

    assert meter.quiet(NOON + QUIET) == {"loud": True}


def test_a_clock_that_is_set_back_does_not_keep_a_node_aside() -> None:
    meter = Meter()
    burst(meter)
    earlier = NOON - timedelta(hours=1)

    assert meter.quiet(earlier) == {}
    assert meter.quiet(earlier + QUIET) == {"loud": False}


def test_a_flood_is_found_beside_a_larger_one() -> None:
    meter = Meter()
    for n in range(3000):
        moment = n * SECOND / 1000
        send(meter, "larger", 1, moment=moment)
        if n % 5 < 3:
            send(meter, "smaller", 1, moment=moment)
        if n % 100 == 0:
            send(meter, "honest", 1, moment=moment)

    assert set(meter.aside) == {"larger", "smaller"}


def test_a_node_that_keeps_to_less_than_half_a_burst_is_not_set_aside_for_ever() -> None:
    meter = Meter()
    burst(meter)
    for second in range(1, 31):
        send(meter, "loud", BURST_RECORDS // 3, moment=second * SECOND)

    assert meter.quiet(NOON + 30 * SECOND) == {"loud": False}
