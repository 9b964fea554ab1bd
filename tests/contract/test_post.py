"""What a webhook gets, and what its answer comes to: a real server on loopback that misbehaves on demand."""

import base64
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
import time
from datetime import timedelta
from urllib.parse import unquote

import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.deliveries import DeadLetter, Done, Retry
from consumers.errors import Rejected, SubscriptionsError
from consumers.folds import Fold
from consumers.policies.retry import RetryPolicy, attempt
from consumers.verbs.interface import Surroundings
from consumers.verbs.post.verb import PostVerb
from router.model.events import Event
from tests.consuming import make_delivery, make_event
from tests.waiting import wait_for
from tests.webhooks import answering, cutting, dripping, flooding, leaving, seconds, silent, webhook

KEY = b"0123456789abcdef0123456789"
OLD_KEY = b"the key that was used before"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOSTILE = '"}; rm -rf / $(id) {{ node }} {% if %}\r\nX-Evil: 1\n\n<script>alert(1)</script>@all'


@pytest.fixture
def hook():
    with webhook() as server:
        yield server


@pytest.fixture
def call(hook):
    """A function that makes a handler of its arguments, and calls it."""
    handlers = []

    def make(delivery=None, *, stopping=None, **fields):
        verb = PostVerb.model_validate({"url": hook.url, **fields})
        handler = verb.handler(Surroundings("to-tickets", stopping or threading.Event()))
        handlers.append(handler)
        return handler(delivery or delivery_of())

    yield make
    for handler in handlers:
        handler.close()


def delivery_of(event=None, **fields):
    return make_delivery(event, "to-tickets", **fields)


def whsec(path, octets):
    path.write_text(f"whsec_{base64.b64encode(octets).decode()}\n")
    return f"file:{path}"


def expected(octets, request):
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    return "v1," + base64.b64encode(hmac.new(octets, signed, hashlib.sha256).digest()).decode()


def test_the_event_arrives_whole_as_a_cloud_event(hook, call):
    event = make_event(traceparent=TRACE)

    report = call(delivery_of(event), headers={"X-Site": "prod"})

    (request,) = hook.received
    assert report.failure is None
    assert (request.method, request.path, request.body) == ("POST", "/hook", event.to_json())
    assert Event.from_json(request.body) == event
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["x-site"] == "prod"
    assert request.headers["traceparent"] == TRACE


def test_a_call_is_signed_with_every_key_of_a_rotation(hook, call, tmp_path):
    secrets = [whsec(tmp_path / "new", KEY), whsec(tmp_path / "old", OLD_KEY)]

    call(secret=secrets)

    (request,) = hook.received
    assert request.headers["webhook-signature"].split(" ") == [expected(KEY, request), expected(OLD_KEY, request)]
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60


def test_the_id_is_the_same_for_each_attempt_and_another_for_a_replay(hook, call):
    event = make_event()

    call(delivery_of(event))
    call(delivery_of(event, attempt=2))
    call(delivery_of(event, replay="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"))

    first, second, replay = (each.headers["webhook-id"] for each in hook.received)
    assert first == second == f"{event.id}_to-tickets"
    assert replay == f"{event.id}_to-tickets_01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"


def test_what_is_answered_is_kept_and_no_more_than_asked_for(hook, call):
    hook.behave = answering(202, b"z" * 5000, X_Request_Id="r-1", Set_Cookie="a=b")

    report = call(keep=100)

    assert report.result["status"] == 202
    assert report.result["body"] == "z" * 100
    assert report.result["cut"] is True
    assert report.result["headers"]["x-request-id"] == "r-1"
    assert "set-cookie" not in report.result["headers"]
    assert 0 <= report.result["seconds"] < 10
    json.dumps(report.result)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
def test_a_status_that_may_pass_is_retried(hook, call, status):
    hook.behave = answering(status, b"not now\n")

    report = call()

    assert report.failure == f"http:{status}"
    assert f"answered {status}" in report.reason
    assert "not now" in report.reason
    assert report.result["status"] == status
    assert list(report.blamed) == ([f"post {hook.url}"] if status >= 500 or status == 429 else [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 301, 302, 307, 304])
def test_any_other_status_is_given_up_at_once_with_what_was_said(hook, call, status):
    hook.behave = answering(status, b"" if status == 304 else b"no such\x1b[31m hook", Location=f"{hook.url}/other")

    with pytest.raises(Rejected) as caught:
        call()

    assert f"answered {status}" in str(caught.value)
    assert caught.value.result["status"] == status
    assert len(hook.received) == 1, "a redirection is not followed"
    if status != 304:
        assert "no such [31m hook" in str(caught.value)
    assert caught.value.result.get("gone") == (f"post {hook.url}" if status == 410 else None)


