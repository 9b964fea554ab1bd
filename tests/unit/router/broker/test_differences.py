"""Which queues and exchanges are used although they differ, and that nothing the broker says is trusted beyond that."""

import pytest

from router.broker.differences import MOST, Difference, as_there, difference, unlike
from router.broker.topology import DEAD, EVENTS, HISTORY, RETRY, Exchange, Queue, base, queue_of, subscription

WHOLE = base() + subscription("audit", ["#"])
QUEUES = {each.name: each for each in WHOLE.queues}
AUDIT, STEP, STREAM = QUEUES[queue_of("audit")], QUEUES[f"{RETRY}.5s"], QUEUES[HISTORY]
SAID = "PRECONDITION_FAILED - inequivalent arg '{}' for queue 'q' in vhost '{}': received {} but current is {}"


@pytest.mark.parametrize(
    ("thing", "found", "is_left_out", "loses"),
    [
        (AUDIT, Difference("x-queue-type", "quorum", None), False, False),
        (AUDIT, Difference("durable", True, False), False, False),
        (AUDIT, Difference("x-max-length", None, 5), False, False),
        (AUDIT, Difference("x-dead-letter-exchange", DEAD, None), False, False),
        (AUDIT, Difference("x-queue-type", "quorum", "stream"), True, False),
        (AUDIT, Difference("auto_delete", False, True), True, False),
        (STREAM, Difference("x-max-age", "2592000s", "3600s"), False, False),
        (STREAM, Difference("x-queue-type", "stream", None), True, False),
        (STEP, Difference("x-message-ttl", 5000, 7000), False, False),
        (STEP, Difference("x-message-ttl", 5000, None), True, True),
        (STEP, Difference("x-dead-letter-exchange", "clusterbus.return", "elsewhere"), True, True),
        (STEP, Difference("x-overflow", "reject-publish", None), False, False),
        (Exchange(EVENTS, "topic"), Difference("type", "topic", "direct"), True, False),
        (Exchange(EVENTS, "topic"), Difference("auto_delete", False, True), False, False),
    ],
)
def test_what_differs_is_used_as_it_is_unless_a_message_could_be_lost_by_that(thing, found, is_left_out, loses):
    known = unlike(thing, [found], "")

    assert (known.is_left_out, known.loses) == (is_left_out, loses)
    assert str(found) in str(known)
    assert "router/broker/README.md" in known.way_out


def test_what_the_broker_does_not_explain_is_left_out_with_its_words():
    known = unlike(AUDIT, [], "PRECONDITION_FAILED - cannot declare queue: queue limit is reached")

    assert known.is_left_out
    assert str(known).endswith("cannot be declared: PRECONDITION_FAILED - cannot declare queue: queue limit is reached")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received ...",
        SAID.format("x-table", "/", "none", "the value '[]' of type 'table'"),
        SAID.format("x-max-length", "/", "none", "the value 'five' of type 'signedint'"),
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/'",
    ],
)
def test_what_is_not_understood_is_no_difference(text):
    assert difference(text, AUDIT) is None


def test_names_and_values_with_the_brokers_own_words_are_read_right():
    text = SAID.format(
        "x-dead-letter-exchange", "a': received none but current is none", "'x'", "'it's but current is'"
    )

    found = difference(SAID.format("x-overflow", "a b: c", "none", "'drop-head'"), AUDIT)

    assert found == Difference("x-overflow", "reject-publish", "drop-head")
    assert difference(text, AUDIT, [Difference("x-overflow", None, None)]) is not None


def test_what_the_broker_names_again_is_not_asked_again():
    known = difference(SAID.format("x-max-length", "/", "none", "the value '5' of type 'long'"), AUDIT)
    assert known is not None

    assert as_there(AUDIT, [known])[0]["x-max-length"] == 5
    assert difference(SAID.format("x-max-length", "/", "'5'", "'5'"), AUDIT, [known]) is None
    assert len(AUDIT.arguments) + 2 <= MOST


def test_an_argument_that_the_other_type_does_not_have_is_missing_there():
    classic = Difference("x-queue-type", "quorum", "classic")
    text = "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/'"

    assert difference(text, AUDIT, [classic]) == Difference("x-delivery-limit", 20, None)


def test_every_argument_that_we_declare_can_be_given_as_missing():
    for queue in QUEUES.values():
        missing = [Difference(key, value, None) for key, value in queue.arguments.items()]
        assert as_there(queue, missing) == ({}, {"durable": True, "auto_delete": False})
        assert all(str(each).startswith(each.key) for each in missing)


def test_a_plain_queue_needs_nothing():
    assert not unlike(Queue("q"), [Difference("x-message-ttl", None, 5)], "").is_left_out
