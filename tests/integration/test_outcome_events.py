"""Outcomes of deliveries as events that other subscriptions receive, from the program `clusterbus consume` itself."""

import json

from tests.consuming import make_event, publish
from tests.operating import Program
from tests.waiting import wait_for


def test_row_82_what_succeeds_and_what_is_given_up_arrives_at_others_and_is_stored(vhost_url, tmp_path):
    heard = tmp_path / "heard.jsonl"
    text = f"""
        version: 1
        subscriptions:
          - name: ticket
            on: softQuotaExceeded
            post: {{url: "http://127.0.0.1:9/hook"}}
            retry: {{attempts: 1}}
          - name: act
            on: softQuotaExceeded
            run: {{command: [/bin/true]}}
          - name: hear
            on: [deliveryDead, deliveryDone]
            log: {{file: {heard}}}
    """
    settings = f"consumers: {{done_events: true, jobs: {tmp_path / 'jobs'}}}\n"

    def told():
        lines = heard.read_text().splitlines() if heard.exists() else []
        return {(each["type"], each["data"]["subscription"]): each["data"] for each in map(json.loads, lines)}

    with Program(vhost_url, tmp_path, text, settings=settings) as consumer:
        consumer.start("ticket", "act", "hear")
        event = make_event()
        publish(vhost_url, [event])
        wait_for(lambda: len(told()) == 2, 60, "both outcomes")
        (row,) = consumer.wait_rows(1, subscription="ticket")

    dead = told()["clusterbus.deliveryDead", "ticket"]
    done = told()["clusterbus.deliveryDone", "act"]
    assert (dead["verb"], dead["eventId"], dead["reason"]) == ("post", event.id, row.reason)
    assert (done["verb"], done["eventId"], done["depth"]) == ("run", event.id, 1)
    assert row.outcome == "dead"
