"""How `post` gets to its receiver: proxies, certificates and tokens, with real servers on loopback."""

import base64
import json
import shutil
import ssl
import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.errors import Rejected, SubscriptionsError
from consumers.verbs.interface import Surroundings
from consumers.verbs.notify.verb import NotifyVerb
from consumers.verbs.post.connections import connection_options
from consumers.verbs.post.connections.certificates import expiry
from consumers.verbs.post.verb import PostVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.certificates import Certificates
from tests.consuming import make_delivery, make_event
from tests.waiting import wait_for
from tests.web_proxy import web_proxy
from tests.webhooks import answering, silent, webhook

SECRET = "hunter22+/ %"


@pytest.fixture
def hook():
    with webhook() as server:
        yield server


@pytest.fixture
def login():
    """The server of tokens: each is of a number, and expires in an hour."""
    with webhook() as server:
        server.behave = giving(3600)
        yield server


@pytest.fixture
def proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with web_proxy() as server:
        yield server


@pytest.fixture(scope="module")
def certificates(require, tmp_path_factory):
    made = Certificates(require("openssl"), tmp_path_factory.mktemp("certificates"))
    made.sign("hook", "localhost")
    for name in ("client", "renewed"):
        made.sign(name, "client")
    return made


@pytest.fixture
def handler_of(hook):
    """A function that makes a handler of its arguments."""
    handlers = []

    def make(**fields):
        fields = {"url": hook.url, **fields}
        handlers.append(PostVerb.model_validate(fields).handler(Surroundings("to-tickets", threading.Event())))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler.close()


def delivery_of(**fields):
    return make_delivery(make_event(), "to-tickets", **fields)


def giving(seconds, **more):
    """Give tokens that expire after *seconds*."""

    def behave(request):
        number = len(request.server.received)
        answer = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": seconds, **more}
        answering(200, json.dumps(answer).encode())(request)

    return behave


def encrypted(hook, certificates, *, asks=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path("hook.pem"), certificates.path("hook.key"))
    if asks:
        context.load_verify_locations(certificates.path("authority.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
    hook.socket = context.wrap_socket(hook.socket, server_side=True, do_handshake_on_connect=False)
    return f"https://localhost:{hook.server_address[1]}/hook"


# proxies


@pytest.mark.parametrize("way", ["option", "reference", "environment"])
def test_a_call_goes_through_the_proxy_encrypted_to_its_end(
    hook, proxy, certificates, handler_of, monkeypatch, tmp_path, way
):
    url, address = encrypted(hook, certificates), proxy.url
    if way == "reference":
        proxy.login = "anna:s3cr@t"
        address = f"file:{tmp_path}/proxy"
        (tmp_path / "proxy").write_text(f"http://anna:s3cr%40t@{proxy.address}\n")
    if way == "environment":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        address = "environment"

    handler = handler_of(url=url, proxy=address, verify=certificates.path("authority.pem"))
    reports = [handler(delivery_of()) for _ in range(2)]

    assert [each.failure for each in reports] == [None, None]
    assert proxy.targets == [f"CONNECT localhost:{hook.server_address[1]}"], "the tunnel is used again"
    assert len(hook.received) == 2


def test_a_call_without_encryption_goes_through_the_proxy_too(hook, proxy, handler_of):
    report = handler_of(proxy=proxy.url)(delivery_of())

    assert report.failure is None
    assert proxy.targets == [f"POST {hook.url}"]
    assert hook.received[0].path == "/hook"


@pytest.mark.parametrize(
    ("variables", "fields"),
    [
        ({"HTTP_PROXY": "{proxy}"}, {"proxy": "none"}),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "127.0.0.0/8"}, {}),
        ({"HTTPS_PROXY": "{proxy}"}, {}),
        ({}, {}),
    ],
)
def test_what_needs_no_proxy_is_called_directly(hook, proxy, handler_of, monkeypatch, variables, fields):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(proxy=proxy.url))

    assert handler_of(**fields)(delivery_of()).failure is None
    assert proxy.targets == []
    assert len(hook.received) == 1


def test_notify_goes_through_the_proxies_of_the_environment_too(hook, proxy, monkeypatch, tmp_path):
    (tmp_path / "chat").write_text(f"json://{hook.address}/hook\n")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    contacts = {"team": {"urls": [f"file:{tmp_path}/chat"]}}
    settings = Settings.model_validate({"consumers": {"contacts": contacts}})
    handler = NotifyVerb(to="team").handler(Surroundings("a", threading.Event(), settings))

    first = handler(delivery_of())
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    second = handler(delivery_of())

    assert [first.failure, second.failure] == [None, None]
    assert proxy.targets == [f"POST {hook.url}"]
    assert len(hook.received) == 2
    handler.close()


