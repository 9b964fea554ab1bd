"""A delivery in binary mode is like any other: it is filtered, retried, kept as a letter and replayed, with its id."""

import json
from datetime import timedelta

from consumers.dead_letters import kept_letters, replay
from consumers.dead_letters.keeper import Keeper
from consumers.deliveries import Delivery, Report
from router.broker.topology import RETURN
from router.pipeline.messages import message_of
from tests.consuming import make_event, make_subscription
from tests.engines import Bench, TellVerb


def test_an_event_in_binary_mode_is_retried_kept_and_replayed(bench: Bench) -> None:
    bodies: list[bytes] = []

    def handle(delivery: Delivery) -> Report:
        bodies.append(delivery.body)
        return Report() if delivery.replay else Report(failure="exit:1", reason="exit code 1")

    bench.handler = handle
    bench.start(make_subscription("act", TellVerb(), where="data.blockUsage > 5", retry={"attempts": 2}))
    Keeper(bench.broker, bench.store, bench.clock).start()
    event, other = make_event(blockUsage=6), make_event(blockUsage=5)

    for each in (event, other):
        bench.send(message_of(each, wire="binary"))
    bench.broker.advance(timedelta(minutes=5))
    (letter,) = kept_letters.find(bench.store)
    replayed = replay.message_of(letter, "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "me")
    bench.broker.another(user="consumer").publish(replayed, lambda _: None)
    bench.broker.run()

    assert [json.loads(each) for each in bodies] == [json.loads(event.to_json())] * 3
    assert [row.outcome for row in bench.rows()] == ["retry", "dead", "done"]
    assert letter.event_id == event.id
    assert (replayed.exchange, replayed.content_type) == (RETURN, "application/cloudevents+json")
    assert not [name for name in replayed.headers if name.startswith("ce-")]
