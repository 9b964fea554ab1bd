"""The progress of commands on nodes as events, from the program `clusterbus consume` itself."""

import json

from router.broker.topology import EVENTS
from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for


def test_row_123_nodes_that_begin_and_end_are_events_while_the_command_runs(vhost_url, tap, tmp_path):
    go, log = tmp_path / "go", tmp_path / "progress.jsonl"
    code = f"test $CLUSTERBUS_NODE_NAME = n1 || while [ ! -e {go} ]; do sleep 0.05; done"
    text = f"""
        version: 1
        subscriptions:
          - name: act
            on: softQuotaExceeded
            run: {{command: [sh, -c, "{code}"], nodes: "n[1-3]", timeout: 5m}}
          - name: hear
            on: jobProgress
            log: {{file: {log}}}
    """
    settings = (
        f"consumers: {{job_progress: 1s, jobs: {tmp_path / 'jobs'}, transport: local}}\nrouter: {{wire: binary}}\n"
    )

    def told():
        return [json.loads(line)["data"] for line in log.read_text().splitlines()] if log.exists() else []

    with Program(vhost_url, tmp_path, text, settings=settings) as consumer:
        consumer.start("act", "hear")
        tap.channel.queue_declare("others")
        tap.channel.queue_bind("others", EVENTS, "clusterbus.*.action.jobProgress.#")
        event = make_event()
        publish(vhost_url, [event])
        wait_for(lambda: any(each.get("doneNodes") for each in told()), 60, "the progress of the command")
        heard = told()
        shown = consumer.command("jobs", "list", "--json")
        go.touch()
        (row,) = consumer.wait_rows(1, subscription="act", timeout=60)

    assert {each.properties.content_type for each in tap.drain("others")} == {"application/json"}
    assert heard[-1] == {
        "subscription": "act",
        "eventType": "gpfs.softQuotaExceeded",
        "eventId": event.id,
        "attempt": 1,
        "job": shown[0]["id"],
        "nodes": "n[1-3]",
        "waitingNodes": None,
        "runningNodes": "n[2-3]",
        "doneNodes": "n1",
        "failedNodes": None,
        "depth": 1,
    }
    assert shown[0]["states"] == {"running": "n[2-3]", "succeeded": "n1"}
    assert row.result["nodes"] == {"succeeded": "n[1-3]", "failed": ""}


def test_row_102_debug_lines_of_runs_name_the_event_the_subscription_and_the_job(vhost_url, tmp_path):
    text = """
        version: 1
        subscriptions:
          - name: act
            on: softQuotaExceeded
            run: {command: [/bin/sleep, "0.1"]}
          - name: detached
            on: softQuotaExceeded
            run: {command: [/bin/true], detach: true}
          - name: fan-out
            on: softQuotaExceeded
            run: {command: [/bin/true], nodes: "n[1-2]"}
    """
    settings = f"consumers: {{jobs: {tmp_path / 'jobs'}, transport: local}}\n"
    names = ("act", "detached", "fan-out")

    with Program(vhost_url, tmp_path, text, settings=settings, level="DEBUG") as consumer:
        consumer.start(*names)
        event = make_event()
        publish(vhost_url, [event])
        consumer.wait_rows(3, outcome="done", timeout=60)
        begun = [*consumer.wait_logged("command begins", 2), *consumer.wait_logged("job started")]
        ended = consumer.wait_logged("command has ended", 3)

    for lines in (begun, ended):
        assert {each["subscription"] for each in lines} == {*names}
        assert {each["id"] for each in lines} == {event.id}
        assert all(each["job"].startswith(f"{each['subscription']}-") for each in lines)
    assert {each["code"] for each in ended} == {0}


def test_row_116_a_command_that_a_consumer_waits_for_is_cancelled_from_the_command_line(vhost_url, tmp_path):
    heard = tmp_path / "heard.jsonl"
    text = f"""
        version: 1
        subscriptions:
          - name: act
            on: softQuotaExceeded
            run: {{command: [/bin/sleep, "600"], timeout: 1h}}
          - name: hear
            on: [runFailed, deliveryDead]
            log: {{file: {heard}}}
    """

    with Program(vhost_url, tmp_path, text) as consumer:
        consumer.start("act", "hear")
        publish(vhost_url, [make_event()])
        (shown,) = wait_for(lambda: consumer.command("jobs", "list", "--json"), 60, "the run")
        (cancelled,) = consumer.command("jobs", "cancel", shown["id"], "--json")
        (row,) = consumer.wait_rows(1, subscription="act", timeout=60)
        wait_for(lambda: heard.exists() and len(heard.read_text().splitlines()) == 2, 60, "what others hear of it")
        (dead,) = consumer.command("dead", "list", "--json")

    assert (cancelled["state"], row.outcome) == ("cancelled", "dead")
    assert row.reason == dead["reason"] == f"cancelled by {cancelled['by']} (job {shown['id']})"
    assert row.result["job"] == shown["id"]
    assert [json.loads(line)["type"] for line in heard.read_text().splitlines()] == [
        "clusterbus.runFailed",
        "clusterbus.deliveryDead",
    ]
