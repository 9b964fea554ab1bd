"""Whatever a record is, the broker can take what the router publishes because of it."""

import pika
from hypothesis import given
from hypothesis import strategies as st

from router.broker.amqp.header_frame import header_octets
from router.broker.interface import Arrival, Message
from router.broker.topology import INGRESS
from router.model.bounds import HEADER_FRAME, HEADERS, KEY, REJECTED_BODY
from router.model.catalogue import Catalogues
from router.model.ids import is_id, new_id
from router.pipeline.decisions import rejected
from router.pipeline.gap_detection import EpochStarted
from router.pipeline.messages import message_of, rejection_of, stand_in_of
from router.pipeline.reports.finding_events import finding_event
from router.pipeline.reports.finding_reports import Report
from router.pipeline.reports.rejection_reports import Rejected
from tests.nodes import NOON

CATALOGUES = Catalogues.shipped()

UNITS = st.sampled_from(["a", "\xff", "\0", "\\", "\N{SNOWMAN}", "\N{GRINNING FACE}", "\udce9", "\ud800", "."])
TIMES = st.sampled_from([0, 1, 64, 255, 130_800])
LONG = st.builds(
    lambda unit, times, rest: unit * times + rest, UNITS, st.sampled_from([0, 1, 64, 255, 130_800]), st.text()
)
NUMBERS = st.integers(-(2**70), 2**70) | st.booleans()
HEADER = st.none() | LONG | NUMBERS | st.binary(max_size=20) | st.lists(st.integers(), max_size=3)
NAMES = st.sampled_from(["epoch", "sequence", "origin-user", "reason", "claimed-key", "cut", "v", "x-death"])


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    body = draw(st.binary(max_size=50)) * draw(st.sampled_from([0, 1, REJECTED_BODY]))
    headers = draw(st.dictionaries(NAMES, HEADER))
    user = draw(st.none() | LONG)
    return Arrival(INGRESS, INGRESS, draw(LONG), body, draw(LONG), user, headers, False, None)


def frame_octets(message: Message) -> int:
    """Return what the header frame of *message* takes, as the client encodes it."""
    properties = pika.BasicProperties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=2,
        message_id=message.id,
        timestamp=1,
        type=message.type,
        user_id="u" * KEY,
    )
    return 20 + sum(map(len, properties.encode()))


def check(message: Message) -> None:
    assert len(message.key.encode()) <= KEY
    assert is_id(message.id)
    texts = [each for each in message.headers.values() if isinstance(each, str)]
    assert sum(len(each.encode()) for each in texts) <= HEADERS
    assert frame_octets(message) <= header_octets(message) <= HEADER_FRAME


@given(arrivals(), LONG, st.booleans())
def test_what_is_rejected_can_be_sent(arrival: Arrival, reason: str, is_trusted: bool) -> None:
    known = rejected(arrival, reason, {arrival.user or ""} if is_trusted else ())

    for message in (rejection_of(known, arrival), stand_in_of(known, arrival)):
        check(message)
        assert len(message.body) <= REJECTED_BODY


@given(LONG, LONG, LONG, LONG)
def test_the_builder_needs_nobody_to_bound_what_it_is_given(record: str, key: str, user: str, reason: str) -> None:
    arrival = Arrival(INGRESS, INGRESS, key, b"", record, user, {}, False, None)

    check(rejection_of(Rejected(record, key, user, reason), arrival))


@given(LONG)
def test_an_event_of_the_router_can_be_sent(previous: str) -> None:
    report = Report(EpochStarted(new_id(NOON), previous))

    check(message_of(finding_event(report, "prod", "n1", CATALOGUES, NOON)))


def test_a_rejection_has_the_same_id_each_time_its_record_comes() -> None:
    arrival = Arrival(INGRESS, INGRESS, "k", b"body", "\xff" * 120, "n1", {}, False, None)
    known = rejected(arrival, "why", ())

    assert rejection_of(known, arrival).id == rejection_of(known, arrival).id == stand_in_of(known, arrival).id
