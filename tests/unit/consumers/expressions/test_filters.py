"""Filters in CEL."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.errors import FilterError
from consumers.expressions.filters import Filter, Verdict
from router.model.events import Event, Value
from tests.consuming import make_event


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
        (
            'malformed.startsWith("x")',
            "startsWith() cannot be asked of what it is given, such as null (malformed is null)",
        ),
        ("int(data.fsName) > 1", "Function 'int' error: the text is no whole number (data.fsName is a string)"),
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
        ("data.usage >", "invalid CEL at column 13"),
        ("true &&\n  data.usage >", "invalid CEL at line 2, column 15"),
        ('data.fsName = "gpfs1"', "write == for equality"),
        ('severty == "error"', "unknown name severty; did you mean severity?"),
        ('fsName == "gpfs1"', "write data.fsName for a variable"),
        (".data.usage > 1", "unknown name .data"),
        ('data.fsName.startWith("g")', "unknown function startWith(); did you mean startsWith?"),
        ("optional.of(1) == 1", "unknown name optional"),
        ("[1].map(a, a).map(b, b).map(c, c) == [1]", "use at most 2 of all, exists"),
        (f"{'!' * 5000}true", "and the limit is 4096"),
        ("(" * 500 + "1" + ")" * 500, "invalid CEL"),
        ("(" * 300 + "true" + ")" * 300, "invalid CEL at column 97: more than 96 brackets are within one another"),
        ('node == "a" and cluster == "b"', "invalid CEL at column 13: unexpected 'and'; write &&"),
        ('node == "a" or cluster == "b"', "unexpected 'or'; write ||"),
        ('not (node == "a") && true', "unknown function not(); write !"),
        ('true &&\n  not node == "a"', "invalid CEL at line 2, column 7: unexpected 'node'; write ! for not"),
        ('node == "a" || True', "unknown name True; write true"),
        ("subject == None", "unknown name None; write null"),
        ('node = "a"', "invalid CEL at column 6: unexpected '='; write == for equality"),
        ('"\ud800" == node', "invalid CEL"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        Filter(text)

    assert said in str(refused.value)


def test_a_filter_that_only_the_order_of_severities_makes_too_deep_is_refused() -> None:
    with pytest.raises(FilterError, match="more than 100 levels"):
        Filter("(severity >= data.least)" + " == true" * 97)


def test_variables_and_their_guards_are_known_without_an_event() -> None:
    text = """has(data.a) && data.a > 1 && "b" in data && data["b"] > data . c  // data.comment
        && r'data.text' != "data.\\"more" && [1].exists(data2, data2 == data.d.e)"""

    known = Filter(text)

    assert known.variables == ("a", "b", "c", "d")
    assert known.guarded == {"a", "b"}


SEVERITIES = ("info", "notice", "warning", "error", "critical")


