"""Jobs and consumers that die: a job that was begun is never begun again, and its outcome is never lost."""

import os
import signal
from collections import Counter
from datetime import timedelta

import pytest

from consumers.processes.job_files import STATE
from consumers.verbs.run.verb import RunVerb
from tests.consuming import is_gone, make_event, make_subscription, making, publish, text_of
from tests.waiting import wait_for


@pytest.fixture
def consume(vhost_url, tmp_path, jobs):
    """A function that returns a consumer of one subscription that runs *code* as a job."""
    with making(vhost_url, tmp_path) as make:

        def make_one(code, **fields):
            verb = RunVerb(command=("sh", "-c", code), timeout=timedelta(seconds=60), detach=True, **fields)
            return make(make_subscription("act", verb))

        yield make_one


@pytest.mark.parametrize("nodes", [None, "n[1-3]"])
def test_a_job_outlives_its_consumers_kill_and_is_not_begun_again(consume, vhost_url, tmp_path, jobs, nodes):
    ran, go = tmp_path / "ran", tmp_path / "go"
    code = f"echo ${{CLUSTERBUS_NODE_NAME:-here}} >> {ran}; while [ ! -e {go} ]; do sleep 0.05; done; echo said"
    consumer = consume(code, nodes=nodes)
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    count = 3 if nodes else 1
    wait_for(lambda: ran.exists() and len(ran.read_text().split()) == count, 20, "the command")
    consumer.kill()
    (job,) = jobs.all()
    seen = job.state()

    consumer.start().wait_ready()
    go.touch()
    rows = consumer.wait_outcomes(1, outcome="done", timeout=60)

    assert seen == "running"
    assert [(row.attempt, row.outcome) for row in rows] == [(1, "done")]
    assert rows[0].result["job"] == job.id
    assert len(ran.read_text().split()) == count
    assert [each.id for each in jobs.all()] == [job.id]


def test_an_outcome_that_a_job_came_to_while_no_consumer_was_there_is_collected(consume, vhost_url, tmp_path, jobs):
    ran, go = tmp_path / "ran", tmp_path / "go"
    consumer = consume(f"echo x >> {ran}; while [ ! -e {go} ]; do sleep 0.05; done; echo said; exit 0")
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    wait_for(ran.exists, 20, "the command")
    consumer.kill()
    go.touch()
    wait_for(lambda: jobs.all()[0].state() == "finished", 20, "the end of the job")

    consumer.start().wait_ready()
    (row,) = consumer.wait_outcomes(1, outcome="done", timeout=60)

    assert text_of(row) == "said\n"
    assert ran.read_text() == "x\n"


def test_while_it_runs_its_delivery_waits_in_the_broker_and_uses_no_attempt(consume, vhost_url, tmp_path, jobs):
    go = tmp_path / "go"
    consumer = consume(f"while [ ! -e {go} ]; do sleep 0.05; done")
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    wait_for(lambda: [row for row in consumer.attempts() if row.outcome == "wait"], 20, "a delivery that waits")
    consumer.kill()
    consumer.start().wait_ready()
    go.touch()
    consumer.wait_outcomes(1, outcome="done", timeout=60)

    assert [(row.attempt, row.outcome) for row in consumer.attempts()] == [(1, "done")]
    assert len(jobs.all()) == 1


def test_a_lost_job_is_retried_as_a_new_one(consume, vhost_url, tmp_path, jobs):
    pids, go = tmp_path / "pids", tmp_path / "go"
    consumer = consume(f"echo $$ >> {pids}; while [ ! -e {go} ]; do sleep 0.05; done")
    consumer.start().wait_ready()
    publish(vhost_url, [make_event()])
    first = wait_for(lambda: pids.exists() and pids.read_text().split(), 20, "the command")
    os.kill(jobs.all()[0].read(STATE)["pid"], signal.SIGKILL)

    wait_for(lambda: len(pids.read_text().split()) == 2, 40, "the second job")
    go.touch()
    consumer.wait_outcomes(1, outcome="done", timeout=60)
    rows = consumer.attempts()

    assert [(row.attempt, row.outcome) for row in rows] == [(1, "retry"), (2, "done")]
    assert "is lost: its wrapper was killed" in rows[0].reason
    assert is_gone(int(first[0]))
    assert Counter(each.state() for each in jobs.all()) == {"lost": 1, "finished": 1}
