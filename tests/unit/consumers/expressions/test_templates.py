"""Templates of the words of a command."""

import html
from dataclasses import fields

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consumers.deliveries import Delivery
from consumers.errors import Rejected, TemplateError
from consumers.expressions.template_environment import ENVIRONMENT
from consumers.expressions.templates import _OF_FOLD, LARGEST, Template
from consumers.folds import Fold
from router.model.events import Event, Value


def about(happened: Event) -> Delivery:
    return Delivery(happened, "test", "gpfs.c.disk.diskFailure", b"")


def event(**data: Value) -> Event:
    return Event.model_construct(
        id="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
        time="2026-11-20T15:22:07.980656123Z",
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
        ("{{ [data.disks, data.disks] | join(';') }}", "nsd1;nsd2;nsd1;nsd2"),
        ("{{ data.usage * 1024 }}", "5120"),
        ("{{ data.missing | default('none') }}", "none"),
        ("{{ data.limit | default(0) }}", "0"),
        ("{% if data.forced %}--force{% else %}--gentle{% endif %}", "--force"),
        ("{{ data.forced }}", "true"),
        ("{{ data.fsName | replace('gpfs', 'fs') }}", "fs1"),
        ("{{ data.count }}{{ data.items }}", "3i"),
        ("{{ subject | default('-') | length }}", "1"),
        ("{{ 'big' if data.usage > 3 else 'small' }}", "big"),
        ("{{ data.disks | unique | join(',') }}", "nsd1,nsd2"),
        ("{{ 1.55 | round(1, 'ceil') }}", "1.6"),
        ("", ""),
    ],
)
def test_a_word_is_filled_in_from_the_event(text: str, word: str) -> None:
    happened = event(fsName="gpfs1", disks=["nsd1", "nsd2"], usage=5, limit=None, forced=True, count=3, items="i")

    assert Template(text).render(happened) == word


@given(st.text(st.sampled_from("a%{}#-\r\n \u2028ü")))
def test_a_word_without_tags_is_what_jinja_makes_of_it(text: str) -> None:
    assume(all(tag not in text for tag in ("{{", "{%", "{#")))

    template = Template(text)

    assert template.is_plain
    assert template.render(event()) == ENVIRONMENT.from_string(text).render()


@pytest.mark.parametrize("text", ["{{ node }}", "{% if node %}a{% endif %}", "a{# note #}"])
def test_a_word_with_tags_is_not_plain(text: str) -> None:
    assert not Template(text).is_plain


@given(st.text(st.characters(exclude_characters="\0"), max_size=50))
def test_whatever_a_value_holds_it_stays_within_its_word(value: str) -> None:
    word = Template("name={{ data.x }}.").render(event(x=value))

    assert word == f"name={value}."


@pytest.mark.parametrize(
    "value", ["{{ data.secret }}", "{% if 1 %}", "a b \"c\" 'd' $(reboot) `x` ; \n | & *", "../../etc"]
)
def test_a_value_is_never_read_as_a_template_nor_split(value: str) -> None:
    assert Template("{{ data.x }}").render(event(x=value, secret="s")) == value


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


ABSENT = {
    "data.absent": "the event has no absent",
    "data.null": "null: the value is null (does not apply to this event)",
    "data.disks[5]": "the list has 1 items, so no item 5",
    "data.absent.deeper[0]": "the event has no absent",
    "subject": "the event has no subject",
    "fold.values.absent": "the event has no absent",
    "data.values": "the event has no values",
    "data[data.absent]": "the event has no absent",
    "facts.nodes[node].state": "the facts have no nsd01",
    "facts.nodes.nsd99": "the facts have no nsd99",
}


