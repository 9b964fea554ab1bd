"""The verb `notify`: what may be written, and what a message says."""

import re
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.alerts.owners import Owners
from consumers.config.event_samples import Kinds, Samples
from consumers.config.registrations import Registrations
from consumers.deliveries import Delivery
from consumers.errors import Rejected
from consumers.policies.throttling import Gathered
from consumers.subscriptions import validation as checking
from consumers.verbs.interface import Surroundings
from consumers.verbs.notify import apprise_client, message_texts
from consumers.verbs.notify.message import Message
from consumers.verbs.notify.recipients import Recipients
from consumers.verbs.notify.verb import NotifyVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from router.settings.sections.owner_row import OwnerRow
from tests.alerts import ALERT, OTHER, change
from tests.consuming import make_delivery, make_event

CATALOGUES = Catalogues.shipped()
README = Path(__file__).parents[4] / "consumers" / "verbs" / "notify" / "README.md"


def settings_with(*names, **fields):
    return Settings.model_validate(
        {
            "consumers": {
                "contacts": {name: {"urls": "mailto://mail.example.com?from=a@example.com", **fields} for name in names}
            }
        }
    )


def remarks(verb, its_settings):
    kinds = Kinds(Registrations(CATALOGUES))
    return [*verb.remarks(kinds, its_settings), *verb.remarks_here(kinds, its_settings)]


def test_an_unknown_contact_is_a_mistake_that_names_the_nearest():
    (remark,) = remarks(NotifyVerb(to=["storage-taem"]), settings_with("storage-team", "on-call"))

    assert (remark.place, remark.warning) == (("to", 0), False)
    assert remark.message == "no contact 'storage-taem'; did you mean storage-team?"


def test_without_contacts_it_is_said_where_to_write_them():
    (remark,) = remarks(NotifyVerb(to="team"), Settings())

    assert "define it in the settings, consumers.contacts" in remark.message


def test_a_secret_that_cannot_be_read_here_is_a_warning(tmp_path):
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/gone"}}}})

    (remark,) = remarks(NotifyVerb(to="team"), its)

    assert remark.warning
    assert f"file:{tmp_path}/gone: No such file" in remark.message


@pytest.mark.parametrize("password", ["p@ss/w", "p@s.s/w"])
def test_no_part_of_a_password_is_shown_where_apprise_takes_it_for_a_host(tmp_path, password):
    secret = tmp_path / "mail"
    secret.write_text(f"mailto://bus:{password}@mail.example")
    secret.chmod(0o600)
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{secret}"}}}})

    told = " ".join(each.message.replace(str(secret), "") for each in remarks(NotifyVerb(to="team"), its))

    assert "not an address that apprise supports" in told
    assert password.partition("@")[2].partition("/")[0] not in told.replace("address", "")
    assert "bus@" not in told


GOOD = "mailto://mail.example.com?from=a@example.com"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mailtos:/relay", "write service://"),
        ("foo://bar", "Unparseable URL"),
        ("just text", "not an address that apprise supports"),
        ("mailto://m1 m2?from=a@example.com", "its host has a blank in it"),
        (f"to {GOOD}", "not an address that apprise supports"),
        ("mailto://mail.example.com", "Invalid ~From~ email"),
        (f"{GOOD}, foo://bar", "#2: not an address that apprise supports"),
        (f"{GOOD}\nfoo://bar\n", "#2: not an address that apprise supports"),
        (f"{GOOD}&to=a@b.c", "leaves out a part of it: Dropped invalid To email"),
        (f"{GOOD}&to=b@example.com,notanaddress", "leaves out a part of it: what it does not read as a mail"),
        (f"{GOOD}&to=b@example.com%20root", "not read as a mail address in the parameter to"),
        (f"{GOOD}&to=b@example.com&cc=Doe, John <c@example.com>", "not read as a mail address in the parameter cc"),
        (f"{GOOD}&bcc=b@example.com,@", "not read as a mail address in the parameter bcc"),
        (f"{GOOD},root", "not read as a mail address in the parameter from"),
        (f"{GOOD},b@example.com", "all mail addresses but the first in the parameter from"),
    ],
)
def test_an_address_that_is_none_is_found_before_an_event_comes(tmp_path, text, said):
    (tmp_path / "team").write_text(text)
    (tmp_path / "team").chmod(0o600)
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/team"}}}})

    (remark,) = remarks(NotifyVerb(to="team"), its)

    assert remark.fault
    assert f"contact team: file:{tmp_path}/team" in remark.message
    assert said in remark.message