def test_a_proxy_that_refuses_and_one_that_is_down_are_told_apart_from_the_receiver(
    hook, proxy, certificates, handler_of
):
    url = encrypted(hook, certificates)
    proxy.login = "anna:s3cret"
    refused = handler_of(url=url, proxy=proxy.url)(delivery_of())
    proxy.login, proxy.status = "", "503 Service Unavailable"
    failed = handler_of(url=url, proxy=proxy.url)(delivery_of())
    down = handler_of(url=url, proxy="http://127.0.0.1:1")(delivery_of())

    assert (refused.failure, "407" in refused.reason, proxy.address in refused.reason) == ("proxy", True, True)
    assert (failed.failure, "503" in failed.reason) == ("proxy", True)
    assert (down.failure, "through the proxy 127.0.0.1:1" in down.reason) == ("connect", True)
    assert [*refused.blamed, *failed.blamed, *down.blamed] == [f"post {url}"] * 3
    assert hook.received == []


def test_a_proxy_of_another_kind_is_refused_without_its_password(handler_of, tmp_path):
    (tmp_path / "proxy").write_text("socks5://anna:hunter22@proxy:1080\n")

    with pytest.raises(Rejected, match="is a SOCKS proxy, which post does not support") as caught:
        handler_of(proxy=f"file:{tmp_path}/proxy")(delivery_of())

    assert "hunter22" not in str(caught.value)


# certificates


def test_a_client_certificate_is_shown_and_a_renewed_one_is_used_from_the_next_call_on(
    hook, certificates, handler_of, tmp_path
):
    url = encrypted(hook, certificates, asks=True)
    trusting = {"url": url, "verify": certificates.path("authority.pem")}
    own, key = tmp_path / "client.pem", tmp_path / "client.key"
    shown = []

    def behave(request):
        shown.append(dict(each[0] for each in request.connection.getpeercert()["subject"])["commonName"])
        answering(200)(request)

    hook.behave = behave

    def give(name):
        for file, end in ((own, "pem"), (key, "key")):
            shutil.copy(certificates.path(f"{name}.{end}"), tmp_path / "next")
            (tmp_path / "next").replace(file)

    give("client")
    without = handler_of(**trusting)(delivery_of())
    handler = handler_of(**trusting, certificate=str(own), certificate_key=str(key))
    first = handler(delivery_of())
    give("renewed")
    second = handler(delivery_of())
    shutil.copy(certificates.path("client.pem"), own)
    torn = handler(delivery_of())

    assert without.failure in ("connect", "http")
    assert [first.failure, second.failure] == [None, None]
    assert shown == ["client", "renewed"]
    assert (torn.failure, torn.blamed) == ("certificate", [])
    assert "cannot be used together" in torn.reason


@pytest.mark.parametrize("field", ["certificate", "certificate_key", "verify"])
def test_a_certificate_that_is_not_there_is_a_mistake_of_its_option(certificates, tmp_path, field):
    files = {"certificate": certificates.path("client.pem"), "certificate_key": certificates.path("client.key")}
    fields = {**files, field: str(tmp_path / "gone")}

    with pytest.raises(SubscriptionsError, match=rf"post\.{field}: .*gone: No such file"):
        PostVerb.model_validate({"url": "https://a.example.com/", **fields}).handler(Surroundings("a"))


def test_a_certificate_that_ends_soon_is_a_warning_and_one_that_ended_an_error(certificates, monkeypatch):
    files = {"certificate": certificates.path("client.pem"), "certificate_key": certificates.path("client.key")}
    verb = PostVerb.model_validate({"url": "https://a.example.com/", **files})
    Path(files["certificate_key"]).chmod(0o640)
    kinds = Kinds(Registrations(Catalogues.shipped()))
    ends = expiry(files["certificate"])

    def found(days):
        monkeypatch.setattr(connection_options, "now", lambda: ends + timedelta(days=days))
        return [
            (each.place, each.warning, each.message.partition(" ")[0]) for each in verb.remarks_here(kinds, Settings())
        ]

    assert found(-15) == []
    assert found(-2) == [(("certificate",), True, "expires")]
    assert found(1) == [(("certificate",), False, "expired")]


# tokens


def oauth(login, tmp_path, **fields):
    (tmp_path / "client").write_text(f"{SECRET}\n")
    return {"token_url": login.url, "client_id": "bus", "client_secret": f"file:{tmp_path}/client", **fields}


