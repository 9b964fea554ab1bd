"""From a file that a supervisor runs, through relay and router, to an event under its topic."""

from router.broker.topology import EVENTS
from router.model.events import Event
from tests.flow import Flow
from tests.qube import Farm
from tests.waiting import wait_for

SEEN = "seen-by-the-test"


def test_a_failed_job_is_an_event_under_its_topic(tmp_path, vhost_url, tap):
    with Flow(tmp_path, vhost_url, nodes=["super01"]) as flow:
        wait_for((flow.spool("super01") / "lost").exists, 20, "the relay is at its spool")
        tap.channel.queue_declare(SEEN, exclusive=True)
        tap.channel.queue_bind(SEEN, EVENTS, "qube.#")
        farm = Farm(tmp_path, flow.spool("super01"))
        farm.apply()

        farm.fire("one:normal:failed-job-self", "split:empty:removed-job-self")

        first, second = flow.wait_audited(2, 30, origin="qube.")
        taken = []
        wait_for(lambda: taken.extend(tap.drain(SEEN)) or len(taken) == 2, 20, "both events")
    event = Event.from_json(taken[0].body)
    assert [each.key for each in taken] == [
        "qube.prod.job.failedJob.19294.super01",
        "qube.prod.job.removedJob.19294.super01",
    ]
    assert (event.type, event.subject, event.severity, event.sequence) == (
        "qube.failedJob",
        "19294",
        "error",
        "000000000001",
    )
    assert (event.data["name"], event.data["hosts"]) == ("shot_010 --user grün 😀", ["render01", "render02"])
    assert (first.event, second.event) == ("qube.failedJob", "qube.removedJob")