def test_an_address_in_the_settings_is_looked_at_too():
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": "mailtos:/relay"}}}})

    (remark,) = remarks(NotifyVerb(to="team"), its)

    assert "the address in the settings: not an address" in remark.message


def test_a_secret_that_all_can_read_is_built_as_well(tmp_path):
    (tmp_path / "team").write_text("foo://bar")
    (tmp_path / "team").chmod(0o644)
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/team"}}}})

    assert [each.fault for each in remarks(NotifyVerb(to="team"), its)] == [False, True]


@pytest.mark.parametrize("gap", [" ", ",", ", ", ";", "\n", "\r\n", ",\n", "\t"])
def test_several_addresses_in_one_secret_are_good_as_apprise_separates_them(tmp_path, gap):
    (tmp_path / "team").write_text(f"{GOOD}{gap}{GOOD}&to=b@example.com\n")
    (tmp_path / "team").chmod(0o600)
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/team"}}}})

    assert remarks(NotifyVerb(to="team"), its) == []
    found = apprise_client.addresses(f"file:{tmp_path}/team")
    assert [each.url for each in found] == [GOOD, f"{GOOD}&to=b@example.com"]
    assert [each.shown for each in found] == [f"file:{tmp_path}/team#1", f"file:{tmp_path}/team#2"]


def test_the_name_of_one_of_several_addresses_follows_it_and_tells_nothing(tmp_path):
    reference, other = f"file:{tmp_path}/team", "mailtos://bus:hunter-22@mail.example.com?from=a@example.com"

    def names(text, of=reference):
        Path(of.removeprefix("file:")).write_text(text)
        return {each.url: each.name for each in apprise_client.addresses(of)}

    before, after = names(f"{GOOD}\n{other}"), names(f"foo://bar\n{other}\n{GOOD}")

    assert before.items() <= after.items()
    assert all(re.fullmatch(re.escape(reference) + "#[0-9a-f]{6}", each) for each in after.values())
    assert names(f"{GOOD}\n{other}", f"{reference}2")[other].split("#")[1] != after[other].split("#")[1]
    assert names(GOOD) == {GOOD: reference}


def test_a_syslog_that_is_not_there_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(apprise_client, "_SYSLOG", str(tmp_path / "log"))
    service = apprise_client.Service("syslog://", "syslog://")
    message = Message("title", "body", "text", "info")

    assert list(apprise_client.problems("syslog://")) == [
        (f"the address in the settings: no syslog listens at {tmp_path}/log on this machine", True)
    ]
    assert "no syslog listens" in service.send(message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        assert list(apprise_client.problems("syslog://")) == []
        assert service.send(message) == ""


def test_a_page_that_nobody_reads_is_a_warning():
    (remark,) = remarks(NotifyVerb(to="team", html="<p>x</p>"), settings_with("team"))

    assert remark.warning
    assert remarks(NotifyVerb(to="team", html="<p>x</p>"), settings_with("team", format="html")) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"to": []}, "at least 1"),
        ({"to": ["a", "a"]}, "lists 'a' twice"),
        ({"importance": "loud"}, "info"),
        ({"html": '<a href="{{ data.x }}">x</a>'}, "inside a tag"),
        ({"html": "<ScRipt >x</script>"}, "contains <script>"),
        ({"timeout": "10m"}, "longer than 5m"),
        ({"attach": "/etc/passwd"}, "none"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(fields, message):
    with pytest.raises(ValidationError, match=message):
        NotifyVerb.model_validate({"to": ["a"], **fields})


@given(st.text(max_size=300), st.sampled_from(["text", "html", "markdown"]))
def test_whatever_a_value_holds_a_message_is_bounded_and_has_no_markup_of_it(value, wanted):
    event = make_event(subject=value, x=value)
    delivery = Delivery(event, "a", "t", b"")

    message = message_texts.Messages(NotifyVerb(to=["a"]), CATALOGUES).message(delivery, wanted)

    assert len(message.title) <= message_texts.LONGEST_TITLE
    assert message.title.splitlines() == [message.title]
    if wanted == "html":
        assert set(re.findall(r"<[^>]*>", message.body)) <= {
            "<table>",
            "</table>",
            "<tr>",
            "</tr>",
            "<td>",
            "</td>",
        } | {
            '<td colspan="2">',
            "<b>",
            "</b>",
        }
    if wanted == "text":
        # The heading, a blank line, what is told of any event, and its four variables less the null.
        assert len(message.body.splitlines()) == 11 - (not value)


def test_a_message_names_the_event_once_in_its_heading():
    event = make_event(eventName="softQuotaExceeded", fsName="gpfs1")

    described = dict(message_texts.facts(event, Delivery(event, "it", event.topic, b"").fold, CATALOGUES))

    assert described["fsName"] == "gpfs1"
    assert "eventName" not in described


def test_the_example_of_its_page_has_no_mistakes(tmp_path):
    blocks = re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [text for kind, text in blocks if kind == "yaml"]
    contacts = next(text for kind, text in blocks if not kind and "contacts:" in text)
    (tmp_path / "subscriptions.yaml").write_text(example)

    report = checking.check(
        tmp_path / "subscriptions.yaml", CATALOGUES, Settings.model_validate(yaml.safe_load(contacts))
    )

    assert [*report.mistakes, *report.faults] == []
    assert report.subscriptions


def test_threads_that_hang_are_counted_by_many_threads_at_once():
    handler = NotifyVerb(to=("a",), title="x", body="y").handler(Surroundings("a"))
    ended, failures = threading.Event(), []
    hanging = [threading.Thread(target=ended.wait, daemon=True) for _ in range(200)]
    for each in hanging:
        each.start()

    def note():
        try:
            for at in range(0, 200, 2):
                handler._note_hanging(hanging[at : at + 2])
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=note) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)

    assert failures == []
    assert handler._note_hanging(()) == 200
    ended.set()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mailto://mail.example.org?too=a@example.org&from=x@y.org", ["the parameter too; did you mean to or rto?"]),
        (
            "mailto://mail.example.org?to=a@example.org&from=x@y.org&s3cr3tVALUE",
            ["ignores a parameter that has no known name"],
        ),
        ("mailto://mail.example.org:99999?to=a@example.org&from=x@y.org", ["its port is larger than 65535"]),
        ("mailto://mail.example.org:25?to=a@example.org&from=x@y.org&+X-Own=1&cc=b@example.org", []),
        ('mailto://mail.example.org?from=Team <x@y.org>&to=Doe <a@example.org>,b+c@d.example&cc="E, F" <e@f.org>', []),
        ("mailto://mail.example.org?to=a@example.org;b@example.org&from=x@y.org", ["a parameter that has no known"]),
    ],
)
def test_what_apprise_ignores_of_an_address_is_warned_of(address, said):
    problems = list(apprise_client.problems(address))

    found = [text for text, _ in problems]
    assert not any(is_fault for _, is_fault in problems)
    assert len(found) == len(said)
    assert all(each in text for each, text in zip(said, found, strict=True)), found
    assert not any("s3cr3t" in text for text in found)


