"""The verb `post`: what may be written, its signature, and what answers come to."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.errors import Rejected, SecretError, SubscriptionsError
from consumers.subscriptions import validation as checking
from consumers.verbs.interface import Surroundings
from consumers.verbs.post import responses
from consumers.verbs.post.signing import key, sign
from consumers.verbs.post.verb import PostVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings

CATALOGUES = Catalogues.shipped()
README = Path(__file__).parents[4] / "consumers" / "verbs" / "post" / "README.md"
OAUTH = {"token_url": "https://login.example.com/token", "client_id": "bus", "client_secret": "env:A"}
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def test_the_signature_is_the_one_that_standard_webhooks_publishes():
    # The example of the specification, which its libraries test themselves by.
    octets = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "file:/x")

    signature = sign([octets], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret",
    [
        "hunter22",
        "whsec_",
        "whsec_hunter22",
        "whsec_!!!!",
        base64.b64encode(b"x" * 32).decode(),
        "whsec_" + "QUFB" * 40,
        "whsk_",
        "whsk_!!!!",
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"y" * 64).decode(),
    ],
)
def test_what_is_no_key_is_refused_by_its_reference(secret):
    with pytest.raises(SecretError, match="file:/etc/x") as caught:
        key(secret, "file:/etc/x")

    shown = secret.removeprefix("whsec_").removeprefix("whsk_")[:8]
    assert shown not in str(caught.value) or not shown


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "https://{{ data.host }}/"}, "an event cannot choose the address"),
        ({"url": "https://u:hunter22@a.example.com/"}, "contains a user or password"),
        ({"url": "https://a.example.com/?token=hunter22"}, "contains a secret, token"),
        ({"url": "ftp://a.example.com/"}, "not a web address"),
        ({"url": "hooks.example.com"}, "not a web address"),
        *(
            ({"url": f"https://{host}/x"}, "a host that cannot exist")
            for host in (
                "256.300.1.2",
                "1.2.3",
                "-bad-.example..com",
                "a..b",
                ".a",
                "a-.b",
                "a_b.-c",
                "x" * 64,
                "a%41",
                "a.b." * 80,
            )
        ),
        ({"url": "https://a.example.com:99999/"}, "not an address"),
        ({"url": "https://a.example.com/a b"}, "blanks"),
        ({"url": "file:relative"}, "not a valid reference"),
        ({"secret": "hunter22"}, "never the secret itself"),
        ({"method": "GET"}, "POST"),
        ({"headers": {"X\r\nY": "a"}}, "not a valid header name"),
        ({"headers": {"X-A": "a\r\nB: c"}}, "on one line"),
        ({"headers": {"X-A": "{{ node }}"}}, "which headers do not support"),
        ({"headers": {"Authorization": "Bearer hunter22"}}, "contains a secret"),
        ({"headers": {"X-Api-Key": "hunter22"}}, "contains a secret"),
        ({"headers": {"webhook-id": "a"}}, "set by clusterbus"),
        ({"body": '{"text": "{{ data.x }}"}'}, "write a mapping instead"),
        ({"body": ' [ "{{ data.x }}" ]'}, "write a mapping instead"),
        ({"body": {"{{ data.x }}": 1}}, "only values can be templates"),
        ({"body": 7}, "must be"),
        ({"body": {"a": float("inf")}}, "not allowed in JSON"),
        ({"retry_on": [200]}, "not a status that can be retried"),
        ({"retry_on": ["6xx"]}, "not a status that can be retried"),
        ({"verify": False}, "always verified"),
        ({"verify": "ca.pem"}, "absolute path"),
        ({"timeout": "1h"}, "longer than 5m"),
        ({"wire": "xml"}, "binary"),
        ({"proxy": "proxy.example.com:3128"}, "is not the address of a proxy: use one that is called by http"),
        ({"proxy": "socks5h://proxy:1080"}, "is a SOCKS proxy, which post does not support: use one"),
        ({"proxy": "http://u:hunter22@proxy:3128"}, "contains a user or password"),
        ({"proxy": "https://proxy:3128"}, "is called by https, which post does not support"),
        ({"proxy": "file:relative"}, "not a valid reference"),
        ({"certificate": "client.pem"}, "not an absolute path"),
        ({"oauth": {"token_url": "https://a/", "client_id": "a"}}, "client_secret"),
        ({"oauth": {"token_url": "https://a/", "client_id": "a", "client_secret": "hunter22"}}, "never the secret"),
        ({"oauth": {"token_url": "a/", "client_id": "a", "client_secret": "env:A"}}, "not a web address"),
        ({"oauth": {"token_url": "https://a/", "client_id": "a\nb", "client_secret": "env:A"}}, "match pattern"),
        ({"timeout": 10}, "not a duration"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(fields, message):
    with pytest.raises(ValidationError, match=message) as caught:
        PostVerb.model_validate({"url": "https://a.example.com/x", **fields})

    told = " ".join(each["msg"] for each in caught.value.errors())
    assert "hunter22" not in told


def test_a_subscription_comes_back_from_json_as_it_was():
    verb = PostVerb.model_validate(
        {
            "url": "https://a.example.com/",
            "verify": "/etc/ssl/ca.pem",
            "retry_on": [404, "5xx"],
            "body": {"a": ["{{ node }}"]},
        }
    )

    assert PostVerb.model_validate_json(verb.model_dump_json()) == verb
    assert verb.retry_on == ("404", "5xx")


def test_what_looks_like_a_token_or_is_not_encrypted_is_a_warning(tmp_path):
    verbs = [
        PostVerb(url="https://hooks.example.com/services/T0/aB3aB3aB3aB3aB3aB3aB3aB3"),
        PostVerb(url="http://hooks.example.com/", headers={"X-Site": "a"}),
        PostVerb(url=f"file:{tmp_path}/gone"),
        PostVerb(url="https://hooks.example.com/", secret=[f"file:{tmp_path}/gone"]),
    ]

    kinds = Kinds(Registrations(CATALOGUES))
    found = [[*each.remarks(kinds, Settings()), *each.remarks_here(kinds, Settings())] for each in verbs]

    assert [[each.warning for each in some] for some in found] == [[True]] * 4


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com./x",
        "http://10.1.2.3:8080",
        "http://[::1]:8080/",
        "https://a_b/",
        "HTTPS://4a.b?c",
        "https://1.2.3.4.example/",
    ],
)
def test_hosts_that_may_exist_are_accepted_by_the_schema_too(url):
    assert PostVerb(url=url).url == url
    assert re.search(PostVerb.model_json_schema()["properties"]["url"]["pattern"], url)


@pytest.mark.parametrize("host", ["256.300.1.2", "-bad-.example..com", "a b", "1.2.3:80", "x" * 64])
def test_hosts_that_cannot_exist_are_refused_by_the_schema_too(host):
    assert not re.search(PostVerb.model_json_schema()["properties"]["url"]["pattern"], f"https://{host}/x")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://a b/x", "has a host that cannot exist"),
        ("http://a/s3cr et", "contains blanks"),
        ("hooks.example.com/s3cret", "not a web address"),
        ("https://256.300.1.2/s3cret", "has a host that cannot exist"),
        ("https://u:s3cret@hooks.example.com/x", ""),
    ],
)
def test_the_address_in_a_secret_is_read_as_it_will_be_used(tmp_path, address, message):
    path = tmp_path / "url"
    path.write_text(address)
    path.chmod(0o600)

    found = list(PostVerb(url=f"file:{path}").remarks_here(Kinds(Registrations(CATALOGUES)), Settings()))

    assert [each.fault for each in found] == ([True] if message else [])
    for each in found:
        assert message in each.message
        assert "s3cr" not in each.message


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), ("no PEM\n", "has no certificates in PEM format"), ("", "has no")]
)
def test_certificates_that_cannot_be_used_are_a_fault_and_no_handler_is_made(tmp_path, content, message):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    verb = PostVerb(url="https://a.example.com/", verify=str(path))

    (remark,) = verb.remarks_here(Kinds(Registrations(CATALOGUES)), Settings())

    assert remark.fault
    assert remark.place == ("verify",)
    assert message in remark.message
    with pytest.raises(SubscriptionsError, match=re.escape(remark.message)):
        verb.handler(Surroundings("a"))


def test_a_key_that_is_none_is_a_mistake(tmp_path):
    (tmp_path / "key").write_text("hunter22")
    (tmp_path / "key").chmod(0o600)

    (remark,) = PostVerb(url="https://a.example.com/", secret=f"file:{tmp_path}/key").remarks_here(
        Kinds(Registrations(CATALOGUES)), Settings()
    )

    assert not remark.warning
    assert "hunter22" not in remark.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 5000, 6 * 3600),
        ("Fri, 20 Nov 2026 15:01:00 GMT", 60),
        ("Fri, 20 Nov 2026 14:01:00 GMT", 0),
        ("Sat, 20 Nov 2027 14:01:00 GMT", 6 * 3600),
        ("Fri, 20 Nov 2026 25:99:00 GMT", 0),
        ("", 0),
        ("-5", 0),
        ("1e3", 0),
        ("٣", 0),
    ],
)
def test_how_long_to_wait_is_read_and_bounded(value, seconds):
    assert responses.retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"wire": "binary", "body": {"a": 1}}, ("wire",)),
        ({"certificate_key": "/etc/a.key"}, ("certificate_key",)),
        ({"headers": {"authorization": "env:A"}, "oauth": OAUTH}, ("headers", "Authorization")),
    ],
)
def test_options_that_exclude_each_other_are_a_mistake(fields, place):
    verb = PostVerb.model_validate({"url": "https://a.example.com/x", **fields})

    (found,) = verb.remarks(Kinds(Registrations(CATALOGUES)), Settings())

    assert (found.place, found.warning) == (place, False)


def test_certificates_of_this_machine_are_looked_at(tmp_path):
    for name in ("client.pem", "client.key"):
        (tmp_path / name).write_text("no certificate")
        (tmp_path / name).chmod(0o600)
    verb = PostVerb(
        url="https://a.example.com/x",
        certificate=tmp_path / "client.pem",
        certificate_key=tmp_path / "client.key",
        proxy=f"file:{tmp_path}/gone",
        oauth={"token_url": f"file:{tmp_path}/gone", "client_id": "a", "client_secret": f"file:{tmp_path}/gone"},
    )

    found = {each.place: each for each in verb.remarks_here(Kinds(Registrations(CATALOGUES)), Settings())}

    assert {*found} == {("proxy",), ("oauth", "token_url"), ("oauth", "client_secret"), ("certificate",)}
    assert found["certificate",].fault
    assert "write both in PEM format" in found["certificate",].message


@pytest.mark.parametrize(("written", "is_fault"), [("file", True), ("environment", False)])
def test_a_proxy_that_cannot_be_used_here_is_said_without_its_password(written, is_fault, tmp_path, monkeypatch):
    (tmp_path / "proxy").write_text("socks5://anna:hunter22@proxy:1080\n")
    (tmp_path / "proxy").chmod(0o600)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://anna:hunter22@proxy:1080")
    proxy = f"file:{tmp_path}/proxy" if written == "file" else "environment"
    verb = PostVerb(url="https://a.example.com/x", proxy=proxy)

    (found,) = verb.remarks_here(Kinds(Registrations(CATALOGUES)), Settings())

    assert (found.place, found.fault, found.warning) == (("proxy",), is_fault, not is_fault)
    assert "is a SOCKS proxy, which post does not support: use one that is called by http" in found.message
    assert "hunter22" not in found.message


def test_a_410_is_tried_again_only_where_that_is_written():
    gone = responses.Answer(410)

    assert responses.judge(gone, ["410"], "post a:443", {}, NOW).failure == "http:410"
    for others in (["5xx"], ["4xx"]):
        with pytest.raises(Rejected, match="the receiver wants no more events"):
            responses.judge(gone, others, "post a:443", {}, NOW)


def test_each_address_is_a_target_of_its_own_and_a_secret_one_is_not_shown(tmp_path):
    addresses = ["https://hooks.example.com/a", "https://hooks.example.com/b", "https://hooks.example.com/b?site=1"]
    (tmp_path / "one").write_text("https://hooks.example.com/t0ken1\n")
    (tmp_path / "two").write_text("https://hooks.example.com/t0ken2\n")
    written = [*addresses, f"file:{tmp_path}/one", f"file:{tmp_path}/two"]

    targets = [target for url in written for target in PostVerb(url=url).handler(Surroundings("a")).targets(None)]

    assert targets[:3] == [f"post {each}" for each in addresses]
    assert len({*targets}) == 5
    assert all(re.fullmatch("post hooks.example.com:443#[0-9a-f]{6}", each) for each in targets[3:])


def test_the_example_of_its_page_has_no_mistakes(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "subscriptions.yaml").write_text(example)

    report = checking.check(tmp_path / "subscriptions.yaml", CATALOGUES)

    assert [*report.mistakes, *report.faults] == []
    assert report.subscriptions
