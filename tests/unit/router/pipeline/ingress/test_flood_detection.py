"""Which nodes send more than their share, and when they are quiet again."""

from datetime import timedelta

from router.pipeline.ingress.flood_detection import LIMIT, WINDOW, Flood, Meter
from tests.nodes import NOON


def test_a_node_floods_if_it_sends_more_than_the_limit_and_than_all_others_together() -> None:
    meter = Meter()
    meter.count("honest", 1000, NOON)

    assert meter.count("loud", LIMIT, NOON) is None
    assert meter.count("loud", 1, NOON) == Flood(2, LIMIT + 1)
    assert meter.count("loud", 1, NOON) is None, "it is reported once"
    assert list(meter.flooding) == ["loud"]


def test_a_node_that_sends_alone_harms_nobody() -> None:
    assert Meter().count("alone", 10 * LIMIT, NOON) is None


def test_many_nodes_that_are_all_busy_are_no_flood() -> None:
    meter = Meter()

    assert [meter.count(name, LIMIT + 1, NOON) for name in ("a", "b")] == [None, None]
    assert [meter.count(name, LIMIT, NOON) for name in ("c", "d", "e", "f")] == [None] * 4


def test_what_was_sent_in_earlier_windows_does_not_count() -> None:
    meter = Meter()
    meter.count("honest", 1000, NOON)
    meter.count("loud", LIMIT, NOON)
    meter.quiet(NOON + WINDOW)
    meter.count("honest", 1000, NOON + WINDOW)

    assert meter.count("loud", LIMIT, NOON + WINDOW) is None


def test_a_node_is_released_after_half_a_minute_in_which_it_is_quiet() -> None:
    meter = Meter()
    meter.count("honest", 1000, NOON)
    meter.count("loud", LIMIT + 1, NOON)
    ended: list[tuple[int, str]] = []
    for window in range(1, 12):
        moment = NOON + window * WINDOW
        ended += [(window, node) for node in meter.quiet(moment)]
        meter.count("loud", LIMIT if window == 3 else 2000, moment)

    # The window of the flood, and the one after the third check, are not quiet.
    assert ended == [(10, "loud")]
    assert not meter.flooding


def test_the_flood_of_an_earlier_router_ends_too() -> None:
    meter = Meter()
    meter.is_flooding("loud")
    for window in range(7):
        ended = meter.quiet(NOON + timedelta(seconds=1) + window * WINDOW)

    assert ended == ["loud"]


def test_a_clock_that_is_set_back_ends_the_window() -> None:
    meter = Meter()
    meter.is_flooding("loud")
    meter.quiet(NOON)
    hour = timedelta(hours=1)

    assert [node for window in range(6) for node in meter.quiet(NOON - hour + window * WINDOW)] == ["loud"]
