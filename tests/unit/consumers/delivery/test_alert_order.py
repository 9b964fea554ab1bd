"""Changes of one alert keep their order in other systems, whatever fails; and their end is always sent."""

from datetime import timedelta

from consumers.deliveries import Report
from consumers.errors import Rejected
from consumers.store import silences
from consumers.store.silences import Silence
from consumers.subscriptions.models import Subscriptions
from consumers.verbs.alert.verb import AlertVerb
from router.broker import topology
from tests.alerts import ALERT, OTHER, change
from tests.consuming import make_subscription
from tests.engines import START


def subscription(**fields):
    verb = AlertVerb.model_validate({"pagerduty": "env:KEY"})
    return make_subscription("a", verb, on=("alert",), patterns=("clusterbus.*.alert.#",), **fields)


def test_an_end_waits_for_the_opening_that_is_tried_again_and_no_other_alert_does(bench):
    opened, closed = change("alertOpened"), change("alertClosed", change=2)
    other = change("alertOpened", alert=OTHER)
    done = []

    def handler(delivery):
        if delivery.event.id == opened.id and delivery.attempt < 3:
            return Report("http:503", "away")
        done.append(delivery.event.id)
        return Report()

    bench.handler = handler
    bench.start(subscription())
    bench.publish(opened, closed, other)
    assert done == [other.id]

    bench.broker.advance(timedelta(minutes=5))

    assert done == [other.id, opened.id, closed.id]


def test_an_opening_that_is_given_up_holds_up_no_end(bench):
    done = []

    def handler(delivery):
        if delivery.event.name == "alertOpened":
            raise Rejected("400")
        done.append(delivery.event.name)
        return Report()

    bench.handler = handler
    bench.start(subscription())

    bench.publish(change("alertOpened"), change("alertClosed", change=2))

    assert done == ["alertClosed"]


def test_a_silence_mutes_the_opening_and_never_the_end(bench):
    bench.start(subscription())
    until = START + timedelta(hours=1)
    with bench.store.writing() as transaction:
        silences.add(transaction, Silence("s", "", "true", "anna", "planned", START, until))
    opened, closed = change("alertOpened"), change("alertClosed", change=2)

    bench.publish(opened, closed)

    assert [event for _, event, _ in bench.calls] == [closed.id]


def test_its_queue_has_one_active_consumer_and_its_meaning_survives_json():
    wanted = subscription()

    restored = Subscriptions.model_validate_json(Subscriptions(subscriptions=(wanted,)).model_dump_json())

    assert wanted.order_by == ("data.alert",)
    assert restored.subscriptions[0].meaning == wanted.meaning
    assert "x-single-active-consumer" in str(topology.subscription("a", wanted.patterns, ordered=True))


def test_what_another_alert_suppresses_is_not_sent(bench):
    bench.start(subscription())

    bench.publish(change("alertOpened", suppressedBy=OTHER), change("alertOpened", alert=OTHER))

    assert len(bench.calls) == 1
    assert ALERT not in str(bench.calls)
