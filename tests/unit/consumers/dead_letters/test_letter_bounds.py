"""What is kept of letters that are too large, and that nothing of it is sent on as if it were whole."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from consumers.dead_letters.keeper import letter_of, whole_octets
from consumers.dead_letters.letter_bounds import LEFT_OUT, headers_of
from consumers.dead_letters.replay import message_of
from consumers.errors import LetterError
from router.broker.interface import Arrival
from router.broker.topology import DEAD, EVENTS, REJECTED, UNROUTED
from router.model.bounds import EVENT, LETTER_DEPTH, LETTER_HEADERS, LETTER_HEADERS_SIZE, LETTER_TEXT, REJECTED_BODY
from tests.extremes import HEADERS

MOMENT = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEATHS = [{"count": 1, "reason": "delivery_limit", "queue": "q", "time": "t", "exchange": "", "routing-keys": ["a"]}]


def arrive(queue, headers, body=b"{}"):
    return Arrival(queue, EVENTS, "gpfs.prod.mount.n1", body, "ID", "n1", headers, False, None)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth_of, inner), default=0) if isinstance(value, dict | list) else 0


def nested(levels):
    value = 1
    for _ in range(levels):
        value = {"in": value}
    return value


@given(HEADERS)
def test_whatever_headers_a_message_has_what_is_kept_of_them_is_small_and_plain(headers):
    kept = headers_of(headers)

    assert len(json.dumps(kept)) <= LETTER_HEADERS_SIZE + 2**10
    assert len(kept) <= LETTER_HEADERS + 1
    assert max(map(depth_of, kept.values()), default=0) <= LETTER_DEPTH


@pytest.mark.parametrize(
    "headers",
    [
        {f"h{each:05}": each for each in range(5000)},
        {"x-death": DEATHS * 5000},
        {"deep": nested(10_000)},
        {f"h{each}": "x" * LETTER_TEXT for each in range(40)},
        {"text": "x" * 100_000},
    ],
    ids=["many", "deaths", "deep", "large", "long"],
)
def test_headers_beyond_the_bounds_are_cut_and_marked_and_ours_are_kept(headers):
    kept = headers_of(headers | {"subscription": "act", "attempt": 3})

    assert (kept["subscription"], kept["attempt"]) == ("act", 3)
    assert kept[LEFT_OUT] >= 1
    assert len(json.dumps(kept)) <= LETTER_HEADERS_SIZE + 2**10


def test_what_is_within_the_bounds_is_kept_as_it_is_also_what_the_broker_adds():
    headers = {"subscription": "act", "x-death": DEATHS, "v": 1, "none": None}

    assert headers_of(headers) == headers


@pytest.mark.parametrize("queue", [DEAD, REJECTED, UNROUTED])
def test_of_a_body_that_is_no_event_of_ours_only_the_beginning_is_kept(queue):
    body, headers = b"x" * (EVENT + 1), {"subscription": "act", "x-death": DEATHS}

    letter = letter_of(arrive(queue, headers, body), MOMENT)

    assert letter.body == body[:REJECTED_BODY]
    assert whole_octets(letter.headers) == len(body)
    assert letter.reason.endswith(f"(cut: {REJECTED_BODY} of {len(body)} octets are kept)")
    assert letter.id != letter_of(arrive(queue, headers, body[:-1] + b"y"), MOMENT).id
    with pytest.raises(LetterError, match="it is cut"):
        message_of(letter, "N", "me")


@pytest.mark.parametrize("queue", [DEAD, REJECTED, UNROUTED])
def test_a_publisher_cannot_say_that_a_letter_is_cut(queue):
    """It would never be replayed.  The broker moved it: the router did not write these headers."""
    headers = {"cut": 5, "sha256": "0" * 64, "subscription": "act", "x-death": DEATHS, LEFT_OUT: 3}

    letter = letter_of(arrive(queue, headers), MOMENT)

    assert whole_octets(letter.headers) is None
    assert not {"cut", LEFT_OUT} & {*message_of(letter, "N", "me").headers}