@pytest.mark.parametrize("name", [*ABSENT, "data.empty | first"])
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{{ %s or 'root' }}", "root"),
        ("{{ (%s or data.also or 'z') | upper }}", "Z"),
        ("{{ 'a' if %s else 'b' }}", "b"),
        ("{% if %s %}a{% endif %}b", "b"),
        ("{% if not (%s) %}a{% endif %}b", "ab"),
        ("{{ 'a' if (%s) and (%s) > 3 else 'b' }}", "b"),
        ("{{ %s | default('root') }}", "root"),
        ("{{ %s | default('root', true) }}", "root"),
        ("{{ %s | join(',') | default('root') }}", "root"),
        ("{{ (%s) is defined }} {{ (%s) is undefined }}", "false true"),
        ("{{ (%s) is none }} {{ (%s) is not none }}", "true false"),
        ("{{ (%s) == none }} {{ (%s) == 'a' }} {{ (%s) != 'a' }}", "true false true"),
        ("{{ (%s) == data.absent }} {{ data.fsName == (%s) }}", "true false"),
        ("{{ (%s) in data.disks }} {{ 'a' in (%s) }} {{ 'a' not in (%s) }}", "false false true"),
    ],
)
def test_what_is_absent_or_null_takes_the_other_branch(name: str, text: str, word: str) -> None:
    happened = event(fsName="gpfs1", disks=["nsd1"], null=None, empty=[])

    assert Template(text.replace("%s", name)).render(about(happened)) == word


@pytest.mark.parametrize(("name", "said"), ABSENT.items())
@pytest.mark.parametrize(
    "text",
    [
        *("{{ %s }}", "{{ %s | upper }}", "{{ %s | length }}", "{{ %s | int }}", "{{ %s | abs }}", "{{ %s | round }}"),
        *(
            "{{ %s | first }}",
            "{{ %s | sort }}",
            "{{ %s | unique }}",
            "{{ %s | replace('a', 'b') }}",
            "{{ %s | join }}",
        ),
        *("{{ %s > 3 }}", "{{ 3 > %s }}", "{{ %s + 1 }}", "{{ %s * 2 }}", "{{ -%s }}", "{{ 'a' ~ %s }}"),
        *("{{ %s if true else 'b' }}", "{{ data.also or %s }}"),
    ],
)
def test_an_absent_value_that_is_used_without_a_guard_is_an_error_that_names_it(
    name: str, said: str, text: str
) -> None:
    with pytest.raises(TemplateError) as refused:
        Template(text.replace("%s", name)).render(about(event(disks=["nsd1"], null=None)))

    assert str(refused.value).endswith(f" cannot be rendered: {said}: add | default('...'), or test it with if")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{{ data.absent | default('-') }}", "-"),
        ("{{ data.absent | default('-f') }}", "-f"),
        ("{{ data.absent | default(default_value='-') }}", "-"),
        ("{{ data.absent or '-' }}", "-"),
        ("{{ data.fsName and '-' }}", "-"),
        ("{{ '-' if data.absent is none else data.dash }}", "-"),
        ("{{ '-' ~ data.fsName }}", "-gpfs1"),
        ("{{ ('--fs=' ~ data.fsName) if data.fsName else '' }}", "--fs=gpfs1"),
        ("{{ '--fs=' + data.fsName }}", "--fs=gpfs1"),
        ("{{ data.quota }}", "-1"),
        ("{{ -data.usage }}", "-5"),
        ("{{ data.quota }}{{ data.dash }}", "-1-f"),
    ],
)
def test_a_number_or_a_text_of_the_template_is_no_option_by_accident(text: str, word: str) -> None:
    assert Template(text).render(event(fsName="gpfs1", dash="-f", quota=-1, usage=5)) == word


@pytest.mark.parametrize(
    "text",
    [
        *("{{ data.dash }}", "{{ data.dash | default('-f') }}", "{{ data.dash or '-f' }}", "{{ data.dash ~ 'a' }}"),
        *("{{ '' ~ data.dash }}", "{{ '' }}{{ data.dash }}", "{{ '-f' if data.dash != '-f' else data.dash }}"),
        *("{{ data.number }}", "{{ data.dash | string }}", "{{ data.dashes | first }}", "{{ data.dashes | join }}"),
    ],
)
def test_a_dash_of_the_event_is_refused_whatever_the_template_holds_itself(text: str) -> None:
    with pytest.raises(TemplateError, match="like an option"):
        Template(text).render(event(dash="-f", number="-1", dashes=["-f"]))