def test_a_dead_letter_keeps_what_was_answered(hook):
    hook.behave = answering(422, b"fsName is unknown")
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))

    outcome = attempt(delivery_of(), handler, RetryPolicy())

    assert isinstance(outcome, DeadLetter)
    assert outcome.result["body"] == "fsName is unknown"
    handler.close()


def test_the_statuses_that_are_retried_can_be_chosen(hook, call):
    hook.behave = answering(404)
    assert call(retry_on=[404]).failure == "http:404"
    hook.behave = answering(503)
    with pytest.raises(Rejected):
        call(retry_on=[404])


@pytest.mark.parametrize(("value", "after"), [("7", 7), ("999999999", 6 * 3600), ("soon", 0), ("-1", 0)])
def test_what_a_service_asks_to_wait_is_honoured_up_to_six_hours(hook, call, value, after):
    hook.behave = answering(503, retry_after=value)

    assert call().after == timedelta(seconds=after)


def test_a_retry_waits_as_long_as_asked(hook):
    hook.behave = answering(429, retry_after="300")
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))

    outcome = attempt(delivery_of(), handler, RetryPolicy(first=timedelta(seconds=1)))

    assert isinstance(outcome, Retry)
    assert outcome.delay == timedelta(minutes=5)
    handler.close()


def test_no_connection_is_a_failure_of_its_own(call):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    report = call(url=f"http://127.0.0.1:{port}/x")

    assert report.failure == "connect"
    assert report.blamed == [f"post http://127.0.0.1:{port}/x"]


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: "),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    ],
    ids=["silent", "headers drip", "body drips"],
)
def test_a_call_is_bounded_as_a_whole(hook, call, behave):
    hook.behave = behave

    report, took = seconds(lambda: call(timeout="400ms"))

    assert report.failure == "timeout"
    assert report.blamed == [f"post {hook.url}"]
    assert 0.3 < took < 15  # the silent one waits for twenty seconds, the others drip for ever


def test_a_receiver_that_does_not_read_is_left_in_time(call):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        event = make_event(large="x" * 8_000_000)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        report, took = seconds(lambda: call(delivery_of(event), url=url, timeout="500ms"))

    assert report.failure == "timeout"
    assert took < 15


@pytest.mark.parametrize("behave", [cutting, leaving])
def test_a_connection_that_breaks_is_a_failure(hook, call, behave):
    hook.behave = behave

    report = call()

    assert report.failure == "http"
    assert "connection failed" in report.reason


def test_a_body_without_an_end_is_left_after_what_is_kept(hook, call):
    hook.behave = flooding

    report, took = seconds(lambda: call(keep=1000, timeout="60s"))

    assert report.failure is None
    assert len(report.result["body"]) == 1000
    assert took < 30


def test_a_call_that_hangs_is_broken_off_by_a_stop(hook, call):
    hook.behave = silent
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()

    report, took = seconds(lambda: call(stopping=stopping, timeout="60s"))

    assert report is None
    assert took < 15  # the silent one waits for twenty


def test_connections_are_used_again_and_closed_in_the_end(hook):
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))
    for _ in range(3):
        handler(delivery_of())

    assert len({each.port for each in hook.received}) == 1
    handler.close()


def test_no_cookie_is_ever_sent_back(hook):
    hook.behave = answering(200, Set_Cookie="a=b; Path=/")
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))
    for _ in range(2):
        handler(delivery_of())

    assert all("cookie" not in each.headers for each in hook.received)
    handler.close()