def alert_message(event, wanted="text", *, folded=None, link="", **fields):
    verb = NotifyVerb.model_validate({"to": ["team"], **fields})
    return message_texts.Messages(verb, CATALOGUES, link).message(make_delivery(event, folded=folded), wanted)


SINCE, LATER = "2026-11-20T12:00:00.000000Z", "2026-11-20T14:05:30.000000Z"


@pytest.mark.parametrize(
    ("name", "fields", "title", "importance"),
    [
        ("alertOpened", {}, "[warning] projects of gpfs1 is over its soft quota (prod)", "warning"),
        ("alertRepeated", {"openings": 4}, "[warning] 4 times: projects of gpfs1 is over", "warning"),
        ("alertAcknowledged", {"by": "anna"}, "[acknowledged by anna] projects", "info"),
        ("alertAcknowledged", {"by": "anna", "state": "open"}, "[no longer acknowledged by anna] projects", "info"),
        ("alertReminded", {"time": LATER}, "[warning] still open after 2 h 5 min: projects", "warning"),
        ("alertEscalated", {"severity": "critical", "time": LATER}, "[critical] not acknowledged after", "failure"),
        ("alertFlapping", {}, "[warning] opens and closes too often: projects", "warning"),
        ("alertNoted", {"by": "anna"}, "[note by anna] projects", "info"),
        ("alertClosed", {"until": LATER, "severity": "critical"}, "[closed after 2 h 5 min] projects", "success"),
    ],
)
def test_each_change_of_an_alert_is_told_as_what_it_is(name, fields, title, importance):
    message = alert_message(change(name, since=SINCE, **fields))

    assert message.title.startswith(title)
    assert message.importance == importance


def test_a_change_of_an_alert_says_all_that_people_ask(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    event = change(
        "alertReminded", since=SINCE, time=LATER, openings=3, owner="storage-team", suppressed=2, nodes="nsd[01-02]"
    )

    lines = alert_message(event, link="https://bus.example.com/alerts/{alert}").body.splitlines()

    said = {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in lines)}
    assert lines[0] == "projects of gpfs1 is over its soft quota"
    assert (
        said
        | {
            "since": "2026-11-20 13:00 CET",
            "open for": "2 h 5 min",
            "openings": "3",
            "nodes": "nsd[01-02]",
            "owner": "storage-team",
            "suppresses": "2 alerts, without notifications while this one is open",
            "acknowledge": f"clusterbus alerts ack {ALERT}",
            "link": f"https://bus.example.com/alerts/{ALERT}",
            "fsName": "gpfs1",
        }
        == said
    )


