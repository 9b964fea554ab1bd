"""Guards on actions over processes: so many at once, somebody's word; and silences, by the real commands."""

from datetime import timedelta

import pytest

from consumers.policies.guards import Ask, AtMost, Guard
from router.broker.topology import queue_of
from tests.consuming import make_event, make_subscription, publish, python
from tests.operating import Consumer, Program
from tests.waiting import wait_for
from tests.webhooks import mail_server

NOTHING = "version: 1\nsubscriptions: []\n"
ASKED = """\
version: 1
subscriptions:
  - name: act
    on: quota
    concurrency: 4
    run: {command: [touch, "FOLDER/{{ data.fsName }}"], timeout: 20s}
    guard: {ask: {within: 1s}}
"""
STOPPING = """\
version: 1
subscriptions:
  - name: act
    on: quota
    run: {command: [ls, "FOLDER/repaired"], timeout: 20s}
    guard: {stop_after: 1}
    retry: {attempts: 1}
  - {name: stopped, on: actionStopped, log: {}}
"""
TOLD = """\
version: 1
subscriptions:
  - {name: audit, on: "gpfs.#", log: {}}
  - name: mail
    on: quota
    notify: {to: team, title: "{{ data.fsName }}", body: "{{ data.fsName }}"}
"""


def most_at_once(path):
    """Return how many of the intervals in *path*, `begin end` a line, overlap at the most."""
    intervals = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
    return max(sum(begin <= moment < end for begin, end in intervals) for moment, _ in intervals)


@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True])
def test_no_more_than_so_many_run_at_once_over_two_consumers(vhost_url, tmp_path, database, tap, killed):
    done, began = tmp_path / "done", tmp_path / "began"
    note = f"open({str(began)!r},'a').write(str(os.getppid())+' ')"
    interval = f"open({str(done)!r},'a').write(f'{{begun}} {{time.time()}}\\n')"
    code = f"import os,time\n{note}\nbegun=time.time(); time.sleep(1)\n{interval}"
    act = make_subscription("act", python(code), guard=Guard(at_most=2), concurrency=4)
    one, two = (
        Consumer(vhost_url, tmp_path, [act], store=database("store")),
        Consumer(vhost_url, tmp_path, [act], store=database("store")),
    )
    one.waits = two.waits = {"at most": 1}
    try:
        one.start().wait_ready()
        two.start()
        wait_for(lambda: tap.consumers(queue_of("act")) == 2, 20, "two consumers")
        events = [make_event() for _ in range(8)]
        publish(vhost_url, events)
        if killed:
            wait_for(began.exists, 20, "the first command")
            two.kill()
        rows = one.wait_outcomes(8, outcome="done")
        wait_for(lambda: tap.count(queue_of("act")) == 0, 20, "an empty queue")
    finally:
        one.close()
        two.close()

    assert {row.event_id for row in rows} == {each.id for each in events}
    assert most_at_once(done) <= 2
    assert {row.attempt for row in rows} == {1}
    if not killed:
        assert len(done.read_text().splitlines()) == 8
        assert most_at_once(done) == 2


def test_what_comes_while_one_runs_at_its_place_is_skipped_over_two_consumers(vhost_url, tmp_path, database, tap):
    began, done = tmp_path / "began", tmp_path / "done"
    hold = f"\nwhile not os.path.exists({str(done)!r}): time.sleep(0.05)"
    code = f"import os,sys,time\nopen({str(began)!r},'a').write(sys.argv[1]+'\\n'){hold}"
    guard = Guard(at_most=AtMost(count=1, by=("data.fsName",), rest="skip"))
    act = make_subscription("act", [*python(code), "{{ data.fsName }}"], guard=guard, concurrency=4)
    one, two = (Consumer(vhost_url, tmp_path, [act], store=database("store")) for _ in range(2))
    try:
        one.start().wait_ready()
        two.start()
        wait_for(lambda: tap.consumers(queue_of("act")) == 2, 20, "two consumers")
        publish(vhost_url, [make_event(fsName="gpfs1"), make_event(fsName="gpfs2")])
        wait_for(lambda: began.exists() and len(began.read_text().splitlines()) == 2, 20, "both commands")
        publish(vhost_url, [make_event(fsName="gpfs1") for _ in range(6)])
        skipped = one.wait_outcomes(6, outcome="busy")
        done.touch()
        one.wait_outcomes(2, outcome="done")
        publish(vhost_url, [make_event(fsName="gpfs1")])
        one.wait_outcomes(3, outcome="done")
    finally:
        done.touch()
        one.close()
        two.close()

    assert sorted(began.read_text().split()) == ["gpfs1", "gpfs1", "gpfs2"]
    assert {row.reason for row in skipped} == {"at_most: 1 of act with the same data.fsName are running"}