def severities(text: str) -> list[str]:
    """The severities of the events that *text* matches."""
    made = {each: event(fsName="gpfs1", least="error").model_copy(update={"severity": each}) for each in SEVERITIES}
    return [each for each in SEVERITIES if Filter(text).matches(made[each]).matched]


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ('severity >= "warning"', ["warning", "error", "critical"]),
        ('severity > "warning"', ["error", "critical"]),
        ("severity<'notice'", ["info"]),
        ('"notice" >= severity', ["info", "notice"]),
        ('!(severity >= "error") && data.fsName == "gpfs1"', ["info", "notice", "warning"]),
        ('severity > "info" && severity < "error"', ["notice", "warning"]),
        ("severity >= data.least", ["error", "critical"]),
        ('severity <= (data.fsName == "gpfs1" ? "info" : "error")', ["info"]),
        ('severity >= (severity <= "info" ? "error" : "warning")', ["warning", "error", "critical"]),
        ('["error"].exists(least, severity >= least)', ["error", "critical"]),
        ('["b", "c"].exists(severity, severity > "b")', list(SEVERITIES)),
        ('severity == "error" || severity in ["info"]', ["info", "error"]),
    ],
)
def test_severities_have_an_order(text: str, matched: list[str]) -> None:
    assert severities(text) == matched


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('severity >= "WARNING"', 'compared with "WARNING", which is no severity; did you mean warning?'),
        ('severity > "fatal"', "severities are info, notice, warning, error, critical"),
        ("severity > 3", "compared with 3, which is no severity"),
    ],
)
def test_a_severity_is_compared_with_severities_only(text: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        Filter(text)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        'timestamp(time).getHours("Europe/Berlin") == 16',
        'timestamp(time).getHours("America/St_Johns") == 11 && timestamp(time).getMinutes("America/St_Johns") == 52',
        'timestamp(time).getHours("+02:00") == 17',
        "timestamp(time).getHours() == 15",
        'timestamp(time).getDayOfWeek("Pacific/Auckland") == 6 && timestamp(time).getDayOfWeek() == 5',
        'timestamp(time).getDate("Europe/Berlin") == 20 && timestamp(time).getDayOfMonth("Europe/Berlin") == 19',
        'timestamp(time).getMonth("UTC") == 10 && timestamp(time).getFullYear("UTC") == 2026',
        'timestamp(time).getDayOfYear("UTC") == timestamp(time).getDayOfYear()',
        'timestamp(time).getSeconds("UTC") == 7 && timestamp(time).getMilliseconds("UTC") == 980',
        'timestamp("2026-07-01T12:00:00Z").getHours("Europe/Berlin") == 14',
        "timestamp(time).getHours(data.zone) == 16",
        'timestamp(time) - duration("1h30m") < timestamp("2026-11-20T14:00:00Z")',
        'timestamp(time) - timestamp("2026-11-20T00:00:00Z") > duration("15h")',
        "int(timestamp(time)) == 1795188127",
        'duration("90m").getHours() == 1',
    ],
)
def test_moments_have_parts_in_a_time_zone(text: str) -> None:
    assert Filter(text).matches(event(zone="Europe/Berlin")) == Verdict(matched=True)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berln", "there is no time zone 'Europe/Berln'; did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("../etc/passwd", "there is no time zone"),
        ("", "there is no time zone"),
    ],
)
def test_a_time_zone_that_does_not_exist_is_refused(zone: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        Filter(f'timestamp(time).getHours("{zone}") > 17')

    assert said in str(refused.value)


def test_a_time_zone_in_a_variable_that_does_not_exist_is_the_reason_why_an_event_does_not_match(caplog) -> None:
    verdict = Filter("timestamp(time).getHours(data.zone) > 17").matches(event(zone="Mars"))

    assert not verdict.matched
    assert verdict.reason == (
        "Function 'getHours' error: there is no time zone 'Mars'; zones are written as in Europe/Berlin"
        " (data.zone is a string)"
    )
    assert caplog.records == []


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


@given(VALUES, VALUES)
@example("\ud800", 1)
@example(2**70, float("nan"))
def test_no_value_of_an_event_makes_a_filter_raise(one: Value, other: Value) -> None:
    happened = event().model_copy(update={"data": {"one": one, "other": other}})

    for text in ("data.one > data.other", "data.one == data.other", "size(data.one) > 1", "data.one in data.other"):
        assert isinstance(Filter(text).matches(happened).matched, bool)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        Filter(text).matches(event())
    except FilterError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right, silence is not


@pytest.mark.parametrize(
    "where",
    [
        "data.upNodes.exists(n, data.downNodes.exists(m, n == m))",
        "data.upNodes.exists(n, n in data.downNodes)",
        'data["upNodes"].all(n, data["downNodes"].all(m, n != m))',
        "data.upNodes.map(n, n + node).exists(m, m == node)",
    ],
)
def test_loops_that_multiply_the_lists_of_an_event_are_bounded(where):
    large = make_event(upNodes=[f"up{each}" for each in range(8000)], downNodes=[f"down{each}" for each in range(8000)])
    small = make_event(upNodes=["n1", "n2"], downNodes=["n2"])

    began = time.monotonic()
    verdict = Filter(where).matches(large)

    assert not verdict.matched
    assert "limit is 250000: data.upNodes has 8000 items" in verdict.reason
    assert time.monotonic() - began < 1
    assert not Filter(where).matches(small).reason


def test_one_loop_over_a_long_list_of_an_event_is_evaluated():
    large = make_event(upNodes=[f"up{each}" for each in range(8000)], downNodes=["n1"])

    assert Filter('data.upNodes.exists(n, n == "up7999" && data.fsName == "gpfs1")').matches(large).matched


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fold.count > 5", "unknown name fold: .* fold is known in templates only"),
        ('event.data.fsName == "gpfs1"', "unknown name event; write data.fsName, without event"),
        ('event["type"] == "x"', "unknown name event; write type, data.fsName and so on, without event"),
    ],
)
def test_names_that_are_known_elsewhere_are_explained(text, said):
    with pytest.raises(FilterError, match=said):
        Filter(text)


LONG = "a" * 2_000_000
ITEMS = ["a" * 90] * 20_000


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("size(" + "+".join(["data.t"] * 90) + ") > 1", {"t": LONG}),
        ("size([" + ",".join(["data.t"] * 300) + "]) > 1", {"t": LONG}),
        ("||".join(['string(bytes(data.t)) == "b"'] * 100), {"t": LONG}),
        ("data.t.matches(data.u)", {"t": LONG[:1_000_000], "u": "(a*)*" * 1000 + "b"}),
        ('data.t.matches("((a.{1,100}){1,20}b)+[0-9]")', {"t": LONG}),
        ("size(data.l.map(x, x + data.t)) > 1", {"l": ["x"] * 900, "t": LONG}),
        ("size(data.l.map(x, x)) > 1", {"l": ["a" * 2000] * 950}),
        ('data.l.exists(x, data.t.contains(x + "q"))', {"l": ["x"] * 5000, "t": LONG}),
        ('data.l.all(x, data.l.all(y, x + y != "q"))', {"l": ["a" * 4000] * 490}),
        (r'data.l.exists(x, x.matches("\\w{20}$"))', {"l": ["ab"] * 10_000}),
        ("data.l.exists(x, x.matches(x))", {"l": [r"\w{100}"] * 10_000}),
        ('data["l"].exists(x, (x + data.t).matches("b$"))', {"l": ["x"] * 5000, "t": LONG}),
    ],
)
def test_long_values_do_not_take_a_filter_long(text, data):
    asked = Filter(text)
    began = time.process_time()

    verdict = asked.matches(event(**data))

    assert time.process_time() - began < 3
    assert not verdict.matched
    assert "octets of values, and the limit is 300000000: data." in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        'data.t.contains("b") || data.t.startsWith("a") || data.t == "q"',
        'data.t.matches("^a+$") && size(data.t) > 3',
        'data.l.exists(x, x.startsWith("a"))',
        'data.fsName.matches("^(home|projects)[0-9]{1,3}$") || "b" in data.l || data.t != ""',
    ],
)
def test_ordinary_filters_read_the_largest_values(text):
    assert Filter(text).matches(event(t=LONG, l=ITEMS, fsName="home1")) == Verdict(matched=True)