def test_a_recovery_says_how_long_it_took_and_why_it_is_over_and_wants_nothing():
    body = alert_message(change("alertClosed", since=SINCE, until=LATER, cause="fact")).body

    assert "after 2 h 5 min" in body
    assert "the facts of the cluster said so" in body
    assert "alerts ack" not in body


@pytest.mark.parametrize("wanted", ["text", "html", "markdown"])
def test_no_value_of_an_alert_adds_lines_or_markup(wanted):
    hostile = "<b>*x*</b>\r\nBcc: evil@example.com @everyone"

    message = alert_message(
        change("alertOpened", **dict.fromkeys(("summary", "owner", "comment", "rule"), hostile)), wanted
    )

    assert len(message.title.splitlines()) == 1
    assert "\nBcc" not in message.body
    assert "@everyone" not in message.body
    assert wanted == "text" or "<b>*x*</b>" not in message.body


def folded(*events):
    gathered = Gathered(events[0].id, datetime.now(UTC))
    for each in events:
        gathered = gathered.with_event(each)
    return gathered.fold


def test_an_alert_that_opened_and_closed_within_a_fold_is_told_as_over():
    opened = change("alertOpened", since=SINCE)
    closed = change("alertClosed", since=SINCE, until=LATER, change=2)

    message = alert_message(opened, folded=folded(opened, closed))

    assert message.title == "[opened and closed after 2 h 5 min] projects of gpfs1 is over its soft quota (prod)"
    assert message.importance == "success"
    assert "alerts ack" not in message.body


def test_a_fold_of_several_alerts_counts_them_by_state_and_names_what_is_open_first():
    opened = change("alertOpened", since=SINCE, severity="error")
    other = change("alertOpened", alert=OTHER, summary="Disk d1 is down", rule="disk-down", since=SINCE)
    ended = change(
        "alertClosed", alert=OTHER, summary="Disk d1 is down", rule="disk-down", since=SINCE, until=LATER, change=2
    )

    # Late and repeated changes make no difference.
    message = alert_message(opened, folded=folded(other, ended, opened, other))

    assert message.title == "[error] 2 alerts: 1 open, 1 closed (prod: nsd01)"
    lines = message.body.splitlines()
    assert [line.split()[0] for line in lines if "since" in line or "closed," in line] == ["soft-quota", "disk-down"]
    assert message.thread == ""


def test_templates_read_what_became_of_the_alerts_of_a_fold():
    opened, closed = change("alertOpened", since=SINCE), change("alertClosed", since=SINCE, until=LATER, change=2)

    message = alert_message(
        opened,
        folded=folded(opened, closed),
        title="{{ fold.states.open | default(0) }} open: {{ fold.alerts | join }}",
    )

    assert message.title == "0 open: soft-quota: projects of gpfs1 is over its soft quota (opened and closed)"


def test_all_messages_about_one_alert_are_one_thread():
    assert {alert_message(change(name)).thread for name in ("alertOpened", "alertClosed")} == {ALERT}
    assert alert_message(make_event()).thread == ""
    assert alert_message(change("alertOpened", alert="x\r\nBcc: a@example.com")).thread == ""


KNOWN = ("storage-team", "on-call", "everybody")
OWNERS = Owners([OwnerRow(file_system=("gpfs2",), to="storage-team")], CATALOGUES)


@pytest.mark.parametrize(
    ("name", "fields", "to", "otherwise", "found"),
    [
        ("alertOpened", {"owner": "storage-team"}, ["owner"], [], ["storage-team"]),
        ("alertOpened", {"owner": "storage-team"}, ["owner", "storage-team"], [], ["storage-team"]),
        ("alertEscalated", {"owner": "storage-team", "escalatedTo": "on-call"}, ["owner"], [], ["on-call"]),
        (
            "alertClosed",
            {"owner": "storage-team", "escalatedTo": "on-call"},
            ["owner"],
            [],
            ["storage-team", "on-call"],
        ),
        ("alertEscalated", {"owner": "storage-team", "escalatedTo": "owner"}, ["owner"], [], ["storage-team"]),
        ("alertOpened", {}, ["owner"], ["everybody"], ["everybody"]),
        ("alertOpened", {"owner": "gone"}, ["owner"], ["everybody"], ["everybody"]),
        ("alertOpened", {"owner": "gone"}, ["on-call"], [], ["on-call"]),
    ],
)
def test_the_owner_of_an_alert_is_found_with_the_event(name, fields, to, otherwise, found):
    assert [*Recipients(to, otherwise, OWNERS, KNOWN).of(change(name, **fields))] == found