@pytest.mark.parametrize("send", ["basic", "body"])
def test_a_token_is_fetched_once_and_sent_with_each_call(hook, login, handler_of, tmp_path, send):
    options = oauth(login, tmp_path, client_id="bus:1", scope="hooks.write x", audience="https://a", send=send)
    handler = handler_of(oauth=options)

    reports = [handler(delivery_of()) for _ in range(3)]

    assert [each.failure for each in reports] == [None] * 3
    (asked,) = login.received
    form = {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}
    assert form.pop("grant_type") == "client_credentials"
    assert (form.pop("scope"), form.pop("audience")) == ("hooks.write x", "https://a")
    if send == "basic":
        pair = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
        assert [unquote(each.replace("+", " ")) for each in pair.split(":")] == ["bus:1", SECRET]
        assert form == {}
    else:
        assert form == {"client_id": "bus:1", "client_secret": SECRET}
        assert "authorization" not in asked.headers
    assert [each.headers["authorization"] for each in hook.received] == ["Bearer token-1"] * 3


def test_many_calls_at_once_fetch_one_token(hook, login, handler_of, tmp_path):
    handler = handler_of(oauth=oauth(login, tmp_path), timeout="60s")
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(handler(delivery_of()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert [each.failure for each in reports] == [None] * 8
    assert len(login.received) == 1


def test_a_token_is_renewed_before_it_expires_and_once_where_it_is_refused(hook, login, handler_of, tmp_path):
    login.behave = giving(0)
    handler = handler_of(oauth=oauth(login, tmp_path))
    for _ in range(2):
        handler(delivery_of())
    assert len(login.received) == 2, "it had expired"

    login.behave = giving(3600)
    handler(delivery_of())
    revoked = hook.received[-1].headers["authorization"]
    hook.behave = lambda request: answering(401 if request.headers["authorization"] == revoked else 200)(request)
    report = handler(delivery_of())

    assert report.failure is None
    first, second = hook.received[-2:]
    assert (first.headers["authorization"], second.headers["authorization"]) == (revoked, "Bearer token-4")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]

    hook.behave = answering(401, b"not you: token-5")
    with pytest.raises(Rejected, match="answered 401") as caught:
        handler(delivery_of())
    assert len(login.received) == 5, "once, not for ever"
    assert "token-5" not in str(caught.value)


@pytest.mark.parametrize(
    "seconds", [pytest.param(10**400, id="huge"), float("inf"), float("nan"), -5, "3600", "-1", "soon", None, True, [1]]
)
def test_a_token_is_used_whatever_its_server_says_of_its_life(hook, login, handler_of, tmp_path, seconds):
    login.behave = giving(seconds)
    handler = handler_of(oauth=oauth(login, tmp_path))

    assert [handler(delivery_of()).failure for _ in range(2)] == [None] * 2
    assert len(login.received) == 1


@pytest.mark.parametrize(
    ("behave", "failure", "reason"),
    [
        (answering(503, b"no"), "token:down", "answered 503"),
        (answering(429), "token:down", "answered 429"),
        (
            answering(401, b'{"error": "invalid_client", "error_description": "hunter22+/ % is wrong"}'),
            "token:refused",
            "refused: 401 invalid_client",
        ),
        (answering(302, Location="/x"), "token:refused", "refused: 302"),
        (answering(200, b"<html>"), "token:refused", "without an access_token"),
        (answering(200, b'{"access_token": "a\\r\\nb", "token_type": "bearer"}'), "token:refused", "without an access"),
        (answering(200, b'{"access_token": "a", "token_type": "mac"}'), "token:refused", "another type"),
        (answering(200, b"[" * 100_000), "token:refused", "without an access_token"),
        (silent, "token:down", "cannot be reached"),
    ],
)
def test_a_token_server_that_is_down_and_one_that_refuses_are_told_apart(
    hook, login, handler_of, tmp_path, behave, failure, reason
):
    login.behave = behave
    handler = handler_of(oauth=oauth(login, tmp_path), timeout="1s" if behave is silent else "20s")

    report = handler(delivery_of())

    assert (report.failure, report.blamed) == (failure, [f"post {hook.url}"])
    assert reason in report.reason
    assert f"the token server {login.address}" in report.reason
    assert "hunter22" not in report.reason
    assert hook.received == []


def test_nothing_of_a_token_is_shown_and_a_stop_ends_the_wait_for_one(hook, login, handler_of, tmp_path):
    hook.behave = answering(500, b"who is token-1? Bearer token-1")
    report = handler_of(oauth=oauth(login, tmp_path))(delivery_of())
    assert "token-1" not in json.dumps([report.reason, report.result])

    stopping = threading.Event()
    login.behave = silent
    options = oauth(login, tmp_path)
    verb = PostVerb.model_validate({"url": hook.url, "oauth": options, "timeout": "60s"})
    handler = verb.handler(Surroundings("a", stopping))
    found = []
    thread = threading.Thread(target=lambda: found.append(handler(delivery_of())))
    thread.start()
    wait_for(lambda: len(login.received) == 2, 20, "the token is asked for")
    stopping.set()
    thread.join(60)
    assert found == [None]
    handler.close()
