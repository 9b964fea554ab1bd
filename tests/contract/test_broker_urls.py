"""The router and the relay read the same broker URLs: the same values, the same refusals in the same words."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.broker import addresses
from router.errors import SettingsError
from shim import broker_urls

OPTIONS = "cacertfile=/ca.pem&certfile=/me.pem&keyfile=/me.key&server_name_indication=mq&auth_mechanism=EXTERNAL"
ESCAPE = "write / ? # @ : in a user, password or virtual host as %2F %3F %23 %40 %3A"
FORM = "is not amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://"

# url: host, port, virtual host, user, password, TLS, (CA, certificate, key, name in the certificate), EXTERNAL
GOOD = {
    "amqp://mq1": ("mq1", 5672, "/", None, None, False, (None,) * 4, False),
    "amqps://mq1": ("mq1", 5671, "/", None, None, True, (None,) * 4, False),
    "amqp://mq1:/": ("mq1", 5672, "/", None, None, False, (None,) * 4, False),
    "amqp://mq1/%2F": ("mq1", 5672, "/", None, None, False, (None,) * 4, False),
    "amqp://mq1/bus?": ("mq1", 5672, "bus", None, None, False, (None,) * 4, False),
    "amqp://mq1/a/b": ("mq1", 5672, "a/b", None, None, False, (None,) * 4, False),
    "AMQPS://MQ1.Example:7/my%2Fbus": ("mq1.example", 7, "my/bus", None, None, True, (None,) * 4, False),
    "amqp://u:@mq1": ("mq1", 5672, "/", "u", "", False, (None,) * 4, False),
    "amqp://:p@mq1": ("mq1", 5672, "/", None, "p", False, (None,) * 4, False),
    "amqp://u%40x:s%2Fc%3Ar%23t+%25@mq1": ("mq1", 5672, "/", "u@x", "s/c:r#t+%", False, (None,) * 4, False),
    "amqp://u:p@[::1]:7/x": ("::1", 7, "x", "u", "p", False, (None,) * 4, False),
    "amqp://u:p:q@mq1": ("mq1", 5672, "/", "u", "p:q", False, (None,) * 4, False),
    "amqp://u:p@q@mq1": ("mq1", 5672, "/", "u", "p@q", False, (None,) * 4, False),
    f"amqps://mq1/?{OPTIONS}": ("mq1", 5671, "/", None, None, True, ("/ca.pem", "/me.pem", "/me.key", "mq"), True),
    "amqps://mq1?certfile=/all.pem": ("mq1", 5671, "/", None, None, True, (None, "/all.pem", None, None), False),
    "amqps://mq1?cacertfile=/a%20b+c=d.pem": (
        "mq1",
        5671,
        "/",
        None,
        None,
        True,
        ("/a b+c=d.pem", *(None,) * 3),
        False,
    ),
    "amqp://mq1?auth_mechanism=plain": ("mq1", 5672, "/", None, None, False, (None,) * 4, False),
}

BAD = {
    "": FORM,
    "mq1": FORM,
    "mq1:5672": FORM,
    "u:secret@mq1": FORM,
    "http://mq1": FORM,
    "amqp:mq1": FORM,
    "amqp://": FORM,
    "amqp:///bus": FORM,
    "amqp://u:secret@": FORM,
    "amqp://mq1:0": FORM,
    "amqp://u:secret@mq1:port/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret@mq1:65536/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret@mq1:-1/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret@[::1": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret@mq\u2100/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret%ff@mq1/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:secret/x@mq1/": f"is not a URL: use ports from 1 to 65535, and {ESCAPE}",
    "amqp://u:12/secret@mq1/": f"has an @ after its host: {ESCAPE}",
    "amqp://u:12?secret@mq1/": f"has an @ after its host: {ESCAPE}",
    "amqp://u:12#secret@mq1/": f"has an @ after its host: {ESCAPE}",
    "amqp://u:12/secret@mq1/?cacertfile=/x@y": f"has an @ after its host: {ESCAPE}",
    "amqp://mq1/bus#secret": f"has a #: {ESCAPE}",
    "amqps://mq1/?secret": f"has an option without a value: write ?NAME=VALUE&NAME=VALUE; {ESCAPE}",
    "amqps://mq1/?cacertfile=": f"has an option without a value: write ?NAME=VALUE&NAME=VALUE; {ESCAPE}",
    "amqps://mq1/?cacertfile=/x&": f"has an option without a value: write ?NAME=VALUE&NAME=VALUE; {ESCAPE}",
    "amqps://u:secret@mq1/?cacertfil=/x": "has the unknown option 'cacertfil'; did you mean cacertfile?",
    "amqps://u:secret@mq1/?heartbeat=1": "has the unknown option 'heartbeat'; there are cacertfile, certfile, keyfile, "
    "server_name_indication, auth_mechanism",
    "amqps://mq1/?certfile=/a&certfile=/b": "has the option certfile twice",
    "amqps://mq1/?certfile=/%ff": "has the option certfile with octets that are not UTF-8",
    "amqps://mq1/?keyfile=/a": "has a keyfile without a certfile",
    "amqps://mq1/?auth_mechanism=ntlm": "has an auth_mechanism that is neither plain nor external",
    "amqp://u:secret@mq1/?auth_mechanism=external": "has the option auth_mechanism, which needs amqps://",
    "amqp://u:secret@mq1/?cacertfile=/x": "has the option cacertfile, which needs amqps://",
}


def read_by_the_relay(url: str) -> tuple[object, ...]:
    found = broker_urls.parse(url)
    tls = (found.ca, found.certificate, found.key, found.server_name)
    user, password = found.user or None, found.password
    return found.host, found.port, found.vhost, user, password, found.secure, tls, found.external


def read_by_the_router(url: str) -> tuple[object, ...]:
    found = addresses.parse(url)
    tls = (found.authority, found.certificate, found.key, found.server_name)
    return found.host, found.port, found.vhost, found.user, found.password, found.tls, tls, found.external


def with_guest(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return what the relay read, with the user and password that the router takes where a URL names none."""
    host, port, vhost, user, password, secure, tls, external = values
    user = user or (None if external else "guest")
    return host, port, vhost, user, "guest" if password is None else password, secure, tls, external


