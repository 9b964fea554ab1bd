"""A broker of the test's own, that is killed under a consumer."""

from datetime import timedelta

import pytest

from consumers.policies.retry import RetryPolicy
from tests.consuming import Consumer, make_event, make_subscription, publish, python
from tests.rabbit import sync_queue_list
from tests.waiting import wait_for


@pytest.mark.long
def test_attempts_go_on_and_commands_run_once_when_the_broker_is_killed_while_retries_wait(own_broker, tmp_path):
    number, done, began = "os.environ['CLUSTERBUS_ATTEMPT']", str(tmp_path / "done"), tmp_path / "began"
    flaky = f"import os,sys\nopen({done!r},'a').write({number})\nsys.exit({number} != '3')"
    slow = f"import time\nopen({str(began)!r},'a').write('x')\ntime.sleep(5)"
    policy = RetryPolicy(attempts=4, first=timedelta(seconds=1), growth=5)
    subscriptions = [make_subscription("flaky", python(flaky), retry=policy), make_subscription("slow", python(slow))]
    with Consumer(own_broker.url, tmp_path, subscriptions) as consumer:
        consumer.wait_ready()
        publish(own_broker.url, [make_event()])
        # The second attempt is made, the third waits on its step; the other command goes on through it all.
        consumer.wait_outcomes(2, subscription="flaky")
        wait_for(began.exists, 20, "the slow command")

        sync_queue_list(own_broker)
        own_broker.kill()
        own_broker.start()
        rows = consumer.wait_outcomes(4, timeout=60)
        wait_for(lambda: consumer.words().count("connected to the broker") >= 4, 30, "connections to the broker anew")
        assert consumer.stop() == 0

        assert [(row.attempt, row.outcome) for row in rows if row.subscription == "flaky"] == [
            (1, "retry"),
            (2, "retry"),
            (3, "done"),
        ]
        assert (tmp_path / "done").read_text() == "123"
        assert [row.outcome for row in rows if row.subscription == "slow"] == ["done"]
        assert began.read_text() == "x"
