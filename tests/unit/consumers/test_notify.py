"""The verb `notify`: what may be written, and what a message says."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers import check as checking
from consumers.deliveries import Delivery
from consumers.kinds import Kinds
from consumers.verbs.notify import NotifyVerb, messages
from router.catalogue import Catalogues
from router.sections import Settings
from tests.consuming import make_event

CATALOGUES = Catalogues.shipped()
README = Path(__file__).parents[3] / "consumers" / "verbs" / "notify" / "README.md"


def settings_with(*names, **fields):
    return Settings.model_validate(
        {"consumers": {"contacts": {name: {"urls": "syslog://", **fields} for name in names}}}
    )


def remarks(verb, its_settings):
    return list(verb.remarks(Kinds.of((), CATALOGUES), its_settings))


def test_an_unknown_contact_is_a_mistake_that_names_the_nearest():
    (remark,) = remarks(NotifyVerb(to=["storage-taem"]), settings_with("storage-team", "on-call"))

    assert (remark.place, remark.warning) == (("to", 0), False)
    assert remark.message == "no contact 'storage-taem'; did you mean storage-team?"


def test_without_contacts_it_is_said_where_to_write_them():
    (remark,) = remarks(NotifyVerb(to="team"), Settings())

    assert "write it into the settings, consumers.contacts" in remark.message


def test_a_secret_that_cannot_be_read_here_is_a_warning(tmp_path):
    its = Settings.model_validate({"consumers": {"contacts": {"team": {"urls": f"file:{tmp_path}/gone"}}}})

    (remark,) = remarks(NotifyVerb(to="team"), its)

    assert remark.warning
    assert f"file:{tmp_path}/gone: No such file" in remark.message


def test_a_page_that_nobody_reads_is_a_warning():
    (remark,) = remarks(NotifyVerb(to="team", html="<p>x</p>"), settings_with("team"))

    assert remark.warning
    assert remarks(NotifyVerb(to="team", html="<p>x</p>"), settings_with("team", format="html")) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"to": []}, "at least 1"),
        ({"to": ["a", "a"]}, "names 'a' twice"),
        ({"importance": "loud"}, "info"),
        ({"html": '<a href="{{ data.x }}">x</a>'}, "within a tag"),
        ({"html": "<ScRipt >x</script>"}, "holds <script>"),
        ({"timeout": "10m"}, "longer than 5m"),
        ({"attach": "/etc/passwd"}, "none"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(fields, message):
    with pytest.raises(ValidationError, match=message):
        NotifyVerb.model_validate({"to": ["a"], **fields})


@settings(deadline=None)
@given(st.text(max_size=300), st.sampled_from(["text", "html", "markdown"]))
def test_whatever_a_value_holds_a_message_is_bounded_and_has_no_markup_of_it(value, wanted):
    event = make_event(subject=value, x=value)
    delivery = Delivery(event, "a", "t", b"")

    message = messages.Messages(NotifyVerb(to=["a"]), CATALOGUES).message(delivery, wanted)

    assert len(message.title) <= messages.LONGEST_TITLE
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


def test_the_example_of_its_page_has_no_mistakes(tmp_path):
    blocks = re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [text for kind, text in blocks if kind == "yaml"]
    contacts = next(text for kind, text in blocks if not kind and "contacts:" in text)
    (tmp_path / "subscriptions.yaml").write_text(example)

    report = checking.check(
        tmp_path / "subscriptions.yaml", CATALOGUES, Settings.model_validate(yaml.safe_load(contacts))
    )

    assert list(report.mistakes) == []
    assert report.subscriptions
