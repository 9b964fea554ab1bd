"""What people are told, seen where they would see it: mail and a chat's webhook, on loopback."""

import json
import logging
import threading
from pathlib import Path

import pytest

from consumers.deliveries import DeadLetter, Delivery, Retry
from consumers.errors import Rejected
from consumers.folds import Fold
from consumers.policies.retry import RetryPolicy, attempt
from consumers.verbs.interface import Surroundings
from consumers.verbs.notify import threads
from consumers.verbs.notify.apprise_client import Service, addresses
from consumers.verbs.notify.verb import NotifyVerb
from router.settings.models import Settings
from tests.alerts import ALERT, change
from tests.consuming import make_delivery, make_event
from tests.webhooks import answering, mail_server, seconds, silent, webhook

MARKUP = "<img src=x onerror=alert(1)> & *bold* [x](javascript:alert(1)) :smile: \\n @everyone"
HOSTILE = f"; rm -rf / $(id) {{{{ node }}}} {{% if %}}\r\nBcc: evil@example.com\r\n\r\n{MARKUP}"
PLAIN = MARKUP.replace("@", "@\u2060")
"""As it is told: nobody's name is called."""

PASSWORD = "hunter-22"


class Heard(logging.Handler):
    """What our own log would be told."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def mail():
    with mail_server() as server:
        yield server


@pytest.fixture
def chat():
    with webhook() as server:
        yield server


@pytest.fixture
def contact(tmp_path):
    """A function that returns a contact whose addresses are in files."""

    def make(*urls, **fields):
        references = []
        for url in urls:
            file = tmp_path / f"secret-{len(list(tmp_path.iterdir()))}"
            file.write_text(f"{url}\n")
            references.append(f"file:{file}")
        return {"urls": references, **fields}

    return make


def handler_of(contacts, *, stopping=None, **fields):
    settings = Settings.model_validate({"consumers": {"contacts": contacts}})
    verb = NotifyVerb.model_validate({"to": list(contacts), **fields})
    return verb.handler(Surroundings("a", stopping or threading.Event(), settings))


def test_a_mail_says_all_there_is_to_say_when_nothing_was_written(mail, contact):
    event = make_event()
    report = handler_of({"team": contact(mail.url())})(make_delivery(event))

    (told,) = mail.mails
    text = told.texts["text/plain"]
    assert report.failure is None
    assert told.recipients == ["team@example.com"]
    assert told.headers["subject"] == ["[warning] softQuotaExceeded gpfs1/projects (prod: nsd01)"]
    for each in ("gpfs1/projects", "warning", "nsd01", "prod", "gpfs1", "1048576 KB", event.id):
        assert each in text, text
    assert "blockLimit" not in text, "what does not apply is not told"
    assert text.rstrip().endswith(event.id)


def test_a_fold_is_told_with_its_number_and_its_nodes(mail, contact):
    fold = Fold(400, "n[001-400]", "2026-11-20T15:22:07Z", "2026-11-20T15:23:07Z", {"fsName": ["gpfs1", "gpfs2"]})
    contacts = {"a": contact(mail.url()), "b": contact(mail.url("b@example.com"))}
    handler_of({"a": contacts["a"]})(make_delivery(folded=fold))
    title, body = "{{ fold.count }} on {{ fold.nodes }}", "{{ fold.values.fsName | join(', ') }}"
    handler_of({"b": contacts["b"]}, title=title, body=body)(make_delivery(folded=fold))

    default, own = mail.mails
    assert "400 events, n[001-400]" in default.headers["subject"][0]
    assert "gpfs1, gpfs2" in default.texts["text/plain"]
    assert own.headers["subject"] == ["400 on n[001-400]"]
    assert own.texts["text/plain"].strip() == "gpfs1, gpfs2"


def test_no_value_is_a_header_a_line_or_markup_in_a_plain_mail(mail, contact):
    event = make_event(subject=HOSTILE, x=HOSTILE)
    handler = handler_of({"team": contact(mail.url())}, title="{{ data.x }}", body="before\n{{ data.x }}\nafter")

    handler(make_delivery(event))

    (told,) = mail.mails
    before, middle, after = told.texts["text/plain"].strip().splitlines()
    assert "bcc" not in told.headers
    assert (before, after) == ("before", "after")
    assert middle.replace("\u2060", "") == HOSTILE.replace("\r", " ").replace("\n", " ")
    # What reads a header folds blanks.
    assert told.headers["subject"][0].startswith("; rm -rf / $(id) {{ node }} {% if %} Bcc: evil@example.com")
    assert "text/html" not in told.texts


def test_no_value_is_markup_in_a_page(mail, contact):
    page = contact(mail.url(), format="html")
    event = make_event(subject=MARKUP, x=MARKUP)
    handler_of({"own": page}, html="<p>It says <b>{{ data.x }}</b></p>")(make_delivery(event))
    handler_of({"default": page})(make_delivery(event))
    handler_of({"text": page}, body="plain {{ data.x }}")(make_delivery(event))

    assert "text/html" not in mail.mails[2].texts, "what is written as plain text is sent as that"
    for told in mail.mails[:2]:
        assert "<img" not in told.texts["text/html"]
        assert "&lt;img" in told.texts["text/html"]
    assert "<b>&lt;img" in mail.mails[0].texts["text/html"]
    assert "<td>" in mail.mails[1].texts["text/html"]


def test_no_value_is_markup_in_markdown(chat, contact):
    name = contact(f"json://{chat.address}/hook", format="markdown")

    handler_of({"chat": name}, body="**{{ data.x }}**")(make_delivery(make_event(x=MARKUP)))

    told = json.loads(chat.received[0].body)["message"]
    assert told.startswith(r"**\<img src\=x")
    assert r"\*bold\* \[x\]\(javascript:alert\(1\)\)" in told


def test_a_plain_text_is_not_read_for_emojis_escapes_or_names(chat, contact):
    handler_of({"chat": contact(f"json://{chat.address}/hook")}, title="{{ data.x }}", body="{{ data.x }}")(
        make_delivery(make_event(x=MARKUP + " {{app_id}}"))
    )

    told = json.loads(chat.received[0].body)
    assert told["message"] == told["title"] == PLAIN + " {{app_id}}"
    assert told["type"] == "warning"


def test_a_megabyte_is_cut_and_says_so(chat, contact):
    event = make_event(x="y" * 1_000_000, many=[f"n{n}" for n in range(5000)])
    handler = handler_of({"chat": contact(f"json://{chat.address}/hook")}, title="{{ data.x }}", body="{{ data.x }}!")

    handler(make_delivery(event))
    handler_of({"chat": contact(f"json://{chat.address}/hook")})(make_delivery(event))

    own, default = (json.loads(each.body) for each in chat.received)
    assert len(own["title"]) <= 200
    assert "characters all]" in own["title"]
    assert own["message"].endswith("[cut, 1000000 characters all]!")
    assert len(default["message"]) < 16384
    assert "and 4900 more" in default["message"]


def test_control_characters_and_nul_are_blanks(chat, contact):
    handler = handler_of({"chat": contact(f"json://{chat.address}/hook")}, title="t", body="<{{ data.x }}>")

    event = make_event(x="a\0b\x1b[31m\u202ec\ud800")

    report = handler(Delivery(event, "a", event.topic, b""))

    assert report.failure is None
    assert json.loads(chat.received[0].body)["message"] == "<a b [31m c >"


@pytest.mark.parametrize(
    ("severity", "written", "importance"),
    [("info", None, "info"), ("error", None, "failure"), ("critical", None, "failure"), ("critical", "info", "info")],
)
def test_the_importance_is_the_severitys_or_what_is_written(chat, contact, severity, written, importance):
    handler = handler_of({"chat": contact(f"json://{chat.address}/hook")}, importance=written)

    handler(make_delivery(make_event(severity=severity)))

    assert json.loads(chat.received[0].body)["type"] == importance


def test_who_was_told_is_not_told_again_on_a_retry(mail, chat, contact):
    chat.behave = answering(503, b"overloaded")
    contacts = {"team": contact(mail.url()), "chat": contact(f"json://{chat.address}/hook")}
    handler, event = handler_of(contacts), make_event()

    first = handler(make_delivery(event))
    chat.behave = answering(200)
    # As the store gives it back.
    earlier = json.loads(json.dumps(first.result))
    second = handler(make_delivery(event, attempt=2, earlier=earlier))

    assert (first.failure, list(first.blamed)) == ("notify", ["notify chat"])
    assert "503" in first.reason
    assert list(first.result["told"]) == ["team"]
    assert second.failure is None
    assert sorted(second.result["told"]) == ["chat", "team"]
    assert len(mail.mails) == 1
    assert len(chat.received) == 2
    assert handler.targets(make_delivery(event, attempt=2, earlier=earlier)) == ["notify chat"]
    assert handler.targets(make_delivery(event)) == ["notify team", "notify chat"]


def test_of_a_contact_with_two_addresses_only_the_one_that_failed_is_told_again(mail, chat, contact):
    chat.behave = answering(500)
    handler = handler_of({"team": contact(mail.url(), f"json://{chat.address}/hook")})

    first = handler(make_delivery())
    handler(make_delivery(attempt=2, earlier=first.result))

    assert len(mail.mails) == 1
    assert len(chat.received) == 2


@pytest.mark.parametrize("gap", [" ", ", ", "\n"])
def test_all_addresses_of_one_secret_are_told_and_only_what_failed_again(mail, chat, contact, gap):
    chat.behave = answering(500)
    contacts = {"team": contact(f"{mail.url()}{gap}json://{chat.address}/hook{gap}{mail.url('b@example.com')}")}
    (reference,) = contacts["team"]["urls"]
    handler = handler_of(contacts)

    first = handler(make_delivery())
    chat.behave = answering(200)
    second = handler(make_delivery(attempt=2, earlier=json.loads(json.dumps(first.result))))

    assert (first.failure, list(first.blamed)) == ("notify", ["notify team"])
    names = [each.name for each in addresses(reference)]
    assert first.result["told"] == {"team": [names[0], names[2]]}
    assert second.failure is None
    assert second.result["told"] == {"team": [reference]}
    assert sorted(each.recipients for each in mail.mails) == [["b@example.com"], ["team@example.com"]]
    assert len(chat.received) == 2


def edited(contacts, text):
    """Write *text* into the secret of the contact team."""
    (reference,) = contacts["team"]["urls"]
    Path(reference.removeprefix("file:")).write_text(text)


def test_who_was_told_is_not_told_again_when_a_bad_address_leaves_the_secret(mail, contact):
    contacts = {"team": contact(f"{mail.url()}, nosuch://x/y")}
    (reference,) = contacts["team"]["urls"]
    handler = handler_of(contacts)
    with pytest.raises(Rejected) as first:
        handler(make_delivery())
    earlier = json.loads(json.dumps(first.value.result))

    edited(contacts, mail.url())
    second = handler(make_delivery(attempt=2, earlier=earlier))

    assert second.failure is None
    assert second.result["told"] == {"team": [reference]}
    assert len(mail.mails) == 1


def test_an_address_that_comes_into_the_secret_is_told_and_nobody_twice(mail, chat, contact):
    chat.behave = answering(500)
    bad, good = f"json://{chat.address}/hook", mail.url()
    contacts = {"team": contact(f"{good}\n{bad}")}
    handler = handler_of(contacts)
    first = handler(make_delivery())

    edited(contacts, f"{mail.url('new@example.com')}\n{bad}\n{good}")
    second = handler(make_delivery(attempt=2, earlier=first.result))
    edited(contacts, f"{bad}\n{mail.url('new@example.com')}")
    chat.behave = answering(200)
    third = handler(make_delivery(attempt=3, earlier=second.result))

    assert (second.failure, third.failure) == ("notify", None)
    assert third.result["told"] == {"team": contacts["team"]["urls"]}
    assert [each.recipients for each in mail.mails] == [["team@example.com"], ["new@example.com"]]
    assert len(chat.received) == 3


def test_an_address_that_is_twice_in_a_secret_is_told_once(mail, contact):
    contacts = {"team": contact(f"{mail.url()}, {mail.url()}")}

    report = handler_of(contacts)(make_delivery())

    assert report.result["told"] == {"team": contacts["team"]["urls"]}
    assert len(mail.mails) == 1


def test_of_two_addresses_in_one_secret_the_good_one_is_told(mail, contact):
    outcome = attempt(make_delivery(), handler_of({"team": contact(f"{mail.url()}, nosuch://x/y")}), RetryPolicy())

    assert isinstance(outcome, DeadLetter)
    assert "#2: not an address" in outcome.reason
    assert len(mail.mails) == 1


def test_an_address_that_hangs_keeps_no_other_of_its_secret_waiting(mail, chat, contact):
    chat.behave = silent
    contacts = {"team": contact(f"json://{chat.address}/hook, {mail.url()}")}

    report = handler_of(contacts, timeout="3s")(make_delivery())

    assert "no answer after 3s" in report.reason
    assert len(mail.mails) == 1


def test_everybody_else_is_told_before_a_contact_that_cannot_be_gives_the_delivery_up(mail, contact, tmp_path):
    contacts = {"gone": {"urls": f"file:{tmp_path}/gone"}, "odd": contact("nosuch://x/y"), "team": contact(mail.url())}
    handler = handler_of(contacts)

    outcome = attempt(make_delivery(), handler, RetryPolicy())

    assert isinstance(outcome, DeadLetter)
    assert f"gone: secret file:{tmp_path}/gone: No such file" in outcome.reason
    assert "odd: " in outcome.reason
    assert list(outcome.result["told"]) == ["team"]
    assert len(mail.mails) == 1


def test_a_contact_that_may_still_be_told_is_tried_again_whatever_others_are(chat, contact, tmp_path):
    chat.behave = answering(500)
    contacts = {"gone": {"urls": f"file:{tmp_path}/gone"}, "chat": contact(f"json://{chat.address}/hook")}

    outcome = attempt(make_delivery(), handler_of(contacts), RetryPolicy())

    assert isinstance(outcome, Retry)
    assert sorted(outcome.result["failed"]) == ["chat", "gone"]


def test_a_contact_that_left_the_settings_gives_the_delivery_up(contact, mail):
    handler = handler_of({"team": contact(mail.url())}, to=["team", "gone"])

    with pytest.raises(Rejected, match="gone: contact gone is not in the settings") as caught:
        handler(make_delivery())

    assert list(caught.value.result["told"]) == ["team"]


def test_a_refusal_says_why_and_no_secret_is_in_what_is_said(mail, chat, contact, capfd):
    mail.refusal = f"550 no such person, {PASSWORD}"
    chat.behave = answering(403, f"bad token {PASSWORD} /tok-en-123".encode())
    urls = {
        "mail": mail.url("x@example.com", f"&pass={PASSWORD}&user=u").replace("mailto://", f"mailto://u:{PASSWORD}@"),
        "chat": f"json://user:{PASSWORD}@{chat.address}/tok-en-123/?+X-Key={PASSWORD}",
        "down": f"json://user:{PASSWORD}@127.0.0.1:1/tok-en-123",
        "odd": f"nosuch://{PASSWORD}/tok-en-123",
    }
    handler = handler_of({name: contact(url) for name, url in urls.items()})

    log, heard = logging.getLogger(), Heard()
    log.addHandler(heard)
    report = handler(make_delivery())
    log.removeHandler(heard)
    shown = json.dumps([report.reason, report.result, list(report.blamed), handler.plan(make_delivery())])

    assert report.failure == "notify"
    assert sorted(report.result["failed"]) == ["chat", "down", "mail", "odd"]
    assert "403" in report.result["failed"]["chat"]
    assert "refused" in report.result["failed"]["down"].lower()
    assert sorted(report.blamed) == ["notify chat", "notify down", "notify mail"]
    written = capfd.readouterr()
    for place in (shown, *heard.lines, written.out, written.err):
        assert PASSWORD not in place
        assert "tok-en-123" not in place


def test_calls_that_fail_at_once_do_not_mix_their_reasons(chat, contact):
    statuses = (400, 401, 403, 404, 500, 503)
    behave = {f"/{status}": answering(status) for status in statuses}
    chat.behave = lambda request: behave[request.path](request)
    handler = handler_of({f"c{each}": contact(f"json://{chat.address}/{each}") for each in statuses})

    report = handler(make_delivery())

    for status in statuses:
        assert f"error={status}" in report.result["failed"][f"c{status}"]
        assert [each for each in statuses if f"error={each}" in report.result["failed"][f"c{status}"]] == [status]


def test_a_service_that_hangs_is_bounded_and_keeps_nobody_else_waiting(mail, chat, contact):
    mail.silent = True
    handler = handler_of({"mail": contact(mail.url()), "chat": contact(f"json://{chat.address}/hook")}, timeout="3s")

    report, took = seconds(lambda: handler(make_delivery()))

    assert report.failure == "notify"
    assert "mail: no answer after 3s" in report.reason
    assert list(report.result["told"]) == ["chat"]
    assert took < 15  # the silent one answers nobody for twenty seconds


def test_a_stop_breaks_off_what_hangs(chat, contact):
    chat.behave = silent
    stopping = threading.Event()
    threading.Timer(0.1, stopping.set).start()
    handler = handler_of({"chat": contact(f"json://{chat.address}/hook?rto=30")}, stopping=stopping, timeout="60s")

    report, took = seconds(lambda: handler(make_delivery()))

    assert report is None
    assert took < 20  # and neither the thirty of the service nor the sixty of the subscription


def test_a_redirection_is_not_followed(chat, contact):
    chat.behave = answering(302, Location=f"http://{chat.address}/other")

    report = handler_of({"chat": contact(f"json://{chat.address}/hook")})(make_delivery())

    assert report.failure == "notify"
    assert [each.path for each in chat.received] == ["/hook"]


def test_a_value_that_is_missing_gives_the_delivery_up_before_anybody_is_told(mail, contact):
    handler = handler_of({"team": contact(mail.url())}, title="{{ data.blockLimit }}")

    with pytest.raises(Rejected, match="the value is null"):
        handler(make_delivery())

    assert mail.mails == []


def test_the_plan_is_who_would_be_told_what(mail, contact):
    handler = handler_of({"team": contact(mail.url()), "page": contact(mail.url(), format="html")}, title="{{ node }}")

    plan = handler.plan(make_delivery())

    assert [(each["to"], each["title"], each["format"]) for each in plan["messages"]] == [
        ("team", "nsd01", "text"),
        ("page", "nsd01", "html"),
    ]
    assert "mailto" not in json.dumps(plan)
    assert mail.mails == []


def test_no_value_calls_everybody_or_is_markup_where_a_service_takes_text_for_it(monkeypatch, contact):
    sent = []

    class Answered:
        status_code, content, text, headers = 200, b'{"ok": true, "result": []}', "", {}

    def post(*_, data=None, **__):
        sent.append(json.loads(data))
        return Answered()

    monkeypatch.setattr("requests.post", post)
    value = "<b>y</b> <!channel> @everyone [x](https://evil.example.com)"
    contacts = {
        "telegram": contact("tgram://123456789:abcdefg_hijklmnop/12315544/"),
        "discord": contact("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"),
    }

    report = handler_of(contacts, title="t", body="{{ data.x }}")(make_delivery(make_event(x=value)))

    assert report.failure is None
    told = {"telegram" if "chat_id" in each else "discord": each for each in sent}
    assert "&lt;b&gt;y&lt;/b&gt;" in told["telegram"]["text"]
    assert "@everyone" not in json.dumps(told, ensure_ascii=False)
    assert "<!channel>" not in json.dumps(told, ensure_ascii=False)


def test_mails_about_one_alert_refer_to_one_message_and_so_form_one_thread(mail, contact):
    handler = handler_of({"team": contact(mail.url())})
    for name in ("alertOpened", "alertClosed"):
        handler(make_delivery(change(name)))
    handler(make_delivery(make_event()))

    opened, closed, other = mail.mails
    root = [f"<{ALERT}.alerts@clusterbus.invalid>"]
    assert opened.headers["references"] == opened.headers["in-reply-to"] == closed.headers["references"] == root
    assert opened.headers["message-id"] != closed.headers["message-id"]
    assert "references" not in other.headers


def test_what_an_address_says_of_threads_stays(mail, contact):
    handler_of({"team": contact(f"{mail.url()}&%2BReferences=%3Cmine%40example.com%3E")})(
        make_delivery(change("alertOpened"))
    )

    (told,) = mail.mails
    assert told.headers["references"] == ["<mine@example.com>"]


def test_a_google_chat_has_a_thread_for_each_alert():
    service = Service("gchat://workspace/key/token", "x")._plugin
    own = Service("gchat://workspace/key/token/mine", "x")._plugin
    for each in (service, own):
        threads.join(each, ALERT)

    assert (service.thread_key, own.thread_key) == (f"clusterbus-{ALERT}", "mine")


def test_escalations_go_to_the_contact_of_the_rule(mail, contact):
    with mail_server() as boss:
        contacts = {"team": contact(mail.url()), "boss": contact(boss.url())}
        settings = Settings.model_validate({"consumers": {"contacts": contacts}})
        handler = NotifyVerb(to="owner").handler(Surroundings("a", threading.Event(), settings))

        report = handler(make_delivery(change("alertEscalated", owner="team", escalatedTo="boss")))

        assert (report.failure, len(boss.mails), len(mail.mails)) == (None, 1, 0)
        with pytest.raises(Rejected, match="the alert has no owner"):
            handler(make_delivery(change("alertOpened")))