THEIRS = {"alert": OTHER, "owner": "everybody"}


@pytest.mark.parametrize(
    ("changes", "otherwise", "found"),
    [
        ([("alertOpened", {"owner": "storage-team"}), ("alertOpened", THEIRS)], [], ["storage-team", "everybody"]),
        ([("alertOpened", {"owner": "storage-team"}), ("alertOpened", {"alert": OTHER})], [], ["storage-team"]),
        (
            [("alertOpened", {"owner": "storage-team"}), ("alertOpened", {"alert": OTHER})],
            ["everybody"],
            ["storage-team", "everybody"],
        ),
        (
            [
                ("alertOpened", {"owner": "storage-team"}),
                ("alertEscalated", {"owner": "storage-team", "escalatedTo": "on-call", "change": 2}),
            ],
            [],
            ["storage-team", "on-call"],
        ),
        ([("alertEscalated", {"owner": "storage-team", "escalatedTo": "on-call"})], [], ["on-call"]),
    ],
)
def test_a_fold_of_alerts_reaches_the_owners_and_escalation_contacts_of_all_of_them(changes, otherwise, found):
    events = [change(name, **fields) for name, fields in changes]

    contacts = Recipients(["owner"], otherwise, OWNERS, KNOWN).of(events[0], None, folded(*events))

    assert [*contacts] == found


def test_the_handler_asks_for_the_contacts_of_a_fold():
    mine, theirs = change("alertOpened", owner="mine"), change("alertOpened", alert=OTHER, owner="theirs")
    handler = NotifyVerb(to="owner").handler(Surroundings("alerts", settings=settings_with("mine", "theirs")))

    planned = handler.plan(make_delivery(mine, folded=folded(mine, theirs)))

    assert [each["to"] for each in planned["messages"]] == ["mine", "theirs"]
    assert "owner theirs" in planned["messages"][0]["body"]


def test_a_fold_of_one_alert_shows_what_it_is_now():
    opened = change("alertOpened", since=SINCE, severity="warning")
    worse = change("alertRepeated", since=SINCE, severity="critical", owner="storage-team", escalatedTo="x", change=2)

    body = alert_message(opened, folded=folded(opened, worse)).body

    assert [re.search(rf"^{name} +(.*)$", body, re.MULTILINE)[1] for name in ("severity", "owner", "escalated to")] == [
        "critical",
        "storage-team",
        "x",
    ]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (change("alertOpened"), "the alert has no owner: add a row to consumers.owners"),
        (change("alertOpened", owner="gone"), "the owner is gone, and consumers.contacts"),
        (make_event(), "softQuotaExceeded has no owner"),
    ],
)
def test_without_an_owner_it_is_said_what_is_missing(event, said):
    with pytest.raises(Rejected, match=said):
        Recipients(["owner"], [], OWNERS, KNOWN).of(event)


def test_other_events_have_the_owner_that_the_settings_say():
    whom = Recipients(["owner"], ["everybody"], OWNERS, KNOWN)

    assert [whom.of(make_event(fsName=name)) for name in ("gpfs2", "gpfs1")] == [["storage-team"], ["everybody"]]


def test_owner_wants_rows_in_the_settings_and_somebody_in_its_place():
    quota, alert = ([each for each in CATALOGUES.all() if each.name == name] for name in ("nodeLeave", "alertOpened"))
    samples = Samples(Registrations(CATALOGUES))
    verb = NotifyVerb(to="owner")

    (wrong,) = verb.remarks(Kinds.of(quota, samples), settings_with("team"))
    (warning,) = verb.remarks(Kinds.of(alert, samples), settings_with("team"))

    assert "nodeLeave cannot have an owner" in wrong.message
    assert (warning.warning, "name contacts in `otherwise`" in warning.message) == (True, True)
    assert not [*NotifyVerb(to="owner", otherwise="team").remarks(Kinds.of(alert, samples), settings_with("team"))]
    for rows, number in (([{"to": "team"}], 0), ([{"to": "team", "file_system": "gpfs1"}], 1)):
        owned = Settings.model_validate({"consumers": {"owners": rows}})
        assert len([*NotifyVerb(to="owner").remarks(Kinds.of(alert, samples), owned)]) == number, "one is for the rest"