@pytest.mark.parametrize("size", [1, 60_000 // len(HOSTILE)])
def test_no_value_breaks_out_of_the_body(hook, call, size):
    value = HOSTILE * size
    body = {"summary": "{{ data.x }}", "tags": ["{{ node }}", 3, None, True], "deep": {"x": "<{{ data.x }}>"}}

    call(delivery_of(make_event(x=value)), body=body)

    (request,) = hook.received
    assert json.loads(request.body) == {"summary": value, "tags": ["nsd01", 3, None, True], "deep": {"x": f"<{value}>"}}
    assert request.headers["content-type"] == "application/json"
    assert "x-evil" not in request.headers


def test_a_text_is_sent_as_text_and_a_megabyte_as_the_event(hook, call):
    big = make_event(x=HOSTILE, big="y" * 1_000_000)

    call(delivery_of(big), body="about {{ data.x }}")
    call(delivery_of(big))

    text, whole = hook.received
    assert text.body.decode() == f"about {HOSTILE}"
    assert text.headers["content-type"].startswith("text/plain")
    assert Event.from_json(whole.body) == big


def test_nothing_of_an_event_reaches_a_header(hook, call):
    call(delivery_of(make_event(traceparent="00-x\r\nX-Evil: 1", subject="a\r\nX-Evil: 1")))

    (request,) = hook.received
    assert "traceparent" not in request.headers
    assert "x-evil" not in request.headers


def test_a_folded_event_says_for_how_many_it_stands(hook, call):
    fold = Fold(400, "n[001-400]", "2026-11-20T15:22:07Z", "2026-11-20T15:23:07Z")

    call(delivery_of(folded=fold))

    (request,) = hook.received
    event = json.loads(request.body)
    assert (event["foldcount"], event["foldnodes"]) == (400, "n[001-400]")


def test_each_content_has_an_id_of_its_own_that_is_the_same_for_all_attempts(hook, call):
    event = make_event()
    fold = Fold(2, "n[1-2]", "2026-11-20T15:22:07Z", "2026-11-20T15:23:07Z")
    deliveries = [
        delivery_of(event),
        delivery_of(event, replay="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"),
        delivery_of(event, folded=fold, replay="folded"),
        delivery_of(event, folded=fold, replay="folded", attempt=2),
        delivery_of(event, facts={"nodes": 7}),
        delivery_of(event, facts={"nodes": 8}, attempt=2),
        make_delivery(event, "another", folded=fold, replay="folded"),
    ]

    for wire in ("structured", "binary"):
        for each in deliveries:
            call(each, wire=wire)

    structured = [json.loads(each.body) for each in hook.received[:7]]
    ids = [each["id"] for each in structured]
    assert ids[:2] == [event.id] * 2
    assert (ids[2], ids[4]) == (ids[3], ids[5])
    assert len({*ids}) == 4
    assert [each.get("originalid") for each in structured] == [None, None, *([event.id] * 5)]
    assert [each.headers["ce-id"] for each in hook.received[7:]] == ids
    webhook_ids = [each.headers["webhook-id"] for each in hook.received[:7]]
    assert len({*webhook_ids}) == 4, "an attempt has that of the first"


def test_binary_mode_has_the_attributes_in_headers_and_the_data_as_the_body(hook, call):
    event = make_event(subject='gpfs1/a b%"é\u20ac\u0001~', traceparent=TRACE, x=HOSTILE)

    call(delivery_of(event, folded=Fold(2, "n[1-2]", "a", "b")), wire="binary")

    (request,) = hook.received
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == event.data
    assert request.headers["ce-subject"] == "gpfs1/a%20b%25%22%C3%A9%E2%82%AC%01~", "as the binding's example has it"
    sent = {name.removeprefix("ce-"): unquote(value) for name, value in request.headers.items() if name[:3] == "ce-"}
    wanted = {name: str(value) for name, value in json.loads(event.to_json()).items()}
    assert {"data", "datacontenttype"} == wanted.keys() - sent.keys()
    assert {name: sent[name] for name in wanted.keys() & sent.keys() - {"id"}} == {
        name: value for name, value in wanted.items() if name in sent and name != "id"
    }
    assert (sent["foldcount"], request.headers["traceparent"]) == ("2", TRACE)
    assert "x-evil" not in request.headers


@pytest.mark.parametrize("wire", ["structured", "binary"])
def test_the_official_library_reads_what_is_sent(hook, call, wire):
    event = make_event(subject='gpfs1/a b%"é\u20ac~', traceparent=TRACE, x=HOSTILE)
    fold = Fold(2, "n[1-2]", "2026-11-20T15:22:07Z", "2026-11-20T15:23:07Z")

    for each in (delivery_of(event), delivery_of(event, folded=fold, replay="folded")):
        call(each, wire=wire)

    single, folded = (from_http_event(HTTPMessage(each.headers, each.body)) for each in hook.received)
    assert (single.get_id(), single.get_source(), single.get_subject()) == (event.id, event.source, event.subject)
    assert single.get_data() == folded.get_data() == event.data
    assert single.get_extension("cluster") == event.cluster
    assert folded.get_id() != event.id
    assert (folded.get_extension("originalid"), str(folded.get_extension("foldcount"))) == (event.id, "2")


def test_signatures_are_verified_by_the_libraries_of_the_receivers(hook, call, tmp_path):
    secrets = [whsec(tmp_path / "shared", KEY), f"file:{tmp_path}/private"]
    private = Ed25519PrivateKey.generate()
    (tmp_path / "private").write_text(f"whsk_{base64.b64encode(private.private_bytes_raw()).decode()}\n")

    call(secret=secrets)

    (request,) = hook.received
    shared = f"whsec_{base64.b64encode(KEY).decode()}"
    assert standardwebhooks.Webhook(shared).verify(request.body, request.headers) == json.loads(request.body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(shared).verify(request.body + b" ", request.headers)
    (signature,) = (each for each in request.headers["webhook-signature"].split(" ") if each.startswith("v1a,"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    private.public_key().verify(base64.b64decode(signature.removeprefix("v1a,")), signed)
    with pytest.raises(InvalidSignature):
        private.public_key().verify(base64.b64decode(signature.removeprefix("v1a,")), signed + b" ")


def test_an_address_by_reference_is_called_and_never_shown(hook, tmp_path):
    secret = tmp_path / "hook"
    secret.write_text(f"{hook.url}/s3cr3t-t0ken?key=hunter22\n")
    (tmp_path / "bearer").write_text("Bearer abcdef0123456789")
    hook.behave = answering(500, b"no: /hook/s3cr3t-t0ken hunter22 Bearer abcdef0123456789")
    verb = PostVerb(url=f"file:{secret}", headers={"Authorization": f"file:{tmp_path / 'bearer'}"})
    handler = verb.handler(Surroundings("a"))

    report = handler(delivery_of())
    shown = json.dumps([handler.plan(delivery_of()), report.reason, report.result, list(report.blamed)])

    (request,) = hook.received
    assert request.path == "/hook/s3cr3t-t0ken?key=hunter22"
    assert request.headers["authorization"] == "Bearer abcdef0123456789"
    assert not [each for each in ("s3cr3t", "hunter22", "abcdef") if each in shown]
    assert f"file:{secret}" in shown
    (target,) = handler.targets(delivery_of())
    assert target.startswith(f"post {hook.address}#")
    assert report.blamed == [target]
    handler.close()


def test_a_secret_that_is_gone_gives_the_delivery_up_and_names_its_reference(hook, call, tmp_path):
    with pytest.raises(Rejected, match=f"secret file:{tmp_path}/gone: No such file"):
        call(secret=f"file:{tmp_path}/gone")

    assert hook.received == []


def test_the_plan_is_what_is_sent(hook, call, tmp_path):
    verb = PostVerb(
        url=hook.url, secret=[whsec(tmp_path / "k", KEY)], headers={"X-Site": "prod"}, body={"a": "{{ node }}"}
    )
    handler = verb.handler(Surroundings("a"))

    plan = handler.plan(delivery_of())

    assert plan["method"] == "POST"
    assert plan["url"] == hook.url
    assert plan["body"] == '{"a":"nsd01"}'
    assert {"X-Site", "webhook-signature", "webhook-id"} <= set(plan["headers"])
    assert hook.received == []
    handler.close()


def test_a_certificate_is_verified_and_a_sites_own_authority_can_be_named(hook, tmp_path, require):
    openssl, certificate, key = require("openssl"), tmp_path / "c.pem", tmp_path / "k.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *words], check=True, capture_output=True, timeout=240)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hook.socket = context.wrap_socket(hook.socket, server_side=True)
    strict, trusting = (
        PostVerb(url=f"https://{hook.address}/x", verify=each).handler(Surroundings("a"))
        for each in (True, certificate)
    )

    refused = strict(delivery_of())
    taken = [trusting(delivery_of()) for _ in range(3)]

    assert refused.failure == "connect"
    assert "certificate" in refused.reason.lower()
    assert [each.failure for each in taken] == [None, None, None]
    assert len({each.port for each in hook.received}) == 1, "encrypted connections are used again too"
    strict.close()
    trusting.close()


def test_a_verb_whose_certificates_cannot_be_read_is_a_mistake(tmp_path):
    with pytest.raises(SubscriptionsError, match=r"post\.verify"):
        PostVerb(url="https://a.example.com/", verify=tmp_path / "gone.pem").handler(Surroundings("a"))


def test_many_calls_at_once_leave_no_descriptor_and_no_thread(hook):
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(handler(delivery_of()))) for _ in range(16)]
    before = {each.name for each in threading.enumerate()}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    handler.close()

    assert [each.failure for each in reports] == [None] * 16
    wait_for(
        lambda: not [each for each in threading.enumerate() if each.name == "resolve" and each.name not in before],
        5,
        "no thread that resolves",
    )


def test_a_policy_knows_the_failures_by_name():
    policy = RetryPolicy(never_for=("http:503", "connect"))

    assert policy.delay_after(1, "http:503") is None
    assert policy.delay_after(1, "connect") is None
    assert policy.delay_after(1, "http:500") is not None
    assert RetryPolicy(never_for=("http",)).delay_after(1, "http:500") is None


def test_what_went_well_is_done(hook):
    handler = PostVerb(url=hook.url).handler(Surroundings("a"))

    outcome = attempt(delivery_of(), handler, RetryPolicy())

    assert isinstance(outcome, Done)
    handler.close()
