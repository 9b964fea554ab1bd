"""Templates of the words of a command."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consumers.errors import Rejected, TemplateError
from consumers.templates import LARGEST, Template
from router.events import Event, Value

# Machines that are busy with other tests are slow at times.
PATIENT = settings(deadline=None)


def event(**data: Value) -> Event:
    return Event.model_construct(
        id="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
        type="gpfs.diskFailure",
        node="nsd01",
        subject=None,
        severity="error",
        data=data,
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("start", "start"),
        ("{{ data.fsName }}", "gpfs1"),
        ("{{ data['fsName'] }}@{{ node }}", "gpfs1@nsd01"),
        ("--fs={{ data.fsName | upper }}", "--fs=GPFS1"),
        ("{{ data.disks | join(';') }}", "nsd1;nsd2"),
        ("{{ data.fsName | join(';') }}", "gpfs1"),
        ("{{ data.usage * 1024 }}", "5120"),
        ("{{ data.missing | default('none') }}", "none"),
        ("{{ data.limit | default(0) }}", "0"),
        ("{% if data.forced %}--force{% else %}--gentle{% endif %}", "--force"),
        ("{{ data.forced }}", "true"),
        ("{{ data.fsName | replace('gpfs', 'fs') }}", "fs1"),
        ("{{ data.count }}{{ data.items }}", "3i"),
        ("{{ subject | default('-') | length }}", "1"),
        ("{{ 'big' if data.usage > 3 else 'small' }}", "big"),
        ("", ""),
    ],
)
def test_a_word_is_filled_in_from_the_event(text: str, word: str) -> None:
    happened = event(fsName="gpfs1", disks=["nsd1", "nsd2"], usage=5, limit=None, forced=True, count=3, items="i")

    assert Template(text).render(happened) == word


@PATIENT
@given(st.text(st.characters(exclude_characters="\0"), max_size=50))
def test_whatever_a_value_holds_it_stays_within_its_word(value: str) -> None:
    word = Template("name={{ data.x }}.").render(event(x=value))

    assert word == f"name={value}."


@pytest.mark.parametrize(
    "value", ["{{ data.secret }}", "{% if 1 %}", "a b \"c\" 'd' $(reboot) `x` ; \n | & *", "../../etc"]
)
def test_a_value_is_never_read_as_a_template_nor_split(value: str) -> None:
    assert Template("{{ data.x }}").render(event(x=value, secret="s")) == value


@PATIENT
@given(st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_a_value_never_becomes_an_option(value: str) -> None:
    try:
        word = Template("{{ data.empty }}{{ data.x }}").render(event(empty="", x=value))
    except TemplateError:
        assert value.startswith("-")
    else:
        assert not word.startswith("-")


@pytest.mark.parametrize(
    ("text", "word"), [("-{{ data.x }}", "--f"), ("{{ data.empty }}-n{{ data.x }}", "-n-f"), ("a{{ data.x }}", "a-f")]
)
def test_a_dash_that_the_template_wrote_is_meant(text: str, word: str) -> None:
    assert Template(text).render(event(x="-f", empty="")) == word


def test_a_leading_dash_does_no_harm_in_a_text_that_is_no_word() -> None:
    assert Template("{{ data.x }}").render_text(event(x="-f")) == "-f"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ data.missing }}", "the event has no missing"),
        ("{{ data.null }}", "the value is null"),
        ("{{ data.list }}", "| join(',') makes it one word"),
        ("{{ data }}", "name one, as in data.fsName"),
        ("{{ data.nul }}", "a NUL"),
        ("{{ data.text * 1000000000 }}", "for numbers only"),
        ("{{ '%1000000000d' % 1 }}", "for numbers only"),
        ("{{ data.number / 0 }}", "division by zero"),
        ("{{ data.number + data.text }}", "cannot be filled in"),
        ("{{ data.long }}{{ data.long }}", "65536 at the most"),
        ("{{ data.long | replace('x', 'xxxxxxxxx') }}", "too long"),
        ("{{ data.__class__ }}", "the event has no __class__"),
        ("{{ data.text.__class__ }}", "the event has no __class__"),
    ],
)
def test_what_cannot_be_filled_in_is_rejected_for_good_with_the_reason(text: str, said: str) -> None:
    happened = event(null=None, list=["a"], nul="a\0b", text="x", number=1, long="x" * (LARGEST - 1))

    with pytest.raises(Rejected) as rejected:
        Template(text).render(happened)

    assert said in str(rejected.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ data.fsName", "unexpected end of template"),
        ("a\n{{ % }}", "(its line 2)"),
        ("{{ data.fsName | nofilter }}", "No filter named 'nofilter'"),
        ("{{ nodee }}", "unknown name nodee; did you mean node?"),
        ("{{ fsName }}", "variables are written data.fsName"),
        ("{{ self }}", "unknown name self"),
        ("{{ data.fsName.upper() }}", "'call' has no place"),
        ("{{ range(9) }}", "'call' has no place"),
        ("{{ 9 ** 9 ** 9 }}", "'pow' has no place"),
        ("{% for each in data.disks %}x{% endfor %}", "'for' has no place"),
        ("{% set x = 1 %}{{ x }}", "'assign' has no place"),
        ("{% include '/etc/passwd' %}", "'include' has no place"),
        ("{% macro m() %}{% endmacro %}", "'macro' has no place"),
        ("{{ '\\0' }}", "NUL"),
        ("\0", "NUL"),
        ("{" * 3000, "no template"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "no template"),
        ("x" * 5000, "too long"),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_read(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template(text)

    assert said in str(refused.value)


def test_a_template_knows_its_variables_without_an_event() -> None:
    template = Template(
        "{{ data.a | default(data['b']) }}{% if data.c is defined %}{{ data.d.e }}{% endif %}{{ node }}"
    )

    assert set(template.variables) == {"a", "b", "c", "d"}


@PATIENT
@given(st.text(st.sampled_from("{}%#|.-+*/()[]'\"ad0 \n"), max_size=40))
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    try:
        template = Template(text)
    except TemplateError as refused:
        assume(str(refused))
        return
    try:
        assert isinstance(template.render(event(a="1")), str)
    except TemplateError as rejected:
        assert str(rejected)  # noqa: PT017 - either outcome is right, silence is not
