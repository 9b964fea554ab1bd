"""What became of an action is in the audit, written with its outcome: also that this site refused it."""

import json

import pytest

from consumers.deliveries import Report
from consumers.errors import Rejected
from consumers.store import audit
from consumers.verbs.action.verb import BoundAction
from tests.consuming import make_event, make_subscription

WIPE = {"name": "wipe", "purpose": "Wipe.", "class": "destroy", "run": {"command": ["/bin/true"]}}


@pytest.fixture
def start(bench):
    """Give a function that serves an action, whose handler answers with *answer*."""

    def start(answer, **fields):
        def handle(_delivery):
            if isinstance(answer, Exception):
                raise answer
            return answer

        bench.handler = handle
        verb = BoundAction.model_validate({"name": "wipe", "definition": WIPE})
        return bench.start(make_subscription("act", verb, **fields))

    return start


def audited(bench):
    with bench.store.reading() as transaction:
        assert audit.verify(transaction) is None
        return [json.loads(each.body) for each in reversed(audit.find(transaction))]


@pytest.mark.parametrize(
    ("answer", "name", "final"),
    [
        (Report(), "clusterbus.runFinished", None),
        (Report("exit:1", "exit code 1"), "clusterbus.runFailed", "no"),
        (Rejected("the action wipe destroys"), "clusterbus.runFailed", "yes"),
    ],
)
def test_the_outcome_of_an_action_is_audited(bench, start, answer, name, final):
    event = make_event()
    start(answer)

    bench.publish(event)

    first = audited(bench)[0]
    assert (first["type"], first["data"]["eventId"], first["data"].get("final")) == (name, event.id, final)


def test_an_outcome_that_is_acted_on_twice_is_audited_once(bench, start):
    event = make_event()
    start(Report())

    bench.publish(event, times=3)

    assert len(audited(bench)) == 1


def test_a_log_of_the_published_report_adds_nothing(bench, start):
    event = make_event()
    verb = BoundAction.model_validate({"name": "wipe", "definition": WIPE})
    own = ("clusterbus.#",)
    bench.start(make_subscription("act", verb), make_subscription("audit", on=own, patterns=own))

    bench.publish(event)

    assert [each["type"] for each in audited(bench)] == ["clusterbus.runFinished"]


def test_what_is_no_action_is_not_audited_without_a_log(bench):
    bench.start(make_subscription("act", ["/bin/true"]))

    bench.publish(make_event())

    assert audited(bench) == []
