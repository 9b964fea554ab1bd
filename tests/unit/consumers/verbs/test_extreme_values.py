"""Events with extreme values: no verb, filter or gate ends the consumer, wherever on earth it runs."""

import time
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.deliveries import Report
from consumers.delivery.active_subscription import serve
from consumers.delivery.threads import workers
from consumers.policies.guards import Ask, Guard
from consumers.policies.retry import RetryPolicy
from consumers.policies.throttling import Folding, Limit, OncePer
from consumers.verbs.call.verb import CallVerb
from consumers.verbs.interface import Surroundings
from consumers.verbs.log.verb import LogVerb
from consumers.verbs.notify.verb import NotifyVerb
from consumers.verbs.post.verb import PostVerb
from consumers.verbs.run.verb import RunVerb
from router.settings.models import Settings
from tests.consuming import make_delivery, make_subscription
from tests.engines import Bench
from tests.extremes import EVENTS

TEXT = "{{ data.a }} {{ data.b }} {{ time }} {{ fold.first }}"
CONTACTS = {
    "consumers": {"transport": "record", "contacts": {"team": {"urls": ["mailto://mail.example.com?to=a@example.com"]}}}
}
VERBS = {
    "post": PostVerb(url="http://127.0.0.1:9/", body=TEXT),
    "run": RunVerb(command=("/bin/true", "{{ data.a }}", "{{ data.b }}"), environment={"T": TEXT}),
    "nodes": RunVerb(command=("/bin/true",), nodes="{{ data.a }}"),
    "notify": NotifyVerb(to=("team",), title=TEXT, body=TEXT),
    "call": CallVerb(function="builtins:print"),
}


@pytest.fixture(params=["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def zone(request, monkeypatch):
    """The first and the last zone of each day."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("name", VERBS)
def test_what_a_verb_plans_fails_as_an_attempt_at_most(zone, name):
    definition = make_subscription("act", VERBS[name], mode="shadow")
    served = serve(definition, Surroundings("act", settings=Settings.model_validate(CONTACTS)))

    @FEW
    @given(EVENTS)
    def planned(event):
        delivery = make_delivery(event, "act")
        with suppress(Exception):  # its caller takes any
            served.way.handler.targets(delivery)
        assert workers.call(delivery, served.way.handler, definition, Surroundings("act").stopping) is not None

    planned()
    served.close()


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.parametrize(
    "gates",
    [
        {"fold": Folding(by=("data.a",))},
        {"once_per": OncePer(by=("data.a", "time"), interval=timedelta(hours=1))},
        {"limit": Limit(most=1, per=timedelta(hours=1), by=("data.b",))},
        {"order_by": ("data.a",)},
        {"guard": Guard(ask=Ask())},
        {"where": "data.a > data.b || timestamp(time).getFullYear() > 2000 || size(data.a) > 3"},
        {"verb": LogVerb(syslog={"address": "/nonexistent/log", "format": "local"}, store=False)},
    ],
    ids=lambda gates: next(iter(gates)),
)
def test_no_event_ends_the_engine(zone, gates, tmp_path):
    bench = Bench(f"sqlite:///{tmp_path}/store.db")
    bench.handler = lambda _delivery: Report()
    fields = {"verb": VERBS["run"], "retry": RetryPolicy(attempts=1)} | gates
    bench.start(make_subscription("act", **fields))

    @FEW
    @given(st.lists(EVENTS, min_size=1, max_size=4))
    def survived(events):
        bench.publish_at_once(events)
        bench.broker.advance(timedelta(seconds=40))

    survived()
    assert not any(each.unreadable for each in bench.engine.counts.values())
