"""What the doctor says of queues that refuse messages, without and with a look into the broker."""

from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.inspection.doctor import broker_probe
from router.broker.topology import DEAD, EVENTS, FILTER, HISTORY, OWN_EVENTS, Binding, queue_of
from router.broker.users.refusing_queues import QueueState
from router.errors import Refused
from router.settings.sections.logins import BrokerSettings

SINCE = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTINGS = BrokerSettings(url=("amqp://guest@host/bus",))
REJECTS = {"x-max-length": 1, "x-overflow": "reject-publish"}


class Observer:
    """A broker with queues that are full, and refuse."""

    def __init__(self, *bindings: Binding, error: str = "") -> None:
        self._bindings, self._error = [Binding(EVENTS, "any"), *bindings], error

    def bindings(self, vhost: str) -> list[Binding]:
        assert vhost == "bus"
        if self._error:
            raise Refused(self._error)
        return self._bindings

    def queues(self, _vhost: str) -> list[QueueState]:
        return [QueueState(each.queue, REJECTS, 1, 1) for each in self._bindings[1:]]

    def definitions(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def said(monkeypatch):
    def look(observer: Observer | None, refused: int = 0) -> list[tuple[str, str, str]]:
        monkeypatch.setattr(broker_probe, "observer", lambda *_: observer)
        found = broker_probe.refusals(SETTINGS, refused, SINCE if refused else None)
        return [(each.verdict, each.seen, each.advice) for each in found]

    return look


def test_nothing_is_said_where_nothing_refuses_or_nothing_can_be_seen(said):
    assert said(Observer()) == said(None) == said(Observer(error="no")) == []


def test_what_the_router_saw_is_said_with_what_is_missing_to_name_it(said):
    for observer, why in ((None, "this machine has no rabbitmqctl"), (Observer(error="only root"), "only root")):
        ((verdict, seen, advice),) = said(observer, 7)
        assert verdict == "error"
        assert seen.startswith("queues that are not ours have refused 7 events since 2026-11-20 12:00 UTC")
        assert seen.endswith(why)
        assert "set broker.management" in advice


def test_a_broker_of_others_is_not_taken_for_ours(said):
    elsewhere = Observer()
    elsewhere._bindings = [Binding("amq.topic", "q")]

    ((_, seen, _),) = said(elsewhere, 7)

    assert "has no clusterbus.events in the virtual host 'bus'" in seen


@pytest.mark.parametrize(
    ("binding", "whose", "advice"),
    [
        (Binding(EVENTS, "a\x1b[1m"), "queue 'a\\x1b[1m', which is not ours,", "ask its owner"),
        (Binding(DEAD, "theirs"), "queue 'theirs', which is not ours,", "unbind it"),
        (Binding(OWN_EVENTS, queue_of("audit")), "our queue 'clusterbus.sub.audit'", "remove this limit"),
    ],
)
def test_a_queue_that_refuses_is_named_with_what_to_do(said, binding, whose, advice):
    ((verdict, seen, said_advice),) = said(Observer(binding))

    assert verdict == "error"
    assert seen.startswith(whose)
    assert said_advice.startswith(advice)


def test_queues_of_ours_that_an_earlier_release_bound_are_named_with_the_way_out(said):
    ours, moved = Observer(), queue_of("moved")
    ours._bindings = [
        Binding(EVENTS, FILTER, "#", of_exchange=True),
        Binding(EVENTS, "theirs"),
        Binding(OWN_EVENTS, HISTORY),
        *(Binding(EVENTS, queue_of("audit"), key) for key in ("a.#", "b.#")),
        Binding(EVENTS, moved),
        Binding(OWN_EVENTS, moved),
        Binding(OWN_EVENTS, queue_of("right")),
    ]
    ours.queues = lambda _: []

    (lone, lone_seen, advice), (both, both_seen, _) = said(ours)

    assert (lone, both) == ("error", "warning")
    assert lone_seen.endswith("lose events that they refuse: 'clusterbus.sub.audit'")
    assert both_seen.endswith("refuses events: 'clusterbus.sub.moved'")
    assert "restart the consumers, and the routers after them" in advice


def test_of_many_queues_of_ours_the_first_are_named(said):
    ours = Observer()
    ours._bindings = [Binding(EVENTS, queue_of(f"s{number:04}")) for number in range(1000)]
    ours.queues = lambda _: []

    ((_, seen, _),) = said(ours)

    assert seen.endswith("'clusterbus.sub.s0019' and 980 more")


def test_a_slow_queue_that_has_room_again_is_told_of_by_the_router_alone(said):
    ((_, seen, advice),) = said(Observer(), 7)

    assert seen.endswith("12:00 UTC")
    assert "its owner reads too slowly" in advice


def test_of_many_queues_the_first_are_named(said):
    found = said(Observer(*(Binding(EVENTS, f"q{number:04}") for number in range(1000))))

    assert len(found) == 21
    assert found[-1][1] == "980 more queues have a limit and refuse messages once they are full"
