"""Events about outcomes are published as the settings say, and their data adheres to their schemas."""

from datetime import timedelta

import pytest

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.delivery.outcome_events import OutcomeEvents
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from router.settings.sections.router_section import RouterSettings
from tests.adherence import check
from tests.consuming import make_delivery, make_subscription
from tests.nodes import NOON

RESULT = {"nodes": {"succeeded": "n[1-2]", "failed": "n3"}, "meta": {"team": "storage"}}


def test_outcomes_are_published_in_the_content_mode_of_the_settings() -> None:
    events = OutcomeEvents(Settings(router=RouterSettings(wire="binary")), lambda: NOON)

    (message,) = events.messages(make_delivery(), Done(), make_subscription("a", ["true"]))

    assert message.content_type == "application/json"
    assert message.headers["ce-type"] == "clusterbus.runFinished"


@pytest.mark.parametrize(
    "outcome", [Done(RESULT), Retry(timedelta(seconds=1), "exit code 1", RESULT), DeadLetter("exit code 1", RESULT)]
)
def test_the_data_of_outcomes_adheres_to_its_schema(outcome: Done | Retry | DeadLetter) -> None:
    own = Catalogues.shipped()["clusterbus"]
    events = OutcomeEvents(None, lambda: NOON)

    for event in events._events(make_delivery(), outcome, make_subscription("a", ["true"])):
        check(event)
        assert event.dataschema == own.schema_of(own.event(event.name))
        assert event.data.keys() <= {each.name for each in own.of(own.event(event.name))}