def test_what_waits_for_somebodys_word_is_done_when_approved_and_not_when_refused(vhost_url, tmp_path, database):
    good, bad = make_event(fsName="good"), make_event(fsName="bad")
    guard = Guard(ask=Ask(within=timedelta(hours=1)))
    act = make_subscription("act", ["touch", f"{tmp_path}/{{{{ data.fsName }}}}"], guard=guard, concurrency=4)
    consumer = Consumer(vhost_url, tmp_path, [act], store=database("store"))
    consumer.waits = {"answer": 1}
    with Program(vhost_url, tmp_path, NOTHING, store=database("store")) as program, consumer:
        consumer.wait_ready()
        publish(vhost_url, [good, bad])
        program.wait_rows(2, outcome="wait")
        asked = {each["event_id"]: each for each in program.command("jobs", "pending", "--json")}
        program.command("jobs", "approve", asked[good.id]["id"])
        program.command("jobs", "refuse", asked[bad.id]["id"])
        again = program.command("jobs", "approve", asked[bad.id]["id"], "--json", code=1)
        pending = program.command("jobs", "pending", "--json")
        rows = {row.event_id: row for row in program.wait_rows(1, outcome="done")}
        rows |= {row.event_id: row for row in program.wait_rows(1, outcome="refused")}

    assert set(asked) == {good.id, bad.id}
    assert asked[bad.id]["plan"]["command"] == ["touch", str(tmp_path / "bad")]
    assert pending == []
    assert again[0]["done"] != "approved"
    assert (tmp_path / "good").exists()
    assert not (tmp_path / "bad").exists()
    assert rows[bad.id].reason.startswith("refused by ")
    assert rows[good.id].attempt == rows[bad.id].attempt == 1


def test_nobodys_word_in_time_means_no(vhost_url, tmp_path, database, tap):
    text = ASKED.replace("FOLDER", str(tmp_path))
    with Program(vhost_url, tmp_path, text, store=database("store")).start("act") as program:
        publish(vhost_url, [event := make_event(fsName="late")])
        (row,) = program.wait_rows(1, outcome="unanswered")
        wait_for(lambda: tap.count(queue_of("act")) == 0, 10, "an empty queue")

    assert row.event_id == event.id
    assert not (tmp_path / "late").exists()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_what_failed_too_often_stops_is_told_and_goes_on_by_a_command(vhost_url, tmp_path, database):
    text = STOPPING.replace("FOLDER", str(tmp_path))
    with Program(vhost_url, tmp_path, text, store=database("store")).start("act", "stopped") as program:
        publish(vhost_url, [make_event()])
        program.wait_rows(1, outcome="dead", subscription="act")
        publish(vhost_url, [event := make_event()])
        (waiting,) = program.wait_rows(1, event_id=event.id, outcome="wait")
        (told,) = program.wait_rows(1, subscription="stopped", outcome="done")
        listed = {each["name"]: each for each in program.command("subscriptions", "list", "--json")}
        why = program.command("why", event.id, "--json")
        (tmp_path / "repaired").touch()
        resume = ("subscriptions", "resume", "act", "--comment", "repaired")
        program.command(*resume)
        program.command(*resume, code=1)
        program.wait_rows(1, outcome="done", subscription="act")

    assert waiting.reason.endswith("; to go on: clusterbus subscriptions resume act")
    assert told.event == "clusterbus.actionStopped"
    assert "1 failures within 1h" in listed["act"]["stopped"]
    assert listed["stopped"]["stopped"] == ""
    assert waiting.reason in str(why)


@pytest.mark.long
def test_a_silence_takes_hold_at_once_keeps_the_record_and_ends_when_it_is_expired(vhost_url, tmp_path, database):
    with mail_server() as server:
        contacts = f'consumers: {{contacts: {{team: {{urls: ["{server.url()}"]}}}}}}\n'
        with Program(vhost_url, tmp_path, TOLD, settings=contacts, store=database("store")).start(
            "audit", "mail"
        ) as program:
            where = ("--where", 'data.fsName == "gpfs1"', "--until", "1h", "--comment", "we know")
            (silence,) = program.command("silences", "add", *where, "--json")
            silenced, other = make_event(), make_event(fsName="gpfs2")
            publish(vhost_url, [silenced, other])
            rows = {row.event_id: row for row in program.wait_rows(2, subscription="mail")}
            first = subjects(server)
            listed = program.command("silences", "list", "--json")
            program.command("silences", "expire", silence["id"])
            publish(vhost_url, [after := make_event()])
            rows |= {row.event_id: row for row in program.wait_rows(3, subscription="mail")}
            audited = {row.event_id for row in program.wait_rows(3, subscription="audit")}
            second = subjects(server)

    assert [each["id"] for each in listed] == [silence["id"]]
    assert rows[silenced.id].outcome == "silenced"
    assert silence["id"] in rows[silenced.id].reason
    assert "we know" in rows[silenced.id].reason
    assert (rows[other.id].outcome, rows[after.id].outcome) == ("done", "done")
    assert (first, second) == (["gpfs2"], ["gpfs2", "gpfs1"])
    assert audited == {silenced.id, other.id, after.id}


def subjects(server):
    return [mail.headers["subject"][0] for mail in server.mails]