@pytest.mark.parametrize("url", GOOD)
def test_a_url_means_the_same_to_both(url: str) -> None:
    assert read_by_the_relay(url) == GOOD[url]
    assert read_by_the_router(url) == with_guest(GOOD[url])


@pytest.mark.parametrize("url", BAD)
def test_both_refuse_a_url_in_the_same_words_and_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as by_the_relay:
        broker_urls.parse(url)
    with pytest.raises(SettingsError) as by_the_router:
        addresses.parse(url)

    assert str(by_the_relay.value) == BAD[url]
    assert str(by_the_router.value).endswith(f" {BAD[url]}")
    assert "secret" not in str(by_the_relay.value)
    assert "secret" not in str(by_the_router.value)


@given(st.text(st.sampled_from("amqps:/?#@[]&=%2Fcertfilky0 x\u00e9"), max_size=40), st.booleans())
def test_both_take_or_refuse_any_text_alike(text: str, has_scheme: bool) -> None:
    url = f"amqps://{text}" if has_scheme else text
    try:
        expected = with_guest(read_by_the_relay(url))
    except ValueError as error:
        with pytest.raises(SettingsError, match=f" {re.escape(str(error))}$"):
            read_by_the_router(url)
    else:
        assert read_by_the_router(url) == expected


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_whatever_is_escaped_comes_through(user: str, password: str, vhost: str) -> None:
    try:
        escaped = [quote(each, safe="") for each in (user, password, vhost)]
    except UnicodeEncodeError:
        return
    url = "amqp://{}:{}@mq1/{}".format(*escaped)

    assert read_by_the_relay(url)[2:5] == (vhost or "/", user or None, password)
    assert read_by_the_router(url)[2:5] == (vhost or "/", user or "guest", password)