def test_a_text_of_the_template_is_escaped_like_a_value() -> None:
    text = Template("{{ data.absent or '<none>' }}{{ data.x }}").render_escaped(event(x="<x>"), html.escape)

    assert text == "&lt;none&gt;&lt;x&gt;"


def test_a_leading_dash_does_no_harm_in_a_text_that_is_no_word() -> None:
    assert Template("{{ data.x }}").render_text(event(x="-f")) == "-f"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ data.list }}", "add | join(',') to make it one word"),
        ("{{ data }}", "name one of them, as in data.fsName"),
        ("{{ data.nul }}", "a NUL"),
        ("{{ data.text * 1000000000 }}", "accepts only numbers"),
        ("{{ '%1000000000d' % 1 }}", "accepts only numbers"),
        ("{{ data.number / 0 }}", "division by zero"),
        ("{{ data.number + data.text }}", "cannot be rendered"),
        ("{{ data.number + data.text }}", "rendered: a whole number and a text cannot be combined by +"),
        ("{{ data.text - 1 }}", "rendered: a text and a whole number cannot be combined by -"),
        ("{{ 'a' if data.text | length > 'x' else 'b' }}", "a whole number and a text cannot be compared by >"),
        ("{{ data.text | replace('a') }}", "rendered: replace() needs new"),
        ("{{ data.text | upper(1) }}", "rendered: upper() has too many arguments"),
        ("{{ data.text | round }}", "rendered: round does not take a text"),
        ("{{ data.long }}{{ data.long }}", "and the limit is 65536"),
        ("{{ data.long | replace('x', 'xxxxxxxxx') }}", "too long"),
        ("{{ data.long_list | join(data.long_list | join(data.long)) }}", "the joined text is too long"),
        ("{{ [data.list, data.list, data.list] | join(data.long) }}", "the joined text is too long"),
        ("{{ data.__class__ }}", "the event has no __class__"),
        ("{{ data.text.__class__ }}", "the event has no __class__"),
        ("{{ none }}", "is null"),
        ("{{ 1.5 | round(1000000000, 'ceil') }}", "at most 15 digits"),
        ("{{ 1.5 | round(data.number * 1000000000, 'floor') }}", "at most 15 digits"),
    ],
)
def test_what_cannot_be_filled_in_is_rejected_for_good_with_the_reason(text: str, said: str) -> None:
    happened = event(list=["a"], nul="a\0b", text="x", number=1, long="x" * (LARGEST - 1), long_list=["a"] * 1000)

    with pytest.raises(Rejected) as rejected:
        Template(text).render(happened)

    assert said in str(rejected.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ data.fsName", "unexpected end of template"),
        ("a\n{{ % }}", "(line 2)"),
        ("{{ data.fsName | nofilter }}", "No filter named 'nofilter'"),
        ("{{ nodee }}", "unknown name nodee; did you mean node?"),
        ("{{ fsName }}", "write data.fsName for a variable"),
        ("{{ self }}", "unknown name self"),
        ("{{ data.fsName.upper() }}", "'call' is not allowed"),
        ("{{ range(9) }}", "'call' is not allowed"),
        ("{{ 9 ** 9 ** 9 }}", "'pow' is not allowed"),
        ("{{ " + "[" * 20 + "data.fsName" + "] | string" * 20 + " }}", "nested more than 4 deep"),
        ("{{ " + "(" * 20 + "data.fsName" + ",) ~ ''" * 20 + " }}", "nested more than 4 deep"),
        ("{% for each in data.disks %}x{% endfor %}", "'for' is not allowed"),
        ("{% set x = 1 %}{{ x }}", "'assign' is not allowed"),
        ("{% include '/etc/passwd' %}", "'include' is not allowed"),
        ("{% macro m() %}{% endmacro %}", "'macro' is not allowed"),
        ("{{ '\\0' }}", "NUL"),
        ("\0", "NUL"),
        ("{" * 3000, "invalid template"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "invalid template"),
        ("{{ 9**(9**9) }}", "'pow' is not allowed"),
        ("{% if 9**9**9 > 1 %}x{% endif %}", "'pow' is not allowed"),
        ("{{ data.x | default('a' * 10**9) }}", "'pow' is not allowed"),
        ("{{ " + "9" * 1000 + ".0 }}", "too large"),
        ("{{ " + "not " * 500 + "1 }}", "nested"),
        ("{{ " + "-" * 500 + "1 }}", "nested"),
        ("{{ data" + ".a" * 900 + " }}", "nested"),
        ("{{ data.x" + "|upper" * 300 + " }}", "nested"),
        ("{{ 1" + " or 1" * 300 + " }}", "nested"),
        ("{{ " + "[" * 300 + "]" * 300 + " }}", "nested"),
        ("{% if 1 %}" * 120 + "x" + "{% endif %}" * 120, "nested"),
        ("x" * 5000, "and the limit is 4096"),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_read(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template(text)

    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["{{ 'a' * 1000000000 }}", "{{ 'a' * 10 * 1000000000 }}", "{{ [1] * 1000000000 }}"])
def test_no_constant_is_evaluated_before_an_event_comes(text: str) -> None:
    template = Template(text)

    with pytest.raises(TemplateError, match="accepts only numbers"):
        template.render(event())


def test_a_template_knows_its_variables_without_an_event() -> None:
    template = Template(
        "{{ data.a | default(data['b']) }}{% if data.c is defined %}{{ data.d.e }}{% endif %}{{ node }}"
    )

    assert set(template.variables) == {"a", "b", "c", "d"}


@given(st.text(st.sampled_from("{}%#|.-+*/()[]'\"ad0 \n"), max_size=40))
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    try:
        template = Template(text)
    except TemplateError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right, silence is not
        return
    try:
        assert isinstance(template.render(event(a="1")), str)
    except TemplateError as rejected:
        assert str(rejected)  # noqa: PT017 - either outcome is right, silence is not


@pytest.mark.parametrize("group", ["data.disks", "[node]", "(node, node)", "[]"])
@pytest.mark.parametrize(
    "use",
    ["X | upper", "X | lower", "X | trim", "X | string", "X | int", "X | float", "X | replace(',', ' ')", "'d ' ~ X"],
)
def test_a_list_is_joined_before_it_is_text(group, use):
    template = Template(f"{{{{ {use.replace('X', group)} }}}}")

    with pytest.raises(TemplateError, match="the value is a list: add"):
        template.render(about(event(disks=["nsd1", "nsd2"])))


@pytest.mark.parametrize("use", ["fold | string", "fold.values | upper", "node ~ data", "[fold.values] | join(',')"])
def test_a_group_of_values_is_no_text(use):
    with pytest.raises(TemplateError, match="the value is a group of values"):
        Template(f"{{{{ {use} }}}}").render(about(event(disks=["nsd1"])))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{{ (data.disks | join(',')) ~ '!' }}", "nsd1,nsd2!"),
        ("{{ data.disks | join(',') | upper }}", "NSD1,NSD2"),
        ("{{ data.disks[0] | upper }}", "NSD1"),
        ("{{ (node, node) | join(',') }}", "nsd01,nsd01"),
        ("{{ data.forced ~ 1 }}", "true1"),
        ("{{ data.usage | string | replace('5', 'five') }}", "five"),
        ("{{ data.usage | int + 1 }}", "6"),
        ("{{ '-f' ~ data.usage }}", "-f5"),
    ],
)
def test_single_values_are_text(text, word):
    assert Template(text).render(about(event(disks=["nsd1", "nsd2"], usage=5, forced=True))) == word


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ fold.diskName }}", "fold has no diskName; write fold.values.diskName"),
        ("{{ fold['fsName'] | join(',') }}", "fold has no fsName; write fold.values.fsName"),
        ("{{ fold.node }}", "fold has no node; did you mean nodes"),
        ("{{ event.data.fsName }}", "unknown name event; write data.fsName, without event"),
    ],
)
def test_what_was_meant_is_shown(text, said):
    with pytest.raises(TemplateError, match=said):
        Template(text)


def test_the_parts_of_a_fold_that_are_known_are_those_it_has():
    hidden = {"unlisted_contacts"}
    assert {each.name for each in fields(Fold)} - hidden | {"states"} == _OF_FOLD
