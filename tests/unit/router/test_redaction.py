"""What is shown of URLs, values and texts: all but the secrets."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import redaction

ODD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"'), min_size=6, max_size=12)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://mq1:5672/bus", "amqp://mq1:5672/bus"),
        ("amqp://u@mq1/", "amqp://u@mq1/"),
        ("amqp://u:s3cret@[::1]:5672/", "amqp://u:***@[::1]:5672/"),
        ("amqp://u:a/s3cret@c@mq1/", "amqp://u:***@mq1/"),
        ("amqp://u:s3cret", "amqp://u:***"),
        ("amqp://u:a@mq1:s3cret/", "amqp://u:***@***"),
        ("amqp://u:a?s3cret@mq1/", "amqp://u:***"),
        ("amqps://u:s3cret@mq1/v?cacertfile=/ca.pem", "amqps://u:***@mq1/v?cacertfile=/ca.pem"),
        ("postgresql://db/bus?password=s3cret", "postgresql://db/bus?password=***"),
        ("postgresql:///bus?host=/run/pg&passwrd=s3cret", "postgresql:///bus?host=/run/pg&passwrd=***"),
        ("postgresql://u:x@db/bus?password=s3cret@more", "postgresql://u:***"),
        ("postgresql://db/bus?s3cret", "postgresql://db/bus?***"),
        ("postgresql://db/bus#s3cret", "postgresql://db/bus#***"),
        ("https://h.example.com:8443/a?mail=a@b.org", "https://h.example.com:8443/a?mail=***"),
        ("https://h.example.com/T0/s3cret0123456789abcdef", "https://h.example.com/T0/***"),
        ("sqlite:////var/lib/clusterbus/store.db", "sqlite:////var/lib/clusterbus/store.db"),
        ("host=db password=s3cret", "***"),
        ("u:s3cret@mq1", "***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert redaction.url(url) == shown


@given(ODD, st.sampled_from(["amqp", "amqps", "postgresql"]))
def test_no_password_is_shown_whatever_is_in_it_and_not_escaped(password, scheme):
    secret = f"s3cret{password}s3cret"

    for url in (f"{scheme}://user:{secret}@mq1/bus", f"{scheme}://mq1/bus?password={secret}"):
        assert "s3cret" not in redaction.url(url)
        assert "s3cret" not in redaction.redact(f"cannot use {url} now")


@pytest.mark.parametrize("torn", ["p@ss/w", "p@ss.word/w", "p?ss", "p#ss/w", "p@ss@w", "p/ss"])
def test_parts_of_an_address_whose_password_is_not_escaped_are_hidden_where_they_stand_alone(torn):
    parts = redaction.parts(f"mailto://bus:{torn}@mail.example")

    for piece in re.split("[@/?#]", torn):
        assert redaction.scrubbed(f"invalid From: clusterbus <bus@{piece}>", parts).endswith("@***>")
    assert redaction.scrubbed("a class of its own, w p ss", parts) == "a class of its own, w p ss"


def test_the_host_of_an_address_is_shown():
    for address in ("mailto://bus:hunter@mail.example?to=a@b.org", "mailto://mail.example:25?from=a@b.org"):
        assert redaction.scrubbed("mail.example: refused", redaction.parts(address)) == "mail.example: refused"


def test_what_was_read_is_hidden_wherever_it_turns_up_and_so_are_the_tokens_in_it():
    redaction.remember("slack://T0KENA1xyz/T0KENB2xyz/services")
    redaction.remember("Bearer abc123def456")
    redaction.remember("https://u:hunter22@hooks.example.com/x?sig=word")

    text = "POST /services/T0KENA1xyz/T0KENB2xyz by abc123def456, hunter22: sig=word at hooks.example.com"

    assert redaction.redact(text) == "POST /services/***/*** by ***, ***: sig=*** at hooks.example.com"


def test_a_password_of_a_url_that_is_an_everyday_word_does_not_hide_that_word_everywhere():
    redaction.remember_url("amqp://consumers:clusterbus@mq1/")

    assert redaction.redact("clusterbus-consume runs") == "clusterbus-consume runs"
    assert redaction.redact("at amqp://consumers:clusterbus@mq1/") == "at amqp://consumers:***@mq1/"


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("found undefined alias 's3cret-x'", "found undefined alias"),
        ("could not determine a constructor for the tag '!s3cret'", "could not determine a constructor for the tag"),
        ("expected ',' or ']', but got '<stream end>'", "expected ',' or ']', but got '<stream end>'"),
        ("found character '\\t' that cannot start any token", "found character '\\t' that cannot start any token"),
        ("found undefined tag handle '!s3cret!'", "found undefined tag handle"),
    ],
)
def test_what_yaml_says_is_told_without_the_words_of_the_file(problem, shown):
    assert redaction.yaml_problem(problem) == shown
