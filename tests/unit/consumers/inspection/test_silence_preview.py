"""Silences: their filter is checked, and what they would mute is counted and shown, on both databases."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from consumers.deliveries import Delivery
from consumers.inspection.silence_preview import Preview, mistakes, preview
from consumers.store import audit
from consumers.store.database import Store
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.consuming import make_event, make_subscription
from tests.operating import invoke

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
FILE = """\
version: 1
subscriptions:
  - {name: audit, on: "gpfs.#", log: {}}
  - {name: mail, on: quota, where: 'data.fsName != "gpfs9"', notify: {to: team, title: t, body: b}}
  - {name: page, on: disk, notify: {to: team, title: t, body: b}}
"""


def event(minutes_ago, **fields):
    at = NOW - timedelta(minutes=minutes_ago)
    return make_event(time=at.isoformat(timespec="seconds").replace("+00:00", "Z"), **fields)


@pytest.fixture
def keep(database):
    """A function that keeps events in the audit, in this order."""

    def write(*events):
        with Store(database("store")) as store, store.writing() as transaction:
            audit.append(transaction, [Delivery(each, "audit", each.topic, each.to_json()) for each in events])

    return write


@pytest.fixture
def look(database):
    def run(where, *subscriptions, **limits):
        with Store(database("store")) as store, store.reading() as transaction:
            return preview(transaction, where, subscriptions, NOW - DAY, **limits)

    return run


@pytest.fixture
def add(database, tmp_path):
    """A function that adds a silence by the command; returns exit code and output."""
    (tmp_path / "subscriptions.yaml").write_text(FILE)
    (tmp_path / "settings.yaml").write_text(
        'consumers: {contacts: {team: {urls: ["mailto://mail.example.org?to=a@example.org&from=b@example.org"]}}}\n'
    )
    settings = {
        "CLUSTERBUS_CONSUMERS_STORE": database("store"),
        "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(tmp_path / "subscriptions.yaml"),
        "TZ": "Europe/Berlin",
    }
    command = partial(invoke, settings, "--settings", str(tmp_path / "settings.yaml"), "silences", "add")
    return partial(command, "--comment", "new enclosure")


def test_events_of_the_last_day_are_counted_and_those_that_each_subscription_would_have_told_of(keep, look):
    keep(
        event(2000, fsName="gpfs1"),
        event(60, fsName="gpfs1"),
        event(30, fsName="gpfs2"),
        event(20, fsName="gpfs1"),
        event(10, fsName=None),
    )
    mail = make_subscription("mail", ["/bin/true"], where='data.fsName == "gpfs1"')
    off = make_subscription("off", ["/bin/true"], mode="off")

    found = look('data.fsName in ["gpfs1", "gpfs2"]', mail, off)

    assert (found.looked_at, found.matched, found.muted, found.is_complete) == (4, 3, {"mail": 2}, True)


def test_of_a_large_store_only_the_newest_are_looked_at(keep, look):
    keep(*(event(100 - each) for each in range(50)))

    few, small = look("true", most=10), look("true", octets=1)

    assert (few.looked_at, few.matched, few.is_complete) == (10, 10, False)
    assert few.sentence.startswith("it matches 10 of the 10 events looked at, the newest ones, since 20")
    assert (small.looked_at, small.is_complete) == (1, False)
    assert look("true", most=50).is_complete
    assert look("true").looked_at == 50


def test_without_events_it_is_said_that_nothing_is_known(look):
    assert look("true") == Preview((NOW - DAY).isoformat())
    assert look("true").sentence.startswith("how many events it matches is not known: no `log` subscription")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('data.fsNmae == "gpfs1"', "no variable data.fsNmae; did you mean fsName"),
        ("data.fsName", "not true or false"),
        ('data.diskName == "nsd3"', 'write "nsd3" in data.diskName'),
        ("data.blockUsage == '5'", "data.blockUsage"),
        ('severity == "WARNING"', "warning"),
        ("nod == 'x'", "unknown name nod"),
        ("facts.quorum.reached", "a silence cannot use facts"),
        ("data.blockUsage > ", "invalid CEL"),
        (" ", "is empty: write true to mute all notifications"),
    ],
)
def test_a_filter_that_can_never_match_is_refused(where, said):
    assert said in "; ".join(mistakes(where, Catalogues.shipped(), Settings()))


@pytest.mark.parametrize(
    "where",
    ["true", 'data.fsName == "gpfs1"', 'node == "nsd01"', '"nsd3" in data.diskName', 'severity == "warning"'],
)
def test_a_filter_that_can_match_some_type_is_not_refused(where):
    assert mistakes(where, Catalogues.shipped(), Settings()) == []


def test_the_command_shows_what_it_mutes_until_when_and_how_many_events_match(keep, add, database):
    keep(event(30, fsName="gpfs1"), event(20, fsName="gpfs9"))

    code, shown = add("--where", 'data.fsName in ["gpfs1", "gpfs9"]', "--until", "2999-01-01 18:00")

    first, second, third = shown.splitlines()
    assert code == 0
    assert first.endswith(" mutes mail, page")
    assert second == "until Tue 2999-01-01 18:00 CET (UTC+01:00)"
    assert third == "it matches 2 of the 2 events of the last day; muted would have been: mail 1"


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_silence_that_can_match_nothing_now_mutes_nothing_at_present(add, dry_run):
    code, shown = add("--where", 'type == "gpfs.nodeLeave"', "--until", "2h", *dry_run)

    assert code == 0
    assert "nothing at present" in shown
    assert "mail" not in shown.partition("until")[0].rpartition("mute")[2]


def test_a_trial_adds_nothing_and_json_has_all_of_it(add, database):
    code, shown = add("--where", "true", "--until", "2h", "--subscription", "page", "--dry-run", "--json")

    facts = json.loads(shown)
    assert (code, facts["mutes"], facts["preview"]["looked_at"]) == (0, ["page"], 0)
    with Store(database("store")) as store, store.reading() as transaction:
        assert transaction.exec_driver_sql("SELECT count(*) FROM silences").scalar() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--until", "yesterday"), "has passed: give a later time"),
        (("--until", "soon"), "--until: 'soon' is not a time: write a duration, such as 2h, or a time, such as 18:00"),
        (("--until", "2h", "--subscription", "audit"), "audit does not notify people"),
        (("--until", "2h", "--subscription", "mial"), "no subscription 'mial'; did you mean mail?"),
        (("--until", "2h", "--where", "data.fsNmae == '1'"), "--where: no variable data.fsNmae; did you mean fsName"),
    ],
)
def test_what_would_mute_nothing_is_refused(add, options, said):
    code, shown = add("--where", "true", *options)

    assert code == 2
    assert said in shown


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('category == "space"', 'no event of page can match: category == "space" is never true: category is always'),
        ('type == "gpfs.nodeLeave"', 'no event of page can match: type == "gpfs.nodeLeave" is never true: type is'),
        ('data.filesetName == "x"', "cannot have data.filesetName"),
        ('category == "space" && node == "nsd01"', 'no event of page can match: category == "space" is never true'),
    ],
)
def test_a_silence_of_one_subscription_is_refused_where_it_can_match_none_of_its_events(add, where, said):
    code, shown = add("--where", where, "--until", "2h", "--subscription", "page", "--dry-run")

    assert (code, said in shown) == (2, True), shown


@pytest.mark.parametrize(
    "where", ["true", 'category == "disk"', 'data.fsName == "gpfs1"', 'severity >= "error" && node == "nsd01"']
)
def test_a_silence_may_mute_all_events_of_its_subscription(add, where):
    code, shown = add("--where", where, "--until", "2h", "--subscription", "page", "--dry-run")

    assert (code, "--where" in shown) == (0, False), shown


def test_a_silence_of_what_the_subscription_leaves_out_itself_is_refused(add):
    code, shown = add("--where", 'data.fsName == "gpfs9"', "--until", "2h", "--subscription", "mail", "--dry-run")

    assert (code, "no event of mail can match: `where` of the subscription leaves out" in shown) == (2, True), shown


def test_parts_that_no_event_of_the_subscription_can_meet_and_unusual_words_are_shown(add):
    code, shown = add(
        "--where", 'category == "space" || node == "n1"', "--until", "2h", "--subscription", "page", "--dry-run"
    )

    assert code == 0
    assert '--where: category == "space" is never true: category is always disk' in shown
    assert "silence would mute page" in shown


def test_a_silence_of_all_that_matches_none_of_their_events_says_so(add):
    code, shown = add("--where", 'type == "gpfs.nodeLeave"', "--until", "2h", "--dry-run")

    assert code == 0
    assert "no event that people are notified of can match: type == " in shown
