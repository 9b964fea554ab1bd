"""Who starts everything waits until subscriptions are served."""

from datetime import timedelta

import pytest

from consumers.programs.readiness import wait_served
from router.broker.session import Session
from router.broker.topology import base, queue_of, subscription
from router.errors import Unreachable
from tests.lines import Running


def test_a_subscription_is_waited_for_until_it_is_consumed_and_those_that_are_not_are_named(vhost_url: str) -> None:
    with Session(vhost_url, name="test") as session:
        session.declare(base() + subscription("served", ["#"]) + subscription("unserved", ["#"]))
    looks = []
    with Running(vhost_url) as line:

        def tend() -> None:
            looks.append(1)
            if len(looks) == 3:
                line.consume(queue_of("served"))

        wait_served(vhost_url, ["served"], tend=tend)
        assert len(looks) >= 3

        with pytest.raises(Unreachable, match="no consumer serves unserved, absent after"):
            wait_served(vhost_url, ["served", "unserved", "absent"], limit=timedelta(seconds=1))
