"""Dead letters: found by failure, grouped, edited, replayed at a pace; and the commands on them."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from consumers.cli.dead_letters import groups
from consumers.dead_letters import editing, kept_letters
from consumers.dead_letters import replay as replays
from consumers.dead_letters.kept_letters import amendments, find
from consumers.dead_letters.replay import amend, plan, replay
from consumers.errors import LetterError
from consumers.policies.failure_fingerprints import fingerprint, normal
from consumers.store import database
from consumers.store import letters as table
from consumers.store.letters import Letter
from router.broker.interface import Settlement
from router.broker.topology import base, queue_of, subscription
from router.model import durations
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.ids import new_id
from tests.broker.memory import Memory
from tests.consuming import make_event
from tests.operating import invoke, json_lines

MOMENT = datetime(2026, 11, 20, 15, 22, tzinfo=UTC)
SHIPPED = Catalogues.shipped()


@pytest.fixture
def keep(store):
    """A function that keeps a letter with this reason."""
    numbers = iter(range(1000))

    def kept(reason="exit code 3", event=None, **fields):
        event = event or make_event()
        number = next(numbers)
        facts = {
            "id": f"{number:016x}",
            "kind": "delivery",
            "event_id": event.id,
            "event": event.type,
            "subscription": "act",
            "attempt": 3,
            "exchange": "",
            "topic": event.topic,
            "reason": reason,
            "body": event.to_json(),
            "headers": {},
            "kept_at": MOMENT + timedelta(minutes=number),
        }
        letter = Letter(**facts | fields)
        with store.writing() as transaction:
            table.keep(transaction, [letter])
        return letter

    return kept


@pytest.fixture
def command(database):
    """A function that runs a command on the store; returns exit code and output."""
    settings = {"CLUSTERBUS_CONSUMERS_STORE": database("store")}
    return partial(invoke, settings)


def now():
    return MOMENT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exit code 3: nsd17: gone", "exit code 3: nsd4: gone"),
        ("timeout after 0:00:10", "timeout after 0:10:00"),
        ("cannot open '/gpfs/a b/c'", "cannot open '/gpfs/x'"),
        ("HTTP 503 from https://a.example/x?id=1", "HTTP 503 from https://a.example/y"),
        ("no event 01M7XDHD6YFQKHXD9TJAAEFMZ8", "no event 01M7XDHD6ZJZ6CVKKC52SD1SWJ"),
        ("n[001-400] failed", "n7 failed"),
        ("/var/spool/a: full", "/var/spool/b/c: full"),
    ],
)
def test_failures_that_differ_only_in_what_they_are_about_have_one_fingerprint(one, other):
    assert fingerprint(one) == fingerprint(other), (normal(one), normal(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("exit code 3", "exit code 4"), ("HTTP 503", "HTTP 404"), ("signal 9", "signal 15"), ("refused", "timed out")],
)
def test_other_failures_have_another(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_of_hostile_text_is_quick():
    for text in ("/" * 2048, "'" * 2047, "a1" * 1024, "://" * 600, "0x" * 1000, "[" * 2000, "n[" + "1," * 1000):
        assert len(fingerprint(text)) == 8


def test_letters_are_found_by_their_failure(store, keep):
    wanted = [keep(f"exit code 3: nsd{number} is gone") for number in range(5)]
    keep("exit code 4")

    found = find(store, failure=fingerprint("exit code 3: nsd9 is gone"))

    assert {each.id for each in found} == {each.id for each in wanted}
    assert len(find(store, failure=fingerprint("exit code 3: nsd9 is gone"), limit=2)) == 2
    assert find(store, failure="00000000") == []


def test_groups_have_count_first_last_and_an_example(store, keep):
    letters = [keep(f"exit code 3: nsd{number} is gone", subscription=f"act{number}") for number in range(3)]
    keep("exit code 4")

    many, one = groups(find(store))

    assert (many.count, one.count) == (3, 1)
    assert (many.first, many.last, many.example) == (letters[0].kept_at, letters[2].kept_at, letters[2].id)
    assert many.subscriptions == ["act0", "act1", "act2"]


def test_the_list_shows_failures_and_takes_them_as_a_filter(keep, command):
    keep("exit code 3: nsd1 is gone")
    keep("exit code 4")

    code, output = command("dead", "list", "--json")
    marks = {each["reason"]: each["failure"] for each in json_lines(output)}
    _, only = command("dead", "list", "--json", "--failure", marks["exit code 4"])
    _, grouped = command("dead", "list", "--json", "--group")

    assert code == 0
    assert [each["reason"] for each in json_lines(only)] == ["exit code 4"]
    assert {each["failure"]: each["count"] for each in json_lines(grouped)} == dict.fromkeys(marks.values(), 1)


@pytest.mark.parametrize("name", ["replay", "drop"])
def test_letters_are_chosen_by_id_or_by_options_but_not_by_both_or_neither(keep, command, name):
    letter = keep()

    assert command("dead", name)[0] == 2
    assert command("dead", name, letter.id, "--all")[0] == 2
    assert command("dead", name, "--subscription", "other")[0] == 1
    code, output = command("dead", name, "--subscription", "act", "--older", "1s", "--dry-run", "--json")
    assert (code, [each["id"] for each in json_lines(output)]) == (0, [letter.id])


def test_a_kind_or_a_time_that_is_none_is_told(command):
    assert command("dead", "list", "--kind", "x") == (2, "--kind 'x': use one of delivery, record, unrouted\n")
    code, output = command("dead", "list", "--since", "5")
    assert (code, output.partition(":")[0], "'5' is not a time" in output) == (2, "--since", True)
    assert command("dead", "list", "--older", "2999-01-01")[1].endswith("is still to come: give a time in the past\n")


def test_an_edit_keeps_what_was_changed_by_whom_and_when_and_is_what_is_replayed(store, keep):
    letter = keep(event=make_event(fsName="gpfs1"))

    changes = amend(store, letter, Event.from_json(letter.body).data | {"fsName": "gpfs2"}, by="ann", clock=now)
    (planned,) = plan(store, [letter.id], by="ann")

    assert changes == [{"name": "data.fsName", "from": "gpfs1", "to": "gpfs2"}]
    sent = Event.from_json(planned.message.body)
    assert (sent.id, sent.data["fsName"], planned.message.id) == (letter.event_id, "gpfs2", letter.event_id)
    (kept,) = amendments(store, letter.id)
    assert (kept.by, kept.at, kept.number) == ("ann", MOMENT, 1)
    assert find(store)[0].body == letter.body


def test_a_second_edit_goes_on_from_the_first(store, keep):
    letter = keep(event=make_event(fsName="gpfs1"))
    first = replays.current(store, letter).data | {"fsName": "gpfs2"}

    amend(store, letter, first, by="ann", clock=now)
    changes = amend(store, letter, first | {"blockUsage": 7}, by="bob", clock=now)

    assert [each["name"] for each in changes] == ["data.blockUsage"]
    assert replays.current(store, letter).data == first | {"blockUsage": 7}
    assert [each.number for each in amendments(store, letter.id)] == [1, 2]


def test_what_was_mended_is_malformed_no_more():
    event = make_event(malformed="blockUsage fsName", blockUsage="lots")

    amended, _ = replays.amended(event, event.data | {"blockUsage": 5})

    assert amended.malformed == "fsName"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"fsName": {"a": 1}}, "the event is not valid: data.fsName"),
        ({"fsName": "gpfs1", "blockUsage": [1]}, "the event is not valid"),
        ({"fsName": "gpfs\udc801"}, "data.fsName has bytes that are not UTF-8"),
        ({"fsName": "gpfs1", "\ud800": ["a"]}, "has bytes that are not UTF-8"),
    ],
)
def test_an_edit_that_leaves_no_event_is_refused(data, said):
    with pytest.raises(LetterError, match=said):
        replays.amended(make_event(), data)


def test_what_cannot_be_edited_is_said_so(store, keep):
    with pytest.raises(LetterError, match="only deliveries can be edited"):
        replays.event_of(keep(kind="record"))
    with pytest.raises(LetterError, match=r"cannot edit letter .*: its replay was started"):
        replays.event_of(keep(replay=new_id()))
    with pytest.raises(LetterError, match="contains no valid event"):
        replays.event_of(keep(body=b"{"))
    letter = keep()
    with pytest.raises(LetterError, match="no change to letter"):
        amend(store, letter, Event.from_json(letter.body).data, by="ann", clock=now)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data.fsName=gpfs2", {"fsName": "gpfs2"}),
        ("data.fsName=a=b; rm -rf /", None),
        ("data.blockUsage=7", {"blockUsage": 7}),
        ("data.blockUsage=null", {"blockUsage": None}),
        ("data.filesetName=x", {"filesetName": "x"}),
        ("data.blockUsage=lots", "'lots' is not an integer"),
        ("data.fsNam=x", "cannot have data.fsNam; did you mean fsName"),
        ("node=x", "is not data.NAME=VALUE"),
        ("data.fsName", "is not data.NAME=VALUE"),
    ],
)
def test_a_setting_is_typed_by_the_catalogue(text, data):
    event = make_event()
    if isinstance(data, dict):
        assert editing.with_settings(event, [text], SHIPPED) == event.data | data
    else:
        with pytest.raises(LetterError, match=data or "is not a word"):
            editing.with_settings(event, [text], SHIPPED)


def test_an_editor_is_given_the_data_and_no_shell(tmp_path, monkeypatch):
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\n[ "$1" = "; exit 9" ] || exit 8\nprintf \'{"fsName": "gpfs9"}\' >"$2"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", f"'{editor}' '; exit 9'")

    assert editing.edited({"fsName": "gpfs1"}) == {"fsName": "gpfs9"}


@pytest.mark.parametrize(
    ("script", "said"), [("exit 3", "exit code 3"), ("echo x >$1", "not valid JSON"), ("echo 1 >$1", "object")]
)
def test_an_editor_that_fails_or_leaves_no_data_changes_nothing(tmp_path, monkeypatch, script, said):
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))

    with pytest.raises(LetterError, match=said):
        editing.edited({"fsName": "gpfs1"})


def test_a_dry_edit_shows_the_change_and_writes_nothing(store, keep, command):
    letter = keep(event=make_event(fsName="gpfs1"))

    code, output = command("dead", "edit", letter.id, "--set", "data.fsName=gpfs2", "--dry-run")

    assert code == 0
    assert 'data.fsName: "gpfs1" → "gpfs2"' in output
    assert amendments(store, letter.id) == []
    assert command("dead", "edit", letter.id)[0] == 2


def test_an_edit_is_shown_with_its_letter(store, keep, command):
    letter = keep(event=make_event(fsName="gpfs1"))
    amend(store, letter, Event.from_json(letter.body).data | {"fsName": "gpfs2"}, by="ann", clock=now)

    _, output = command("dead", "show", letter.id, "--json")
    (edit,) = json_lines(output)[0]["edits"]

    assert (edit["by"], edit["changes"][0]["to"]) == ("ann", "gpfs2")
    assert 'by ann: data.fsName: "gpfs1" → "gpfs2"' in command("dead", "show", letter.id)[1]


class Stopwatch:
    """A broker in memory that notes when each message was published, on its own clock."""

    def __init__(self):
        self.broker = Memory(user="consumer")
        self.broker.declare(base() + subscription("act", ["none"]))
        self.at = []
        publish = self.broker.publish

        def noted(message, settled):
            self.at.append(self.broker.model.now)
            publish(message, settled)

        self.broker.publish = noted
        # Its clock only moves when it is told to.
        run = self.broker.run

        def run_a_day():
            self.broker.run = run
            self.broker.advance(timedelta(days=1))

        self.broker.run = run_a_day


def test_replays_keep_to_the_rate_on_the_brokers_clock(store, keep):
    ids = [keep().id for _ in range(5)]
    watch = Stopwatch()

    done = replay(store, watch.broker, ids, by="ann", clock=now, gap=durations.pace("10/m"))

    assert {each.settlement for each in done} == {Settlement.CONFIRMED}
    assert [later - first for first, later in zip(watch.at, watch.at[1:], strict=False)] == [timedelta(seconds=6)] * 4
    assert find(store) == []
    assert len(watch.broker.model.queue(queue_of("act")).ready) == 5


def test_a_rate_slower_than_the_brokers_silence_is_no_reason_to_stop(store, keep):
    ids = [keep().id for _ in range(3)]

    done = replay(store, Stopwatch().broker, ids, by="ann", clock=now, gap=durations.pace("1/h"))

    assert [each.settlement for each in done] == [Settlement.CONFIRMED] * 3


def test_without_a_rate_no_more_are_under_way_than_a_window(store, keep):
    ids = [keep().id for _ in range(450)]
    watch = Stopwatch()
    under_way, most = [0], [0]
    publish = watch.broker.publish

    def counted(message, settled):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])

        def ended(settlement):
            under_way[0] -= 1
            settled(settlement)

        publish(message, ended)

    watch.broker.publish = counted

    replay(store, watch.broker, ids, by="ann", clock=now)

    assert most[0] <= 200
    assert find(store) == []


def test_a_replay_that_is_cut_short_has_marked_what_was_confirmed(store, keep):
    ids = [keep().id for _ in range(3)]
    watch = Stopwatch()
    watch.broker.later(timedelta(seconds=90), _raise)

    with pytest.raises(KeyboardInterrupt):
        replay(store, watch.broker, ids, by="ann", clock=now, gap=durations.pace("1/m"))

    assert len(find(store, state="replayed")) == 2
    (left,) = find(store)
    assert left.replay


def _raise():
    raise KeyboardInterrupt


def test_many_letters_are_replayed_in_portions_between_which_others_may_write(store, keep, monkeypatch):
    monkeypatch.setattr(database, "PORTION", 20)
    ids = [keep().id for _ in range(130)]
    watch = Stopwatch()
    sizes, told = [], []
    give = table.give_nonces

    def given(transaction, wanted):
        sizes.append((len(wanted), len(told)))
        return give(transaction, wanted)

    monkeypatch.setattr(table, "give_nonces", given)
    monkeypatch.setattr("consumers.dead_letters.publisher._WINDOW", 10)

    left = replays.replay_each(store, watch.broker, ids, told.append, by="ann", clock=now)

    assert left == 0
    assert [size for size, _ in sizes] == [20] * 6 + [10]
    assert [after for _, after in sizes] == sorted(after for _, after in sizes)
    assert sizes[-1][1] >= 100, "a portion is written when the one before it is published"
    assert len(told) == 130
    assert find(store) == []


def test_a_letter_that_somebody_else_drops_meanwhile_is_left_out_and_said_so(store, keep, command, monkeypatch):
    monkeypatch.setattr(database, "PORTION", 2)
    ids = [keep().id for _ in range(4)]
    watch = Stopwatch()
    told = []

    def heard(each):
        if not told:
            kept_letters.drop(store, [ids[3]], by="you", clock=now)
        told.append(each)

    left = replays.replay_each(store, watch.broker, ids, heard, by="ann", clock=now, gap=timedelta(seconds=1))

    assert left == 1
    assert [each.letter.id for each in told] == ids[:3]
    assert [each.by for each in find(store, state="dropped")] == ["you"]


def test_many_letters_are_dropped_in_portions(store, keep, monkeypatch):
    monkeypatch.setattr(database, "PORTION", 20)
    ids = [keep().id for _ in range(45)]

    assert len(kept_letters.drop(store, ids, by="ann", clock=now)) == 45

    assert len(find(store, state="dropped")) == 45


@pytest.mark.parametrize("text", ["10", "0/s", "10/d", "-1/s", "1.5/s", ""])
def test_a_rate_that_is_none_is_told(text):
    with pytest.raises(ValueError, match="is not a rate"):
        durations.pace(text)
