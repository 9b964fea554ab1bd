"""Filters in CEL."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.errors import FilterError
from consumers.filters import Filter, Verdict
from router.events import Event, Value

# Machines that are busy with other tests are slow at times.
PATIENT = settings(deadline=None)


def event(**data: Value) -> Event:
    return Event(
        id="01KAG2V0M3Y8ZT6Q4XJ5W9E7RB",
        type="gpfs.softQuotaExceeded",
        source="/gpfs/prod/nsd01",
        time="2026-11-20T15:22:07.980656123Z",
        cluster="prod",
        node="nsd01",
        category="quota",
        severity="warning",
        scope="local",
        data=data,
    )


@pytest.mark.parametrize(
    "text",
    [
        'data.fsName == "gpfs1" && data.blockUsage > data.blockQuota',
        'data["fsName"].startsWith("gpfs")',
        'type == "gpfs.softQuotaExceeded" && severity in ["warning", "error"]',
        "subject == null",
        'data.upNodes.exists(name, name == "nsd02")',
        "data.load > 1",
        'timestamp(time) > timestamp("2026-01-01T00:00:00Z")',
        "has(data.missing) ? data.missing > 1 : true",
        'node.matches("^nsd[0-9]+$")',
    ],
)
def test_an_event_that_fits_the_expression_matches(text: str) -> None:
    happened = event(fsName="gpfs1", blockUsage=9, blockQuota=5, upNodes=["nsd01", "nsd02"], load=1.5)

    assert Filter(text).matches(happened) == Verdict(matched=True)


def test_an_event_that_does_not_fit_gives_no_reason() -> None:
    assert Filter("data.blockUsage > 5").matches(event(blockUsage=5)) == Verdict(matched=False, reason="")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data.usage > data.quota", "No such overload (data.usage is an int, data.quota is null)"),
        ("data.fsName > 3", "No such overload (data.fsName is a string)"),
        ("data.missing > 3", "the event has no data.missing"),
        ('{"a": 1}["b"] == 1', "there is no 'b'"),
        ("data.usage", "the result is an int, not true or false"),
        ("data.quota", "the result is null, not true or false"),
        ("data.usage / 0 > 1", "division by zero in CEL expression (data.usage is an int)"),
    ],
)
def test_what_cannot_be_evaluated_does_not_match_and_says_why(text: str, reason: str) -> None:
    verdict = Filter(text).matches(event(fsName="gpfs1", usage=5, quota=None))

    assert verdict == Verdict(matched=False, reason=reason)


def test_a_guard_keeps_a_null_from_being_compared() -> None:
    guarded = Filter("data.quota != null && data.usage > data.quota")

    assert guarded.matches(event(usage=5, quota=None)) == Verdict(matched=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("data.usage >", "no CEL at column 13"),
        ("true &&\n  data.usage >", "no CEL at its line 2, column 15"),
        ('data.fsName = "gpfs1"', "equality is written =="),
        ('severty == "error"', "unknown name severty; did you mean severity?"),
        ('fsName == "gpfs1"', "variables are written data.fsName"),
        (".data.usage > 1", "unknown name .data"),
        ('data.fsName.startWith("g")', "unknown function startWith(); did you mean startsWith?"),
        ("optional.of(1) == 1", "unknown name optional"),
        ("[1].map(a, a).map(b, b).map(c, c) == [1]", "more than 2 of all, exists"),
        (f"{'!' * 5000}true", "too long"),
        ("(" * 500 + "1" + ")" * 500, "no CEL"),
        ('"\ud800" == node', "no CEL"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        Filter(text)

    assert said in str(refused.value)


def test_variables_and_their_guards_are_known_without_an_event() -> None:
    text = """has(data.a) && data.a > 1 && "b" in data && data["b"] > data . c  // data.comment
        && r'data.text' != "data.\\"more" && [1].exists(data2, data2 == data.d.e)"""

    known = Filter(text)

    assert known.variables == ("a", "b", "c", "d")
    assert known.guarded == {"a", "b"}


@pytest.mark.parametrize(("text", "asks"), [('type == "gpfs.mount" && data.a', True), ("data.a", False)])
def test_a_filter_knows_whether_it_can_tell_event_types_apart(text: str, asks: bool) -> None:
    assert Filter(text).asks_for_type == asks


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.lists(st.text(max_size=3), max_size=3),
)


@PATIENT
@given(VALUES, VALUES)
@example("\ud800", 1)
@example(2**70, float("nan"))
def test_no_value_of_an_event_makes_a_filter_raise(one: Value, other: Value) -> None:
    happened = event().model_copy(update={"data": {"one": one, "other": other}})

    for text in ("data.one > data.other", "data.one == data.other", "size(data.one) > 1", "data.one in data.other"):
        assert isinstance(Filter(text).matches(happened).matched, bool)


@PATIENT
@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        Filter(text).matches(event())
    except FilterError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right, silence is not
